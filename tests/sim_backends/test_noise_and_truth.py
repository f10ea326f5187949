"""Noise has the size its table says, every deviation can be switched off, and the truth stays with the twins."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError
from labctl.optics.parameters import Parameter, believed
from sim_backends import truth as truth_module
from sim_backends.noise import NoiseSet, load_noise_set
from sim_backends.truth import VARYING, Truth, draw_truth
from tests.conftest import CAMERAS, SMALL_BENCH, Table, believed_stages, shipped_spreads

if TYPE_CHECKING:
    from tests.conftest import OpenTable

PIXELS = 15
STEP = 30000 / 2**12
"""Electrons per count of the small bench's cameras."""

SHIPPED = load_noise_set("reference", {})
NOISES = [name for name in NoiseSet.model_fields if getattr(SHIPPED, name).kind == "noise"]
IMPERFECTIONS = [name for name in NoiseSet.model_fields if getattr(SHIPPED, name).kind == "imperfection"]


def term(name: str, value: str | float) -> dict[str, Any]:
    """Return the override that sets one noise term."""
    return {f"simulation.terms.{name}": {"value": value, "source": "this test"}}


def reference_electrons(table: Table, frames: int) -> np.ndarray:
    """Return the electrons (frames, modes) that the reference alone leaves on a camera."""
    table.bench.beam("reference").on()
    return table.bench.camera("camera_z1").acquire(frames).counts[:, 0] * STEP


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


# ---- every deviation, one by one

VISIBLE: Mapping[str, str | float] = {
    # at the shipped size a few are below a count on a bench this small, or 0
    "reference_phase_drift": "0.1 rad",
    "dead_mirrors": "1 %",
    "off_line_light": "1 %",
    "row_noise": 5,
    "slit_drift": "30 um",
}


@cache
def observed(overrides: str) -> tuple[np.ndarray, ...]:
    """Return the counts of all cameras of a small bench, an hour after it was opened and with the cell warm."""
    with Bench(load_bench(SMALL_BENCH, json.loads(overrides)), True, seed=3) as bench:
        table = Table(bench, believed_stages(str(SMALL_BENCH), "{}"))
        rng = np.random.default_rng(1)
        for panel, one in table.multipliers.items():
            table.write(panel, rng.uniform(-0.5, 0.5, one.shape))
        bench.cell("cell").set_temperature(55)
        bench.clock.wait(3600)
        stacks = {
            "dmd_input": table.stack("dmd_input", rng.uniform(0, 1, (2, 22))),
            "dmd_hidden": table.stack("dmd_hidden", rng.uniform(-0.6, 0.6, (2, 10))),
            "dmd_error": table.stack("dmd_error", rng.uniform(-1, 1, (2, 6))),
        }
        both = {name: stacks[name] for name in ("dmd_hidden", "dmd_error")}
        return (
            table.counts("camera_z1", ["pump", "reference"], {"dmd_input": stacks["dmd_input"]}),
            table.counts("camera_hidden_1", ["pump_hidden", "reference"], {"dmd_hidden": stacks["dmd_hidden"]}),
            table.counts("camera_output", ["pump_hidden", "reference"], {"dmd_hidden": stacks["dmd_hidden"]}),
            table.counts("camera_error_1", ["pump_hidden", "probe", "reference"], both),
        )


def observe(*overrides: Mapping[str, Any]) -> np.ndarray:
    """Return all counts as one row."""
    merged = {path: value for one in overrides for path, value in one.items()}
    return np.concatenate([counts.ravel() for counts in observed(json.dumps(merged))])


@pytest.mark.parametrize("name", NoiseSet.model_fields)
def test_a_term_shows_when_it_alone_is_on(name: str, spotless: dict[str, Any]):
    on = term(name, VISIBLE[name]) if name in VISIBLE else with_unit(name, getattr(SHIPPED, name).value)
    assert not np.array_equal(observe(spotless, on), observe(spotless))


def test_all_that_is_shipped_is_on_and_both_switches_together_turn_it_off(spotless: dict[str, Any]):
    off = {"simulation.noise_scale": 0, "simulation.imperfections": False}
    assert not np.array_equal(observe(), observe(spotless))
    assert np.array_equal(observe(off), observe(spotless, off))


def with_unit(name: str, value: float) -> dict[str, Any]:
    """Return the override that sets a term to an SI value."""
    units = {"phase": "rad", "flicker": "rad", "detuning": "Hz", "temperature": "K", "slit": "m"}
    unit = next((unit for word, unit in units.items() if word in name), None)
    return term(name, f"{value!r} {unit}" if unit else value)


@pytest.mark.parametrize("path", shipped_spreads())
def test_a_parameter_that_may_deviate_shows_when_it_alone_does(path: str, spotless: dict[str, Any]):
    on = {f"{path}.sd": shipped_spreads()[path]}
    assert not np.array_equal(observe(spotless, on), observe(spotless))


# ---- sizes of static deviations


def relative_power(table: Table, fields: np.ndarray) -> np.ndarray:
    return np.abs(fields) ** 2 / np.mean(np.abs(fields) ** 2)


TRANSPARENT = {"light.absorb.depth_at_70c": {"value": 0, "source": "an empty cell"}}


@pytest.fixture
def still(spotless: dict[str, Any], quiet: dict[str, Any]) -> dict[str, Any]:
    """A bench without noise, without a cell, and with every deviation at 0."""
    return {**spotless, **quiet, **TRANSPARENT, "simulation.imperfections": True}


def test_unmodulated_light_is_missing_in_the_order(open_table: "OpenTable", still: dict[str, Any]):
    sums = []
    for value in ("0 %", "19 %"):
        table = open_table({**still, **term("unmodulated_light", value)})
        table.write("slm_1", 0.5)
        stacks = {"dmd_input": table.stack("dmd_input", np.full((1, 22), 0.3))}
        sums.append(table.fields("camera_z1", ["pump"], stacks))
    assert np.abs(sums[1] / sums[0]) == pytest.approx(math.sqrt(0.81), rel=1e-3)


def test_illumination_is_uneven_by_its_share(open_table: "OpenTable", still: dict[str, Any]):
    table = open_table({**still, **term("illumination", "10 %")})
    stacks = {"dmd_hidden": table.stack("dmd_hidden", np.full((1, 11), 0.8))}
    power = relative_power(table, table.fields("camera_hidden_1", ["pump_hidden"], stacks))
    assert power.std() == pytest.approx(0.1, rel=0.15)


def test_a_ghost_is_a_fainter_copy_beside(open_table: "OpenTable", still: dict[str, Any]):
    table = open_table({**still, **term("ghost", "1 %")})
    stacks = {"dmd_hidden": table.stack("dmd_hidden", np.eye(11)[4:5])}
    power = np.abs(table.fields("camera_hidden_1", ["pump_hidden"], stacks)[0]) ** 2
    beside = np.delete(power, 4) / power[4]
    assert sorted(beside)[-1] == pytest.approx(0.01, rel=0.05)
    assert sorted(beside)[-2] < 1e-4


def test_atoms_carry_a_pilots_light_into_the_guard_and_no_further(
    open_table: "OpenTable", spotless: dict[str, Any], quiet: dict[str, Any]
):
    crosstalk = {**spotless, **quiet, **term("neighbour_crosstalk", "10 %"), "simulation.imperfections": True}
    table = open_table({**crosstalk, "light.absorb.depth_at_70c": 4})
    table.bench.cell("cell").set_temperature(70)
    table.bench.cell("cell").wait_for_temperature(70)
    shown = np.zeros((2, 11))
    shown[:, [7, 8]], shown[1, [9, 10]] = 0.1, 1  # the last data mode and the guard; then the pilots as well
    fields = np.abs(table.fields("camera_hidden_1", ["pump_hidden"], {"dmd_hidden": table.stack("dmd_hidden", shown)}))
    assert fields[1, 8] > 1.5 * fields[0, 8]
    assert fields[1, 7] == pytest.approx(fields[0, 7], rel=0.01)


@pytest.mark.parametrize(
    "deviation", [term("speckle", "5 %"), {"light.1.multiply.weight_error.sd": 0.05}], ids=["speckle", "weight_error"]
)
def test_weights_are_off_by_their_share(deviation: dict[str, Any], open_table: "OpenTable", still: dict[str, Any]):
    fields = []
    for one in ({}, deviation):
        table = open_table({**still, **one})
        table.write("slm_1", 1.0)
        fields.append(table.fields("camera_z1", ["pump"], {"dmd_input": table.stack("dmd_input", np.eye(22))}))
    off = (fields[1] / fields[0] - 1)[:, :8]  # data rows; the pilots have a code of their own
    assert math.sqrt(np.mean(np.abs(off) ** 2)) == pytest.approx(0.05, rel=0.2)


def test_wrong_way_pump_is_rejected_by_the_isolator(open_table: "OpenTable", still: dict[str, Any]):
    table = open_table({**still, **term("wrong_way_pump", "10 %"), "light.absorb.leak_rejection": "20 dB"})
    stacks = {
        "dmd_hidden": table.stack("dmd_hidden", np.full((1, 11), 0.1)),
        "dmd_error": table.stack("dmd_error", np.zeros((1, 6))),
    }
    leaked = np.abs(table.fields("camera_error_1", ["pump_hidden", "probe"], stacks)) ** 2
    pump = np.abs(table.fields("camera_hidden_1", ["pump_hidden"], stacks)) ** 2
    assert leaked / pump == pytest.approx(np.full((1, 11), 0.1 * 0.01), rel=0.05)


@pytest.mark.parametrize("name", ["pixel_gain", "photo_response"])
def test_pixels_differ_by_their_share_averaged_over_a_mode(name: str, open_table: "OpenTable", still: dict[str, Any]):
    table = open_table({**still, **term(name, "20 %"), "light.regenerate.modes": 8})
    table.bench.beam("reference").on()
    counts = np.concatenate([table.bench.camera(camera).acquire(1).counts.ravel() for camera in CAMERAS])
    assert counts.std() / counts.mean() == pytest.approx(0.2 / math.sqrt(PIXELS), rel=0.35)  # 36 modes


def test_imperfections_scale_together(open_table: "OpenTable", still: dict[str, Any]):
    deviations = []
    for scale in (0.5, 1.0):
        table = open_table({**still, "reference.electrons.sd": 4e3, "simulation.imperfection_scale": scale})
        table.bench.beam("reference").on()
        counts = table.bench.camera("camera_z1").acquire(5).counts.mean()
        deviations.append(counts * 30000 / 2**16 - 2e5)
    assert abs(deviations[1]) > 100
    assert deviations[0] == pytest.approx(deviations[1] / 2, abs=2)


# ---- seeds


@pytest.fixture
def full(open_table: "OpenTable") -> Any:
    """Return a function that takes counts under given seeds, everything switched on as shipped."""

    def take(seed: int, truth_seed: int | None = None, overrides: Mapping[str, Any] | None = None) -> np.ndarray:
        table = open_table(overrides, seed=seed, truth_seed=truth_seed)
        table.write("slm_1", 0.5)
        stacks = {"dmd_input": table.stack("dmd_input", np.linspace(0, 1, 44).reshape(2, 22))}
        return table.counts("camera_z1", ["pump", "reference"], stacks)

    return take


def test_equal_seeds_give_equal_counts(full: Any):
    assert np.array_equal(full(1, 2), full(1, 2))


def test_another_seed_is_other_noise(full: Any):
    assert not np.array_equal(full(1, 2), full(3, 2))


def test_another_seed_is_the_same_truth(full: Any):
    still = {"simulation.noise_scale": 0, "simulation.terms.reference_phase_walk": {"value": "0 rad", "source": "off"}}
    assert np.abs(full(1, 2, still) - full(3, 2, still)).max() <= 12  # rounding


def test_another_truth_seed_is_another_truth(full: Any):
    still = {"simulation.noise_scale": 0}
    assert np.abs(full(1, 2, still) - full(1, 3, still)).max() > 100


def test_the_truth_seed_is_the_files_own_by_default(full: Any):
    assert np.array_equal(full(1), full(1, 1))


def test_without_imperfections_all_truths_are_one(full: Any):
    ideal = {"simulation.imperfections": False}
    assert np.array_equal(full(1, 2, ideal), full(1, 3, ideal))


@pytest.mark.parametrize("truth_seed", [1, 2, 3])
def test_the_light_is_that_of_the_printed_truth(
    truth_seed: int, open_table: "OpenTable", capsys: pytest.CaptureFixture[str]
):
    truth_module.main([str(SMALL_BENCH), "--truth-seed", str(truth_seed), "--json"])
    printed = json.loads(capsys.readouterr().out)["values"]["reference.electrons"]
    flat = {name: {"value": 0, "source": "off"} for name in ("pixel_gain", "photo_response", "power_drift")}
    table = open_table({"simulation.terms": flat}, truth_seed=truth_seed)
    assert printed != 2e5
    assert reference_electrons(table, 500).mean() == pytest.approx(printed, rel=3e-4)


# ---- noise sets


def test_every_shipped_term_has_a_kind_and_a_source():
    assert set(NOISES) | set(IMPERFECTIONS) == set(NoiseSet.model_fields)
    for name in NoiseSet.model_fields:
        assert getattr(SHIPPED, name).source.strip()


def test_scales_reach_their_kind_only():
    for noise, imperfection in ((0, 1), (2, 0), (3, 0.5)):
        scaled = SHIPPED.scaled(noise, imperfection)
        for name in NOISES:
            assert scaled[name] == noise * getattr(SHIPPED, name).value
        for name in IMPERFECTIONS:
            assert scaled[name] == imperfection * getattr(SHIPPED, name).value


BAD_CHANGES = {
    "an unknown term": ("flickr", {"value": "0.1 rad"}, "flickr.*'flicker'"),
    "no unit": ("flicker", {"value": 0.1}, "flicker.*with its unit"),
    "another unit": ("slit_drift", {"value": "1 rad"}, "slit_drift.*with its unit"),
    "below zero": ("speckle", {"value": -0.1}, "speckle"),
    "an unknown key": ("speckle", {"valeu": 0.1}, "valeu.*'value'"),
    "another kind": ("speckle", {"kind": "noise"}, "speckle.*kind of a term is fixed"),
    "quieter without a source": ("flicker", {"value": "0.01 rad"}, "flicker.*quieter.*source"),
    "silent without a source": ("speckle", {"value": 0}, "speckle.*quieter.*source"),
}


@pytest.mark.parametrize("case", BAD_CHANGES)
def test_a_change_that_means_nothing_or_hides_noise_is_refused(case: str):
    name, change, message = BAD_CHANGES[case]
    with pytest.raises(ConfigError, match=message):
        load_noise_set("reference", {name: change})


def test_noisier_needs_no_source_and_quieter_does():
    assert load_noise_set("reference", {"flicker": {"value": "0.1 rad"}}).flicker.value == pytest.approx(0.1)
    quieter = load_noise_set("reference", {"flicker": {"value": "0.01 rad", "source": "measured"}})
    assert (quieter.flicker.value, quieter.flicker.source) == (pytest.approx(0.01), "measured")
    assert quieter.speckle == SHIPPED.speckle
    assert load_noise_set("reference", {}) == SHIPPED


# ---- the draw

PARAMETERS = {
    "slm.fringing": Parameter(value=0.6, sd=0.03, source="x"),
    "slm.registration": Parameter(value=0.0, sd=0.5, source="x"),
    "slm.weight_error": Parameter(value=0.0, sd=0.03, source="x"),
    "slm.slit": Parameter(value=2.0, source="x"),
    "cell.depth": Parameter(value=1.0, sd=3.0, source="x"),
}


def test_a_truth_is_its_seed():
    one = draw_truth(PARAMETERS, 4, 1.0)
    assert one.values == draw_truth(PARAMETERS, 4, 1.0).values
    assert one.values != draw_truth(PARAMETERS, 5, 1.0).values
    assert np.array_equal(one.modes("a", (3, 2)), draw_truth(PARAMETERS, 4, 1.0).modes("a", (3, 2)))
    assert not np.array_equal(one.modes("a", (6,)), one.modes("b", (6,)))


def test_a_draw_does_not_move_when_another_is_added():
    fewer = {name: parameter for name, parameter in PARAMETERS.items() if name != "slm.fringing"}
    values = draw_truth(PARAMETERS, 4, 1.0).values
    assert {name: values[name] for name in fewer} == draw_truth(fewer, 4, 1.0).values


def test_draws_have_the_stated_spread():
    drawn = [draw_truth(PARAMETERS, seed, 1.0).values for seed in range(1000)]
    for name in ("slm.fringing", "slm.registration"):
        values = np.array([one[name] for one in drawn])
        sd = PARAMETERS[name].sd
        assert values.mean() == pytest.approx(PARAMETERS[name].value, abs=4 * sd / math.sqrt(1000))
        assert values.std() == pytest.approx(sd, rel=0.1)
    assert all(one["slm.slit"] == 2.0 for one in drawn)
    assert all(one["slm.weight_error"] == 0.0 for one in drawn)  # drawn per weight, not once
    assert min(one["cell.depth"] for one in drawn) >= 0.05


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_deviations_follow_the_scale(scale: float):
    unscaled = draw_truth(PARAMETERS, 4, 1.0).values["slm.registration"]
    assert draw_truth(PARAMETERS, 4, scale).values["slm.registration"] == pytest.approx(scale * unscaled)
    if scale == 0:
        assert draw_truth(PARAMETERS, 4, scale).values == believed(PARAMETERS)


def test_smooth_draws_have_rms_one():
    truth = Truth(3, {}, 1.0)
    for count in (12, 130, 804):
        profile = truth.smooth_profile("light", count)
        assert np.sqrt(np.mean(profile**2)) == pytest.approx(1)
        assert abs(profile.mean()) < 0.35
        assert np.abs(np.diff(profile)).max() < 60 / count
    surfaces = [truth.aberration(f"panel {k}", (60, 80), (1.0, 1.0)) for k in range(20)]
    assert np.mean([np.sqrt(np.mean(one**2)) for one in surfaces]) == pytest.approx(1, rel=0.05)
    assert all(abs(one.mean()) < 0.1 for one in surfaces)


# ---- who may see it


def scalar_deviations(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the parameters whose truth is one number and not a draw for every mode or weight."""
    names = [name for name, parameter in parameters.items() if parameter.sd and name.rpartition(".")[2] not in VARYING]
    assert len(names) > 10
    return names


def numbers(part: Any) -> Iterator[float]:
    """Yield every number in nested plain data."""
    if isinstance(part, Mapping):
        part = list(part.values())
    if isinstance(part, list | tuple | set | frozenset):
        for one in part:
            yield from numbers(one)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield float(part)


def test_what_trainers_see_holds_no_number_of_the_truth(small_bench_file: Path):
    file = load_bench(small_bench_file)
    with Bench(file, True, truth_seed=11) as bench:
        bench.cell("cell").set_temperature(70)
        seen = set(numbers([file.model_dump(), bench.file.model_dump(), bench.state()]))
        seen |= set(numbers([believed(bench.file.parameters()), [vars(p) for p in file.parameters().values()]]))
    hidden = draw_truth(file.parameters(), 11, 1.0).values
    deviating = {name: value for name, value in hidden.items() if value != file.parameters()[name].value}
    assert set(deviating) == set(scalar_deviations(file.parameters()))
    assert not {name for name, value in deviating.items() if value in seen}


def test_no_public_name_of_an_open_bench_leads_to_its_light_path(small_bench_file: Path):
    def reachable(part: Any, depth: int) -> Iterator[Any]:
        yield part
        if depth and hasattr(part, "__dict__"):
            for name, value in vars(part).items():
                if not name.startswith("_"):
                    yield from reachable(value, depth - 1)
        elif depth and isinstance(part, Mapping):
            for value in part.values():
                yield from reachable(value, depth - 1)

    with Bench(load_bench(small_bench_file), True) as bench:
        modules = {type(one).__module__ for one in reachable(bench, 6)}
    assert "sim_backends.twins" in modules
    assert not modules & {"sim_backends.light_path", "sim_backends.truth", "sim_backends.disturbance"}


# ---- the command


@pytest.mark.parametrize("bench", ["vapour_cell", str(SMALL_BENCH)])
def test_the_command_prints_the_truth_as_json(bench: str, capsys: pytest.CaptureFixture[str]):
    truth_module.main([bench, "--truth-seed", "7", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["bench"], printed["truth_seed"]) == (bench, 7)
    parameters = load_bench(bench).parameters()
    assert printed["values"] == dict(draw_truth(parameters, 7, 1.0).values)
    for name in scalar_deviations(parameters):
        assert printed["values"][name] != parameters[name].value


def test_the_command_takes_the_benchs_own_truth_by_default(capsys: pytest.CaptureFixture[str]):
    outputs = []
    for options in ([], ["--truth-seed", "1"], ["--truth-seed", "2"]):
        truth_module.main([str(SMALL_BENCH), "--json", *options])
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1] != outputs[2]


def test_the_command_prints_lines_for_people(capsys: pytest.CaptureFixture[str]):
    truth_module.main([str(SMALL_BENCH)])
    lines = capsys.readouterr().out.splitlines()
    parameters = load_bench(SMALL_BENCH).parameters()
    assert [line.split()[0] for line in lines[: len(parameters)]] == list(parameters)
    assert {line.split()[0] for line in lines[len(parameters) :]} == {f"{name}.reference_phase" for name in CAMERAS}
    assert all(math.isfinite(float(line.split()[1])) for line in lines)


def test_a_bench_without_imperfections_has_no_hidden_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "ideal.yaml"
    text = SMALL_BENCH.read_text(encoding="utf-8").replace("imperfections: true", "imperfections: false")
    path.write_text(text, encoding="utf-8")
    truth_module.main([str(path), "--json"])
    assert json.loads(capsys.readouterr().out)["values"] == believed(load_bench(path).parameters())
