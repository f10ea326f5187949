"""A PI piezo controller that speaks GCS 2.0, with the manual's quirks.

A move has no answer, and no sign of a refusal but the number that `ERR?` then gives, once. An answer of several lines
ends all of them but the last in a space and a line feed. An unknown query is not answered at all.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from labctl.clock import Clock

_PARAMETER, _UNKNOWN, _SERVO_OFF, _OUT_OF_LIMITS, _STOPPED, _NO_SUCH_AXIS = 1, 2, 5, 7, 10, 15


@dataclass
class Axis:
    """One axis on its way from `start_um` since `since_s` to `target_um`, with a travel of 0 to `travel_um`."""

    travel_um: float = 200.0
    start_um: float = 0.0
    target_um: float = 0.0
    since_s: float = 0.0
    servo: bool = False


class Gcs2Controller:
    """The controller.

    Args:
        clock: Time in which axes travel.
        axes: Axes by their names on the controller.
        velocity_um_per_s: How fast they travel.
        serial: Serial number.
    """

    line_end = b"\n"

    def __init__(
        self,
        clock: Clock,
        axes: Mapping[str, Axis] | None = None,
        velocity_um_per_s: float = 1e4,
        serial: str = "115042",
    ) -> None:
        self.axes = dict(axes or {"1": Axis()})
        self._clock, self._velocity, self._serial = clock, velocity_um_per_s, serial
        self._error = 0

    def position_um(self, name: str) -> float:
        """Return where an axis is now."""
        axis = self.axes[name]
        way, gone = axis.target_um - axis.start_um, self._velocity * (self._clock.now_s() - axis.since_s)
        return axis.target_um if abs(way) <= gone else axis.start_um + math.copysign(gone, way)

    def handle(self, line: str) -> str:
        """Return the answer to one command; "" where the manual has none."""
        command, *words = line.split() or [""]
        if command == "*IDN?":
            return f"(c)2015 Physik Instrumente (PI) GmbH & Co. KG, E-709.CRG, {self._serial}, 01.032\n"
        if command == "ERR?":
            error, self._error = self._error, 0
            return f"{error}\n"
        if command == "SAI?":
            return _lines(list(self.axes))
        if command == "STP":
            self._stop()
            return ""
        if command.endswith("?"):
            return self._query(command, words or list(self.axes))
        try:
            self._command(command, dict(zip(words[::2], map(float, words[1::2]), strict=True)))
        except ValueError:
            self._error = _PARAMETER
        return ""

    def _query(self, query: str, names: list[str]) -> str:
        if not set(names) <= set(self.axes):
            self._error = _NO_SUCH_AXIS
            return ""
        axes = {name: self.axes[name] for name in names}
        if query == "POS?":
            return _lines([f"{name}={self.position_um(name):.6f}" for name in axes])
        if query == "MOV?":
            return _lines([f"{name}={axis.target_um:.6f}" for name, axis in axes.items()])
        if query == "SVO?":
            return _lines([f"{name}={axis.servo:d}" for name, axis in axes.items()])
        if query == "ONT?":
            return _lines([f"{name}={self.position_um(name) == axis.target_um:d}" for name, axis in axes.items()])
        if query == "TMN?":
            return _lines([f"{name}={0:.6f}" for name in axes])
        if query == "TMX?":
            return _lines([f"{name}={axis.travel_um:.6f}" for name, axis in axes.items()])
        self._error = _UNKNOWN
        return ""

    def _command(self, command: str, values: Mapping[str, float]) -> None:
        """Do all of a command or, with an error noted, none of it."""
        if not set(values) <= set(self.axes):
            self._error = _NO_SUCH_AXIS
        elif command == "SVO":
            for name, on in values.items():
                self.axes[name].servo = on == 1
        elif command != "MOV":
            self._error = _UNKNOWN
        elif not all(self.axes[name].servo for name in values):
            self._error = _SERVO_OFF
        elif not all(0 <= target <= self.axes[name].travel_um for name, target in values.items()):
            self._error = _OUT_OF_LIMITS
        else:
            for name, target in values.items():
                self._head_for(name, target)

    def _stop(self) -> None:
        for name in self.axes:
            self._head_for(name, self.position_um(name))
        self._error = _STOPPED

    def _head_for(self, name: str, target_um: float) -> None:
        axis = self.axes[name]
        axis.start_um, axis.since_s, axis.target_um = self.position_um(name), self._clock.now_s(), target_um


def _lines(lines: list[str]) -> str:
    return " \n".join(lines) + "\n"
