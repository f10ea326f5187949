"""Apertures: their area, wherever the edge falls between samples."""

import math

import pytest
import torch

from labctl.errors import ConfigError
from labctl.optics.free_space.aperture import circular, rectangular
from labctl.optics.grid import Grid

GRID = Grid((40, 31), 8e-6)


@pytest.mark.parametrize("pixels", [10.0, 13.37, 22.5])
def test_a_circle_lets_its_area_through(pixels: float):
    area = float(circular(GRID, pixels * GRID.pitch_m).sum())
    assert area == pytest.approx(math.pi / 4 * pixels**2, rel=1e-3)


@pytest.mark.parametrize(("height", "width"), [(12.0, 9.0), (12.3, 7.7), (0.3, 0.2), (39.5, 30.5)])
def test_a_rectangle_lets_its_area_through(height: float, width: float):
    opening = rectangular(GRID, height * GRID.pitch_m, width * GRID.pitch_m)
    assert float(opening.sum()) == pytest.approx(height * width, rel=1e-6)
    assert float(opening.max()) <= 1


def test_apertures_are_centred():
    for opening in (circular(GRID, 100e-6), rectangular(GRID, 100e-6, 50e-6)):
        assert opening.shape == GRID.shape
        assert torch.equal(opening, opening.flip(0))
        assert torch.equal(opening, opening.flip(1))


def test_a_hole_without_a_size_is_refused():
    with pytest.raises(ConfigError, match="diameter is 0"):
        circular(GRID, 0)
    with pytest.raises(ConfigError, match="side is nan"):
        rectangular(GRID, 1e-4, math.nan)
