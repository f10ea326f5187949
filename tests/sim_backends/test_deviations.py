"""Every deviation shows when it alone is on and can be switched off; static ones have the size their table says."""

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from sim_backends.noise import NoiseSet
from tests.conftest import CAMERAS, SMALL_BENCH, Table, believed_stages, shipped_spreads
from tests.sim_backends.noise_terms import PIXELS, SHIPPED, term

if TYPE_CHECKING:
    from tests.conftest import OpenTable

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
