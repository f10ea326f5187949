import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.panel_response import fit_panel_response, measure_panel_response
from labctl.bench import Bench, load_bench
from labctl.calibrations import calibrations_of
from labctl.errors import ConfigError, FitRejected
from labctl.plan import parse_settings
from tests.calibration.small_diffractive import BENCH, IDEAL, QUIET, cosines, measured, noise_like, outside, truth_of

LARGEST_ERROR = {"response": 0.01, "fringing": 0.003, "unmodulated": 0.003}
"""Against an sd of the bench file of 0.01, 0.02 and 0.002: what is left of the first two hardly turns a gradient."""


def panels_measured(changes: Mapping[str, Any], seed: int = 1, repeats: int = 6) -> dict[str, Any]:
    return measured(measure_panel_response, changes, seed, repeats=repeats)


def test_without_imperfections_panels_are_as_the_file_has_them() -> None:
    fit = fit_panel_response(panels_measured(IDEAL, repeats=4))
    file = load_bench(BENCH).parameters()
    assert len(fit.parameters) == 9
    for name, one in fit.parameters.items():
        assert float(one.value) == pytest.approx(file[name].value, abs=5e-4)


def test_what_is_hidden_in_twins_is_found_as_well_as_stated() -> None:
    missed: list[str] = []
    for seed in (1, 2, 3, 4):
        fit, truth = fit_panel_response(panels_measured({}, seed)), truth_of({}, seed)
        missed += outside(fit, truth)
        for name, one in fit.parameters.items():
            assert abs(float(one.value) - truth[name]) < LARGEST_ERROR[name.partition(".")[2]], name
    assert len(missed) <= 5, missed  # of 36, of which 1.8 are expected


def test_calibrated_panels_make_the_gradient_of_rough_masks_truer() -> None:
    seed = 2
    shifts = {name: value for name, value in truth_of(QUIET, seed).items() if name.startswith(("camera", "dmd"))}
    fit = fit_panel_response(panels_measured(QUIET, seed))
    found = {name: float(one.value) for name, one in fit.parameters.items()}
    with Bench(load_bench(BENCH, QUIET), True, seed=seed, truth_seed=seed) as bench:
        before, after = (cosines(bench, shifts | panels, 2 * math.pi) for panels in ({}, found))
    assert min(after) > min(before)


# ---- refusals


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    """What an ideal bench gives."""
    return panels_measured(IDEAL, repeats=4)


def test_a_saturated_camera_is_refused(good: dict[str, Any]) -> None:
    with pytest.raises(FitRejected, match=r"camera_forward_2: 3 readings are saturated; lower"):
        fit_panel_response({**good, "saturated": {"camera_forward_2": 3}})


@pytest.mark.parametrize("array", ["still", "rewritten"])
def test_darkness_is_refused(good: dict[str, Any], array: str) -> None:
    with pytest.raises(FitRejected, match=r"slm_1: no light behind it; check"):
        fit_panel_response({**good, array: np.zeros_like(good[array])})


def test_light_that_does_not_follow_the_mask_is_refused(good: dict[str, Any]) -> None:
    with pytest.raises(FitRejected, match=r"slm_1: light behind it does not change as its mask does"):
        fit_panel_response({**good, "rewritten": noise_like(good["rewritten"])})


def test_a_bench_without_masks_in_free_space_is_refused(small_bench_file: Path) -> None:
    bench = Bench(load_bench(small_bench_file), True)
    with pytest.raises(ConfigError, match="no taps to calibrate"):
        measure_panel_response.budget(bench, parse_settings(measure_panel_response, {}))
    assert "panel_response" not in {one.name for one in calibrations_of(bench.file)}
