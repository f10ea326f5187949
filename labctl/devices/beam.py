"""Beam: pump, probe or reference light, with power, phase and detuning where it has them; off is its safe state."""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from pydantic import Field, model_validator

from labctl.clock import Clock
from labctl.devices.base import Device, DeviceSettings
from labctl.errors import DeviceError, LimitError, StateError
from labctl.units import Hertz, Seconds, Watts

logger = logging.getLogger(__name__)

_POLLS = 20
"""How often a beam is asked whether it is dark, beyond the time it needs."""


class BeamSettings(DeviceSettings):
    """What a beam is, for driver and twin alike.

    Args:
        power_w: Power at opening, where the beam enters the light path.
        max_power_w: Hard ceiling.
        max_detuning_hz: Largest detuning either way; 0 for a beam without.
        has_phase: Whether its phase can be stepped (AOM drive phase).
        switch_s: Time the light takes to come or go, shutter aside.
        shutter_s: Time its shutter takes on top of that; 0 for a beam without one.
        external_trigger: Whether pulses can step its phase.
        falls_dark: Whether its driver switches the light off by itself when its link to the computer is lost.
    """

    power_w: Watts
    max_power_w: Watts = Field(gt=0)
    max_detuning_hz: Hertz = Field(default=0.0, ge=0)
    has_phase: bool = False
    switch_s: Seconds = Field(ge=0)
    shutter_s: Seconds = Field(default=0.0, ge=0)
    external_trigger: bool = True
    falls_dark: bool = False

    @property
    def both_s(self) -> float:
        """Time to switch on or off with the shutter."""
        return self.switch_s + self.shutter_s

    @model_validator(mode="after")
    def _within_ceiling(self) -> Self:
        if not 0 <= self.power_w <= self.max_power_w:
            raise ValueError(f"power {self.power_w:g} W is not within 0 to max_power {self.max_power_w:g} W")
        return self


class Beam(Device):
    """Base of beams.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Ceiling and what the beam can do.
    """

    kind = "beam"
    max_phases: int | None = None
    """Most phases one sequence may have, where the driver has a limit; acquisition splits longer ones."""

    def __init__(self, name: str, clock: Clock, settings: BeamSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings
        self.before_light: list[Callable[[Beam, float], None]] = []
        """Called with the power in watts before there is light, or more or less of it; what raises here forbids it."""
        self.after_dark: list[Callable[[Beam], None]] = []
        """Called when the beam has been switched off, shutter and all."""
        self.was_lit = False
        """Whether it was switched on since it was made, on or off as it is now."""
        self._shutter_open = False

    @property
    def is_on(self) -> bool:
        """Whether the hardware reports light."""
        self._require_open()
        return self._ask(self._do_is_on)

    @property
    def power_w(self) -> float:
        """Power the hardware is set to, in watts; it flows only while the beam is on."""
        self._require_open()
        return self._ask(self._do_power_w)

    @property
    def phase_rad(self) -> float:
        """Phase the hardware is set to, in rad."""
        self._require_open()
        return self._ask(self._do_phase_rad)

    @property
    def detuning_hz(self) -> float:
        """Detuning from line centre the hardware is set to, in Hz."""
        self._require_open()
        return self._ask(self._do_detuning_hz)

    def on(self) -> None:
        """Switch the beam on and wait until it is."""
        self._require_open()
        self._announce(self._do_power_w)
        self.was_lit = True
        if self._shutter_open:
            self._ask(self._do_blank, False)
            self.clock.wait(self.settings.switch_s)
        else:
            self._ask(self._do_switch, True)
            self.clock.wait(self.settings.both_s)
        self._shutter_open = True

    def blank(self) -> None:
        """Switch the light off as fast as the beam can, its shutter left open for the next `on`, and wait until it is.

        For plans, between two measurements; whatever ends a run closes the shutter too. As long as that is open, nobody
        is told that the beam is dark (`after_dark`), and a watchdog stays on its guard.
        """
        self._require_open()
        self._ask(self._do_blank, True)
        self.clock.wait(self.settings.switch_s)

    def off(self) -> None:
        """Switch the beam off (RF and shutter) and wait until it is."""
        self._require_open()
        self._shutter_open = False
        self._ask(self._do_switch, False)
        self.clock.wait(self.settings.both_s)
        self._tell_dark()

    def set_power(self, power_w: float) -> None:
        """Set the power in watts.

        Raises:
            StateError: The beam is closed.
            LimitError: Negative, or above the ceiling.
        """
        self._require_open()
        self._require_within("power", power_w, 0.0, self.settings.max_power_w, "W")
        if self.before_light and self._ask(self._do_is_on):
            self._announce(lambda: power_w)
        self._ask(self._do_set_power, power_w)

    def set_phase(self, phase_rad: float) -> None:
        """Set the phase in rad.

        Raises:
            StateError: The beam is closed.
            LimitError: The beam has no phase control, or the value is not finite.
        """
        self._require_phases([phase_rad])
        self._ask(self._do_set_phase, phase_rad)

    def load_phases(self, phases_rad: Sequence[float]) -> None:
        """Preload one phase per trigger pulse for the next triggered sequence.

        Raises:
            StateError: The beam is closed.
            LimitError: The beam has no phase control, or a value is not finite.
        """
        self._require_phases(phases_rad)
        self._ask(self._do_load_phases, phases_rad)

    def clear_phases(self) -> None:
        """Forget phases that were loaded and not used."""
        self._require_open()
        self._ask(self._do_load_phases, [])

    def _require_phases(self, phases_rad: Sequence[float]) -> None:
        self._require_open()
        if not self.settings.has_phase:
            raise LimitError(self.name, "has no phase control; choose a beam with has_phase in its settings")
        if not all(map(math.isfinite, phases_rad)):
            raise LimitError(self.name, "a phase must be a finite number of rad")

    def set_detuning(self, detuning_hz: float) -> None:
        """Set the detuning from line centre in Hz.

        Raises:
            StateError: The beam is closed.
            LimitError: Beyond the beam's range.
        """
        self._require_open()
        limit = self.settings.max_detuning_hz
        self._require_within("detuning", detuning_hz, -limit, limit, "Hz")
        self._ask(self._do_set_detuning, detuning_hz)

    def _do_make_safe(self) -> None:
        """Switch off and return when the beam is dark; a Ctrl-C in between is raised after that."""
        self._shutter_open = False
        interrupts = self._insist(lambda: self._ask(self._do_switch, False))
        interrupts += self._insist(self._wait_until_dark)
        interrupts += self._insist(self._require_dark)
        self._tell_dark()
        if interrupts:
            raise interrupts[0]

    def _announce(self, power: Callable[[], float]) -> None:
        if self.before_light:
            power_w = self._ask(power)
            for forbid in self.before_light:
                forbid(self, power_w)

    def _tell_dark(self) -> None:
        for hear in self.after_dark:
            hear(self)

    def _insist(self, action: Callable[[], None]) -> list[BaseException]:
        """Do it, once more if something other than this beam ended it; return the interrupts.

        A stop, an interlock, or another device that fails at every wait is not asked a second time.
        """
        try:
            action()
        except Exception as error:
            if isinstance(error, DeviceError) and error.device == self.name:
                raise
            with self._regardless_of(error):
                action()
        except BaseException as interrupt:
            action()
            return [interrupt]
        return []

    @contextmanager
    def _regardless_of(self, error: Exception) -> Iterator[None]:
        """Let nobody end the block's waits: whatever would, the dark that the block is for comes first."""
        logger.warning("%s: goes dark all the same: %s", self.name, error or type(error).__name__)
        checks, self.clock.on_wait = self.clock.on_wait, []
        try:
            yield
        finally:
            self.clock.on_wait = checks

    def _require_dark(self) -> None:
        if not self._ask(self._do_is_dark):
            raise StateError(self.name, "was switched off and still reports light; block it by hand now")

    def _wait_until_dark(self) -> None:
        """Wait the time switching takes, and as long again while there still is light."""
        self._wait_regardless(self.settings.both_s)
        for _ in range(_POLLS):
            if self._ask(self._do_is_dark):
                return
            self._wait_regardless(self.settings.both_s / _POLLS)

    def _wait_regardless(self, duration_s: float) -> None:
        """Wait on the clock; stops and interlocks that would end the wait want the dark this one is for."""
        start = self.clock.now_s()
        try:
            self.clock.wait(duration_s)
        except Exception as error:
            with self._regardless_of(error):
                self.clock.wait(start + duration_s - self.clock.now_s())

    def _do_blank(self, blank: bool) -> None:
        """Take the light away, or give it back, the fast way, where there is one."""
        self._do_switch(not blank)

    def _do_is_dark(self) -> bool:
        """Return whether nothing that should stop the light lets it through; more than no light where there is more."""
        return not self._do_is_on()

    @abstractmethod
    def _do_is_on(self) -> bool: ...

    @abstractmethod
    def _do_power_w(self) -> float: ...

    @abstractmethod
    def _do_phase_rad(self) -> float: ...

    @abstractmethod
    def _do_detuning_hz(self) -> float: ...

    @abstractmethod
    def _do_switch(self, on: bool) -> None: ...

    @abstractmethod
    def _do_set_power(self, power_w: float) -> None: ...

    @abstractmethod
    def _do_set_phase(self, phase_rad: float) -> None: ...

    @abstractmethod
    def _do_load_phases(self, phases_rad: Sequence[float]) -> None: ...

    @abstractmethod
    def _do_set_detuning(self, detuning_hz: float) -> None: ...
