"""A Thorlabs power meter of the PM100 family as it answers SCPI; commands are silent, errors wait in a queue."""

import re
from collections import deque
from collections.abc import Callable


class PM100Meter:
    """The meter and its head.

    Args:
        power_w: Gives the power on the head, in watts.
        max_power_w: Power beyond which the head is overloaded.
        wavelengths_nm: What the head is calibrated for.
        serial: Serial number.
    """

    line_end = b"\n"

    def __init__(
        self,
        power_w: Callable[[], float] = lambda: 1e-6,
        max_power_w: float = 0.05,
        wavelengths_nm: tuple[float, float] = (400.0, 1100.0),
        serial: str = "M00512345",
    ) -> None:
        self.wavelength_nm = 635.0
        self._power_w, self._max_power_w, self._range_nm, self._serial = power_w, max_power_w, wavelengths_nm, serial
        self._samples = 1
        self._errors: deque[str] = deque()

    def handle(self, line: str) -> str:
        """Return the answer to one SCPI command; "" for one that sets something."""
        word, _, argument = line.strip().upper().partition(" ")
        if word == "*IDN?":
            return f"Thorlabs,PM101R,{self._serial},1.2.0\n"
        if word == "*CLS":
            self._errors.clear()
            return ""
        if word == "SYST:ERR?":
            return (self._errors.popleft() if self._errors else '+0,"No error"') + "\n"
        if word == "MEAS:POW?":
            power_w = self._power_w()
            return f"{power_w if power_w <= self._max_power_w else 9.9e37:.6E}\n"
        if word == "SENS:CORR:WAV?":
            return f"{self.wavelength_nm:.6E}\n"
        if word == "SENS:AVER:COUN?":
            return f"{self._samples}\n"
        self._set(word, argument)
        return ""

    def _set(self, word: str, argument: str) -> None:
        if word == "SENS:CORR:WAV" and (match := re.fullmatch(r"([\d.]+)NM", argument)):
            if self._range_nm[0] <= float(match[1]) <= self._range_nm[1]:
                self.wavelength_nm = float(match[1])
            else:
                self._errors.append('-222,"Data out of range"')
        elif word == "SENS:AVER:COUN":
            self._samples = int(argument)
        elif (word, argument) not in (("SENS:POW:UNIT", "W"), ("SENS:POW:RANG:AUTO", "ON")):
            self._errors.append('-113,"Undefined header"')
