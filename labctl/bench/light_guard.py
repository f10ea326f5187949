"""Who must agree before a beam of a bench is lit: the ceilings, and a watchdog where beams have drivers."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from labctl.bench.ceilings import ceilings, require_below
from labctl.bench.schema import BenchFile
from labctl.clock import Clock
from labctl.devices import Beam
from labctl.devices.building import DriverSpec
from labctl.watchdog import Charge, Watchdog

_SIMULATED_PATIENCE = 10
"""By this the watchdog's deadline is longer where light and instruments are simulated: they are computed between two
waits, which has taken 6 s on a busy machine (diffractive)."""


class LightGuard:
    """Guards the beams of one open bench; its watchdog process begins here and ends with `end`.

    Args:
        file: What the bench file says of ceilings and the watchdog.
        clock: Bench time, whose waits tell the watchdog that the bench is alive.
        driven: Drivers of the beams on the table.
        instruments_inside: Whether beams' instruments are simulated in this process.
    """

    def __init__(self, file: BenchFile, clock: Clock, driven: Sequence[DriverSpec], instruments_inside: bool) -> None:
        self._ceilings, self._clock = ceilings(file), clock
        self._beams: list[Beam] = []
        self._watchdog: Watchdog | None = None
        if file.watchdog.enabled and (driven or instruments_inside):
            deadline_s = file.watchdog.deadline_s * (1 if driven else _SIMULATED_PATIENCE)
            self._watchdog = Watchdog(Charge(os.getpid(), deadline_s, tuple(driven), not driven))
            clock.on_wait.append(self._watchdog.beat)

    def watch(self, beam: Beam, *, has_driver: bool) -> None:
        """Have a beam ask before it is lit."""
        self._beams.append(beam)
        if any(beam.name in ceiling.beams for ceiling in self._ceilings):
            beam.before_light.append(self._hold_ceilings)
        if self._watchdog and has_driver:
            beam.before_light.append(self._watchdog.before_light)
            beam.after_dark.append(self._watchdog.after_dark)

    def require_ready(self) -> None:
        """Wait until the watchdog stands by.

        Raises:
            StateError: It cannot.
        """
        if self._watchdog:
            self._watchdog.require_ready()

    @contextmanager
    def patience(self, longest_s: float) -> Iterator[None]:
        """Let the block last up to `longest_s` seconds longer than the watchdog's deadline."""
        with self._watchdog.patience(longest_s) if self._watchdog else nullcontext():
            yield

    def end(self) -> None:
        """Dismiss the watchdog; what could not be made dark it tries first."""
        if self._watchdog:
            self._clock.on_wait.remove(self._watchdog.beat)
            self._watchdog.end()

    def _hold_ceilings(self, beam: Beam, power_w: float) -> None:
        held = [ceiling for ceiling in self._ceilings if beam.name in ceiling.beams]
        require_below(held, beam.name, power_w, [other for other in self._beams if other is not beam])
