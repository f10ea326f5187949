"""A camera behind a lens against the Fourier sum at its own sub-pixels, and its registration against geometry."""

import math

import pytest
import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.grid import Grid
from labctl.optics.imaging.focal_image import FocalCamera, Registration
from labctl.optics.imaging.lens import Lens, alternation, intensity

PANEL = Grid((48, 80), 8e-6)
LENS = Lens(PANEL, 0.25, 532e-9)
CAMERA = Grid((40, 56), 70e-6)
TILTED = Registration(magnification=1.1, rotation_rad=0.05, shift=(3.3, -5.6), flip=(False, True))


def smooth_field(seed: int = 0) -> Tensor:
    """Return a random panel field that fades towards the panel's edge."""
    noise = torch.randn(PANEL.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)
    y, x = (torch.from_numpy(axis).float() for axis in PANEL.coordinates_m())
    return noise * torch.exp(-(y**2) / 1.2e-4**2 - x**2 / 2e-4**2)


def pixels_written_out(field: Tensor, registration: Registration, finer: int = 8) -> Tensor:
    """Return the power of every pixel, summed over finer^2 points of its own area."""
    rows, cols = ((torch.arange(finer * n) + 0.5).double() / finer - n / 2 for n in CAMERA.shape)
    points = torch.stack(torch.meshgrid(rows, cols, indexing="ij"), dim=-1).reshape(-1, 2)
    places = registration.places_m(points, CAMERA.pitch_m)
    y, x = ((torch.arange(n) - n // 2).double() * PANEL.pitch_m for n in PANEL.shape)
    reach = LENS.wavelength_m * LENS.focal_length_m
    down, right = (-2 * math.pi * torch.outer(p, q) / reach for p, q in zip(places.T, (y, x), strict=True))
    along_y, along_x = (torch.polar(torch.ones_like(turns), turns) for turns in (down, right))
    arriving = torch.einsum("pr,rc,pc->p", along_y, field.to(torch.complex128), along_x)
    area = (PANEL.pitch_m * CAMERA.pitch_m / registration.magnification / finer / reach) ** 2
    power = intensity(arriving).reshape(CAMERA.shape[0], finer, CAMERA.shape[1], finer) * area
    return power.sum(dim=(1, 3))


@pytest.mark.parametrize("registration", [Registration(), TILTED], ids=["straight", "tilted"])
def test_pixels_hold_the_power_on_their_area(registration: Registration):
    """To 2 % of the brightest: speckles here are 4 and 2.4 pixels wide."""
    field = smooth_field()
    expected = pixels_written_out(field, registration)
    found = FocalCamera(LENS, CAMERA, registration).image(field * alternation(PANEL.shape))
    assert float((found - expected).abs().max()) < 0.02 * float(expected.max())
    assert found.sum() == pytest.approx(float(expected.sum()), rel=2e-3)


def spot(registration: Registration, right: int, down: int) -> tuple[float, float]:
    """Return the centre of mass, from the camera's centre, of a spot sent some bins right and down of the axis."""
    y, x = (torch.arange(n) for n in PANEL.shape)
    turns = 2 * math.pi * (down * y[:, None] / PANEL.shape[0] + right * x / PANEL.shape[1])
    tilt = torch.polar(torch.ones(PANEL.shape), turns)
    y, x = (torch.from_numpy(axis).float() for axis in PANEL.coordinates_m())
    beam = tilt * torch.exp(-(y**2) / 1e-4**2 - x**2 / 1.5e-4**2)
    image = FocalCamera(LENS, CAMERA, registration).image(beam * alternation(PANEL.shape))
    image = image / image.sum()
    rows, cols = (torch.arange(n) - (n - 1) / 2 for n in CAMERA.shape)
    return float((image.sum(dim=1) * rows).sum()), float((image.sum(dim=0) * cols).sum())


def test_a_spot_lands_where_the_registration_says():
    """Two bins to the right and one up, on a camera that is shifted, turned, flipped and magnified."""
    down_m, right_m = -LENS.bin_m[0], 2 * LENS.bin_m[1]
    found = torch.tensor(spot(TILTED, 2, -1), dtype=torch.float64)
    place = TILTED.places_m(found, CAMERA.pitch_m)
    assert place.tolist() == pytest.approx([down_m, right_m], abs=0.03 * CAMERA.pitch_m)


@pytest.mark.parametrize(
    ("registration", "expected"),
    [
        (Registration(), (3, 7)),
        (Registration(shift=(2, -1)), (5, 6)),
        (Registration(flip=(True, False)), (-3, 7)),
        (Registration(flip=(False, True)), (3, -7)),
        (Registration(magnification=2), (6, 14)),
        (Registration(rotation_rad=math.pi / 2), (-7, 3)),
        (Registration(magnification=2, rotation_rad=math.pi / 2, shift=(1, 0), flip=(True, False)), (-13, -6)),
    ],
    ids=str,
)
def test_registration_in_words(registration: Registration, expected: tuple[int, int]):
    """The image of a place 3 pixels down and 7 right is flipped, turned, magnified and shifted, in this order."""
    back = registration.places_m(torch.tensor(expected, dtype=torch.float64), 1.0)
    assert back.tolist() == pytest.approx([3, 7], abs=1e-12)


def test_many_fields_are_seen_at_once():
    fields = torch.stack([smooth_field(seed) for seed in range(3)]).reshape(3, 1, *PANEL.shape)
    camera = FocalCamera(LENS, CAMERA, TILTED)
    together = camera.image(fields)
    assert together.shape == (3, 1, *CAMERA.shape)
    torch.testing.assert_close(together[2, 0], camera.image(fields[2, 0]))


def test_gradients_reach_the_panel():
    camera = FocalCamera(LENS, Grid((5, 6), CAMERA.pitch_m), TILTED, dtype=torch.complex128)
    field = smooth_field().to(torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(camera.image, field, fast_mode=True)


def test_a_camera_that_looks_past_the_panels_reach_is_refused():
    with pytest.raises(ConfigError, match="smaller window"):
        FocalCamera(LENS, Grid((40, 56), 700e-6))


def test_a_magnification_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="one above 0"):
        Registration(magnification=0)
