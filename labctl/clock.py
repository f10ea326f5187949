"""Time as the bench sees it: a wall clock on the table, a manual one for twins and tests."""

import time
from collections.abc import Callable
from typing import Protocol

SLICE_S = 0.05
"""Longest uninterrupted wait, so that a stop is noticed within 50 ms."""


class Clock(Protocol):
    """What devices and plans know of time."""

    on_wait: list[Callable[[], None]]
    """Called during every wait; a stop or an interlock raises from here."""

    def now_s(self) -> float:
        """Return seconds since the clock was made."""
        ...

    def wait(self, duration_s: float) -> None:
        """Let `duration_s` seconds of bench time pass."""
        ...


class WallClock:
    """Real time; waits in slices and asks `on_wait` between them."""

    def __init__(self) -> None:
        self.on_wait: list[Callable[[], None]] = []
        self._start = time.monotonic()

    def now_s(self) -> float:
        """Return seconds since the clock was made."""
        return time.monotonic() - self._start

    def wait(self, duration_s: float) -> None:
        """Sleep `duration_s` seconds in slices of at most `SLICE_S`."""
        end = self.now_s() + duration_s
        while True:
            for check in self.on_wait:
                check()
            left = end - self.now_s()
            if left <= 0:
                return
            time.sleep(min(left, SLICE_S))


class ManualClock:
    """Simulated time; a wait advances it at once and costs nothing."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.on_wait: list[Callable[[], None]] = []
        self._now = start_s

    def now_s(self) -> float:
        """Return the simulated time in seconds."""
        return self._now

    def wait(self, duration_s: float) -> None:
        """Advance the simulated time by `duration_s` seconds."""
        for check in self.on_wait:
            check()
        self._now += max(duration_s, 0.0)

    def set(self, now_s: float) -> None:
        """Set the simulated time in seconds: that of a simulation which is continued."""
        self._now = now_s
