"""Apertures: the share of each sample's pixel that lets light through, so that edges fall between samples."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.grid import Grid

FINER = 16
"""Points per pixel and axis at which a circle is looked at; the area of a circle 10 pixels wide is right to 0.1 %."""


def circular(grid: Grid, diameter_m: float) -> Tensor:
    """Return the transmission of a centred round hole, 0 to 1, float32 (rows, cols).

    Raises:
        ConfigError: The diameter is not above 0.
    """
    _check("diameter", diameter_m)
    fine = Grid((grid.shape[0] * FINER, grid.shape[1] * FINER), grid.pitch_m / FINER)
    y, x = fine.coordinates_m()
    inside = (y**2 + x**2 <= diameter_m**2 / 4).reshape(grid.shape[0], FINER, grid.shape[1], FINER)
    return torch.from_numpy(inside.mean(axis=(1, 3), dtype=np.float32))


def rectangular(grid: Grid, height_m: float, width_m: float) -> Tensor:
    """Return the transmission of a centred hole with straight edges, 0 to 1, float32 (rows, cols).

    Raises:
        ConfigError: A side is not above 0.
    """
    y, x = grid.coordinates_m()
    return torch.from_numpy((_open(y, height_m, grid.pitch_m) * _open(x, width_m, grid.pitch_m)).astype(np.float32))


def _open(position_m: NDArray[np.float64], size_m: float, pitch_m: float) -> NDArray[np.float64]:
    """Return how much of each pixel along one axis lies within a centred opening."""
    _check("side", size_m)
    return np.clip((size_m / 2 - np.abs(position_m)) / pitch_m + 0.5, 0, np.minimum(1, size_m / pitch_m))


def _check(name: str, size_m: float) -> None:
    if not 0 < size_m < float("inf"):
        raise ConfigError(f"aperture: {name} is {size_m!r} m; give a finite number above 0")
