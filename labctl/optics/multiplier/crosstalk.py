"""What a row of blocks receives of other rows through the order stop, and what their common borders add."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.optics.multiplier.fringing import SUBPIXELS, blur_kernel
from labctl.optics.multiplier.slit import Complex, order_kernels

ROW_REACH = 4
"""Rows to each side whose light is counted; all further ones together send less than 0.3 % of theirs."""


@dataclass(frozen=True)
class RowResponse:
    """The field of a block through the order stop, by what it and the blocks of its column show.

    Args:
        order: Weights of a block's own sub-pixels along the carrier, shape (sub-pixels,).
        far: Field that a block sends to the row `ROW_REACH - k` further, shape (2 ROW_REACH + 1, indices); its own
            row's entry is 0, that light depends on neighbouring columns as well.
        own_unmodulated: What of its own unmodulated light gets through.
        further: Field of all rows beyond the reach, when they show what the last index does.
        above: What the blurred border to the block above changes, by the own and that block's index.
        below: The same for the block below.
    """

    order: Complex
    far: Complex
    own_unmodulated: complex
    further: complex
    above: Complex
    below: Complex


def row_response(
    tiles: NDArray[np.uint16], bit_depth: int, period: int, fringing_px: float, unmodulated: complex = 0.0
) -> RowResponse:
    """Return how blocks of one column add up in one row's reading.

    Args:
        tiles: Blazed tiles (indices, rows, 1), the last of which is flat.
        bit_depth: Panel bits; 2^bits levels are one wavelength.
        period: Carrier period in pixels.
        fringing_px: Gaussian sigma of the blur in pixels.
        unmodulated: Field that every pixel reflects whatever it shows, over what it modulates.
    """
    kernels = order_kernels(tiles.shape[1], period, ROW_REACH)
    phase = tiles[:, :, 0] * (2 * np.pi / 2**bit_depth)
    shares = _blur_matrix(tiles.shape[1], fringing_px)
    rows = tiles.shape[1]
    # a block among its like: every sub-pixel sees the block itself before, here and behind
    alone = np.exp(1j * phase @ (shares[:, :rows] + shares[:, rows : 2 * rows] + shares[:, 2 * rows :]).T)
    flat = unmodulated * kernels.sum(axis=1)
    far = kernels @ alone.T + flat[:, None]
    further = -complex(far[:, -1].sum())  # a flat panel sends nothing into the order
    far[ROW_REACH] = 0
    touched = blur_kernel(fringing_px).shape[1] // 2 * SUBPIXELS
    before, here, after = kernels[ROW_REACH - 1], kernels[ROW_REACH], kernels[ROW_REACH + 1]
    above = _border(phase, shares, alone, before[-touched:], here[:touched]).T
    below = _border(phase, shares, alone, here[-touched:], after[:touched])
    return RowResponse(here, far, complex(flat[ROW_REACH]), further, above, below)


def order_fields(levels: NDArray[np.integer], bit_depth: int, period: int, reach: int) -> Complex:
    """Return what blocks (n, rows, cols) of panel levels send to the rows around them, shape (n, 2 reach + 1).

    Without fringing; order as in `labctl.optics.multiplier.slit.order_kernels`.
    """
    light = np.repeat(np.exp(1j * (2 * np.pi / 2**bit_depth) * levels).mean(axis=2), SUBPIXELS, axis=1)
    return light @ order_kernels(levels.shape[1], period, reach).T


def _blur_matrix(rows: int, fringing_px: float) -> NDArray[np.float64]:
    """Return the share of each of 3 rows pixels, the middle third its own block, at a block's sub-pixels."""
    kernel = blur_kernel(fringing_px)
    reach = kernel.shape[1] // 2
    shares = np.zeros((rows * SUBPIXELS, 3 * rows))
    for row in range(rows):
        first = rows + row - reach
        shares[row * SUBPIXELS : (row + 1) * SUBPIXELS, first : first + kernel.shape[1]] = kernel
    return shares


def _border(
    phase: NDArray[np.float64], shares: NDArray[np.float64], alone: Complex, upper: Complex, lower: Complex
) -> Complex:
    """Return the light at the border of two blocks less that of both among their like, (upper index, lower index).

    Args:
        phase: Phase of every index, shape (indices, rows).
        shares: From `_blur_matrix`.
        alone: Field of every index among its like, shape (indices, sub-pixels).
        upper: Weights of the last sub-pixels of the upper block.
        lower: Weights of the first sub-pixels of the lower block.
    """
    rows, touched = phase.shape[1], len(upper)
    end, start = shares[-touched:], shares[:touched]

    def field(part: NDArray[np.float64]) -> Complex:
        return np.exp(1j * phase @ part.T)

    # each sub-pixel's phase is one block's share plus the other's, so that its field is a product of two
    above = (field(end[:, :rows] + end[:, rows : 2 * rows]) * upper) @ field(end[:, 2 * rows :]).T
    below = field(start[:, :rows]) @ (field(start[:, rows : 2 * rows] + start[:, 2 * rows :]) * lower).T
    return above + below - (alone[:, -touched:] @ upper)[:, None] - (alone[:, :touched] @ lower)[None, :]
