"""The simulated bench is the optics it declares, both ways, and computes its errors by light alone."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import sim_backends
from labctl.errors import ConfigError
from labctl.optics.multiplier import absorber
from tests.conftest import CAMERAS
from tests.sim_backends.conftest import EXACT, assert_close, masks

if TYPE_CHECKING:
    from tests.conftest import OpenTable, Table

DEPTH = 4.0
TRANSPARENT = {"light.absorb.depth_at_70c": {"value": 0, "source": "an empty cell"}}
WARM_C = absorber.temperature_for(DEPTH, 12.5, 20, 90)


def warm(table: "Table") -> None:
    """Bring the cell to an optical depth of `DEPTH`."""
    assert WARM_C is not None
    table.bench.cell("cell").set_temperature(WARM_C)
    table.bench.cell("cell").wait_for_temperature(WARM_C)


def full_field(table: "Table", dmd: str, beam: str) -> float:
    return table.sources[dmd].full_field(table.file.settings(beam).power_w)


# ---- what an ideal bench does


def test_sums_are_inputs_times_weights(ideal: "Table"):
    weights = masks(ideal)["slm_1"]
    inputs = np.random.default_rng(2).uniform(0, 1, (4, 22))
    sums = ideal.fields("camera_z1", ["pump"], {"dmd_input": ideal.stack("dmd_input", inputs)})
    sent = ideal.sent("dmd_input", inputs) * full_field(ideal, "dmd_input", "pump")
    assert_close(sums, sent @ weights.T)


def test_sums_are_linear_in_the_inputs(ideal: "Table"):
    masks(ideal)
    one, other = np.random.default_rng(2).integers(0, 120, (2, 22)) / 255
    inputs = [one, other, one + other, 2 * one, 0 * one]
    sums = ideal.fields("camera_z1", ["pump"], {"dmd_input": ideal.stack("dmd_input", inputs)})
    assert_close(sums[2], sums[0] + sums[1])
    assert_close(sums[3], 2 * sums[0])
    assert np.abs(sums[4]).max() <= EXACT


def test_fields_grow_with_the_root_of_the_power_and_of_the_exposure(ideal: "Table"):
    masks(ideal)
    stacks = {"dmd_input": ideal.stack("dmd_input", np.full((1, 22), 0.5))}
    before = ideal.fields("camera_z1", ["pump"], stacks)
    ideal.bench.beam("pump").set_power(0.25 * ideal.file.settings("pump").power_w)
    assert_close(ideal.fields("camera_z1", ["pump"], stacks), 0.5 * before)
    ideal.bench.camera("camera_z1").set_exposure(0.5 * ideal.file.settings("camera_z1").exposure_s)
    dimmed = ideal.counts("camera_z1", ["reference"], stacks)
    ideal.bench.camera("camera_z1").set_exposure(ideal.file.settings("camera_z1").exposure_s)
    assert_close(2 * dimmed, ideal.counts("camera_z1", ["reference"], stacks))


@pytest.mark.parametrize("law", absorber.LAWS)
def test_activations_follow_the_absorber_law(law: str, open_table: "OpenTable", quiet: dict[str, Any]):
    table = open_table({**quiet, "absorber_law": law})
    warm(table)
    amplitudes = np.linspace(-1, 1, 11)[None]
    measured = table.fields("camera_hidden_1", ["pump_hidden"], {"dmd_hidden": table.stack("dmd_hidden", amplitudes)})
    sent = torch.from_numpy(table.sent("dmd_hidden", amplitudes)) * full_field(table, "dmd_hidden", "pump_hidden")
    expected = absorber.forward(sent, DEPTH, law).numpy()  # type: ignore[arg-type]
    assert np.abs(expected).max() > 5  # far into saturation
    assert_close(measured, expected, 1e-3)


def test_outputs_are_activations_times_weights(ideal: "Table"):
    weights = masks(ideal)["slm_2"]
    warm(ideal)
    stacks = {"dmd_hidden": ideal.stack("dmd_hidden", np.random.default_rng(2).uniform(-0.5, 0.5, (3, 11)))}
    activations = ideal.fields("camera_hidden_1", ["pump_hidden"], stacks)
    outputs = ideal.fields("camera_output", ["pump_hidden"], stacks)
    assert_close(outputs, activations @ weights.T, 1e-3)


def test_errors_come_back_through_the_transpose_and_the_pumped_cell(ideal: "Table"):
    weights = masks(ideal)["slm_2"]
    warm(ideal)
    rng = np.random.default_rng(2)
    values = rng.uniform(-1, 1, (3, 11))
    errors = rng.uniform(-0.7, 0.7, (3, 6))  # within full scale of the camera
    stacks = {"dmd_hidden": ideal.stack("dmd_hidden", values), "dmd_error": ideal.stack("dmd_error", errors)}
    pumped = ideal.fields("camera_error_1", ["pump_hidden", "probe"], stacks)
    unpumped = ideal.fields("camera_error_1", ["probe"], stacks)
    pump = torch.from_numpy(ideal.sent("dmd_hidden", values)) * full_field(ideal, "dmd_hidden", "pump_hidden")
    through = absorber.probe_transmission(pump**2, DEPTH, "published").numpy()
    sent = ideal.sent("dmd_error", errors) * full_field(ideal, "dmd_error", "probe")
    assert_close(pumped, (sent @ weights) * through, 2e-3)
    assert_close(unpumped, (sent @ weights) * math.exp(-DEPTH / 2), 2e-3)


@pytest.mark.parametrize("light", ["ideal", "distorted"])
def test_backwards_the_multiplier_is_its_transpose(
    light: str, open_table: "OpenTable", spotless: dict[str, Any], quiet: dict[str, Any]
):
    distorted = {
        "light.6.multiply.weight_error.sd": 0.1,
        "light.6.multiply.aberration.sd": 0.3,
        "light.6.multiply.registration.sd": 2,
        "simulation.terms.speckle": {"value": "10 %"},
        "simulation.terms.unmodulated_light": {"value": "5 %"},
    }
    believed_only = {**spotless, **quiet, **TRANSPARENT, "simulation.imperfections": True}
    table = open_table({**believed_only, **(distorted if light == "distorted" else {})})
    believed = masks(table)["slm_2"]
    forward = table.fields(
        "camera_output", ["pump_hidden"], {"dmd_hidden": table.stack("dmd_hidden", 0.3 * np.eye(11))}
    )
    backward = table.fields(
        "camera_error_1",
        ["probe"],
        {"dmd_error": table.stack("dmd_error", np.eye(6)), "dmd_hidden": table.stack("dmd_hidden", np.zeros((6, 11)))},
    )
    sent = table.sent("dmd_hidden", 0.3 * np.eye(11)).max()
    there = np.abs(forward.T) / (sent * full_field(table, "dmd_hidden", "pump_hidden"))
    back = np.abs(backward) / full_field(table, "dmd_error", "probe")
    # cameras trim their own reference phase, so that magnitudes are compared
    assert np.abs(there - back).max() <= 0.01 * there.max()
    off = np.abs(there - np.abs(believed)).max() / np.abs(believed).max()
    assert off > 0.05 if light == "distorted" else off < 0.005


def test_the_slit_off_its_place_turns_phases_along_the_columns(ideal: "Table"):
    ideal.write("slm_1", 1.0)
    stacks = {"dmd_input": ideal.stack("dmd_input", np.eye(22))}
    before = ideal.fields("camera_z1", ["pump"], stacks)
    offset_m = 50e-6
    ideal.bench.stage("slit_stage").move_to(x=offset_m)
    turned = np.unwrap(np.angle(ideal.fields("camera_z1", ["pump"], stacks) / before)[:, 0])
    column_m = ideal.file.stages[0].multiply.block[1] * ideal.file.settings("slm_1").pitch_m
    per_column = 2 * math.pi * offset_m * column_m / (ideal.file.laser.wavelength_m * 0.5)
    assert np.diff(turned) == pytest.approx(np.full(21, per_column), rel=0.02)


def test_a_hotter_cell_and_a_smaller_pump_let_less_through(ideal: "Table"):
    stacks = {"dmd_hidden": ideal.stack("dmd_hidden", [np.full(10, 0.2)])}

    def transmitted() -> float:
        return float(np.abs(ideal.fields("camera_hidden_1", ["pump_hidden"], stacks)).mean())

    cold = transmitted()
    warm(ideal)
    hot = transmitted()
    ideal.bench.beam("pump_hidden").set_detuning(50e6)
    assert hot < 0.9 * cold < transmitted()  # off the line the cell hardly absorbs


# ---- darkness


def test_without_beams_cameras_are_dark(ideal: "Table"):
    masks(ideal)
    for dmd, source in ideal.sources.items():
        ideal.bench.dmd(dmd).show(ideal.stack(dmd, np.ones(source.modes))[0])
    reading = ideal.file.settings("camera_z1")
    noise = math.sqrt(15) * reading.read_noise / (reading.full_well / 2**reading.bit_depth)
    for camera in CAMERAS:
        assert ideal.bench.camera(camera).acquire(20).counts.max() < 6 * noise


@pytest.mark.parametrize(
    ("camera", "beam"),
    [
        ("camera_z1", "pump"),
        ("camera_hidden_1", "pump_hidden"),
        ("camera_output", "pump_hidden"),
        ("camera_error_1", "probe"),
    ],
)
def test_each_camera_sees_its_beam_only_while_it_is_on_and_a_mirror_too(ideal: "Table", camera: str, beam: str):
    masks(ideal)
    dmd = {"pump": "dmd_input", "pump_hidden": "dmd_hidden", "probe": "dmd_error"}[beam]
    source, one = ideal.bench.beam(beam), ideal.bench.camera(camera)

    def counts() -> int:
        return int(one.acquire(1).counts.max())

    ideal.bench.dmd(dmd).show(ideal.stack(dmd, np.ones(ideal.sources[dmd].modes))[0])
    dark = counts()
    source.on()
    assert counts() > 100 * (dark + 1)
    source.set_power(0.0)
    assert counts() <= dark + 20
    source.set_power(source.settings.max_power_w)
    assert counts() > 100 * (dark + 1)
    ideal.bench.dmd(dmd).halt()
    assert counts() <= dark + 20


def test_a_dmd_that_is_opened_or_closed_is_dark(ideal: "Table"):
    masks(ideal)
    dmd, camera = ideal.bench.dmd("dmd_input"), ideal.bench.camera("camera_z1")
    ideal.bench.beam("pump").on()
    dmd.show(ideal.stack("dmd_input", np.ones(22))[0])
    dmd.close()
    assert camera.acquire(1).counts.max() < 20
    dmd.open()
    assert camera.acquire(1).counts.max() < 20


def test_too_much_light_ends_at_the_highest_count(ideal: "Table"):
    camera = ideal.bench.camera("camera_output")
    ideal.bench.beam("reference").on()
    camera.set_exposure(20 * camera.exposure_s)
    assert np.all(camera.acquire(3).counts == camera.top_count)


# ---- no automatic differentiation


def a_whole_step(table: "Table") -> None:
    """Send light forwards and errors backwards once."""
    masks(table)
    warm(table)
    stacks = {"dmd_hidden": table.stack("dmd_hidden", np.eye(11)), "dmd_error": table.stack("dmd_error", np.eye(10, 6))}
    table.counts("camera_z1", ["pump", "reference"], {"dmd_input": table.stack("dmd_input", np.eye(22))})
    table.counts("camera_output", ["pump_hidden", "reference"], {"dmd_hidden": stacks["dmd_hidden"]})
    table.counts("camera_error_1", ["pump_hidden", "probe", "reference"], stacks)


def test_light_and_errors_travel_without_autograd(
    open_table: "OpenTable", monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("automatic differentiation is the oracle of the tests, not a part of the bench")

    for name in (
        "torch.autograd.grad",
        "torch.autograd.backward",
        "torch.Tensor.backward",
        "torch.Tensor.requires_grad_",
    ):
        monkeypatch.setattr(name, refuse)
    a_whole_step(open_table())
    assert not recwarn.list


def test_no_graph_is_recorded_while_light_travels(open_table: "OpenTable", monkeypatch: pytest.MonkeyPatch):
    recorded: list[bool] = []
    transmission = absorber.transmission

    def watched(saturation: torch.Tensor, *args: Any) -> torch.Tensor:
        result = transmission(saturation, *args)
        recorded.append(torch.is_grad_enabled() or saturation.requires_grad or result.requires_grad)
        return result

    monkeypatch.setattr(absorber, "transmission", watched)
    table = open_table()
    with torch.enable_grad():
        a_whole_step(table)
    assert recorded
    assert not any(recorded)


def test_the_source_of_the_twins_does_not_mention_autograd():
    files = list(Path(sim_backends.__file__).parent.rglob("*.py"))
    assert len(files) > 3
    for file in files:
        text = file.read_text(encoding="utf-8")
        for word in ("autograd", "requires_grad", "enable_grad", r"vjp\b", r"jvp\b", r"\.grad\b", r"\.backward\(\)"):
            assert not re.search(word, text), f"{word} in {file.name}"


# ---- what a bench file may ask of it


def test_a_light_path_that_is_none_is_refused(open_table: "OpenTable"):
    with pytest.raises(ConfigError, match=r"simulation\.light_path.*NoLight"):
        open_table({"simulation.light_path": "sim_backends.light_path.NoLight"})
