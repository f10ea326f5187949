"""When a cell counts as settled."""

from pathlib import Path

import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import DeviceTimeout

SETTLING = {"devices.cell.settings.tolerance": 0.1, "devices.cell.settings.settle": "30 s"}


def test_a_cell_is_waited_for_until_it_has_been_there_for_a_while(small_bench_file: Path):
    with Bench(load_bench(small_bench_file, SETTLING), True) as bench:
        cell, limits = bench.cell("cell"), bench.file.settings("cell")
        for target_c, way_s in ((25.0, 147.0), (25.0, 0.0), (22.0, 87.0)):  # up to a tenth of a kelvin before it
            start_s = bench.clock.now_s()
            cell.set_temperature(target_c)
            cell.wait_for_temperature(target_c)
            assert cell.temperature_c == pytest.approx(target_c, abs=1e-9)
            assert bench.clock.now_s() - start_s == pytest.approx(way_s + 30, abs=2 * cell.poll_s)
        assert limits.warming_s(25.0) == pytest.approx(150 + 30)


def test_a_cell_that_does_not_stay_there_times_out(small_bench_file: Path, monkeypatch: pytest.MonkeyPatch):
    overrides = {**SETTLING, "devices.cell.settings.timeout": "10 min"}
    with Bench(load_bench(small_bench_file, overrides), True) as bench:
        cell = bench.cell("cell")
        monkeypatch.setattr(cell, "_do_temperature_c", lambda: 25.0 + (bench.clock.now_s() % 20 < 10))
        with pytest.raises(DeviceTimeout, match="25 degC was asked for"):
            cell.wait_for_temperature(25.0)
