"""Any stages that Micro-Manager has adapters for, through pymmcore-plus."""

from collections.abc import Mapping
from typing import Any

from drivers.mmcore import MMCore, named_core
from labctl.clock import Clock
from labctl.devices import Hardware, Stage, StageSettings, read_hardware
from labctl.errors import ConfigError

MICRO = 1e-6


class StageHardware(Hardware):
    """What a stage is told.

    Args:
        xy: Label of the two-axis stage that moves axes `x` and `y`.
        axes: Labels of one-axis stages by axis name, e.g. `{z: Piezo}`.
    """

    xy: str | None = None
    axes: Mapping[str, str] = {}


class MMCoreStage(Stage):
    """Stages of Micro-Manager as one stage with named axes.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Axes and their limits.
        hardware: See `StageHardware`.
        connection: The core that has them; it must be named.

    Raises:
        ConfigError: `hardware` or `connection` is not as it should be, or the axes are not those of `settings`.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: StageSettings,
        hardware: Mapping[str, Any],
        connection: MMCore | None = None,
    ) -> None:
        super().__init__(name, clock, settings)
        self.hardware = read_hardware(StageHardware, name, hardware)
        driven = {*self.hardware.axes, *(("x", "y") if self.hardware.xy else ())}
        if driven != set(self.axes):
            has = ", ".join(sorted(driven)) or "none"
            raise ConfigError(f"{name}: hardware: drives {has}; the bench file's axes are {', '.join(self.axes)}")
        self._connection = named_core(name, connection)

    @property
    def _labels(self) -> list[str]:
        return [*([self.hardware.xy] if self.hardware.xy else []), *self.hardware.axes.values()]

    def _do_open(self) -> None:
        try:
            for label in self._labels:
                kind = "XYStage" if label == self.hardware.xy else "Stage"
                self._core = self._connection.join(self.name, label, kind)
        except BaseException:
            self._connection.leave(self.name)
            raise

    def _do_close(self) -> None:
        self._connection.leave(self.name)

    def _do_state(self) -> dict[str, Any]:
        busy = [label for label in self._labels if self._core.deviceBusy(label)]
        return {"position_m": self._do_position_m(), "busy": busy}

    def _do_position_m(self) -> dict[str, float]:
        core, xy = self._core, self.hardware.xy
        position = {axis: core.getPosition(label) for axis, label in self.hardware.axes.items()}
        if xy:
            position["x"], position["y"] = core.getXPosition(xy), core.getYPosition(xy)
        return {axis: position[axis] * MICRO for axis in self.axes}

    def _do_move(self, target_m: Mapping[str, float]) -> None:
        core, xy = self._core, self.hardware.xy
        if xy and not target_m.keys().isdisjoint("xy"):
            x = target_m["x"] / MICRO if "x" in target_m else core.getXPosition(xy)
            y = target_m["y"] / MICRO if "y" in target_m else core.getYPosition(xy)
            core.setXYPosition(xy, x, y)
        for axis, label in self.hardware.axes.items():
            if axis in target_m:
                core.setPosition(label, target_m[axis] / MICRO)

    def _do_stop(self) -> None:
        for label in self._labels:
            self._core.stop(label)
