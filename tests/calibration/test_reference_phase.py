import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.reference_phase import fit_reference_phase, measure_reference_phase
from labctl.errors import FitRejected
from labctl.plan import parse_settings
from sim_backends import truth
from sim_backends.noise import load_noise_set
from sim_backends.reference_phases import true_reference_phases
from tests.conftest import CAMERAS, OpenTable


def true_phases(bench: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> dict[str, np.ndarray]:
    truth.main([str(bench), "--truth-seed", str(seed), "--json"])
    printed = json.loads(capsys.readouterr().out)["reference_phases"]
    return {camera: np.array(phases) for camera, phases in printed.items()}


def measured(
    open_table: OpenTable, seed: int, changes: dict[str, Any] | None = None, repeats: int = 32
) -> dict[str, Any]:
    table = open_table(changes or {}, truth_seed=seed, seed=seed)
    settings = parse_settings(measure_reference_phase, {"repeats": repeats})
    records = list(measure_reference_phase(table.bench, settings, np.random.default_rng(0)))
    budget = measure_reference_phase.budget(table.bench, settings)
    assert sum(1 for record in records if record.kind == "step") == budget.steps
    assert table.bench.clock.now_s() == pytest.approx(budget.bench_seconds, rel=0.05)
    return {**records[-1].values, **records[-1].arrays}


def test_the_phases_of_twins_are_found_as_well_as_stated(
    open_table: OpenTable, small_bench_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors: dict[str, list[float]] = {camera: [] for camera in CAMERAS}
    for seed in (1, 2, 3, 4):
        found, true = fit_reference_phase(measured(open_table, seed)), true_phases(small_bench_file, seed, capsys)
        for camera in CAMERAS:
            estimate = found.parameters[f"{camera}.reference_phase"]
            errors[camera] += list((np.asarray(estimate.value) - true[camera]) / np.asarray(estimate.sd))
            assert np.max(estimate.sd) < 0.02
    inside = np.mean([abs(error) < 1.96 for camera in CAMERAS for error in errors[camera]])
    assert inside > 0.8  # errors of the modes of one camera are mostly that of its pilot: few of 16 are independent
    assert all(np.sqrt(np.mean(np.square(errors[camera]))) < 3 for camera in CAMERAS)


def test_without_noise_the_fit_is_the_truth(open_table: OpenTable, quiet: dict[str, Any]) -> None:
    table = open_table(quiet)
    true = true_reference_phases(
        table.file,
        truth.draw_truth(table.file.parameters(), 1, 0.0),
        load_noise_set("reference", {}).scaled(0.0, 0.0),
        table.file.all_settings,
    )
    found = fit_reference_phase(measured(open_table, 1, quiet, repeats=8)).parameters
    for camera in CAMERAS:
        np.testing.assert_allclose(found[f"{camera}.reference_phase"].value, true[camera], atol=2e-3)


def test_a_dark_mode_is_refused(open_table: OpenTable) -> None:
    data = measured(open_table, 1, repeats=8)
    fields = data["camera_hidden_1.fields"].copy()
    noise = np.random.default_rng(0).standard_normal((*fields.shape[:-1], 2)) @ np.array([1, 1j])
    fields[..., 2] = noise
    with pytest.raises(FitRejected, match="camera_hidden_1: the phase of 1 of 8 modes, 2 the first"):
        fit_reference_phase({**data, "camera_hidden_1.fields": fields})
