"""Vapour cell: a temperature that is ramped and read; optical depth is calibrated, never set."""

from abc import abstractmethod
from typing import Self

from pydantic import Field, model_validator

from labctl.clock import Clock
from labctl.devices.base import Device, LitSettings
from labctl.errors import DeviceTimeout
from labctl.units import Celsius, KelvinPerSecond, Seconds


class CellSettings(LitSettings):
    """What a heated vapour cell is, for driver and twin alike.

    Args:
        min_temperature_c: Lowest reservoir temperature (the room).
        max_temperature_c: Highest reservoir temperature.
        ramp_k_per_s: Fastest allowed change; windows stay hotter than the reservoir within it.
        tolerance_k: How close counts as there.
        settle_s: How long it must be there before it counts as settled.
        timeout_s: Longest wait for a temperature.
        safe_temperature_c: Where the heater ramps to when the bench is made safe.
    """

    min_temperature_c: Celsius
    max_temperature_c: Celsius
    ramp_k_per_s: KelvinPerSecond = Field(gt=0)
    tolerance_k: float = Field(default=0.02, gt=0)
    settle_s: Seconds = Field(default=0.0, ge=0)
    timeout_s: Seconds = Field(gt=0)
    safe_temperature_c: Celsius

    @model_validator(mode="after")
    def _safe_within_range(self) -> Self:
        low, high = self.min_temperature_c, self.max_temperature_c
        if not low <= self.safe_temperature_c <= high:
            raise ValueError(
                f"safe_temperature {self.safe_temperature_c:g} degC is not within {low:g} to {high:g} degC"
            )
        return self

    def warming_s(self, temperature_c: float) -> float:
        """Return how long it takes from the room's temperature until it is settled at `temperature_c`."""
        return (temperature_c - self.min_temperature_c) / self.ramp_k_per_s + self.settle_s


class VapourCell(Device):
    """Base of heated vapour cells.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Temperature limits.
    """

    kind = "cell"
    poll_s = 1.0

    def __init__(self, name: str, clock: Clock, settings: CellSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings

    @property
    def temperature_c(self) -> float:
        """Measured reservoir temperature in degrees Celsius."""
        self._require_open()
        return self._ask(self._do_temperature_c)

    def set_temperature(self, temperature_c: float) -> None:
        """Start ramping to `temperature_c` and return at once.

        Raises:
            StateError: The cell is closed.
            LimitError: Outside the cell's range.
        """
        self._require_open()
        limits = self.settings
        self._require_within("temperature", temperature_c, limits.min_temperature_c, limits.max_temperature_c, "degC")
        self._ask(self._do_set_temperature, temperature_c)

    def wait_for_temperature(self, temperature_c: float) -> None:
        """Wait until the reservoir has been within tolerance of `temperature_c` for the time it needs to settle.

        Raises:
            StateError: The cell is closed.
            DeviceTimeout: It did not get there in time.
        """
        self._require_open()
        there_since_s = self.clock.now_s()
        end = there_since_s + self.settings.timeout_s
        while True:
            reached_c, now_s = self.temperature_c, self.clock.now_s()
            if not abs(reached_c - temperature_c) <= self.settings.tolerance_k:
                there_since_s = now_s
            elif now_s - there_since_s >= self.settings.settle_s:
                return
            if now_s > end:
                raise DeviceTimeout(
                    self.name,
                    f"{temperature_c:g} degC was asked for, {reached_c:.2f} degC is reached after "
                    f"{self.settings.timeout_s:g} s; check the heater",
                )
            self.clock.wait(self.poll_s)

    def _do_make_safe(self) -> None:
        # a ramp, never "off at once": the reservoir must stay the coldest part or rubidium coats the windows
        self._ask(self._do_set_temperature, min(self._ask(self._do_temperature_c), self.settings.safe_temperature_c))

    @abstractmethod
    def _do_temperature_c(self) -> float: ...

    @abstractmethod
    def _do_set_temperature(self, temperature_c: float) -> None: ...
