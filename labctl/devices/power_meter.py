"""Power meter: power at a stated wavelength."""

from abc import abstractmethod

from pydantic import Field

from labctl.clock import Clock
from labctl.devices.base import Device, DeviceSettings
from labctl.units import Metres, Seconds, Watts


class PowerMeterSettings(DeviceSettings):
    """What a power meter is, for driver and twin alike.

    Args:
        wavelength_m: Wavelength its reading is corrected for.
        max_power_w: Highest power the head bears.
        averaging_s: Time one reading takes.
    """

    wavelength_m: Metres = Field(gt=0)
    max_power_w: Watts = Field(gt=0)
    averaging_s: Seconds = Field(ge=0)


class PowerMeter(Device):
    """Base of power meters.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Wavelength and range.
    """

    kind = "power_meter"

    def __init__(self, name: str, clock: Clock, settings: PowerMeterSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings

    def read_power(self) -> float:
        """Return the power on the head in watts, averaged over `averaging_s`.

        Raises:
            StateError: The meter is closed.
        """
        self._require_open()
        self.clock.wait(self.settings.averaging_s)
        return self._ask(self._do_power_w)

    @abstractmethod
    def _do_power_w(self) -> float: ...
