"""Elements of the optical network: sources of fields, the cell over a row of modes, and whole stages."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from labctl.bench import BenchFile, load_bench
from labctl.devices import Codebook
from labctl.optics.multiplier import absorber
from labctl.optics.multiplier.absorber import LAWS, NATURAL_LINEWIDTH_HZ, Law
from labctl.optics.multiplier.elements import Encode, Inject, Read, Regenerate
from labctl.optics.multiplier.modulator import carrier_response
from labctl.optics.multiplier.network import CARRIER_TILE_MIRRORS, TILE_COLUMNS, Absorber, Source, build_stages
from labctl.optics.multiplier.slit_multiplier import passive_amplitude
from labctl.optics.parameters import believed

UNIT_POWER_W = 1e-6
PART = {"value": 0.5, "source": "test"}

ENCODE = Encode.model_validate(
    {"device": "dmd", "beam": "pump", "modes": 5, "pilot_columns": 3, "block": [255, 2], "efficiency": PART}
)
REGENERATE = Regenerate.model_validate(
    {"camera": "camera", "device": "dmd_hidden", "beam": "pump", "gain": "20 dB", "modes": 4, "block": [64, 10],
     "carrier": 8, "efficiency": PART, "fraction": PART, "full_scale": 8}
)  # fmt: skip
READ = Read.model_validate(
    {"camera": "camera", "fraction": PART, "full_scale": 4, "inject": "dmd_error", "beam": "probe", "modes": 3,
     "block": [64, 10], "carrier": 8, "efficiency": PART}
)  # fmt: skip


def source(element: Encode | Regenerate | Inject) -> Source:
    return Source(element, 0.5, UNIT_POWER_W)


SOURCES = [source(ENCODE), source(REGENERATE), source(READ.injector)]
every_source = pytest.mark.parametrize("source", SOURCES, ids=["encode", "regenerate", "inject"])


# ---- sources


@pytest.mark.parametrize(("source", "modes"), [(SOURCES[0], 5 + 3), (SOURCES[1], 4 + 3), (SOURCES[2], 3 + 2)])
def test_a_source_lights_its_data_and_its_pilots(source: Source, modes: int):
    assert source.modes == modes


@pytest.mark.parametrize(("source", "device"), [*zip(SOURCES, ["dmd", "dmd_hidden", "dmd_error"], strict=True)])
def test_a_source_names_the_mirrors_that_write_it(source: Source, device: str):
    assert source.device == device


@every_source
@pytest.mark.parametrize("power_w", [0.0, 1e-6, 0.3])
def test_full_amplitude_on_every_mode_carries_the_power_that_is_there(source: Source, power_w: float):
    fields = source.fields(np.full((1, source.modes), source.full_index, np.uint16), power_w)
    assert fields.dtype == torch.complex64
    power = float((fields.abs() ** 2).sum()) * UNIT_POWER_W
    assert power == pytest.approx(0.5 * power_w, rel=1e-5)
    assert source.full_field(power_w) ** 2 * source.modes * UNIT_POWER_W == pytest.approx(0.5 * power_w)


@every_source
def test_fields_are_the_amplitudes_their_indices_stand_for(source: Source):
    first = source.zero_index - source.levels if source.signed else 0
    indices = np.arange(first, source.full_index + 1, dtype=np.uint16)
    amplitude = source.amplitude(indices)
    assert amplitude.dtype == np.float32
    assert (amplitude[0], amplitude[-1]) == (-1 if source.signed else 0, 1)
    assert source.amplitude(np.array([source.zero_index], np.uint16)) == [0]
    np.testing.assert_allclose(
        source.fields(indices[:, None], 2e-6), amplitude[:, None] * source.full_field(2e-6), atol=1e-6
    )
    assert (source.indices(amplitude) == indices).all()


@every_source
@given(amplitude=hnp.arrays(np.float32, (2, 3), elements=st.floats(-2, 2, width=32)))
def test_the_nearest_level_is_written_and_the_end_beyond_the_range(source: Source, amplitude: NDArray[np.float32]):
    within = np.clip(amplitude, -1 if source.signed else 0, 1)
    indices = source.indices(amplitude)
    assert indices.dtype == np.uint16
    assert np.abs(source.amplitude(indices) - within).max() <= 0.5 / source.levels + 1e-6


def test_eight_bit_images_are_encoded_exactly():
    grey = np.arange(256, dtype=np.uint8)
    assert (source(ENCODE).indices(grey / np.float32(255)) == grey).all()


@pytest.mark.parametrize("source", SOURCES[1:], ids=["regenerate", "inject"])
def test_a_signed_source_also_writes_a_field_a_quarter_period_shifted(source: Source):
    field = source.fields(np.array([[source.quarter_index]], np.uint16), 1e-6)
    assert complex(field[0, 0]) == pytest.approx(1j * source.full_field(1e-6), rel=1e-5)


@every_source
def test_offset_and_profile_are_what_mirrors_and_beam_add_to_the_code(source: Source):
    flawed = Source(source.element, 0.5, UNIT_POWER_W)
    indices = np.random.default_rng(0).integers(0, len(flawed.tiles), (4, flawed.modes)).astype(np.uint16)
    plain = flawed.fields(indices, 1e-6)
    flawed.offset = torch.full((flawed.modes,), 0.01 + 0.02j, dtype=torch.complex64)
    flawed.profile = torch.linspace(0.9, 1.1, flawed.modes)
    expected = (plain + (0.01 + 0.02j) * flawed.full_field(1e-6)) * flawed.profile
    torch.testing.assert_close(flawed.fields(indices, 1e-6), expected)


def test_a_source_follows_the_code_it_is_given():
    turned = source(REGENERATE)
    indices = np.random.default_rng(0).integers(0, len(turned.tiles), (4, turned.modes)).astype(np.uint16)
    before = turned.fields(indices, 1e-6)
    turned.use_tiles(np.roll(turned.tiles, 4, axis=1))  # half a period
    torch.testing.assert_close(turned.fields(indices, 1e-6), -before)


# ---- tiles of a carrier

BLOCKS = [((64, 10), 8), ((1080, 14), 8), ((1080, 160), 8), ((128, 16), 8), ((1080, 37), 8), ((1016, 32), 8),
          ((48, 1), 12), ((4, 33), 4), ((1080, 64), 1080)]  # fmt: skip


def regenerating(block: tuple[int, int], carrier: int) -> Source:
    return source(REGENERATE.model_copy(update={"block": block, "carrier": carrier}))


@pytest.mark.parametrize(("block", "carrier"), BLOCKS)
def test_a_carrier_tile_fills_its_block_by_whole_repetition(block: tuple[int, int], carrier: int):
    tiles = regenerating(block, carrier).tiles
    rows, columns = tiles.shape[1:]
    assert block[0] % rows == block[1] % columns == 0
    assert rows % carrier == 0
    assert columns <= TILE_COLUMNS
    assert rows * columns <= CARRIER_TILE_MIRRORS or rows == carrier


@pytest.mark.parametrize(("block", "carrier"), BLOCKS)
def test_the_whole_block_writes_the_amplitude_its_index_stands_for(block: tuple[int, int], carrier: int):
    """Level by level: a tile cut off at the edge of the block would bend the code."""
    one = regenerating(block, carrier)
    chosen = np.unique(np.linspace(0, one.full_index, 5).astype(np.uint16))
    blocks = Codebook("carrier", one.tiles[chosen], block).blocks
    assert blocks.shape[1:] == block
    np.testing.assert_allclose(carrier_response(carrier)(blocks), one.amplitude(chosen), atol=1e-6)


@pytest.mark.parametrize(("block", "levels"), [((1080, 14), 600), ((1080, 160), 800), ((64, 10), 80), ((128, 16), 256)])
def test_small_tiles_leave_levels_finer_than_shot_noise(block: tuple[int, int], levels: int):
    """A mode's reading has 0.26 % of full scale of shot noise; a rounding error is half a step over the root of 3."""
    one = regenerating(block, 8)
    assert one.levels >= levels
    if block[0] == 1080:
        assert 0.5 / one.levels / math.sqrt(3) < 0.0026


# ---- the cell


def pumps(n: int = 3, modes: int = 6) -> Tensor:
    return 4 * torch.randn(n, modes, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def depth(temperature_c: float = 67.0) -> float:
    return absorber.depth_at(temperature_c, 12.5)


def transmissions(cell: Absorber, detuning_hz: torch.Tensor | float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    given = pumps(), 67.0, detuning_hz
    return cell.pump_transmission(*given), cell.probe_transmission(*given)


every_law = pytest.mark.parametrize("law", LAWS)


@every_law
def test_modes_are_absorbed_by_the_law_at_the_depth_of_the_temperature(law: Law):
    pump, probe = transmissions(Absorber(law, 12.5))
    torch.testing.assert_close(pump, absorber.transmission(pumps().abs() ** 2, depth(), law))
    torch.testing.assert_close(probe, pump)


@every_law
def test_a_larger_saturation_power_makes_the_same_light_weaker(law: Law):
    pump = Absorber(law, 12.5, saturation_ratio=4.0).pump_transmission(2 * pumps(), 67.0)
    torch.testing.assert_close(pump, Absorber(law, 12.5).pump_transmission(pumps(), 67.0))


@every_law
def test_the_grating_touches_only_the_probe(law: Law):
    pump, probe = transmissions(Absorber(law, 12.5, kappa=0.1))
    torch.testing.assert_close(pump, Absorber(law, 12.5).pump_transmission(pumps(), 67.0))
    torch.testing.assert_close(probe, absorber.probe_transmission(pumps().abs() ** 2, depth(), law, 0.1))


@every_law
def test_crosstalk_saturates_a_mode_with_its_two_neighbours_light(law: Law):
    pump, probe = transmissions(Absorber(law, 12.5, crosstalk=0.01))
    s = pumps().abs() ** 2
    for mode in range(s.shape[1]):
        beside = sum((s[:, other] for other in (mode - 1, mode + 1) if 0 <= other < s.shape[1]), torch.zeros(len(s)))
        expected = absorber.transmission(s[:, mode] + 0.01 * beside, depth(), law)
        torch.testing.assert_close(pump[:, mode], expected)
        torch.testing.assert_close(probe[:, mode], expected)


@every_law
def test_a_momentary_depth_scales_the_cells(law: Law):
    one_percent_more = Absorber(law, 12.5).pump_transmission(pumps(), 67.0, depth_scale=1.01)
    torch.testing.assert_close(one_percent_more, absorber.transmission(pumps().abs() ** 2, 1.01 * depth(), law))


@every_law
def test_each_sample_may_have_its_own_detuning(law: Law):
    detuning_hz = torch.tensor([[0.0], [NATURAL_LINEWIDTH_HZ / 2], [-20e6]])
    pump, probe = transmissions(Absorber(law, 12.5, kappa=0.1), detuning_hz)
    for row in range(3):
        s, shifted_depth, overlap = absorber.detuned(pumps()[row].abs() ** 2, depth(), float(detuning_hz[row]), law)
        torch.testing.assert_close(pump[row], absorber.transmission(s, shifted_depth, law))
        torch.testing.assert_close(probe[row], absorber.probe_transmission(s, shifted_depth, law, 0.1, overlap))


# ---- whole stages


@pytest.fixture(scope="module")
def vapour_cell() -> BenchFile:
    return load_bench("vapour_cell")


def test_stages_of_the_bench_have_its_modes_efficiencies_and_cell(vapour_cell: BenchFile):
    values = believed(vapour_cell.parameters())
    first, second = build_stages(vapour_cell, values, {"slm_1": 8, "slm_2": 8}, kappa=0.1, crosstalk=0.01)
    assert first.multiplier.shape == (131, 804)
    assert second.multiplier.shape == (12, 131)
    efficiency = 0.65 * 0.5 * 0.8
    assert first.multiplier.amplitude == pytest.approx(passive_amplitude(804, 131, efficiency))
    assert second.multiplier.amplitude == pytest.approx(passive_amplitude(131, 12, efficiency))
    assert first.absorber is None
    assert first.injector is None
    assert second.absorber is not None
    assert second.injector is not None
    assert second.injector.modes == second.multiplier.shape[0]
    assert (first.source.device, second.source.device, second.injector.device) == (
        "dmd_input",
        "dmd_hidden",
        "dmd_error",
    )
    assert (second.absorber.kappa, second.absorber.crosstalk) == (0.1, 0.01)
    assert (second.absorber.law, second.absorber.saturation_ratio) == ("published", 1)


def test_a_cell_that_saturates_later_than_believed_is_told_so(vapour_cell: BenchFile):
    """The unit of fields is the believed saturation power; the truth enters as a ratio to it."""
    values = believed(vapour_cell.parameters())
    values["cell.saturation_power"] *= 1.1
    second = build_stages(vapour_cell, values, {"slm_1": 8, "slm_2": 8})[1]
    assert second.absorber is not None
    assert second.absorber.saturation_ratio == pytest.approx(1.1)
    assert second.source.full_field(40e-3) == pytest.approx(math.sqrt(0.05 * 40e-3 / (131 * 0.19e-6)))
