import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from calibration.displacement import Overlap, find_shift, moved
from calibration.tap_registration import fit_tap_registration, measure_tap_registration, peak_of
from labctl.bench import Bench, load_bench
from labctl.calibrations import calibrations_of
from labctl.cli.main import app
from labctl.errors import ConfigError, FitRejected, RunAborted
from labctl.optics.free_space.shift import displaced
from labctl.optics.parameters import Values
from labctl.plan import parse_settings
from tests.calibration.small_diffractive import BENCH, IDEAL, QUIET, cosines, measured, noise_like, outside, truth_of


def shifts_measured(changes: Mapping[str, Any], seed: int = 1, repeats: int = 10) -> dict[str, Any]:
    return measured(measure_tap_registration, changes, seed, repeats=repeats)


def true_shifts(changes: Mapping[str, Any], seed: int) -> Values:
    return {name: value for name, value in truth_of(changes, seed).items() if ".shift_" in name}


def one_mask() -> dict[str, Any]:
    """Return the overrides that leave one mask of the small bench; its error beam is nearer, so exposures shorter."""
    light = yaml.safe_load(BENCH.read_text(encoding="utf-8"))["light"]
    return {"light": [*light[:3], *light[-2:]], "devices.camera_backward_1.settings.exposure": "50 us"}


def speckle(seed: int, side: int = 32) -> torch.Tensor:
    """Return a random field that is dark at the edges and holds no more than half of the samples' band."""
    rng = np.random.default_rng(seed)
    spectrum = np.zeros((side, side), complex)
    spectrum[:16, :16] = rng.standard_normal((16, 16)) + 1j * rng.standard_normal((16, 16))
    fade = np.hanning(side)
    return torch.from_numpy((np.fft.ifft2(spectrum) * np.outer(fade, fade)).astype(np.complex64))


# ---- the fit's parts


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.31, -0.77), (-2.2, 1.6)])
def test_a_displaced_image_is_found_where_it_lies(shift: tuple[float, float]) -> None:
    image = speckle(0)
    found, left = find_shift(displaced(image, shift) * (0.3 - 2j), moved, [image])
    np.testing.assert_allclose(found, shift, atol=2e-3)
    assert left < 1e-3


def test_overlaps_are_those_of_displaced_images() -> None:
    one, other = speckle(1), speckle(2)
    due = (displaced(one, (0.4, -1.3)) * other).sum().item()
    assert complex(Overlap(one, other).at(np.array([0.4, -1.3]))) == pytest.approx(due, rel=1e-3)
    whole = Overlap(one, other).on_whole_samples(2)
    assert complex(whole[0, 3]) == pytest.approx((displaced(one, (-2, 1)) * other).sum().item(), rel=1e-3)


def test_a_scan_peaks_between_its_samples() -> None:
    y, x = np.indices((7, 7)) - 3.0
    np.testing.assert_allclose(peak_of(5 - (y - 0.3) ** 2 - (x + 1.2) ** 2), [0.3, -1.2])


# ---- twins


def test_without_imperfections_nothing_is_found_aside() -> None:
    fit = fit_tap_registration(shifts_measured(IDEAL, repeats=4))
    assert len(fit.parameters) == 16
    assert max(abs(float(one.value)) for one in fit.parameters.values()) < 0.005


def test_the_shifts_of_twins_are_found_as_well_as_stated() -> None:
    missed: list[str] = []
    for seed in (1, 2, 3):
        fit, truth = fit_tap_registration(shifts_measured({}, seed)), true_shifts({}, seed)
        missed += outside(fit, truth)
        for name, one in fit.parameters.items():
            own_axis = name.startswith(("camera_output", "dmd_error"))
            assert float(one.sd) < (0.12 if own_axis else 0.06)
            assert abs(float(one.value) - truth[name]) < (0.4 if own_axis else 0.1)
        for axis in ("shift_y", "shift_x"):  # what is uncertain of both is not of their sum, which errors depend on
            pair = [f"camera_output.{axis}", f"dmd_error.{axis}"]
            found = sum(float(fit.parameters[name].value) for name in pair)
            assert found == pytest.approx(sum(truth[name] for name in pair), abs=0.05)
    assert len(missed) <= 6, missed  # of 48, of which 2.4 are expected


def test_with_one_mask_the_error_dmd_stays_where_the_file_has_it() -> None:
    changes = one_mask()
    fit, truth = fit_tap_registration(shifts_measured(changes)), true_shifts(changes, 1)
    assert not any(name.startswith("dmd_error") for name in fit.parameters)
    assert not outside(fit, truth)
    for axis in ("shift_y", "shift_x"):
        back, output = fit.parameters[f"camera_backward_1.{axis}"], fit.parameters[f"camera_output.{axis}"]
        assert float(back.sd) == pytest.approx(math.hypot(0.5, 0.1), rel=0.02)
        # the tap takes over what the error DMD is off, so that light sent back is still read where it belongs
        true = sum(truth[f"{name}.{axis}"] for name in ("camera_backward_1", "dmd_error", "camera_output"))
        assert float(back.value) + float(output.value) == pytest.approx(true, abs=0.05)


# ---- refusals


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    """What an ideal bench gives."""
    return shifts_measured(IDEAL, repeats=4)


def test_a_saturated_camera_is_refused(good: dict[str, Any]) -> None:
    with pytest.raises(FitRejected, match=r"camera_forward_2: 3 readings are saturated; lower"):
        fit_tap_registration({**good, "saturated": {"camera_forward_2": 3}})


@pytest.mark.parametrize(
    ("array", "camera"), [("still", "camera_forward_1"), ("output", "camera_output"), ("returned", "camera_backward_1")]
)
def test_darkness_is_refused(good: dict[str, Any], array: str, camera: str) -> None:
    with pytest.raises(FitRejected, match=rf"{camera}: no light; check"):
        fit_tap_registration({**good, array: np.zeros_like(good[array])})


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        ("moved", "camera_forward_1: does not show how its mask was rewritten"),
        ("carried", "camera_output: does not show the light of the last mask"),
        ("returned", "dmd_error: sends back light that does not balance"),
    ],
)
def test_images_of_something_else_are_refused(good: dict[str, Any], array: str, reason: str) -> None:
    with pytest.raises(FitRejected, match=reason):
        fit_tap_registration({**good, array: noise_like(good[array])})


def test_a_peak_at_the_edge_of_the_scan_is_refused(good: dict[str, Any]) -> None:
    scan = np.zeros((7, 7))
    scan[0, 3] = 1
    with pytest.raises(FitRejected, match=r"dmd_error: .* edge of the scan, 3 samples off; align"):
        fit_tap_registration({**good, "scan": scan})


def test_errors_that_find_no_way_back_are_refused(good: dict[str, Any]) -> None:
    with pytest.raises(FitRejected, match=r"dmd_error: .* from no place; check its beam"):
        fit_tap_registration({**good, "scan": 1 + 0.1 * np.random.default_rng(0).random((7, 7))})


def test_a_bench_without_taps_is_refused(small_bench_file: Path) -> None:
    bench = Bench(load_bench(small_bench_file), True)
    with pytest.raises(ConfigError, match="no taps to calibrate"):
        measure_tap_registration.budget(bench, parse_settings(measure_tap_registration, {}))
    assert "tap_registration" not in {one.name for one in calibrations_of(bench.file)}


# ---- what it is for


def before_is_useless(bench: Bench) -> bool:
    """Return whether taps as the file has them give a gradient far off, or one that is refused."""
    try:
        return min(cosines(bench, {})) < 0.95
    except RunAborted as error:
        return "tap_registration" in str(error)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_registered_taps_measure_the_gradient_as_exactly_known_ones_do(seed: int) -> None:
    fit, truth = fit_tap_registration(shifts_measured(QUIET, seed)), true_shifts(QUIET, seed)
    found = {name: float(one.value) for name, one in fit.parameters.items()}
    # where the output's samples lie is a convention: the panels' axis and both its images may move together
    exact = {name: found[name] if name.startswith(("camera_output", "dmd_error")) else truth[name] for name in found}
    with Bench(load_bench(BENCH, QUIET), True, seed=seed, truth_seed=seed) as bench:
        after, known = cosines(bench, found), cosines(bench, exact)
        assert before_is_useless(bench)
    assert all(cosine > most - 1e-3 for cosine, most in zip(after, known, strict=True))
    assert min(after) > 0.99


def test_a_following_run_believes_the_ledger(tmp_path: Path) -> None:
    def answer(*args: object) -> dict[str, Any]:
        result = CliRunner().invoke(app, [str(arg) for arg in args] + ["--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])

    places = ("--ledger", tmp_path / "ledger", "--out", tmp_path / "runs")
    made = answer("calibrate", "all", "--bench", BENCH, "--simulate", "--set", "repeats=6", *places)
    assert [one["calibration"] for one in made["calibrations"]] == ["panel_response", "tap_registration"]
    listed = answer("calibrations", BENCH, "--ledger", tmp_path / "ledger")
    assert [one["standing"] for one in listed["calibrations"]] == ["valid", "valid"]
    with Bench(load_bench(BENCH), True, ledger=tmp_path / "ledger") as bench:
        believed = bench.file.parameters()["camera_forward_1.shift_y"].value
    assert believed == pytest.approx(true_shifts({}, 1)["camera_forward_1.shift_y"], abs=0.01)
