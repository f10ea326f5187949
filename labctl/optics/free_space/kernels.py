"""Kernels of free space in float64: transfer functions of spatial frequency, and impulse responses at the lags needed.

All are even along both axes, so that lags 0 to rows and 0 to cols, a quadrant, say everything.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from labctl.optics.grid import Grid

STRIP = 64
"""Rows or columns transformed at a time: what bounds the memory of a large padding."""


def angular_spectrum(fy: Tensor, fx: Tensor, distance_m: float, wavelength_m: float) -> Tensor:
    """Return exp(2 pi i z sqrt(1 / wavelength^2 - fy^2 - fx^2)); evanescent waves decay. Frequencies per metre."""
    axial = 1 / wavelength_m**2 - fy**2 - fx**2
    depth = 2 * math.pi * distance_m * axial.abs().sqrt()
    amplitude = torch.where(axial > 0, 1.0, torch.exp(-depth))
    return torch.polar(amplitude, torch.where(axial > 0, depth, 0.0))


def fresnel(fy: Tensor, fx: Tensor, distance_m: float, wavelength_m: float) -> Tensor:
    """Return exp(2 pi i z / wavelength) exp(-i pi wavelength z (fy^2 + fx^2)), the paraxial limit of the above."""
    phase = 2 * math.pi * distance_m / wavelength_m - math.pi * wavelength_m * distance_m * (fy**2 + fx**2)
    return torch.polar(torch.ones_like(phase), phase)


def rayleigh_sommerfeld(grid: Grid, distance_m: float, wavelength_m: float) -> Tensor:
    """Return the sampled kernel pitch^2 (z / r^2) (1 / (2 pi r) + 1 / (i wavelength)) exp(2 pi i r / wavelength).

    Shape (rows + 1, cols + 1): lags 0 to rows and 0 to cols. Lin et al., Science 361:1004, 2018, eq. 1.
    """
    y, x = (torch.arange(size + 1, dtype=torch.float64) * grid.pitch_m for size in grid.shape)
    radius = torch.sqrt(y[:, None] ** 2 + x[None, :] ** 2 + distance_m**2)
    wave = torch.polar(torch.ones_like(radius), 2 * math.pi * radius / wavelength_m)
    near = torch.complex(1 / (2 * math.pi * radius), torch.full_like(radius, -1 / wavelength_m))
    return grid.pitch_m**2 * distance_m / radius**2 * near * wave


def impulse_response(grid: Grid, padding: int, response: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the inverse transform, at lags 0 to rows and 0 to cols, of a response sampled on a padded window.

    Args:
        grid: The plane; the window is `padding` times as large.
        padding: At least 2.
        response: Transfer function of frequencies (rows, 1) and (1, cols), per metre, even along both axes.
    """
    fy, fx = (torch.from_numpy(np.ascontiguousarray(f)) for f in grid.frequencies_per_m(padding))
    padded_rows, (rows, cols) = len(fy), grid.shape
    half = padded_rows // 2 + 1  # the other rows mirror these
    by_row = torch.empty(half, cols + 1, dtype=torch.complex128)
    for start in range(0, half, STRIP):
        strip = slice(start, min(start + STRIP, half))
        by_row[strip] = torch.fft.ifft(response(fy[strip], fx))[:, : cols + 1]
    quadrant = torch.empty(rows + 1, cols + 1, dtype=torch.complex128)
    for start in range(0, cols + 1, STRIP):
        part = by_row[:, start : start + STRIP]
        whole = torch.cat([part, part[1 : padded_rows - half + 1].flip(0)])
        quadrant[:, start : start + STRIP] = torch.fft.ifft(whole, dim=0)[: rows + 1]
    return quadrant


def transfer(quadrant: Tensor) -> Tensor:
    """Return the transform of an impulse response at lags -rows to rows - 1 and -cols to cols - 1.

    Args:
        quadrant: The response at lags 0 to rows and 0 to cols.
    """
    for dim in (0, 1):
        last = quadrant.shape[dim] - 1
        negative = quadrant.narrow(dim, 1, last).flip(dim)
        quadrant = torch.cat([quadrant.narrow(dim, 0, last), negative], dim)
    return torch.fft.fft2(quadrant)
