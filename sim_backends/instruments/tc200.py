"""A Thorlabs TC200 with a heater and an oven: set point and reading in tenths, `ens` toggles, `mode=normal` complains.

Thermal model: with the heater on the reservoir follows the set point with the time constant of the control loop, with
the heater off it falls to the room's temperature with that of the oven.
"""

import math

from labctl.clock import Clock
from sim_backends.instruments.thorlabs_prompt import OUT_OF_RANGE, UNKNOWN, prompted


class TC200Heater:
    """The controller and its oven.

    Args:
        clock: Time in which the oven warms.
        room_c: Temperature of the room, where it starts.
        loop_s: Time constant of the reservoir under control.
        oven_s: Time constant of the oven left alone.
    """

    line_end = b"\r"

    def __init__(self, clock: Clock, room_c: float = 20.0, loop_s: float = 20.0, oven_s: float = 1200.0) -> None:
        self.heating = False
        self.set_point_c = 20.0
        self.max_c = 205.0
        self._clock, self._room_c, self._loop_s, self._oven_s = clock, room_c, loop_s, oven_s
        self._last_c, self._last_s = room_c, clock.now_s()

    def temperature_c(self) -> float:
        """Return the reservoir's temperature now."""
        now_s = self._clock.now_s()
        towards_c, constant_s = (self.set_point_c, self._loop_s) if self.heating else (self._room_c, self._oven_s)
        left = math.exp(-(now_s - self._last_s) / constant_s)
        self._last_c, self._last_s = towards_c + (self._last_c - towards_c) * left, now_s
        return self._last_c

    def handle(self, line: str) -> str:
        """Return echo, answer and prompt for one command."""
        if line == "stat?":  # the only answer without an end of line
            return f"{line}\r{0x14 + self.heating:x} > "
        return prompted(line, self._answer(line))

    def _answer(self, line: str) -> str:
        self.temperature_c()  # up to now under what held until now
        if line in ("id?", "*idn?"):
            return "THORLABS TC200 VERSION 2.0"
        if line == "tact?":
            return f"{self.temperature_c():.1f} C"
        if line == "tset?":
            return f"{self.set_point_c:.1f} Celsius"
        if line == "tmax?":
            return f"{self.max_c:.1f}"
        if line == "ens":
            self.heating = not self.heating
            return ""
        if line == "mode=normal":  # it obeys all the same
            return OUT_OF_RANGE
        word, _, value = line.partition("=")
        if word not in ("tset", "tmax"):
            return UNKNOWN
        return self._set(word, float(value))

    def _set(self, word: str, value_c: float) -> str:
        if word == "tset" and 20.0 <= value_c <= min(self.max_c, 200.0):
            self.set_point_c = value_c
            return ""
        if word == "tmax" and 20.0 <= value_c <= 205.0:
            self.max_c = value_c
            return ""
        return OUT_OF_RANGE
