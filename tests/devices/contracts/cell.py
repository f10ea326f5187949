"""What holds for every heated vapour cell, warmed a few kelvin above its safe temperature."""

import re
from itertools import combinations
from typing import ClassVar

import pytest

from labctl.devices import CellSettings, VapourCell
from labctl.errors import DeviceTimeout, LimitError
from tests.devices.contracts.device import DeviceContract, Uses, beyond, refused


class CellContract(DeviceContract):
    """What holds for every heated vapour cell."""

    USES: ClassVar[Uses] = {
        "temperature": lambda cell: cell.temperature_c,
        "set_temperature": lambda cell: cell.set_temperature(cell.settings.min_temperature_c),
        "wait": lambda cell: cell.wait_for_temperature(cell.settings.min_temperature_c),
    }

    READING_K: ClassVar[float] = 0.0
    """How far a reading may lie from the temperature."""
    LAG_S: ClassVar[float] = 0.0
    """How long the reservoir takes to follow its ramp."""

    @pytest.fixture
    def warm(self, opened: VapourCell) -> VapourCell:
        """The cell at the temperature it ramps to when it is made safe."""
        safe_c = opened.settings.safe_temperature_c
        opened.set_temperature(safe_c)
        opened.wait_for_temperature(safe_c)
        return opened

    def test_a_temperature_takes_its_ramp(self, warm: VapourCell):
        limits, rise_k = warm.settings, rise_of(warm.settings)
        start_c, start_s = warm.temperature_c, warm.clock.now_s()
        warm.set_temperature(start_c + rise_k)
        assert warm.clock.now_s() == pytest.approx(start_s, abs=0.2 + self.SLACK_S)
        warm.wait_for_temperature(start_c + rise_k)
        assert warm.temperature_c == pytest.approx(start_c + rise_k, abs=limits.tolerance_k + self.READING_K)
        least_s = (rise_k - limits.tolerance_k - self.READING_K) / limits.ramp_k_per_s
        assert least_s - 0.1 <= warm.clock.now_s() - start_s <= limits.timeout_s

    def test_it_never_changes_faster_than_its_ramp(self, warm: VapourCell):
        limits = warm.settings
        for part in (2 / 3, -1 / 3, 1 / 3):  # each before the one before is reached
            warm.set_temperature(warm.temperature_c + part * rise_of(warm.settings))
            readings = []
            for _ in range(11):
                readings.append((warm.clock.now_s(), warm.temperature_c))
                warm.clock.wait(1.0)
            for (early_s, early_c), (late_s, late_c) in combinations(readings, 2):
                allowed_k = limits.ramp_k_per_s * 1.1 * (late_s - early_s) + self.READING_K
                assert abs(late_c - early_c) <= allowed_k + 1e-9

    def test_out_of_range_it_is_refused(self, opened: VapourCell):
        low, high = opened.settings.min_temperature_c, opened.settings.max_temperature_c
        for asked in beyond(low, high):
            with refused(opened, LimitError, asked, low, high, "degC"):
                opened.set_temperature(asked)

    def test_what_is_not_reached_in_time_is_an_error(self, warm: VapourCell, monkeypatch: pytest.MonkeyPatch):
        rise_k = rise_of(warm.settings)
        goal, timeout_s = warm.temperature_c + rise_k, round(0.5 * rise_k / warm.settings.ramp_k_per_s)
        warm.set_temperature(goal)
        monkeypatch.setattr(warm, "settings", warm.settings.model_copy(update={"timeout_s": float(timeout_s)}))
        start = warm.clock.now_s()
        with pytest.raises(DeviceTimeout, match=rf"{re.escape(warm.name)}: .*{goal:g}.*\b{timeout_s} s"):
            warm.wait_for_temperature(goal)
        assert warm.clock.now_s() - start == pytest.approx(timeout_s, abs=2 * warm.poll_s + self.SLACK_S)

    @pytest.mark.parametrize("leave", ["make_safe", "close"])
    def test_safe_is_a_ramp_down_and_not_a_drop(self, warm: VapourCell, leave: str):
        limits, rise_k = warm.settings, rise_of(warm.settings)
        warm.set_temperature(limits.safe_temperature_c + rise_k)
        warm.wait_for_temperature(limits.safe_temperature_c + rise_k)
        start_c, start_s = warm.temperature_c, warm.clock.now_s()
        getattr(warm, leave)()
        if leave == "close":
            warm.open()
        passed_s = warm.clock.now_s() - start_s
        fallen_k = limits.ramp_k_per_s * 1.1 * passed_s + self.READING_K
        assert warm.temperature_c == pytest.approx(start_c, abs=0.1 + fallen_k)
        warm.clock.wait(rise_k / limits.ramp_k_per_s + 1.0 + self.LAG_S)
        within_k = limits.tolerance_k + self.READING_K
        assert warm.temperature_c == pytest.approx(limits.safe_temperature_c, abs=within_k)


def rise_of(limits: CellSettings) -> float:
    """Return how far above its safe temperature a cell is warmed, in kelvin."""
    return min(3.0, limits.max_temperature_c - limits.safe_temperature_c)
