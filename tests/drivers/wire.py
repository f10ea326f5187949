"""Instrument simulators on the wire: a socket on every platform, a pseudo-terminal where there is one."""

import sys
from collections.abc import Callable

import pytest

from labctl.clock import ManualClock
from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.server import Server
from sim_backends.instruments.socket_server import SocketServer

LATE_S = 0.5
"""How late a late answer is: later than the drivers in these tests wait."""

TIMEOUT_S = 0.25
"""How long the drivers in these tests wait for an answer."""


class SteppedClock(ManualClock):
    """Simulated time that, like the wall clock, asks `on_wait` again and again while it waits."""

    def wait(self, duration_s: float) -> None:
        super().wait(0.0)
        while duration_s > 0:
            super().wait(min(duration_s, 0.25))
            duration_s -= 0.25


Serve = Callable[[Instrument], Server]


def on_socket(instrument: Instrument) -> Server:
    return SocketServer(instrument, late_s=LATE_S)


def on_pty(instrument: Instrument) -> Server:
    if sys.platform == "win32":
        pytest.skip("there are no pseudo-terminals on Windows")
    from sim_backends.instruments.pty_server import PtyServer

    return PtyServer(instrument, late_s=LATE_S)


def on_fastest(instrument: Instrument) -> Server:
    """Serve where closing costs nothing: pyserial rests 0.3 s whenever it closes a socket."""
    return on_socket(instrument) if sys.platform == "win32" else on_pty(instrument)
