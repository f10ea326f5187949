"""What holds for every power meter."""

from typing import ClassVar

from labctl.devices import PowerMeter
from tests.devices.contracts.device import DeviceContract, Uses


class PowerMeterContract(DeviceContract):
    """What holds for every power meter."""

    USES: ClassVar[Uses] = {"read_power": lambda meter: meter.read_power()}

    def test_a_reading_is_a_power(self, opened: PowerMeter):
        power_w = opened.read_power()
        assert isinstance(power_w, float)
        assert 0 <= power_w <= opened.settings.max_power_w

    def test_a_reading_takes_its_averaging_time(self, opened: PowerMeter):
        start = opened.clock.now_s()
        opened.read_power()
        assert opened.clock.now_s() - start >= opened.settings.averaging_s - 1e-9
