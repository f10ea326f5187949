"""How modulators code values: tiles of mirrors or panel levels per codebook index, and the field each index gives.

Three codes serve a bench of amplitude modes (reference table of the vapour-cell bench; Lee, Progress in Optics
16:119, 1978, for binary carriers):

- mirror fraction: index k lights k of K-1 mirror rows, field k / (K-1) in the zero order;
- binary carrier: a fraction of the carrier's periods is on, the sign is a half-period shift, first order only;
- blazed carrier: a sawtooth along the rows of depth d (in wavelengths) has the first-order field sinc(1 - d),
  the sign is a half-period shift, and a stop keeps the unmodulated light out of the sum.

Signed codes of L levels have 2 L + 2 indices: 0 to 2 L for -1 to 1, and the last one for +i, the shifted pilot.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.optics.multiplier.fringing import SUBPIXELS

Complex = NDArray[Any]

DMD_LEVELS = 255
"""Rows of the mirror-fraction tile: 8-bit images are written exactly."""

WEIGHT_LEVELS = 255
"""Signed levels each way of a blazed carrier."""


def mirror_fraction_tiles(levels: int = DMD_LEVELS) -> NDArray[np.uint8]:
    """Return tiles (levels + 1, levels, 1) whose index is the number of ON mirrors, spread over the column."""
    rank = (np.arange(levels) * _coprime_step(levels)) % levels  # spreads the ON mirrors evenly
    return (rank[None, :] < np.arange(levels + 1)[:, None]).astype(np.uint8)[:, :, None]


def binary_carrier_tiles(rows: int, cols: int, period: int) -> NDArray[np.uint8]:
    """Return signed carrier tiles (2 L + 2, rows, cols), L = rows / period * cols periods to switch on.

    Args:
        rows: Tile rows, a multiple of `period`.
        cols: Tile columns.
        period: Carrier period in mirror rows, a multiple of 4.
    """
    if rows % period or period % 4:
        raise ValueError(f"a carrier of {period} rows needs a period that 4 divides and a tile it divides, got {rows}")
    levels = rows // period * cols
    rank = ((np.arange(levels) * _coprime_step(levels)) % levels).reshape(rows // period, 1, cols)
    row = np.arange(period)[None, :, None]

    def carrier(on_periods: int, shift: int) -> NDArray[np.uint8]:
        lit = (row - shift) % period < period // 2
        return ((rank < on_periods) & lit).astype(np.uint8).reshape(rows, cols)

    signed = [carrier(abs(k), period // 2 if k < 0 else 0) for k in range(-levels, levels + 1)]
    return np.stack([*signed, carrier(levels, -period // 4)])


def blazed_tiles(rows: int, period: int, bit_depth: int) -> NDArray[np.uint16]:
    """Return signed blazed tiles (2 L + 2, rows, 1) in panel levels of a panel that spans one wavelength.

    The depth of index k is chosen by the inverse sinc, so that the ideal first-order field is k / L - 1, L being
    `WEIGHT_LEVELS`.

    Args:
        rows: Tile rows, a multiple of `period`.
        period: Carrier period in pixels, a multiple of 4: half and quarter periods must be whole pixels, or the
            sampled sawtooth loses its phase at small depths.
        bit_depth: Panel bits.
    """
    if rows % period or period % 4:
        raise ValueError(f"a block of {rows} rows needs a carrier period that 4 divides and that divides it")
    signed = np.arange(-WEIGHT_LEVELS, WEIGHT_LEVELS + 1)
    depths, shifts = _inverse_sinc(np.abs(signed) / WEIGHT_LEVELS), np.where(signed < 0, 0.5, 0.0)
    depths, shifts = np.append(depths, 1.0), np.append(shifts, 0.25)
    place = ((np.arange(rows) + 0.5) / period + shifts[:, None]) % 1.0
    turns = 0.5 + depths[:, None] * (place - 0.5)  # centred, so the first order keeps its phase at every depth
    top = 2**bit_depth - 1
    return np.minimum(np.round(turns * 2**bit_depth), top).astype(np.uint16)[:, :, None]


def _inverse_sinc(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the depth d in 0..1 with sinc(1 - d) = field."""
    depth = np.linspace(0, 1, 20001)
    return np.interp(field, np.sinc(1 - depth), depth)


def _coprime_step(count: int) -> int:
    """Return a step near the golden section of `count` that visits every residue once."""
    step = max(1, round(count * 0.618))
    while math.gcd(step, count) != 1:
        step += 1
    return step


def mirror_fraction_response(tiles: NDArray[np.uint8]) -> Complex:
    """Return the zero-order field of every tile, 1 for all mirrors on."""
    return tiles.mean(axis=(1, 2)).astype(np.complex128)


def carrier_response(period: int) -> Callable[[NDArray[np.uint8]], Complex]:
    """Return the function from tiles (n, rows, cols) to their first-order fields, 1 for the full carrier."""
    row = np.arange(period)
    full = (np.exp(-2j * np.pi * row / period) * (row < period // 2)).mean()

    def response(tiles: NDArray[np.uint8]) -> Complex:
        phase = np.exp(-2j * np.pi * np.arange(tiles.shape[1]) / period) / tiles.shape[1]
        return tiles.mean(axis=2) @ phase / full

    return response


def blurred_edge(distance_px: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    """Return how much of the neighbour's phase arrives `distance_px` inside an edge, 0.5 at the edge itself."""
    if sigma_px <= 0:
        return np.zeros_like(distance_px)
    return np.array([0.5 * math.erfc(distance / (sigma_px * math.sqrt(2))) for distance in distance_px])


def blazed_response(
    tiles: NDArray[np.uint16],
    bit_depth: int,
    period: int,
    block_cols: int,
    fringing_px: float,
    shift_px: float = 0.0,
    order: Complex | None = None,
) -> tuple[Complex, Complex, Complex]:
    """Return the first-order field of a block by its own index and by those of its neighbouring columns.

    The panel's phase, not its field, is blurred (Gaussian, over square pixels): within a block along the carrier,
    and across the borders to the next columns, whose phase mixes in. The order's field includes the envelope of the
    pixel's aperture. Light may fall beside a block's middle, onto a neighbour as well. A block's field is
    `own[k] + left[k, left] + right[k, right]`: what no neighbour reaches, and what the light meets left and right of
    the block's middle, borders and the neighbour's strip included.

    Args:
        tiles: Blazed tiles (indices, rows, 1).
        bit_depth: Panel bits; 2^bits levels are one wavelength.
        period: Carrier period in pixels.
        block_cols: Columns of a block, at least 4 where there is fringing.
        fringing_px: Gaussian sigma of the blur in pixels.
        shift_px: How far to the right of the middle the light falls, at most half the columns of a block, either way.
        order: Weights of a block's sub-pixels along the carrier, shape (rows SUBPIXELS,); without them, all of the
            first order and no light of other rows.

    Returns:
        `own` (indices,), `left` and `right` (indices, indices).
    """
    phase = np.repeat(tiles[:, :, 0] * (2 * np.pi / 2**bit_depth), SUBPIXELS, axis=1)
    frequency = np.fft.rfftfreq(phase.shape[1], 1 / SUBPIXELS)
    smooth = np.exp(-2 * (np.pi * frequency * fringing_px) ** 2)  # the blur's transfer function; blocks repeat along y
    blurred = np.fft.irfft(np.fft.rfft(phase, axis=1) * smooth, n=phase.shape[1], axis=1)
    order = _first_order(tiles.shape[1], period, SUBPIXELS) if order is None else order
    whole: Complex = np.exp(1j * blurred) @ order
    # columns of sub-pixels from the border inwards: how much of each is lost on one side and lent on the other
    from_border = np.arange(block_cols * SUBPIXELS // 2) / SUBPIXELS
    gone = np.clip((abs(shift_px) - from_border) * SUBPIXELS, 0, 1)
    touched = min(2, block_cols // 2) * SUBPIXELS if fringing_px > 0 else 0
    near = np.zeros((len(tiles), len(tiles)), complex)
    far = np.zeros_like(near)
    for share, lost in zip(blurred_edge(from_border[:touched] + 0.5 / SUBPIXELS, fringing_px), gone, strict=False):
        light = (np.exp(1j * (1 - share) * blurred) * order) @ np.exp(1j * share * blurred).T
        near += (1 - lost) * light
        far += light + lost * light.T
    inside = gone[touched:]
    own = whole * (2 * len(inside) - inside.sum())
    far += inside.sum() * whole[None, :]
    per_column = 1 / (SUBPIXELS * block_cols)
    left, right = (near, far) if shift_px >= 0 else (far, near)
    return own * per_column, left * per_column, right * per_column


def blazed_field(levels: NDArray[np.integer], bit_depth: int, period: int) -> Complex:
    """Return the first-order field of blocks (n, rows, cols) of panel levels, without fringing."""
    light = np.repeat(np.exp(1j * (2 * np.pi / 2**bit_depth) * levels).mean(axis=2), SUBPIXELS, axis=1)
    field: Complex = light @ _first_order(levels.shape[1], period, SUBPIXELS)
    return field


def _first_order(rows: int, period: int, subpixels: int) -> Complex:
    """Return the weights of the first order at every subpixel along the carrier."""
    place = (np.arange(rows * subpixels) + 0.5) / subpixels
    return np.exp(-2j * np.pi * place / period) / (rows * subpixels)


class InverseResponse:
    """Finds the index whose field is nearest to what is wanted, by a table of `GRID` steps over the range.

    Args:
        response: Real field of each index, shape (indices,), in any order.
    """

    GRID = 16384

    def __init__(self, response: NDArray[np.floating]) -> None:
        rising = np.argsort(response, kind="stable")
        fields = response[rising]
        self._low = float(fields[0])
        self._per_step = (self.GRID - 1) / float(fields[-1] - fields[0])
        grid = np.linspace(fields[0], fields[-1], self.GRID)
        middles = (fields[1:] + fields[:-1]) / 2
        self._table = rising[np.searchsorted(middles, grid)].astype(np.uint16)

    def __call__(self, wanted: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Return indices in the shape of `wanted`; beyond the ends the end index is taken."""
        step = np.rint((wanted - self._low) * self._per_step)
        return self._table.take(np.clip(step, 0, self.GRID - 1).astype(np.intp))
