"""Light between a panel of blocks and a camera: the order stop along the rows, the slit across the columns.

Along y a 4f system images the panel through a stop that passes the carrier's first order (reference-benches section 1:
a stop between f_y2 and f_y3). Along x a cylindrical lens transforms the columns onto the slit, whose image covers the
camera pixels of a mode.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.optics.multiplier.fringing import SUBPIXELS

Complex = NDArray[Any]

ORDER_STOP = 0.5
"""Half-width of the order stop in spacings of the carrier's orders: halfway to the unmodulated light."""

READ_HEIGHT = 0.7
"""Part of a row's image that its camera pixels cover, centred. The stop blurs the rows' images into each other: reading
all of it mixes 5 % of a neighbour's field in where a block is two carrier periods high, reading 0.7 less than 0.5 %."""

STOP_SAMPLES = 2048
"""Spatial frequencies inside the stop; 4096 change no kernel by more than 1e-6."""


def order_kernels(rows: int, period: int, reach: int) -> Complex:
    """Return how the light of each sub-pixel of a block arrives at the pixels of the block `reach` rows up to down.

    A uniform first order over many blocks sums to 1. With a stop this narrow part of a block's light lands on its
    neighbours, and what is left of the other orders, whose images the block's edges widen, gets through.

    Args:
        rows: Panel pixels of a block along the carrier.
        period: Carrier period in pixels; it divides `rows`.
        reach: Blocks to each side.

    Returns:
        Shape (2 reach + 1, rows SUBPIXELS): weights of a block's sub-pixels at the block `reach - k` rows further, so
        that block i receives `kernels[k]` of block i + k - reach.
    """
    half_width = ORDER_STOP / period
    frequency = half_width * ((np.arange(STOP_SAMPLES) + 0.5) / STOP_SAMPLES * 2 - 1)
    passed = np.sinc(frequency * rows * READ_HEIGHT) * (2 * half_width / STOP_SAMPLES)
    place = (np.arange((2 * reach + 1) * rows * SUBPIXELS) + 0.5) / SUBPIXELS
    spread = np.cos(2 * np.pi * np.outer(place - (2 * reach + 1) * rows / 2, frequency)) @ passed / SUBPIXELS
    carrier = np.exp(-2j * np.pi * place / period)
    return np.asarray(spread * carrier).reshape(2 * reach + 1, -1)


def column_centres_m(columns: int, width_m: float) -> NDArray[np.float64]:
    """Return the centres of `columns` columns that together are `width_m` wide, from the optical axis."""
    return ((np.arange(columns) + 0.5) / columns - 0.5) * width_m


def slit_field(
    x_m: NDArray[np.float64], slit_m: float, pixels: int, wavelength_m: float, focal_length_m: float
) -> Complex:
    """Return the mean field over each part of the slit of light from `x_m` on the panel, 1 from the axis.

    Light from x arrives as the plane wave exp(-2 pi i x x' / (wavelength f)) over the slit's coordinate x'.

    Args:
        x_m: Places on the panel, any count.
        slit_m: Full slit width.
        pixels: Camera pixels that the slit's image covers.
        wavelength_m: Wavelength.
        focal_length_m: Lens between panel and slit.

    Returns:
        Shape (pixels, len(x_m)).
    """
    part_m = slit_m / pixels
    at_m = (np.arange(pixels) - (pixels - 1) / 2) * part_m
    turns = x_m / (wavelength_m * focal_length_m)
    return np.exp(-2j * np.pi * np.outer(at_m, turns)) * np.sinc(part_m * turns)


def slit_columns(columns: int, half_width: float) -> NDArray[np.float64]:
    """Return the field each column leaves in the slit against the mean of all, shape (columns,).

    Columns far from the axis arrive with a phase that turns across the slit, and their mean over it is smaller: by
    sinc(2 u x / W) for a slit of half-width u first zeros of the whole panel's sinc, W wide. At u = 0.27, where half
    the power passes, the edge has 8 % less than the mean.

    Args:
        columns: Columns of the panel.
        half_width: Half-width u of the slit in first zeros, wavelength f / W.
    """
    field = np.sinc(2 * half_width * column_centres_m(columns, 1.0))
    return field / field.mean()
