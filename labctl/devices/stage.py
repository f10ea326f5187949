"""Stage: named axes with limits; a move returns when settled."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from labctl.clock import Clock
from labctl.devices.base import Device, DeviceSettings
from labctl.documents import StrictModel
from labctl.errors import DeviceTimeout, LimitError
from labctl.units import Metres, Seconds


class AxisLimits(StrictModel):
    """Travel of one axis.

    Args:
        low_m: Lowest position.
        high_m: Highest position.
    """

    low_m: Metres
    high_m: Metres

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low_m >= self.high_m:
            raise ValueError(f"low {self.low_m:g} m must lie below high {self.high_m:g} m")
        return self


class StageSettings(DeviceSettings):
    """What a stage is, for driver and twin alike.

    Args:
        axes: Travel by axis name.
        settle_s: Time to settle after a move.
        tolerance_m: How close counts as arrived.
        timeout_s: Longest a move may take.
    """

    axes: Mapping[str, AxisLimits] = Field(min_length=1)
    settle_s: Seconds = Field(ge=0)
    tolerance_m: Metres = Field(gt=0)
    timeout_s: Seconds = Field(gt=0)


class Stage(Device):
    """Base of stages.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Axes and their limits.
    """

    kind = "stage"
    poll_s = 0.002

    def __init__(self, name: str, clock: Clock, settings: StageSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings

    @property
    def axes(self) -> tuple[str, ...]:
        """Axis names."""
        return tuple(self.settings.axes)

    @property
    def limits_m(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest position by axis, in metres."""
        return {name: (axis.low_m, axis.high_m) for name, axis in self.settings.axes.items()}

    @property
    def position_m(self) -> dict[str, float]:
        """Measured position by axis, in metres."""
        self._require_open()
        return self._ask(self._do_position_m)

    def move_to(self, **position_m: float) -> None:
        """Move the named axes to absolute positions in metres; returns when settled.

        Raises:
            StateError: The stage is closed.
            LimitError: Unknown axis, or outside its travel; nothing moved.
            DeviceTimeout: It did not arrive in time; it has been stopped.
        """
        self._require_open()
        for axis, target in position_m.items():
            if axis not in self.settings.axes:
                raise LimitError(self.name, f"axis '{axis}' was asked for, it has: {', '.join(self.axes)}")
            low, high = self.limits_m[axis]
            self._require_within(f"position of {axis}", target, low, high, "m")
        self._ask(self._do_move, position_m)
        self._wait_until_there(position_m)
        self.clock.wait(self.settings.settle_s)

    def _wait_until_there(self, target_m: Mapping[str, float]) -> None:
        end = self.clock.now_s() + self.settings.timeout_s
        while True:
            reached = self._ask(self._do_position_m)
            off = {axis: abs(reached[axis] - goal) for axis, goal in target_m.items()}
            if all(distance <= self.settings.tolerance_m for distance in off.values()):
                return
            if self.clock.now_s() > end:
                self._ask(self._do_stop)
                raise DeviceTimeout(self.name, f"a move ended {max(off.values()):.3g} m short and was stopped")
            self.clock.wait(self.poll_s)

    def _do_make_safe(self) -> None:
        self._ask(self._do_stop)

    @abstractmethod
    def _do_position_m(self) -> dict[str, float]: ...

    @abstractmethod
    def _do_move(self, target_m: Mapping[str, float]) -> None: ...

    @abstractmethod
    def _do_stop(self) -> None: ...
