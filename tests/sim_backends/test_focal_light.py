"""The simulated Fourier bench: where light goes, how much of it, how noisy, and what is hidden."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labctl.bench import Bench, load_bench
from labctl.devices.pattern import Pattern, identity_codebook
from labctl.errors import ConfigError
from labctl.experiments.snap import SnapSettings, snap
from labctl.optics.imaging.focal_image import Registration
from labctl.optics.imaging.sensor import electrons_per_unit
from sim_backends.truth import draw_truth

SMALL_FOURIER = Path(__file__).parents[1] / "benches" / "small_fourier.yaml"
SHAPE = 48, 64
PITCH_M = 100e-6
REACH_M = 532e-9 * 0.25 / 8e-6
PERFECT: Mapping[str, Any] = {"simulation.imperfections": False, "simulation.noise_scale": 0}
SHARP: Mapping[str, Any] = {**PERFECT, "light.1.mask.fringing": {"value": 0, "source": "test"}}
STILL: Mapping[str, Any] = {
    "simulation.imperfections": False,
    "simulation.terms": {"power_step": {"value": 0, "source": "test"}},
}
ASIDE = (0.08, -0.1)
"""Cycles per panel pixel of a grating whose spot is well on the camera."""


def opened(changes: Mapping[str, Any] | None = None, **how: Any) -> Bench:
    return Bench(load_bench(SMALL_FOURIER, changes), simulate=True, **how)


def blaze(bench: Bench, down: float, right: float) -> None:
    """Show a grating that sends light down and right by so many cycles per panel pixel."""
    y, x = np.indices(SHAPE)
    levels = np.round(256 * (down * y + right * x)) % 256
    bench.slm("slm").show(Pattern(levels.astype(np.uint16), identity_codebook(8)))


def electrons(bench: Bench, frames: int = 1, *, lit: bool = True) -> NDArray[np.float64]:
    """Return frames (n, rows, cols) of the camera in electrons."""
    if lit:
        bench.beam("beam").on()
    settings = bench.file.settings("camera")
    return bench.camera("camera").acquire(frames).counts.astype(np.float64) * settings.electrons_per_count


def centre(image: NDArray[np.float64]) -> tuple[float, float]:
    """Return the centre of mass around the brightest pixel, from the camera's centre."""
    row, column = np.unravel_index(image.argmax(), image.shape)
    part = np.zeros_like(image)
    part[max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7] = image[
        max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7
    ]
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    return float(part.sum(axis=1) @ rows / part.sum()), float(part.sum(axis=0) @ columns / part.sum())


def test_a_flat_panel_focuses_on_the_axis():
    with opened(PERFECT) as bench:
        blaze(bench, 0, 0)
        assert centre(electrons(bench)[0]) == pytest.approx((0, 0), abs=0.02)


def test_a_grating_sends_light_to_its_order_left_and_right_exchanged():
    with opened(PERFECT) as bench:
        blaze(bench, *ASIDE)
        expected = ASIDE[0] * REACH_M / PITCH_M, -ASIDE[1] * REACH_M / PITCH_M
        assert centre(electrons(bench)[0]) == pytest.approx(expected, abs=0.05)


def test_the_camera_holds_all_light_of_the_beam():
    """What the panel reflects, the filter passes and the sensor detects, but for the beam's rim beside the panel.

    All panel pixels show level 0, so what they do not modulate has the same phase as what they do.
    """
    with opened({**PERFECT, "devices.camera.settings.bit_depth": 16}) as bench:
        blaze(bench, 0, 0)
        settings = bench.file.settings("camera")
        photon_j = bench.file.laser.photon_energy_j
        passed = bench.file.parameters()["camera.fraction"].value
        per_watt = electrons_per_unit(1.0, passed, settings.quantum_efficiency, settings.exposure_s, photon_j)
        waist, half = 0.15e-3, (24 * 8e-6, 32 * 8e-6)
        on_panel = math.prod(math.erf(math.sqrt(2) * one / waist) for one in half)
        in_phase = (math.sqrt(0.98) + math.sqrt(0.02)) ** 2
        expected = 10e-3 * 0.85 * per_watt * on_panel * in_phase
        assert electrons(bench).sum() == pytest.approx(expected, rel=0.01)


def test_light_follows_power_and_exposure():
    with opened({**PERFECT, "devices.camera.settings.bit_depth": 16}) as bench:
        blaze(bench, *ASIDE)
        once = electrons(bench)
        bench.beam("beam").set_power(5e-3)
        bench.camera("camera").set_exposure(4e-3)
        assert electrons(bench) == pytest.approx(0.2 * once, abs=0.2)


def test_the_unmodulated_share_stays_on_the_axis():
    """2 % of the power; of a grating that sends the rest aside, the axis shows nothing else."""
    with opened({**SHARP, "devices.camera.settings.bit_depth": 16}) as bench:
        blaze(bench, 0.125, 0)
        image = electrons(bench)[0]
        around_axis = image[22:38, 20:60].sum()
        spot = image[38:, 20:60].sum()
        assert around_axis / (around_axis + spot) == pytest.approx(0.02, abs=0.004)


@pytest.mark.parametrize("truth_seed", [1, 2, 3])
def test_spots_lie_where_the_hidden_registration_puts_them(truth_seed: int):
    """To a tenth of a pixel, noise and all errors on but the aberration, whose tilt moves all spots alike."""
    with opened({"light.1.mask.aberration.sd": 0}, truth_seed=truth_seed) as bench:
        values = draw_truth(bench.file.parameters(), truth_seed, 1.0).values
        hidden = Registration(
            values["camera.magnification"],
            values["camera.rotation"],
            (values["camera.shift_y"], values["camera.shift_x"]),
            (False, True),
        )
        assert hidden.shift != (0, 0)
        found, sent = [], []
        for aside in [(0.1, 0.1), (0.1, -0.1), (-0.1, 0.1), (-0.1, -0.1)]:
            blaze(bench, *aside)
            found.append(centre(electrons(bench)[0]))
            sent.append(aside)
        places = hidden.places_m(torch.tensor(found), PITCH_M).numpy() / PITCH_M
        assert places == pytest.approx(np.array(sent) * REACH_M / PITCH_M, abs=0.1)


def test_frames_have_shot_and_read_noise():
    """Pixel by pixel over 400 frames; five standard errors, over the mean of all bright pixels."""
    with opened(STILL) as bench:
        blaze(bench, *ASIDE)
        frames = electrons(bench, 400)
        settings = bench.file.settings("camera")
        mean, variance = frames.mean(axis=0), frames.var(axis=0, ddof=1)
        bright = mean > 500
        assert bright.sum() > 10
        constant = settings.read_noise**2 + settings.electrons_per_count**2 / 12
        relative = variance[bright] / (mean[bright] + constant)
        assert relative.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / 400 / bright.sum()))


def test_half_the_noise_is_half_the_deviation():
    spread = {}
    for scale in (0, 0.5, 1):
        with opened({**STILL, "simulation.noise_scale": scale, "devices.camera.settings.bit_depth": 16}) as bench:
            blaze(bench, *ASIDE)
            frames = electrons(bench, 100)
            spread[scale] = frames.std(axis=0)[frames.mean(axis=0) > 500]
    assert spread[0].max() == 0
    assert spread[0.5].mean() / spread[1].mean() == pytest.approx(0.5, abs=0.02)


def test_a_beam_that_is_off_leaves_read_noise_only():
    with opened() as bench:
        assert electrons(bench, lit=False).max() < 8 * bench.file.settings("camera").read_noise


def test_the_truth_seed_makes_the_light_and_the_seed_the_noise():
    def frame(**how: Any) -> NDArray[np.float64]:
        with opened(**how) as bench:
            blaze(bench, *ASIDE)
            return electrons(bench)

    assert np.array_equal(frame(seed=1, truth_seed=1), frame(seed=1, truth_seed=1))
    one, other, elsewhere = frame(seed=1, truth_seed=1), frame(seed=2, truth_seed=1), frame(seed=1, truth_seed=2)
    assert 0 < np.abs(one - other).max() < 0.2 * one.max()
    assert np.abs(one - elsewhere).max() > 0.3 * one.max()


def test_a_simulation_goes_on_where_it_was():
    with opened() as bench:
        blaze(bench, *ASIDE)
        electrons(bench)
        state = bench.simulation_state()
        expected = electrons(bench, 2)
    with opened() as bench:
        bench.restore_simulation(state)
        assert np.array_equal(electrons(bench, 2, lit=False), expected)


def test_snap_takes_frames():
    settings = SnapSettings(camera="camera", frames=2, beams=("beam",))
    with opened() as bench:
        records = list(snap(bench, settings, np.random.default_rng(0)))
        assert [record.arrays["counts"].shape for record in records] == [(60, 80)] * 2
        assert not bench.beam("beam").is_on


def test_another_light_list_is_refused():
    file = load_bench("diffractive", {"simulation.light_path": "sim_backends.focal_light.FocalLight"})
    with pytest.raises(ConfigError, match="illuminate, mask, lens, detect"), Bench(file, simulate=True):
        pass


def test_light_without_a_lens_refuses_one():
    file = load_bench(SMALL_FOURIER, {"simulation.light_path": "sim_backends.free_space_light.FreeSpaceLight"})
    with pytest.raises(ConfigError, match=r"no lens .*FocalLight"), Bench(file, simulate=True):
        pass


@pytest.mark.parametrize(
    ("line", "by", "cure"),
    [
        (r"^ *rotation:.*\n", "", "behind a 'lens' has 'magnification' and 'rotation'"),
        (r"- lens:\n.*\n.*\n", "- propagate:\n      name: hop\n      shift_y: &none {value: 0, source: test}\n"
         "      shift_x: *none\n      distance: {value: 1 m, source: test}\n", "and no other camera has"),
        (r"  - mask:", "  - lens: {name: one, focal_length: {value: 1 m, source: test}}\n  - mask:", "the last before"),
    ],
)  # fmt: skip
def test_a_camera_is_registered_as_what_it_sees_asks_for(line: str, by: str, cure: str, tmp_path: Path):
    text = SMALL_FOURIER.read_text(encoding="utf-8")
    path = tmp_path / "edited.yaml"
    path.write_text(re.sub(line, by, text, count=1, flags=re.MULTILINE), encoding="utf-8")
    with pytest.raises(ConfigError, match=cure):
        load_bench(path)
