"""Instrument simulators as a process of their own, on the wall clock: `python -m sim_backends.instruments tc200`.

Several are served side by side: `python -m sim_backends.instruments moglabs_rf sc10`.
"""

import argparse
import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from labctl.clock import Clock, WallClock
from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.instruments.gcs2 import Gcs2Controller
from sim_backends.instruments.light import LightWatch
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

_writing = threading.Lock()


def main(arguments: list[str] | None = None) -> None:
    """Serve instruments on TCP ports, write the URL of each on a line, and go on until standard input ends.

    With `--light` every change of the light that one lets pass follows as a line of JSON: instrument (counted from 0),
    output, light, and time_ns on `time.monotonic_ns`. The line `unplug N` on standard input ends the connection of
    instrument N for good.
    """
    parser = argparse.ArgumentParser(prog="python -m sim_backends.instruments", description=__doc__)
    parser.add_argument("instruments", nargs="+", choices=INSTRUMENTS, metavar="instrument")
    parser.add_argument("--port", type=int, default=0, help="TCP port of the first; free ones by default")
    parser.add_argument("--light", action="store_true", help="write when light is let pass, and when no longer")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        servers = []
        for number, name in enumerate(options.instruments):
            instrument = INSTRUMENTS[name](WallClock())
            watched = LightWatch(instrument, partial(_tell_light, number)) if options.light else instrument
            port = options.port + number if options.port else 0
            servers.append(stack.enter_context(SocketServer(watched, port)))
            _tell(servers[-1].url)
        # whoever started it ends it by closing the pipe, or by dying
        for line in sys.stdin:
            word, number = line.split()
            if word == "unplug":
                servers[int(number)].unplug()


def _tell_light(instrument: int, output: str, light: bool, time_ns: int) -> None:
    _tell(json.dumps({"instrument": instrument, "output": output, "light": light, "time_ns": time_ns}))


def _tell(line: str) -> None:
    with _writing:  # every instrument has a thread of its own
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
