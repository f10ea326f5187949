"""A power sweep: pump and probe through every cell follow the law on an ideal bench, and say where they do not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError
from labctl.experiments.power_sweep import power_sweep
from labctl.plan import parse_settings
from labctl.records import Record

BENCHES = Path(__file__).parents[1] / "benches"
SETTINGS = {"optical_depth": 4, "points": 6, "repeats": 4}
IDEAL = {"simulation.noise_scale": 0, "simulation.imperfections": False}


def sweep(bench: str, overrides: Mapping[str, Any], **settings: Any) -> tuple[list[Record], Mapping[str, Any]]:
    with Bench(load_bench(BENCHES / bench, overrides), True) as table:
        asked = parse_settings(power_sweep, {**SETTINGS, **settings})
        plan, records = power_sweep(table, asked, np.random.default_rng(0)), []
        while True:
            try:
                records.append(next(plan))
            except StopIteration as end:
                return records, end.value


@pytest.mark.parametrize("law", ["published", "propagated", "doppler"])
@pytest.mark.parametrize("bench", ["small_cell.yaml", "small_deep.yaml"])
def test_an_ideal_cell_passes_pump_and_probe_as_the_law_says(bench: str, law: str):
    records, summary = sweep(bench, {**IDEAL, "absorber_law": law})
    for one in summary["cells"].values():
        assert one["pump_deviation"] < 0.01
        assert one["probe_deviation"] < 0.01
        assert one["probe_scale"] == pytest.approx(1, abs=0.02)
    assert len(records) == 6 * len(summary["cells"])
    for record in records:
        incident, transmitted = record.arrays["incident"], record.arrays["transmitted"]
        assert incident.shape == transmitted.shape == record.arrays["probe"].shape == (8,)
        assert np.all(transmitted < incident)


def test_a_cell_that_is_deeper_than_believed_is_seen():
    deeper = {"simulation.imperfection_scale": 1, "light.4.absorb.depth_at_70c.sd": 6.0}
    _, ideal = sweep("small_cell.yaml", IDEAL)
    _, other = sweep("small_cell.yaml", deeper)
    assert other["cells"]["cell"]["pump_deviation"] > ideal["cells"]["cell"]["pump_deviation"] + 0.02


def test_the_budget_is_what_a_sweep_costs():
    steady = {"simulation.terms": {"reference_phase_walk": {"value": "0 rad", "source": "off in this test"}}}
    with Bench(load_bench(BENCHES / "small_deep.yaml", steady), True) as table:
        expected = power_sweep.budget(table, parse_settings(power_sweep, SETTINGS))
    records, summary = sweep("small_deep.yaml", steady)
    assert summary["exposures_by_heading"] == dict(expected.exposures)
    assert summary["mask_writes"] == expected.mask_writes
    assert len(records) == expected.steps
    assert summary["bench_seconds"] == pytest.approx(expected.bench_seconds, rel=0.05)


def test_a_bench_without_a_cell_is_refused(tmp_path: Path):
    text = (BENCHES / "small_cell.yaml").read_text(encoding="utf-8")
    first, second = text.index("  - regenerate:"), text.index("  - read:")
    linear = tmp_path / "linear.yaml"
    linear.write_text(text[:first] + text[second:], encoding="utf-8")
    table = Bench(load_bench(linear), True)
    with pytest.raises(ConfigError, match="no cell to sweep"):
        power_sweep.budget(table, parse_settings(power_sweep, SETTINGS))
