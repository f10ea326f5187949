"""The slit multiplier as a passive, reciprocal matrix."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.multiplier.modulator import blazed_field
from labctl.optics.multiplier.slit_multiplier import (
    SlitMultiplier,
    passive_amplitude,
    slit_first_zero,
    slit_power,
    slit_ramp,
)

ROWS, COLUMNS = 6, 9


def multiplier(rows: int = ROWS, columns: int = COLUMNS, **changes: Any) -> SlitMultiplier:
    ideal: dict[str, Any] = {"block": (16, 5), "period": 8, "bit_depth": 8, "efficiency": 1.0, "fringing_px": 0.0}
    return SlitMultiplier(rows, columns, **{**ideal, **changes})


def random_mask(optics: SlitMultiplier, seed: int) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, len(optics.tiles), optics.shape).astype(np.uint16)


def random_fields(n: int, modes: int, seed: int) -> Tensor:
    return torch.randn(n, modes, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def power(field: Tensor) -> Tensor:
    return (field.abs() ** 2).sum(dim=1)


@pytest.mark.parametrize(
    ("columns", "rows", "efficiency", "amplitude"),
    [(1, 1, 1.0, 1.0), (4, 4, 1.0, 0.25), (784, 128, 0.16, math.sqrt(0.16 / (784 * 128))), (3, 5, 0.0, 0.0)],
)
def test_no_weight_transmits_more_than_its_share(columns: int, rows: int, efficiency: float, amplitude: float):
    assert passive_amplitude(columns, rows, efficiency) == pytest.approx(amplitude)


@pytest.mark.parametrize("fringing_px", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_every_weight_obeys_the_passivity_bound(fringing_px: float, seed: int):
    optics = multiplier(efficiency=0.26, fringing_px=fringing_px)
    bound = math.sqrt(0.26 / (ROWS * COLUMNS))
    assert optics.amplitude == pytest.approx(bound)
    optics.show(random_mask(optics, seed))
    assert float(optics.matrix.abs().max()) <= bound * (1 + 1e-6)
    optics.show(np.full(optics.shape, optics.full_index, np.uint16))
    assert float(optics.matrix.abs().max()) <= bound * (1 + 1e-6)
    assert optics.reach <= 1 + 1e-9


@pytest.mark.parametrize("registration_px", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("fringing_px", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_light_is_never_created_either_way(fringing_px: float, registration_px: float, seed: int):
    optics = multiplier(efficiency=0.8, fringing_px=fringing_px, registration_px=registration_px)
    optics.show(random_mask(optics, seed))
    forward, backward = random_fields(20, COLUMNS, seed), random_fields(20, ROWS, seed)
    assert bool((power(optics.forward(forward)) <= 0.8 * power(forward)).all())
    assert bool((power(optics.backward(backward)) <= 0.8 * power(backward)).all())


def test_a_uniform_mask_passes_all_of_a_uniform_field_but_what_the_pixels_aperture_takes():
    optics = multiplier()
    optics.show(np.full(optics.shape, optics.full_index, np.uint16))
    field = torch.ones(1, COLUMNS, dtype=torch.complex64)
    passed = float(power(optics.forward(field)) / power(field))
    assert passed == pytest.approx(abs(optics.response[optics.full_index]) ** 2, rel=1e-5)
    assert passed == pytest.approx(np.sinc(1 / 8) ** 2, rel=4e-3)


@pytest.mark.parametrize("seed", range(3))
def test_backwards_is_the_transpose(seed: int):
    optics = multiplier(fringing_px=0.6, registration_px=0.7)
    optics.distortion = torch.exp(1j * torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed)))
    optics.show(random_mask(optics, seed))
    pump, probe = random_fields(4, COLUMNS, seed), random_fields(5, ROWS, seed + 1)
    # a matrix and its transpose, whatever they are: no conjugate, light is reciprocal
    torch.testing.assert_close(optics.forward(pump) @ probe.T, pump @ optics.backward(probe).T)


def test_light_is_summed_linearly():
    optics = multiplier(fringing_px=0.6)
    optics.show(random_mask(optics, 0))
    a, b = random_fields(4, COLUMNS, 1), random_fields(4, COLUMNS, 2)
    torch.testing.assert_close(optics.forward(a + 2j * b), optics.forward(a) + 2j * optics.forward(b))


def test_nothing_is_transmitted_before_anything_is_shown():
    assert not multiplier().forward(random_fields(2, COLUMNS, 0)).any()


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_each_weight_is_the_first_order_of_the_block_that_shows_it(bit_depth: int):
    optics = multiplier(bit_depth=bit_depth, efficiency=0.5)
    mask = random_mask(optics, 0)
    optics.show(mask)
    blocks = np.repeat(optics.tiles[mask.ravel()], 5, axis=2)
    expected = blazed_field(blocks, bit_depth, 8).reshape(optics.shape) * optics.amplitude
    np.testing.assert_allclose(optics.matrix.numpy(), expected, atol=1e-7)


def test_written_modulations_are_what_the_panel_does_to_a_level():
    optics = multiplier(bit_depth=10, fringing_px=0.6)
    wanted = np.linspace(-optics.reach, optics.reach, 101)
    indices = optics.inverse(wanted)
    assert np.abs(np.real(optics.response[indices]) - wanted).max() < 0.005
    assert optics.inverse(np.array([-9.0, 0.0, 9.0])).tolist() == [0, optics.zero_index, optics.full_index]
    assert optics.response[optics.quarter_index] == pytest.approx(1j * optics.response[optics.full_index], abs=1e-6)


def test_with_fringing_a_weight_depends_on_its_neighbours_in_the_row_only():
    optics = multiplier(fringing_px=0.6)
    mask = np.full(optics.shape, optics.full_index, np.uint16)
    before = optics.modulation(mask)
    mask[2, 4] = 0
    changed = (optics.modulation(mask) - before).abs() > 1e-6
    assert sorted(map(tuple, changed.nonzero().tolist())) == [(2, 3), (2, 4), (2, 5)]


def test_the_silent_index_sends_less_between_its_neighbours_than_any_other():
    optics = multiplier(rows=511, columns=3, fringing_px=0.6)
    every = np.arange(optics.full_index + 1)
    for left, right in [(0, 0), (optics.full_index, 0), (optics.zero_index, optics.quarter_index)]:
        mask = np.stack([np.full_like(every, left), every, np.full_like(every, right)], axis=1).astype(np.uint16)
        light = optics.modulation(mask)[:, 1].abs()
        silent = optics.silent_index(left, right)
        assert float(light[silent]) == pytest.approx(float(light.min()), abs=1e-6)
        assert float(light[silent]) <= float(light[optics.zero_index])


def test_beyond_the_first_and_last_column_the_panel_is_flat():
    """An edge column has a neighbour that writes nothing, so it is as if there were one more column of zeros."""
    optics, wider = multiplier(fringing_px=0.6), multiplier(columns=COLUMNS + 2, fringing_px=0.6)
    mask = random_mask(optics, 0)
    framed = np.pad(mask, ((0, 0), (1, 1)), constant_values=optics.zero_index)
    torch.testing.assert_close(optics.modulation(mask), wider.modulation(framed)[:, 1:-1])


@pytest.mark.parametrize("shift_px", [0.5, 2.0, -0.5, -2.0])
def test_a_shifted_column_reads_a_share_of_the_next_weight(shift_px: float):
    straight, shifted = multiplier(), multiplier(registration_px=shift_px)
    mask = random_mask(straight, 0)
    straight.show(mask)
    shifted.show(mask)
    share, to = abs(shift_px) / 5, 1 if shift_px > 0 else -1
    for column in range(1, COLUMNS - 1):
        mixed = (1 - share) * straight.matrix[:, column] + share * straight.matrix[:, column + to]
        torch.testing.assert_close(shifted.matrix[:, column], mixed)


@pytest.mark.parametrize(("shift_px", "edge"), [(2.0, -1), (-2.0, 0)])
def test_a_column_shifted_off_the_lit_panel_loses_its_share(shift_px: float, edge: int):
    straight, shifted = multiplier(), multiplier(registration_px=shift_px)
    mask = random_mask(straight, 0)
    straight.show(mask)
    shifted.show(mask)
    torch.testing.assert_close(shifted.matrix[:, edge], 0.6 * straight.matrix[:, edge])


def test_another_code_changes_what_the_indices_do():
    optics = multiplier()
    mask = random_mask(optics, 0)
    optics.show(mask)
    before = optics.matrix.clone()
    optics.use_tiles(np.roll(optics.tiles, 4, axis=1), optics.rest)  # half a period: every sign turns
    optics.show(mask)
    torch.testing.assert_close(optics.matrix, -before)


@pytest.mark.parametrize(("rows", "period"), [(19, 8), (16, 6), (20, 8)])
def test_a_block_without_whole_carrier_periods_is_refused(rows: int, period: int):
    with pytest.raises(ValueError, match="4 divides"):
        multiplier(block=(rows, 5), period=period)


# ---- the slit off the beam

BENCH_WIDTH_M, WAVELENGTH_M, FOCAL_LENGTH_M = 784 * 5 * 3.74e-6, 780.24e-9, 0.5


def test_a_micrometre_off_the_beam_is_a_phase_ramp_of_0_038_turns_over_the_bench():
    ramp = slit_ramp(784, BENCH_WIDTH_M, 1e-6, WAVELENGTH_M, FOCAL_LENGTH_M)
    torch.testing.assert_close(ramp.abs(), torch.ones(784))
    assert float((ramp[-1] / ramp[0]).angle()) == pytest.approx(2 * math.pi * 0.038, rel=0.02)
    steps = (ramp[1:] / ramp[:-1]).angle()
    torch.testing.assert_close(steps, steps.mean().expand(783), rtol=0, atol=1e-6)


def test_an_offset_and_its_opposite_undo_each_other():
    there, back = (slit_ramp(784, BENCH_WIDTH_M, by, WAVELENGTH_M, FOCAL_LENGTH_M) for by in (3e-6, -3e-6))
    torch.testing.assert_close(there * back, torch.ones(784, dtype=torch.complex64))
    assert bool((slit_ramp(784, BENCH_WIDTH_M, 0.0, WAVELENGTH_M, FOCAL_LENGTH_M) == 1).all())


def test_at_the_first_zero_of_the_slit_plane_a_uniform_sum_is_dark():
    """First zero at lambda f / width: 26.6 um for the bench."""
    zero_m = WAVELENGTH_M * FOCAL_LENGTH_M / BENCH_WIDTH_M
    assert zero_m == pytest.approx(26.6e-6, rel=1e-3)
    dark = slit_ramp(784, BENCH_WIDTH_M, zero_m, WAVELENGTH_M, FOCAL_LENGTH_M).mean()
    assert abs(complex(dark)) < 1e-5
    half = slit_ramp(784, BENCH_WIDTH_M, zero_m / 2, WAVELENGTH_M, FOCAL_LENGTH_M).mean()
    assert abs(complex(half)) == pytest.approx(2 / math.pi, rel=1e-3)


# ---- the slit's width


@pytest.mark.parametrize(("half_width", "share"), [(0.27, 0.499), (0.30, 0.546)])
def test_the_slit_passes_the_published_power(half_width: float, share: float):
    zero_m = slit_first_zero(WAVELENGTH_M, FOCAL_LENGTH_M, BENCH_WIDTH_M)
    width_m = 2 * half_width * zero_m
    assert slit_power(width_m, zero_m) == pytest.approx(share, abs=1.5e-3)  # 0.30 gives 0.5448


@pytest.mark.parametrize("half_width", [1e-3, 0.1, 0.27, 1.0, 2.5, 3.18, 3.19, 6.36, 6.37, 10.0, 40.0])
def test_power_is_the_integral_of_the_sinc_field(half_width: float):
    x = (np.arange(200_000) + 0.5) / 200_000 * half_width
    assert slit_power(2 * half_width, 1.0) == pytest.approx(2 * half_width * np.mean(np.sinc(x) ** 2), abs=1e-5)


def test_a_wide_slit_passes_all_power_and_a_narrow_one_its_share():
    assert slit_power(1e5, 1.0) == pytest.approx(1, abs=1e-4)
    assert slit_power(1e-6, 1.0) == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize(("focal_length_m", "zero_m"), [(0.2, 10.6e-6), (0.5, 26.6e-6), (1.0, 53.2e-6)])
def test_the_first_zero_of_the_bench_is_the_tabulated_one(focal_length_m: float, zero_m: float):
    assert slit_first_zero(WAVELENGTH_M, focal_length_m, BENCH_WIDTH_M) == pytest.approx(zero_m, rel=5e-3)
