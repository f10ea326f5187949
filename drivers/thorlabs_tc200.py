"""Thorlabs TC200 heater controller, as the heater of a vapour cell.

Its oven must keep the cell's windows hotter than the reservoir: it regulates the reservoir only.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from drivers.serial_line import SerialHardware, SerialLine
from drivers.thorlabs_prompt import ask_prompt, prompt_dialect
from labctl.clock import Clock
from labctl.devices import CellSettings, VapourCell, read_hardware
from labctl.errors import ConfigError, DeviceError

logger = logging.getLogger(__name__)

_STEP_K = 0.1
"""Resolution of set point and reading (TC200 manual)."""

_RANGE_C = (20.0, 200.0)
"""Set points it takes (TC200 manual)."""

_DEGREES = r"(-?\d+(?:\.\d+)?)(?: ?C(?:elsius)?)?"


class TC200Cell(VapourCell):
    """A cell whose set point the computer leads to its goal at the allowed ramp, in steps of 0.1 K.

    The controller's own set point jumps, so the ramp advances while bench time passes and the device is open. Closed
    on its way, the heater keeps the temperature it has, which is logged; opened again, the ramp goes on.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Temperature limits.
        hardware: Port.

    Raises:
        ConfigError: The hardware entry is not valid, or the settings ask for what the controller cannot do.
    """

    def __init__(self, name: str, clock: Clock, settings: CellSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        low_c, high_c = settings.min_temperature_c, settings.max_temperature_c
        if not _RANGE_C[0] <= low_c <= high_c <= _RANGE_C[1]:
            allowed = f"{_RANGE_C[0]:g} to {_RANGE_C[1]:g} degC"
            raise ConfigError(f"{name}: {low_c:g} to {high_c:g} degC is asked for, a TC200 regulates {allowed}")
        if settings.tolerance_k < _STEP_K:
            shows = f"tolerance {settings.tolerance_k:g} K is below the {_STEP_K:g} K a TC200 shows"
            raise ConfigError(f"{name}: {shows}; set tolerance: {_STEP_K:g} or more in its settings")
        own = read_hardware(SerialHardware, name, hardware)
        self._line = SerialLine(name, clock, own, prompt_dialect("TC200", 115200))
        self._goal_c: float | None = None
        self._from_c, self._written_c, self._since_s = 0.0, 0.0, 0.0

    def _do_open(self) -> None:
        self._line.open()
        try:
            # some firmwares complain about an argument out of range and obey all the same
            ask_prompt(self._line, "mode=normal", "(?:command error cmd_arg_range_err)?")
            ask_prompt(self._line, f"tmax={self.settings.max_temperature_c:.1f}")
            self._start_ramp()
        except BaseException:
            self._line.close()
            raise
        self.clock.on_wait.append(self._lead)

    def _do_close(self) -> None:
        if self._lead in self.clock.on_wait:
            self.clock.on_wait.remove(self._lead)
        if self._goal_c is not None and self._written_c != round(self._goal_c, 1):
            logger.warning("%s: closed on its way to %g degC, it is held where it is", self.name, self._goal_c)
        self._line.close()

    def _do_state(self) -> dict[str, Any]:
        return {
            "temperature_c": self._do_temperature_c(),
            "set_point_c": self._set_point_c(),
            "target_c": self._goal_c,
            "heating": self._heats(),
        }

    def _do_temperature_c(self) -> float:
        return float(ask_prompt(self._line, "tact?", _DEGREES)[1])

    def _do_set_temperature(self, temperature_c: float) -> None:
        if not self._heats():
            self._write_set_point(max(self._do_temperature_c(), _RANGE_C[0]))
            self._switch_on()
        self._goal_c = temperature_c
        self._start_ramp()

    def _do_make_safe(self) -> None:
        if self._heats():  # one that is off shall not be switched on for it
            super()._do_make_safe()

    # ---- ramp

    def _start_ramp(self) -> None:
        self._from_c = self._written_c = self._set_point_c()
        self._since_s = self.clock.now_s()

    def _planned_c(self, goal_c: float) -> float:
        """Return where the set point shall be now, in whole steps from where the ramp began."""
        gap_k, allowed_k = goal_c - self._from_c, self.settings.ramp_k_per_s * (self.clock.now_s() - self._since_s)
        if abs(gap_k) <= allowed_k:
            return round(goal_c, 1)
        steps = int(allowed_k / _STEP_K + 1e-9)  # a step is not lost to rounding
        return round(self._from_c + math.copysign(steps * _STEP_K, gap_k), 1)

    def _lead(self) -> None:
        """Move the set point on where it is time; called at every wait, also while an answer is awaited."""
        if self._goal_c is None or self._line.busy:
            return
        planned_c = self._planned_c(self._goal_c)
        if planned_c != self._written_c:
            self._write_set_point(planned_c)
            self._written_c = planned_c

    # ---- protocol

    def _set_point_c(self) -> float:
        return float(ask_prompt(self._line, "tset?", _DEGREES)[1])

    def _write_set_point(self, temperature_c: float) -> None:
        ask_prompt(self._line, f"tset={temperature_c:.1f}")

    def _heats(self) -> bool:
        # bit 0; some firmwares write the number hexadecimal, some decimal, and it is odd in both alike
        return int(ask_prompt(self._line, "stat?", r"([0-9a-f]+)")[1], 16) % 2 == 1

    def _switch_on(self) -> None:
        # `ens` toggles, so it is sent only after the state has been read, and what came of it is read back
        ask_prompt(self._line, "ens")
        if not self._heats():
            raise DeviceError(self.name, "does not switch its heater on; check its temperature sensor and interlock")
