"""Noise and drifts have the size their table says."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.conftest import CAMERAS, Table
from tests.sim_backends.noise_terms import PIXELS, STEP, reference_electrons, term

if TYPE_CHECKING:
    from tests.conftest import OpenTable


def swings(table: Table, camera: str, beam: str, dmd: str, frames: int) -> np.ndarray:
    """Return the phase (frames,) of bright modes against the reference, from exposures a quarter period off."""
    stack = table.stack(dmd, np.full((1, table.sources[dmd].modes), 0.5))
    lit = [beam, "reference"]
    table.bench.beam("reference").set_phase(0.0)
    middle = table.counts(camera, ["reference"], {dmd: stack})
    sides = [table.counts(camera, lit, {dmd: stack}, {"reference": phase}) for phase in (0.0, math.pi)]
    swing = (sides[0] - sides[1]).mean() / 2
    table.bench.dmd(dmd).show(stack[0])
    table.bench.beam("reference").set_phase(math.pi / 2)
    counts = table.bench.camera(camera).acquire(frames).counts[:, 0]
    assert swing > 0.1 * middle.mean()
    return np.asarray((counts - counts.mean(axis=0)).mean(axis=1) / swing)


# ---- camera noise


@pytest.mark.parametrize(
    ("overrides", "electrons", "variance"),
    [
        ({}, 2e5, 2e5 + PIXELS * 1.6**2),
        ({"reference.electrons": 5e4}, 5e4, 5e4 + PIXELS * 1.6**2),
        ({"reference.electrons": 1e4, **{f"devices.{c}.settings.read_noise": 40 for c in CAMERAS}}, 1e4, 1e4 + 24e3),
        (term("row_noise", 20), 2e5, 2e5 + (PIXELS * 20) ** 2),
        ({"simulation.noise_scale": 2}, 2e5, 4 * (2e5 + PIXELS * 1.6**2)),
        ({"simulation.noise_scale": 0.5}, 2e5, 0.25 * (2e5 + PIXELS * 1.6**2)),
        ({**term("row_noise", 10), "simulation.noise_scale": 3}, 2e5, 9 * (2e5 + PIXELS * 1.6**2 + (PIXELS * 10) ** 2)),
    ],
    ids=["shot", "less light", "read", "row", "scale 2", "scale 0.5", "scaled row"],
)
def test_counts_have_the_mean_and_variance_of_their_electrons(
    overrides: dict[str, Any], electrons: float, variance: float, open_table: "OpenTable", spotless: dict[str, Any]
):
    measured = reference_electrons(open_table({**spotless, **overrides}), 2000)  # 22 000 modes: 1 % on a variance
    rounding = PIXELS * STEP**2 / 12
    assert measured.mean() == pytest.approx(electrons, abs=5 * math.sqrt(variance / measured.size))
    assert measured.var() == pytest.approx(variance + rounding, rel=0.05)


def test_modes_and_frames_have_noise_of_their_own(open_table: "OpenTable", spotless: dict[str, Any]):
    electrons = reference_electrons(open_table(spotless), 2000)
    across = np.corrcoef(electrons.T) - np.eye(11)
    along = np.corrcoef(electrons[:-1].ravel(), electrons[1:].ravel())[0, 1]
    assert np.abs(across).max() < 0.1
    assert abs(along) < 0.03


def test_a_large_bench_has_the_noise_of_its_table_too(open_table: "OpenTable"):
    terms = {
        name: {"value": 0, "source": "off"} for name in ("power_step", "power_drift", "pixel_gain", "photo_response")
    }
    table = open_table({"simulation.terms": terms, "reference.electrons.sd": 0}, bench="vapour_cell")
    electrons = reference_electrons(table, 200)
    assert electrons.shape == (200, 131)
    assert electrons.mean() == pytest.approx(2e5, rel=1e-3)
    variance = 2e5 + PIXELS * (1.6**2 + STEP**2 / 12) + (PIXELS * 0.3) ** 2
    assert electrons.std() == pytest.approx(math.sqrt(variance), rel=0.05)


# ---- noise from exposure to exposure


@pytest.mark.parametrize("scale", [1, 2])
def test_power_steps_have_their_size_between_two_exposures(
    scale: float, open_table: "OpenTable", spotless: dict[str, Any]
):
    table = open_table({**spotless, **term("power_step", "2 %"), "simulation.noise_scale": scale})
    power = reference_electrons(table, 3000).mean(axis=1) / 2e5
    assert np.diff(power).std() == pytest.approx(0.02 * scale, rel=0.06)
    assert power.mean() == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize("scale", [1, 2])
def test_reference_phase_steps_have_their_size_between_two_exposures(
    scale: float, open_table: "OpenTable", spotless: dict[str, Any]
):
    table = open_table({**spotless, **term("reference_phase_step", "0.1 rad"), "simulation.noise_scale": scale})
    phase = swings(table, "camera_hidden_1", "pump_hidden", "dmd_hidden", 3000)
    assert np.diff(phase).std() == pytest.approx(0.1 * scale, rel=0.06)


def test_flicker_turns_what_passes_a_panel_and_nothing_else(open_table: "OpenTable", spotless: dict[str, Any]):
    table = open_table({**spotless, **term("flicker", "0.1 rad")})
    table.write("slm_1", 0.5)
    passed = swings(table, "camera_z1", "pump", "dmd_input", 3000)
    before = swings(table, "camera_hidden_1", "pump_hidden", "dmd_hidden", 3000)
    assert passed.std() == pytest.approx(0.1, rel=0.06)
    assert before.std() < 0.01


def test_temperature_jitter_moves_the_depth(open_table: "OpenTable", spotless: dict[str, Any]):
    table = open_table({**spotless, **term("temperature_jitter", "1 K"), "simulation.noise_scale": 1})
    table.bench.cell("cell").set_temperature(60)
    table.bench.cell("cell").wait_for_temperature(60)
    table.bench.beam("pump_hidden").on()
    table.bench.dmd("dmd_hidden").show(table.stack("dmd_hidden", np.full((1, 11), 0.4))[0])
    counts = np.array([table.bench.camera("camera_hidden_1").acquire(1).counts.mean() for _ in range(300)])
    table.bench.cell("cell").set_temperature(20)
    table.bench.cell("cell").wait_for_temperature(20)
    clear = table.bench.camera("camera_hidden_1").acquire(50).counts.mean()
    depth = -math.log(counts.mean() / clear)  # of the saturated cell, its remainder at 20 degC aside
    assert np.log(counts).std() == pytest.approx(0.076 * depth, rel=0.2)


# ---- drifts


def test_power_drifts_by_the_hour(open_table: "OpenTable", spotless: dict[str, Any]):
    table = open_table({**spotless, **term("power_drift", "10 %")})
    start = reference_electrons(table, 50).mean()
    table.bench.beam("pump").on()
    before = table.bench.power_meter("meter_pump").read_power()
    table.bench.clock.wait(3600)
    assert reference_electrons(table, 50).mean() / start == pytest.approx(1.1, abs=2e-3)
    assert table.bench.power_meter("meter_pump").read_power() / before == pytest.approx(1.1, abs=2e-3)


def test_the_reference_drifts_steadily_by_the_minute(open_table: "OpenTable", spotless: dict[str, Any]):
    table = open_table({**spotless, **term("reference_phase_drift", "0.5 rad")})
    stacks = {"dmd_hidden": table.stack("dmd_hidden", np.full((1, 11), 0.5))}
    angles = []
    for _ in range(3):
        angles.append(np.angle(table.fields("camera_hidden_1", ["pump_hidden"], stacks).mean()))
        table.bench.clock.wait(60)
    assert np.abs(np.diff(angles)) == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_reference_walks_at_random_with_the_root_of_time(open_table: "OpenTable", spotless: dict[str, Any]):
    table = open_table({**spotless, **term("reference_phase_walk", "0.3 rad")})
    camera, lit = "camera_hidden_1", ["pump_hidden", "reference"]
    bright = {"dmd_hidden": table.stack("dmd_hidden", np.full((1, 11), 0.5))}
    sides = [table.counts(camera, lit, bright, {"reference": phase}).mean() for phase in (0.0, math.pi)]
    table.bench.dmd("dmd_hidden").show(bright["dmd_hidden"][0])
    table.bench.beam("reference").set_phase(math.pi / 2)
    phase = []
    for _ in range(200):
        table.bench.clock.wait(0.3)
        phase.append(2 * table.bench.camera(camera).acquire(1).counts.mean() / (sides[0] - sides[1]))
    steps = np.diff(phase)
    assert steps.std() == pytest.approx(0.3 * math.sqrt(0.3 / 60), rel=0.2)
    assert np.std(phase[20:] - np.roll(phase, 20)[20:]) > 2 * steps.std()
