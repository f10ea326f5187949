"""How far a sampled hop is from free space: light that runs past the padded window, and kernels too fast for the grid.

Both are estimated by rays. A wave of spatial frequency f moves sideways by what its angle makes of the distance, and of
the light of an evenly lit plane the share 1 - |move| / size still meets a plane of the same size. What of it meets that
plane only because the padded window is periodic, or is missing because its frequency was cut, is the error.
"""

import numpy as np
from numpy.typing import NDArray

from labctl.optics.grid import Grid

FREQUENCIES = 256
"""Samples of a quarter of the band per axis; with eight times as many, no estimate above 1 % changes by a fifth."""


def padded_error(
    grid: Grid, distance_m: float, wavelength_m: float, padding: int, *, fresnel: bool = False, band_limit: bool = False
) -> float:
    """Return the relative error of a random-phase field through a transfer function sampled on a padded window.

    Args:
        grid: Plane the light leaves and meets.
        distance_m: Distance of the planes, > 0.
        wavelength_m: Wavelength in the medium.
        padding: Window over plane, at least 2.
        fresnel: Whether waves move by wavelength * f * distance, as in the Fresnel approximation.
        band_limit: Whether frequencies beyond `band_limits_per_m` are cut.
    """
    fy, fx = _quarter_band(grid.pitch_m)
    axial = 1 / wavelength_m**2 - (0 if fresnel else 1) * (fx**2 + fy**2)  # (cos(angle) / wavelength)^2
    lit = axial > 0
    slope = distance_m / np.sqrt(np.where(lit, axial, np.inf))
    kept = lit
    ringing = 0.0
    if band_limit:
        limits = band_limits_per_m(grid, distance_m, wavelength_m, padding)
        kept = lit & (fy <= limits[0]) & (fx <= limits[1])
        ringing = max(_edge_ringing(*axis, padding, grid.pitch_m) for axis in zip(limits, grid.size_m, strict=True))
    true = found = np.ones(1)
    for frequency, size in zip((fy, fx), grid.size_m, strict=True):
        move = frequency * slope
        true = true * _shared(move, size)
        found = found * _shared(np.mod(move + padding * size / 2, padding * size) - padding * size / 2, size)
    arriving = (true * lit).sum()
    wrong = np.abs(found * kept - true * lit).sum()
    return float(np.sqrt(wrong / arriving + ringing)) if arriving > 0 else np.inf


def sampled_kernel_error(grid: Grid, distance_m: float, wavelength_m: float) -> float:
    """Return the relative error of a random-phase field through the Rayleigh-Sommerfeld kernel sampled on the grid.

    The share of light that the kernel carries over displacements where its fringes, of frequency sin(angle) /
    wavelength, are finer than two samples.
    """
    y, x = ((np.arange(FREQUENCIES) + 0.5) / FREQUENCIES * size for size in grid.size_m)
    y, x = y[:, None], x[None, :]
    radius = np.sqrt(y**2 + x**2 + distance_m**2)
    carried = _shared(y, grid.size_m[0]) * _shared(x, grid.size_m[1]) / radius**4  # |kernel|^2 far from the source
    fine = np.maximum(y, x) / radius / wavelength_m > 0.5 / grid.pitch_m
    return float(np.sqrt((carried * fine).sum() / carried.sum()))


def band_limits_per_m(grid: Grid, distance_m: float, wavelength_m: float, padding: int) -> tuple[float, float]:
    """Return the frequencies along y and x up to which a padded window resolves the angular spectrum.

    Matsushima and Shimobaba, Optics Express 17(22):19662, 2009, eq. 20: there waves move by half the window.
    """
    bins = (1 / (padding * size) for size in grid.size_m)
    limit_y, limit_x = (1 / (wavelength_m * np.hypot(2 * width * distance_m, 1)) for width in bins)
    return float(limit_y), float(limit_x)


def _edge_ringing(limit_per_m: float, size_m: float, padding: int, pitch_m: float) -> float:
    """Return the share of light that a band cut at `limit_per_m` scatters: one over the bins it holds, as measured."""
    return 1 / (limit_per_m * padding * size_m) if limit_per_m < 0.5 / pitch_m else 0.0


def _quarter_band(pitch_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positive frequencies (FREQUENCIES, 1) and (1, FREQUENCIES) up to the grid's limit."""
    frequency = (np.arange(FREQUENCIES) + 0.5) / FREQUENCIES * (0.5 / pitch_m)
    return frequency[:, None], frequency[None, :]


def _shared(move: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """Return the share of a plane's width that meets itself when moved sideways."""
    return np.maximum(1 - np.abs(move) / size, 0.0)
