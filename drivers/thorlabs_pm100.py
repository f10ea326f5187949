"""Thorlabs power meters of the PM100 family, by SCPI over a serial line or TCP (PM101R, PM102, PM103E, ...).

The PM100D, PM100A and PM100USB talk USBTMC, which is no serial line: they are not reached this way.
"""

import re
from collections.abc import Mapping
from typing import Any

from drivers.serial_line import Dialect, SerialHardware, SerialLine
from labctl.clock import Clock
from labctl.devices import PowerMeter, PowerMeterSettings, read_hardware
from labctl.errors import DeviceError

_SCPI = Dialect(b"\n", re.compile(rb"\n"), "*IDN?", re.compile(r"(?i)thorlabs,\s*pm.*"), 115200, tells_serial=True)

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"

_SAMPLE_S = 3e-4
"""Time of one sample (PM100D manual: about 0.3 ms)."""

_OVERLOAD = 9e37
"""SCPI's number for "no number": 9.91e37, or 9.9e37 for infinity."""


class PM100(PowerMeter):
    """Power meter, corrected for the wavelength of the bench file, at automatic range.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Wavelength and range.
        hardware: Port.

    Raises:
        ConfigError: The hardware entry is not valid.
    """

    def __init__(self, name: str, clock: Clock, settings: PowerMeterSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        self._line = SerialLine(name, clock, read_hardware(SerialHardware, name, hardware), _SCPI)

    def _do_open(self) -> None:
        self._line.open()
        try:
            self._line.tell("*CLS")
            # without its unit some firmwares take the number and keep the old wavelength
            self._set(f"SENS:CORR:WAV {self.settings.wavelength_m * 1e9:.2f}NM")
            self._set("SENS:POW:UNIT W")
            self._set("SENS:POW:RANG:AUTO ON")
            self._set(f"SENS:AVER:COUN {max(round(self.settings.averaging_s / _SAMPLE_S), 1)}")
            self._require_wavelength()
        except BaseException:
            self._line.close()
            raise

    def _do_close(self) -> None:
        self._line.close()

    def _do_state(self) -> dict[str, Any]:
        return {"wavelength_m": self._wavelength_m(), "samples": int(self._number("SENS:AVER:COUN?"))}

    def _do_power_w(self) -> float:
        power_w = self._number("MEAS:POW?")
        if abs(power_w) >= _OVERLOAD:
            raise DeviceError(self.name, "is overloaded; weaken the light on it or use another head")
        return max(power_w, 0.0)  # a dark head reads noise on both sides of zero

    def _wavelength_m(self) -> float:
        return self._number("SENS:CORR:WAV?") * 1e-9

    def _number(self, query: str) -> float:
        return float(self._line.ask(query, _NUMBER)[0])

    def _set(self, command: str) -> None:
        """Send a command and ask what came of it, since SCPI answers none."""
        self._line.tell(command)
        code, text = self._line.ask("SYST:ERR?", r'([-+]?\d+)\s*,\s*"?(.*?)"?').groups()
        if int(code):
            raise DeviceError(self.name, f"refused '{command}' with error {code} ({text}); correct the bench file")

    def _require_wavelength(self) -> None:
        asked_m, found_m = self.settings.wavelength_m, self._wavelength_m()
        if abs(found_m - asked_m) > 0.6e-9:  # some heads know whole nanometres only
            raise DeviceError(
                self.name,
                f"was set to {asked_m * 1e9:.2f} nm and corrects for {found_m * 1e9:.2f} nm; use a head for it",
            )
