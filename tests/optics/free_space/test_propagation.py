"""Free space: closed forms, conservation laws, the padding a transfer function stands for, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.free_space.aperture import circular
from labctl.optics.free_space.propagation import METHODS, Hop, Method, propagate, transfer_function
from labctl.optics.grid import Grid

PAIRED = Hop(Grid((200, 200), 0.4e-3), distance_m=30e-3, wavelength_m=0.75e-3)
"""The published plates at 0.4 THz."""

VISIBLE = Hop(Grid((64, 48), 8e-6), distance_m=3e-3, wavelength_m=532e-9)

every_method = pytest.mark.parametrize("method", METHODS)


def speckle(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Gaussian random fields: they fill the whole band of a grid."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def exact(hop: Hop) -> Tensor:
    return transfer_function(hop, dtype=torch.complex128)


def relative(found: Tensor, expected: Tensor) -> float:
    return float(torch.linalg.norm(found - expected) / torch.linalg.norm(expected))


def padded(field: Tensor, hop: Hop) -> Tensor:
    """The plain way: the field in the middle of a window `padding` times as large, and back."""
    rows, cols = hop.grid.shape
    fy, fx = (torch.from_numpy(f) for f in hop.grid.frequencies_per_m(hop.padding))
    axial = torch.sqrt((1 / hop.wavelength_m**2 - fy**2 - fx**2).to(torch.complex128))
    response = torch.exp(2j * math.pi * hop.distance_m * axial)
    spectrum = torch.fft.fft2(field, s=(hop.padding * rows, hop.padding * cols))
    return torch.fft.ifft2(spectrum * response)[..., :rows, :cols]


@pytest.mark.parametrize("padding", [2, 3, 6])
@pytest.mark.parametrize("shape", [(32, 32), (24, 45), (33, 20)])
def test_a_transform_of_twice_the_grid_returns_what_the_large_padding_returns(shape: tuple[int, int], padding: int):
    hop = Hop(Grid(shape, 0.4e-3), 3e-3, 0.75e-3, padding=padding)
    field = speckle(2, *shape)
    assert relative(propagate(field, exact(hop)), padded(field, hop)) < 1e-12


def test_single_precision_loses_only_its_own_rounding():
    field = speckle(*VISIBLE.grid.shape)
    found = propagate(field.to(torch.complex64), transfer_function(VISIBLE))
    assert found.dtype == torch.complex64
    assert relative(found.to(torch.complex128), propagate(field, exact(VISIBLE))) < 5e-7


@pytest.mark.parametrize("padding", [2, 3, 5])
def test_the_stated_error_of_a_padding_is_what_random_light_shows(padding: int):
    hop = replace(PAIRED, padding=padding)
    field = speckle(*hop.grid.shape)
    error = relative(propagate(field, exact(hop)), propagate(field, exact(replace(hop, padding=20))))
    assert error == pytest.approx(hop.field_error, rel=0.2)


def test_free_space_keeps_the_power_of_light_that_stays_inside():
    y, x = (torch.from_numpy(a) for a in VISIBLE.grid.coordinates_m())
    field = torch.exp(-(y**2 + x**2) / (40e-6) ** 2).to(torch.complex128)
    before, after = (float((f.abs() ** 2).sum()) for f in (field, propagate(field, exact(VISIBLE))))
    assert after == pytest.approx(before, rel=1e-6)


@every_method
def test_light_sees_the_same_space_both_ways(method: Method):
    """What one point sends to another, that one sends back: sum(a P(b)) = sum(P(a) b), nothing conjugated."""
    transfer = exact(replace(VISIBLE, method=method, distance_m=20e-3))
    one, other = speckle(2, *VISIBLE.grid.shape)
    there, back = (one * propagate(other, transfer)).sum(), (propagate(one, transfer) * other).sum()
    assert abs(complex(there - back)) < 1e-12 * float(torch.linalg.norm(one)) ** 2


@every_method
def test_fields_superpose(method: Method):
    transfer = exact(replace(VISIBLE, method=method, distance_m=20e-3))
    one, other = speckle(2, *VISIBLE.grid.shape)
    together = propagate((2 - 1j) * one + 3j * other, transfer)
    assert relative(together, (2 - 1j) * propagate(one, transfer) + 3j * propagate(other, transfer)) < 1e-12


@every_method
def test_a_gaussian_beam_spreads_as_its_closed_form_says(method: Method):
    """Paraxial beam of 60 um waist over 20 mm, nearly a Rayleigh length, phase included."""
    waist, distance = 60e-6, 20e-3
    hop = replace(VISIBLE, grid=Grid((96, 80), 8e-6), method=method, distance_m=distance)
    y, x = (torch.from_numpy(a) for a in hop.grid.coordinates_m())
    found = propagate(torch.exp(-(y**2 + x**2) / waist**2).to(torch.complex128), exact(hop))
    q = 1 + 1j * distance * hop.wavelength_m / (math.pi * waist**2)
    expected = torch.exp(-(y**2 + x**2) / (waist**2 * q)) / q * np.exp(2j * math.pi * distance / hop.wavelength_m)
    assert relative(found, expected) < 1e-3


@pytest.mark.parametrize("method", ["angular_spectrum", "band_limited", "fresnel"])
def test_a_focused_aperture_makes_airy_rings(method: Method):
    """A circular aperture of 0.6 mm behind a lens of 60 mm: |2 J1(v) / v|^2, zero at 1.22 wavelength f / diameter."""
    focal, diameter, wavelength = 60e-3, 0.6e-3, 532e-9
    grid = Grid((256, 256), 4e-6)
    y, x = (torch.from_numpy(a) for a in grid.coordinates_m())
    lens = torch.exp(-1j * math.pi / (wavelength * focal) * (y**2 + x**2))
    pupil = circular(grid, diameter)
    focus = propagate(lens * pupil, exact(Hop(grid, focal, wavelength, method=method, padding=10)))
    v = np.pi * diameter / (wavelength * focal) * np.hypot(y.numpy(), x.numpy())
    airy = (2 * scipy.special.j1(v) / v) ** 2
    peak = (math.pi * diameter**2 / 4 / (wavelength * focal)) ** 2
    near = v < 12  # three dark rings
    assert np.abs(focus.abs().numpy() ** 2 / peak - airy)[near].max() < 5e-3


def test_the_methods_agree_where_all_of_them_hold():
    hop = replace(VISIBLE, grid=Grid((128, 128), 8e-6), distance_m=60e-3, padding=12)
    y, x = (torch.from_numpy(a) for a in hop.grid.coordinates_m())
    field = torch.exp(-((y - 50e-6) ** 2 + 2 * x**2) / (150e-6) ** 2).to(torch.complex128)
    fields = [propagate(field, exact(replace(hop, method=method))) for method in METHODS]
    for other in fields[1:]:
        assert relative(other, fields[0]) < 2e-3


def test_a_medium_shortens_the_wavelength():
    water = replace(VISIBLE, refractive_index=1.33)
    assert torch.equal(exact(water), exact(replace(VISIBLE, wavelength_m=VISIBLE.wavelength_m / 1.33)))


def test_several_wavelengths_travel_at_once():
    hops = [replace(VISIBLE, wavelength_m=wavelength) for wavelength in (450e-9, 532e-9, 633e-9)]
    fields = speckle(5, 3, *VISIBLE.grid.shape)
    together = propagate(fields, torch.stack([exact(hop) for hop in hops]))
    for number, hop in enumerate(hops):
        assert relative(together[:, number], propagate(fields[:, number], exact(hop))) < 1e-12


def test_the_field_is_differentiable():
    hop = Hop(Grid((4, 5), 8e-6), 1e-4, 532e-9)
    field = speckle(2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: propagate(f, exact(hop)), [field])


REFUSED = {
    "distance": ({"distance_m": 0.0}, "distance_m is 0.0"),
    "distance not a number": ({"distance_m": float("nan")}, "distance_m is nan"),
    "wavelength": ({"wavelength_m": -1.0}, "wavelength_m is -1.0"),
    "pitch": ({"grid": Grid((8, 8), 0.0)}, "pitch above 0"),
    "no samples": ({"grid": Grid((0, 8), 8e-6)}, "at least 1 row and column"),
    "method": ({"method": "fraunhofer"}, "use one of angular_spectrum"),
    "padding": ({"padding": 1}, "integer of at least 2"),
    "padding between": ({"padding": 2.5}, "integer of at least 2"),
    "too far for the window": ({"distance_m": 0.3}, "padding of at least 32"),
    "too far, other method": ({"distance_m": 0.3}, "method rayleigh_sommerfeld"),
    "too far, allowed": ({"distance_m": 0.3}, "a distance of at most about 0.049 m"),
    "too near for the kernel": ({"method": "rayleigh_sommerfeld"}, "take a pitch of at most 1.6e-06 m"),
    "too near, allowed": ({"method": "rayleigh_sommerfeld"}, "a distance of at least about 0.013 m"),
    "too near, other method": ({"method": "rayleigh_sommerfeld"}, "method angular_spectrum"),
    "too fine for Fresnel": ({"method": "fresnel", "grid": Grid((64, 48), 0.2e-6)}, "half the wavelength"),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_a_hop_that_cannot_be_computed_names_the_cure(change: dict[str, object], says: str):
    with pytest.raises(ConfigError, match=says):
        replace(VISIBLE, **change)  # pyright: ignore[reportArgumentType]


def test_a_field_of_another_grid_is_refused():
    with pytest.raises(ConfigError, match="64x64 samples meet a hop made for 64x48"):
        propagate(speckle(64, 64), exact(VISIBLE))
