from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from calibration.absorber import AbsorberSettings, fit_absorber, measure_absorber
from labctl.errors import ConfigError, FitRejected
from labctl.optics.multiplier import absorber as laws
from labctl.plan import parse_settings
from labctl.records import Record
from sim_backends.truth import draw_truth
from tests.conftest import OpenTable

NAMES = ("cell.depth_at_70c", "cell.saturation_power")


def sweep(law: laws.Law, depth: float, noise: float, modes: int = 6, seed: int = 0) -> dict[str, Any]:
    """Return data of a cell whose modes have gains and phases of their own and S = 60 on average at full drive."""
    rng = np.random.default_rng(seed)
    amplitudes = np.repeat(np.geomspace(1 / 40, 1, 14)[:, None], modes, axis=1)
    full = 60 * np.linspace(0.8, 1.2, modes)
    passed = laws.transmission(torch.from_numpy(full * amplitudes**2), depth, law).numpy()
    gains = rng.uniform(50, 90, modes) * np.exp(2j * np.pi * rng.random(modes))
    common = np.exp(0.5j * rng.standard_normal((40, 1, 1)))
    scatter = rng.standard_normal((40, 14, modes, 2)) @ np.array([1, 1j]) * noise
    fields = gains * amplitudes * passed * common + scatter
    return {
        "law": law, "laser_detuning_hz": 0.0, "hours": 0.0,
        "drives": {"cell": {"temperature_c": 70.0, "power_w": 1e-5, "relative_sd": 0.0}},
        "cell.fields": fields, "cell.amplitudes": amplitudes,
    }  # fmt: skip


@pytest.mark.parametrize("law", laws.LAWS)
@pytest.mark.parametrize("depth", [1.0, 4.0, 6.0])
def test_the_fit_finds_what_made_the_data(law: laws.Law, depth: float) -> None:
    found = fit_absorber(sweep(law, depth, 1e-6)).parameters
    assert found["cell.depth_at_70c"].value == pytest.approx(depth, rel=1e-4)
    assert found["cell.saturation_power"].value == pytest.approx(1e-5 / 60, rel=1e-4)


def test_intervals_hold_the_truth_about_19_times_in_20() -> None:
    true = {"cell.depth_at_70c": 4.0, "cell.saturation_power": 1e-5 / 60}
    inside = dict.fromkeys(NAMES, 0)
    for seed in range(100):
        found = fit_absorber(sweep("published", 4.0, 1.0, seed=seed)).parameters
        for name in NAMES:
            low, high = found[name].interval
            inside[name] += bool(low <= true[name] <= high)
    assert all(88 <= count <= 100 for count in inside.values()), inside


def test_what_the_sweep_cannot_know_widens_the_power_only() -> None:
    data = sweep("published", 4.0, 0.1)
    sure = fit_absorber(data).parameters
    drive = {**data["drives"]["cell"], "relative_sd": 0.1}
    vague = fit_absorber({**data, "drives": {"cell": drive}}).parameters
    power = vague["cell.saturation_power"]
    assert power.sd == pytest.approx(0.1 * power.value, rel=0.05)
    assert vague["cell.depth_at_70c"] == sure["cell.depth_at_70c"]


def test_another_law_is_refused() -> None:
    with pytest.raises(FitRejected, match=r"doppler law misses the sweep.*check absorber_law"):
        fit_absorber({**sweep("published", 4.0, 0.1), "law": "doppler"})


def test_a_depth_beyond_what_a_sweep_determines_is_refused() -> None:
    with pytest.raises(FitRejected, match=r"a depth of 12\.\d+ was found.*0\.3 to 7"):
        fit_absorber(sweep("published", 12.0, 1e-4))


def measured(open_table: OpenTable, changes: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Record]:
    table = open_table(changes, truth_seed=3, seed=3)
    chosen = parse_settings(measure_absorber, settings)
    records = list(measure_absorber(table.bench, chosen, np.random.default_rng(0)))
    budget = measure_absorber.budget(table.bench, chosen)
    assert sum(1 for record in records if record.kind == "step") == budget.steps
    assert table.bench.clock.now_s() == pytest.approx(budget.bench_seconds, rel=0.05)
    return records


@pytest.mark.parametrize("law", laws.LAWS)
def test_the_truth_of_a_twin_is_found_within_three_sd(open_table: OpenTable, law: laws.Law) -> None:
    changes = {"absorber_law": law}
    record = measured(open_table, changes, {})[-1]
    found = fit_absorber({**record.values, **record.arrays}).parameters
    truth = draw_truth(open_table(changes).file.parameters(), 3, 1.0).values
    for name in NAMES:
        assert abs(found[name].value - truth[name]) <= 3 * np.asarray(found[name].sd)
        assert found[name].sd <= 0.03 * found[name].value


def test_a_bench_without_a_cell_is_refused(open_table: OpenTable) -> None:
    bench = open_table().bench
    with pytest.raises(ConfigError, match="reaches"):
        measure_absorber.budget(bench, AbsorberSettings.model_construct(optical_depth=500.0, repeats=10))
