"""One instrument simulator as a process of its own, on the wall clock: `python -m sim_backends.instruments tc200`."""

import argparse
import sys
from collections.abc import Callable, Mapping

from labctl.clock import Clock, WallClock
from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.instruments.gcs2 import Gcs2Controller
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.pm100 import PM100Meter
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.socket_server import SocketServer
from sim_backends.instruments.tc200 import TC200Heater

INSTRUMENTS: Mapping[str, Callable[[Clock], Instrument]] = {
    "dlc_pro": DlcPro,
    "gcs2": Gcs2Controller,
    "moglabs_rf": lambda _: MoglabsRf(),
    "pm100": lambda _: PM100Meter(),
    "sc10": SC10Controller,
    "tc200": TC200Heater,
}
"""Every simulated instrument, by name."""


def main(arguments: list[str] | None = None) -> None:
    """Serve an instrument on a TCP port, write its URL as the first line, and go on until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m sim_backends.instruments", description=__doc__)
    parser.add_argument("instrument", choices=INSTRUMENTS)
    parser.add_argument("--port", type=int, default=0, help="TCP port; a free one by default")
    options = parser.parse_args(arguments)
    with SocketServer(INSTRUMENTS[options.instrument](WallClock()), options.port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        # whoever started it ends it by closing the pipe, or by dying
        sys.stdin.read()


if __name__ == "__main__":
    main()
