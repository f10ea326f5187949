"""Piezo stages of Physik Instrumente (PI) that speak its General Command Set GCS 2.0, as the E-709 and E-727."""

import re
from collections.abc import Mapping
from typing import Any

from drivers.serial_line import Dialect, SerialHardware, SerialLine
from labctl.clock import Clock
from labctl.devices import Stage, StageSettings, read_hardware
from labctl.documents import StrictModel
from labctl.errors import ConfigError, DeviceError, LimitError
from labctl.units import Metres

_UM = 1e-6
"""Closed-loop piezo axes count in micrometres (PI's factory setting)."""

_ERRORS = {
    1: "a parameter is wrong",
    2: "unknown command",
    5: "the axis moves only with its servo on",
    7: "the position is out of limits",
    10: "stopped by command",
    15: "no such axis",
}
"""The commonest error codes of GCS 2.0."""

_STOPPED = 10

# All lines of an answer but the last end in a space and a line feed.
_GCS = Dialect(
    b"\n", re.compile(rb"(?<! )\n"), "*IDN?", re.compile(r"(?i).*physik instrumente.*"), 115200, tells_serial=True
)


class GcsAxis(StrictModel):
    """One axis of the bench on the controller.

    Args:
        id: Its name on the controller, as `SAI?` lists it.
        zero_m: Position of the controller that the bench calls 0.
    """

    id: str
    zero_m: Metres = 0.0


class GcsHardware(SerialHardware):
    """A PI controller: COM port or `socket://ADDRESS:50000`.

    Args:
        axes: The controller's axes by their names on the bench.
    """

    axes: Mapping[str, GcsAxis]


class GcsStage(Stage):
    """A closed-loop piezo stage; every move is followed by the question for errors, since moves have no answer.

    Opening it switches the servo of its axes on, which may move a piezo that stood open-loop.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Axes and their limits.
        hardware: Port, and which axis is which.

    Raises:
        ConfigError: The hardware entry is not valid, or its axes are not those of the settings.
    """

    def __init__(self, name: str, clock: Clock, settings: StageSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        own = read_hardware(GcsHardware, name, hardware)
        if set(own.axes) != set(settings.axes):
            asked, allowed = ", ".join(own.axes), ", ".join(settings.axes)
            raise ConfigError(f"hardware of {name}: axes {asked} are named, its settings have: {allowed}")
        self._axes = own.axes
        self._line = SerialLine(name, clock, own, _GCS)

    def _do_open(self) -> None:
        self._line.open()
        try:
            self._line.ask("ERR?")  # one from before is not ours
            self._require_axes()
            self._set("SVO", dict.fromkeys(self._ids, "1"))
            self._require_travel()
        except BaseException:
            self._line.close()
            raise

    def _do_close(self) -> None:
        self._line.close()

    def _do_state(self) -> dict[str, Any]:
        servo, arrived = self._get("SVO?", self._ids), self._get("ONT?", self._ids)
        return {
            "position_m": self._do_position_m(),
            "servo": {axis: servo[own.id] == 1 for axis, own in self._axes.items()},
            "on_target": {axis: arrived[own.id] == 1 for axis, own in self._axes.items()},
        }

    def _do_position_m(self) -> dict[str, float]:
        found = self._get("POS?", self._ids)
        return {axis: found[own.id] * _UM - own.zero_m for axis, own in self._axes.items()}

    def _do_move(self, target_m: Mapping[str, float]) -> None:
        self._set("MOV", {self._axes[axis].id: self._written(axis, where) for axis, where in target_m.items()})

    def _do_stop(self) -> None:
        self._line.tell("STP")
        self._require_no_error("STP", allowed=_STOPPED)

    @property
    def _ids(self) -> list[str]:
        return [axis.id for axis in self._axes.values()]

    def _written(self, axis: str, position_m: float) -> str:
        return f"{(position_m + self._axes[axis].zero_m) / _UM:.6f}"

    def _set(self, command: str, values: Mapping[str, str]) -> None:
        line = " ".join([command, *(f"{axis} {value}" for axis, value in values.items())])
        self._line.tell(line)
        self._require_no_error(line)

    def _get(self, query: str, ids: list[str]) -> dict[str, float]:
        """Return one number per axis."""
        lines = r"\s*\n".join(rf"{re.escape(axis)}=\s*([-+\d.eE]+)" for axis in ids)
        numbers = self._line.ask(" ".join([query, *ids]), lines).groups()
        return dict(zip(ids, map(float, numbers), strict=True))

    def _require_no_error(self, command: str, allowed: int = 0) -> None:
        code = int(self._line.ask("ERR?", r"-?\d+")[0])
        if code not in (0, allowed):
            reason = _ERRORS.get(code, "see its manual")
            raise DeviceError(self.name, f"refused '{command}' with error {code} ({reason}); correct the bench file")

    def _require_axes(self) -> None:
        known = self._line.ask("SAI?")[0].split()
        missing = [axis for axis in self._ids if axis not in known]
        if missing:
            raise ConfigError(f"hardware of {self.name}: no axis {missing[0]}; the controller has: {', '.join(known)}")

    def _require_travel(self) -> None:
        """Refuse limits of the bench file that the stage does not have."""
        lowest, highest = self._get("TMN?", self._ids), self._get("TMX?", self._ids)
        for axis, own in self._axes.items():
            low_m, high_m = lowest[own.id] * _UM - own.zero_m, highest[own.id] * _UM - own.zero_m
            asked = self.limits_m[axis]
            # a picometre is for rounding
            if asked[0] < low_m - 1e-12 or asked[1] > high_m + 1e-12:
                raise LimitError(
                    self.name,
                    f"axis {axis} shall travel {asked[0]:g} to {asked[1]:g} m, it can {low_m:g} to {high_m:g} m; "
                    "correct limits or zero in the bench file",
                )
