"""Between light and network: a chain of fields through the elements must read as weights times inputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labctl.bench import BenchFile, load_bench
from labctl.optics.layout import Layout
from labctl.optics.multiplier.network import StageOptics, build_stages
from labctl.optics.multiplier.scales import StageScales, stage_scales
from labctl.optics.parameters import believed

BITS = {"slm_1": 8, "slm_2": 8}
CAMERAS = [(0, "camera_z1"), (1, "camera_hidden_1"), (1, "camera_error_1"), (1, "camera_output")]


def scales_of(
    overrides: Mapping[str, Any] | None = None,
) -> tuple[BenchFile, tuple[StageOptics, ...], tuple[StageScales, ...]]:
    file = load_bench("vapour_cell", overrides)
    values = believed(file.parameters())
    optics = build_stages(file, values, BITS)
    settings = {name: entry.settings for name, entry in file.devices.items()}
    return file, optics, stage_scales(file, optics, settings, values)


@pytest.fixture(scope="module")
def bench() -> tuple[BenchFile, tuple[StageOptics, ...], tuple[StageScales, ...]]:
    return scales_of()


def shown_weights(optics: StageOptics, scales: StageScales, seed: int) -> torch.Tensor:
    """Show a random mask and return the weights it stands for."""
    optics.multiplier.show(shown_indices(optics, seed))
    return optics.multiplier.modulation(shown_indices(optics, seed)).real * scales.weight_per_modulation


def shown_indices(optics: StageOptics, seed: int) -> NDArray[np.uint16]:
    """Return a random mask."""
    random = np.random.default_rng(seed).integers(0, len(optics.multiplier.tiles) - 1, optics.multiplier.shape)
    return random.astype(np.uint16)


Bench = tuple[BenchFile, tuple[StageOptics, ...], tuple[StageScales, ...]]


def test_first_sums_are_weights_times_inputs(bench: Bench):
    file, (optics, _), (scales, _) = bench
    weights, shown = shown_weights(optics, scales, 0), shown_indices(optics, 0)
    pixels = np.random.default_rng(1).integers(0, 256, (3, optics.source.modes)).astype(np.uint16)
    light = optics.multiplier.forward(optics.source.fields(pixels, file.settings("pump").power_w))
    read = light * scales.readouts["camera_z1"].per_field
    torch.testing.assert_close(read.real, torch.from_numpy(pixels / np.float32(255)) @ weights.T, rtol=1e-4, atol=1e-4)
    blurred = optics.multiplier.modulation(shown).imag * scales.weight_per_modulation  # borders of blocks, not read
    torch.testing.assert_close(read.imag, torch.from_numpy(pixels / np.float32(255)) @ blurred.T, rtol=1e-4, atol=1e-4)


def test_outputs_are_weights_times_activations(bench: Bench):
    _, (_, optics), (_, scales) = bench
    weights = shown_weights(optics, scales, 2)
    activations = 4 * torch.randn(3, optics.multiplier.shape[1], generator=torch.Generator().manual_seed(3))
    light = optics.multiplier.forward(activations.to(torch.complex64)) * scales.readouts["camera_output"].per_field
    torch.testing.assert_close(light.real, activations @ weights.T, rtol=1e-4, atol=1e-4)


def test_errors_sent_back_are_transposed_weights_times_errors(bench: Bench):
    file, (_, optics), (_, scales) = bench
    assert optics.injector is not None
    weights = shown_weights(optics, scales, 4)
    errors = np.linspace(-1, 1, 3 * optics.multiplier.shape[0]).reshape(3, -1)
    indices = optics.injector.indices(errors)
    light = optics.multiplier.backward(optics.injector.fields(indices, file.settings("probe").power_w))
    read = light * scales.readouts["camera_error_1"].per_field
    sent = torch.from_numpy(optics.injector.amplitude(indices))
    torch.testing.assert_close(read.real, sent @ weights, rtol=1e-4, atol=1e-4)


def test_activations_are_read_in_saturation_fields(bench: Bench):
    assert bench[2][1].readouts["camera_hidden_1"].per_field == 1


def test_a_camera_that_regenerates_reads_the_field_times_the_gain(bench: Bench):
    assert bench[2][0].readouts["camera_z1"].per_field == pytest.approx(10)  # 20 dB


@pytest.mark.parametrize(("stage", "camera"), CAMERAS)
def test_full_scale_leaves_the_electrons_the_bench_file_states(bench: Bench, stage: int, camera: str):
    readout = bench[2][stage].readouts[camera]
    assert readout.per_unit * (readout.full_scale / readout.per_field) ** 2 == pytest.approx(2e4, rel=0.03)


def test_every_camera_of_a_stage_and_no_other_has_a_readout(bench: Bench):
    file, _, scales = bench
    assert isinstance(file, Layout)
    for stage, one in zip(file.stages, scales, strict=True):
        assert set(one.readouts) == set(stage.cameras)
        assert {name: port.full_scale for name, port in stage.cameras.items()} == {
            name: readout.full_scale for name, readout in one.readouts.items()
        }


def test_the_weight_range_is_reached_by_passive_light_and_exactly_used_where_it_is_free(bench: Bench):
    file, optics, scales = bench
    reach = [one.weight_per_modulation * light.multiplier.reach for one, light in zip(scales, optics, strict=True)]
    assert reach[0] >= file.stages[0].multiply.weight_range
    assert reach[1] == pytest.approx(file.stages[1].multiply.weight_range)


@pytest.mark.parametrize(
    ("override", "source", "per_modulation", "per_field", "per_unit"),
    [
        ({}, 1, 1, 1, 1),
        ({"devices.pump.settings.power": "0.25 W"}, 0.5, 0.5, 1, 1),
        ({"light.regenerate.gain": "14 dB"}, 1, 10**-0.3, 10**-0.3, 1),
        ({"devices.camera_z1.settings.exposure": "40 us"}, 1, 1, 1, 2),
        ({"light.regenerate.fraction": 0.0093}, 1, 1, 1, 2),
        ({"light.encode.efficiency": 0.125}, 0.5, 0.5, 1, 1),
        ({"light.1.multiply.reflectivity": 0.1625}, 1, 0.5, 1, 1),
    ],
)
def test_scales_follow_power_gain_and_exposure(
    bench: Bench, override: dict[str, Any], source: float, per_modulation: float, per_field: float, per_unit: float
):
    before, after = bench[2][0], scales_of(override)[2][0]
    assert after.source_field / before.source_field == pytest.approx(source)
    assert after.weight_per_modulation / before.weight_per_modulation == pytest.approx(per_modulation)
    old, new = before.readouts["camera_z1"], after.readouts["camera_z1"]
    assert new.per_field / old.per_field == pytest.approx(per_field)
    assert new.per_unit / old.per_unit == pytest.approx(per_unit)
