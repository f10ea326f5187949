"""A 2f lens against closed forms, the Fourier sum written out, and its own way back."""

import math

import numpy as np
import pytest
import torch
from scipy.special import j1
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.grid import Grid
from labctl.optics.imaging.lens import EVERY, Lens, Zoom, alternation, focus, intensity, panel_field, zoom

PITCH_M, FOCAL_LENGTH_M, WAVELENGTH_M = 8e-6, 0.2, 532e-9
SHAPE = 24, 40


def lens_of(shape: tuple[int, int]) -> Lens:
    return Lens(Grid(shape, PITCH_M), FOCAL_LENGTH_M, WAVELENGTH_M)


LENS = lens_of(SHAPE)
FINE = Grid((15, 22), LENS.bin_m[1] / 3)
ASIDE_M = 2.3e-4, -4.1e-4


def random_field(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fourier_sum(field: Tensor, y_m: Tensor, x_m: Tensor) -> Tensor:
    """Return the plain double sum of a field that is not alternated, at (y, x) of the focal plane."""
    rows, cols = ((torch.arange(n) - n // 2).double() * PITCH_M for n in field.shape)
    reach = WAVELENGTH_M * FOCAL_LENGTH_M
    along_y = torch.polar(torch.ones(len(y_m), len(rows)).double(), -2 * math.pi * torch.outer(y_m, rows) / reach)
    along_x = torch.polar(torch.ones(len(cols), len(x_m)).double(), -2 * math.pi * torch.outer(cols, x_m) / reach)
    return along_y @ field @ along_x


def samples_m(count: int, pitch_m: float, centre_m: float = 0.0) -> Tensor:
    return (torch.arange(count) - count // 2).double() * pitch_m + centre_m


def ideal_zoom(dtype: torch.dtype = torch.complex128) -> Zoom:
    return zoom(LENS, FINE, ASIDE_M, dtype=dtype)


def test_focal_plane_is_the_fourier_sum_at_its_bins():
    field = random_field(*SHAPE)
    y_m, x_m = (samples_m(n, pitch) for n, pitch in zip(SHAPE, LENS.bin_m, strict=True))
    expected = fourier_sum(field, y_m, x_m) / math.prod(SHAPE) ** 0.5
    found = focus(field * alternation(SHAPE)) * alternation(SHAPE)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "error"), [(torch.complex64, 3e-6), (torch.complex128, 1e-12)])
def test_zoomed_window_is_the_fourier_sum_at_its_samples(dtype: torch.dtype, error: float):
    field = random_field(*SHAPE)
    y_m, x_m = (samples_m(n, FINE.pitch_m, c) for n, c in zip(FINE.shape, ASIDE_M, strict=True))
    scale = PITCH_M * FINE.pitch_m / (WAVELENGTH_M * FOCAL_LENGTH_M)
    expected = fourier_sum(field, y_m, x_m) * scale
    found = ideal_zoom(dtype).forward((field * alternation(SHAPE)).to(dtype))
    assert (found - expected).norm() < error * expected.norm()


def test_window_of_the_lens_own_bins_is_its_focal_plane():
    square = lens_of((32, 32))
    field = random_field(32, 32)
    whole = zoom(square, Grid((32, 32), square.bin_m[0]), dtype=torch.complex128)
    torch.testing.assert_close(whole.forward(field), focus(field) * alternation((32, 32)))


def test_no_power_is_lost():
    """|field|^2 is the power in a sample, in both planes, and a window holds its share of it whatever its pitch."""
    field = random_field(3, *SHAPE)
    assert intensity(focus(field)).sum() == pytest.approx(float(intensity(field).sum()), rel=1e-12)
    smooth = torch.outer(*(torch.exp(-(samples_m(n, 0.2) ** 2)) for n in SHAPE)) * alternation(SHAPE)
    part = zoom(LENS, Grid((120, 120), LENS.reach_m / 121), dtype=torch.complex128)
    assert intensity(part.forward(smooth.to(torch.complex128))).sum() == pytest.approx(
        float(smooth.square().sum()), rel=1e-3
    )


@pytest.mark.parametrize(("rows", "cols"), [(slice(3, 11), slice(17, 30)), (EVERY, slice(5)), (slice(20, None), EVERY)])
def test_region_of_interest_is_part_of_the_focal_plane(rows: slice, cols: slice):
    field = random_field(2, *SHAPE)
    torch.testing.assert_close(focus(field, rows, cols), focus(field)[..., rows, cols])


def test_light_goes_back_as_it_came():
    """Reciprocity: what arrives at b from a is what arrives at a from b; no conjugate is taken."""
    here, there = random_field(*SHAPE), random_field(*SHAPE, seed=1)
    torch.testing.assert_close((focus(here) * there).sum(), (here * focus(there)).sum())
    seen = random_field(*FINE.shape, seed=2)
    forth, back = (ideal_zoom().forward(here) * seen).sum(), (here * ideal_zoom().backward(seen)).sum()
    torch.testing.assert_close(forth, back)


def test_light_sums():
    one, other = random_field(*SHAPE), random_field(*SHAPE, seed=1)
    for element in (focus, ideal_zoom().forward):
        torch.testing.assert_close(element(one + 2j * other), element(one) + 2j * element(other))


def test_gradients_pass():
    field = random_field(4, 6).requires_grad_()
    small = lens_of((4, 6))
    window = zoom(small, Grid((3, 3), small.bin_m[1] / 2), dtype=torch.complex128)
    seen = random_field(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: intensity(focus(u, slice(1, 3))), field)
    assert torch.autograd.gradcheck(lambda u: intensity(window.forward(u)), field)
    assert torch.autograd.gradcheck(window.backward, seen)


def test_gaussian_beam_focuses_to_the_waist_of_the_closed_form():
    """A waist w in the front focal plane has its image waist, lambda f / (pi w), in the back one."""
    shape, waist_m = (256, 256), 0.25e-3
    y_m, x_m = (samples_m(n, PITCH_M) for n in shape)
    beam = torch.exp(-(y_m[:, None] ** 2 + x_m**2) / waist_m**2) * alternation(shape)
    fine = Grid((61, 61), 6e-6)
    spot = intensity(zoom(lens_of(shape), fine, dtype=torch.complex128).forward(beam.to(torch.complex128)))
    radius_m = WAVELENGTH_M * FOCAL_LENGTH_M / (math.pi * waist_m)
    y_m, x_m = (samples_m(n, fine.pitch_m) for n in fine.shape)
    expected = torch.exp(-2 * (y_m[:, None] ** 2 + x_m**2) / radius_m**2)
    torch.testing.assert_close(spot / spot.max(), expected, atol=1e-6, rtol=0)


def test_round_aperture_makes_an_airy_disc():
    """To 0.2 % of the peak: the aperture's edge is 200 staircase pixels round."""
    shape, radius = (512, 512), 200
    y, x = (samples_m(n, 1.0) for n in shape)
    disc = (y[:, None] ** 2 + x**2 < radius**2) * alternation(shape)
    fine = Grid((81, 81), 4e-6)
    spot = intensity(zoom(lens_of(shape), fine, dtype=torch.complex128).forward(disc.to(torch.complex128)))
    y_m, x_m = (samples_m(n, fine.pitch_m).numpy() for n in fine.shape)
    v = 2 * np.pi * radius * PITCH_M * np.hypot(y_m[:, None], x_m) / (WAVELENGTH_M * FOCAL_LENGTH_M)
    airy = np.square(np.divide(2 * j1(v), v, out=np.ones_like(v), where=v > 0))
    assert (spot / spot.max()).numpy() == pytest.approx(airy, abs=2e-3)


def test_a_blazed_frame_lights_the_order_its_period_asks_for():
    """Grey levels 0 to 255 over 8 columns: the first order, an eighth of the reach to the right of the axis."""
    frame = np.tile(np.arange(0, 256, 32, dtype=np.uint8), (16, 8))
    response = torch.from_numpy(np.exp(2j * np.pi * np.arange(256) / 256).astype(np.complex64))
    source = alternation(frame.shape).to(torch.complex64)
    spots = intensity(focus(panel_field(frame, response, source)))
    assert spots.argmax() == 16 // 2 * 64 + 64 // 2 + 64 // 8
    assert spots.max() == pytest.approx(frame.size, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_panel_field_is_every_levels_response_times_the_source(dtype: type[np.unsignedinteger]):
    frame = np.arange(12, dtype=dtype).reshape(2, 2, 3)
    response, source = random_field(12), random_field(2, 3, seed=1)
    torch.testing.assert_close(panel_field(frame, response, source), response.view(2, 2, 3) * source)


def test_a_level_without_response_is_refused():
    with pytest.raises(ConfigError, match="level 12: the response knows levels 0 to 9"):
        panel_field(np.array([[12]], np.uint16), random_field(10), random_field(1, 1))


@pytest.mark.parametrize("shape", [(5, 8), (8, 0)])
def test_a_panel_of_odd_sides_is_refused(shape: tuple[int, int]):
    with pytest.raises(ConfigError, match="pad it to even rows and columns"):
        lens_of(shape)


def test_a_lens_without_length_is_refused():
    with pytest.raises(ConfigError, match="give lengths above 0"):
        Lens(Grid(SHAPE, PITCH_M), 0.0, WAVELENGTH_M)


@pytest.mark.parametrize(("pitch_m", "aside_m"), [(-1e-6, 0.0), (1e-3, 0.0), (1e-6, 7e-3)])
def test_a_window_beyond_the_panels_reach_is_refused(pitch_m: float, aside_m: float):
    with pytest.raises(ConfigError, match="smaller window, or nearer the axis"):
        zoom(LENS, Grid((20, 20), pitch_m), (0.0, aside_m))
