"""Order stop, slit and blur as the optics they stand for."""

import math

import numpy as np
import pytest
import torch

from labctl.bench import load_bench
from labctl.optics.multiplier.fringing import SUBPIXELS, blur_reach, blurred_phase
from labctl.optics.multiplier.slit import column_centres_m, order_kernels, slit_columns, slit_field
from labctl.optics.multiplier.slit_multiplier import slit_first_zero, slit_half_width, slit_power
from tests.conftest import SMALL_BENCH

BLOCKS = [(16, 8), (40, 8), (32, 16)]


@pytest.mark.parametrize(("rows", "period"), BLOCKS)
def test_the_stop_passes_the_carriers_order_and_blocks_a_flat_panel(rows: int, period: int):
    kernels = order_kernels(rows, period, 40)
    place = (np.arange(kernels.size) + 0.5) / SUBPIXELS
    order = np.exp(2j * np.pi * place / period).reshape(kernels.shape)
    assert abs((kernels * order).sum() - 1) < 2e-3
    assert abs(kernels.sum()) < 2e-3  # order 0
    assert abs((kernels * order**2).sum()) < 2e-3
    assert abs((kernels / order).sum()) < 2e-3  # order -1


@pytest.mark.parametrize(("rows", "period"), BLOCKS)
def test_a_row_sends_little_of_its_order_to_its_neighbours(rows: int, period: int):
    kernels = order_kernels(rows, period, 2)
    order = np.exp(2j * np.pi * (np.arange(kernels.size) + 0.5) / SUBPIXELS / period).reshape(kernels.shape)
    to = (kernels * order).sum(axis=1)
    assert abs(to[2] - 1) < 0.05
    assert np.abs(to[[0, 1, 3, 4]]).max() < 0.01


@pytest.mark.parametrize("pixels", [1, 5, 15])
def test_the_slits_pixels_together_see_the_sinc_of_a_column(pixels: int):
    x = column_centres_m(38, 711e-6)
    field = slit_field(x, 296e-6, pixels, 780.24e-9, 0.5)
    np.testing.assert_allclose(field.mean(axis=0), np.sinc(x * 296e-6 / (780.24e-9 * 0.5)), atol=1e-12)
    assert np.abs(field).max() <= 1


def test_columns_of_a_half_power_slit_lose_what_the_mean_field_says():
    u = slit_half_width(0.5)
    assert slit_power(2 * u, 1.0) == pytest.approx(0.5, abs=1e-9)
    columns = slit_columns(2001, u)
    assert columns.mean() == pytest.approx(1)
    assert columns.max() == pytest.approx(1 / np.mean(np.sinc(np.linspace(0, u, 1001))), rel=1e-3)
    assert columns.min() / columns.max() == pytest.approx(np.sinc(u), rel=1e-3)


@pytest.mark.parametrize("bench", ["vapour_cell", SMALL_BENCH, SMALL_BENCH.with_name("cell_32x16.yaml")])
def test_slit_efficiencies_of_benches_are_those_of_their_slits(bench: str):
    file = load_bench(bench)
    for stage in file.stages:
        multiply = stage.multiply
        width = stage.columns * multiply.block[1] * file.settings(multiply.device).pitch_m
        zero = slit_first_zero(file.laser.wavelength_m, multiply.focal_length_m, width)
        assert slit_power(multiply.slit_m, zero) == pytest.approx(multiply.slit_efficiency.value, rel=0.03)


@pytest.mark.parametrize("sigma_px", [0.0, 0.15, 0.6, 1.0])
def test_a_step_of_phase_is_blurred_by_a_gaussian_in_both_directions(sigma_px: float):
    reach = blur_reach(sigma_px)
    size = 12 + 2 * reach
    step = torch.zeros(size, size)
    step[:, size // 2 :] = 1.0
    at = (torch.arange(12 * SUBPIXELS) + 0.5) / SUBPIXELS - 6
    expected = torch.special.ndtr(at / sigma_px) if sigma_px else (at > 0).float()
    for one in (blurred_phase(step, sigma_px), blurred_phase(step.T.contiguous(), sigma_px).T):
        torch.testing.assert_close(one, expected.expand(len(at), -1), atol=1e-4, rtol=0)
    torch.testing.assert_close(blurred_phase(torch.full((size, size), math.pi), sigma_px).std(), torch.tensor(0.0))
