"""The slit multiplier: columns carry inputs, rows carry outputs, a slit sums along the rows; reversible.

With N_in columns and N_out rows lit, a weight of modulation m transmits the field m sqrt(eta / (N_in N_out)):
the input column spreads over all rows, and the slit passes one of N_in spatial frequencies. So
|W| <= sqrt(eta / (N_in N_out)) for every weight, the passivity bound (reference-benches section 1).
Sent backwards, the same optics multiply by the transpose.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.multiplier.crosstalk import ROW_REACH, RowResponse, row_response
from labctl.optics.multiplier.modulator import InverseResponse, blazed_response, blazed_tiles


def passive_amplitude(columns: int, rows: int, efficiency: float) -> float:
    """Return the largest field transmission of one weight, sqrt(efficiency / (columns rows))."""
    return math.sqrt(efficiency / (columns * rows))


class SlitMultiplier:
    """One panel between cylindrical lenses, as a complex matrix that follows what the panel shows.

    Args:
        rows: Output modes.
        columns: Input modes.
        block: Panel pixels (rows, cols) of one weight.
        period: Carrier period in pixels.
        bit_depth: Panel bits.
        efficiency: Power efficiency of panel, slit and path, without the grating's own.
        fringing_px: Blur of the panel's phase, in pixels.
        registration_px: Shift of the input columns against the panel's, in pixels.
        order_stop: Whether a stop selects the carrier's order, so that rows receive light of their neighbours.
        slit: Field each column leaves in the slit against their mean, shape (columns,); all alike without it.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        block: tuple[int, int],
        period: int,
        bit_depth: int,
        efficiency: float,
        fringing_px: float,
        registration_px: float = 0.0,
        order_stop: bool = False,
        slit: NDArray[np.float64] | None = None,
    ) -> None:
        self.shape = (rows, columns)
        self.block, self.period, self.bit_depth = block, period, bit_depth
        self.amplitude = passive_amplitude(columns, rows, efficiency)
        self._distortion: NDArray[np.complex64] | None = None
        self.unmodulated: complex = 0.0
        self.matrix = torch.zeros(self.shape, dtype=torch.complex64)
        self._fringing_px = fringing_px
        self._shift = registration_px / block[1]
        self._order_stop = order_stop
        self.slit: NDArray[np.float32] = np.asarray(np.ones(columns) if slit is None else slit, np.float32)
        self.tiles = blazed_tiles(block[0], period, bit_depth)
        self.rest = 2 ** (bit_depth - 1)
        self.use_tiles(self.tiles, self.rest)
        self.full_index = len(self.tiles) - 2
        self.quarter_index = len(self.tiles) - 1
        data: NDArray[np.float64] = np.real(self.response[: self.full_index + 1])
        self.reach = float(np.abs(data).max() * self.slit.min())
        self.inverse = InverseResponse(data)

    @property
    def distortion(self) -> Tensor | None:
        """Factor on the light of every block, (rows, columns), if it is not 1; beyond them that of the outermost."""
        return None if self._distortion is None else torch.from_numpy(self._distortion[ROW_REACH:-ROW_REACH])

    @distortion.setter
    def distortion(self, factor: Tensor | None) -> None:
        around = ((ROW_REACH, ROW_REACH), (0, 0))
        self._distortion = None if factor is None else np.pad(factor.numpy(), around, mode="edge")

    def use_tiles(self, tiles: NDArray[np.uint16], rest: int) -> None:
        """Take `tiles` (indices, rows, 1) as the code from now on, and panel level `rest` beyond the blocks."""
        known = np.concatenate([tiles, np.full_like(tiles[:1], rest)])  # one index more, for what lies beyond
        order, rows = None, None
        if self._order_stop:
            rows = row_response(known, self.bit_depth, self.period, self._fringing_px, self.unmodulated)
            order = rows.order
        shift_px = self._shift * self.block[1]
        own, left, right = blazed_response(
            known, self.bit_depth, self.period, self.block[1], self._fringing_px, shift_px, order
        )
        if rows:
            own = own + rows.own_unmodulated
        self.response = (own + np.diag(left) + np.diag(right))[:-1]
        among_its_like = self.response + rows.far.sum(axis=0)[:-1] + rows.further if rows else self.response
        self.zero_index = int(np.abs(among_its_like).argmin())
        if rows:  # a weight among rows that write nothing
            beside = rows.above[:, self.zero_index] + rows.below[:, self.zero_index]
            self.response = self.response + rows.far[:, self.zero_index].sum() + rows.further + beside[:-1]
        self._rows = rows and _RowTables(rows)
        # half of a block's own light belongs to either side, so that one look-up a side gives all of it
        self._silent: dict[tuple[int, int], int] = {}
        self._left = np.ascontiguousarray(left + own[:, None] / 2, np.complex64)
        self._right = np.ascontiguousarray(right + own[:, None] / 2, np.complex64)

    def modulation(self, indices: NDArray[np.uint16]) -> Tensor:
        """Return the complex modulation of every weight, (rows, columns): crosstalk, slit and distortion in it."""
        beyond, (rows, columns) = len(self._left) - 1, indices.shape
        index = np.full((rows + 2 * ROW_REACH, columns + 2), beyond, np.intp)
        index[ROW_REACH:-ROW_REACH, 1:-1] = indices
        here = index[ROW_REACH:-ROW_REACH]
        pair = here[:, 1:-1] * len(self._left)
        field = self._left.take(pair + here[:, :-2])
        field += self._right.take(pair + here[:, 2:])
        if self._rows:
            field += self._rows.borders(pair, index[:, 1:-1])
        if self._distortion is not None:
            field *= self._distortion[ROW_REACH:-ROW_REACH]
        if self._rows:
            field += self._shifted(self._rows.others(index[:, 1:-1], self._distortion))
        field *= self.slit
        return torch.from_numpy(field)

    def _shifted(self, field: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return what columns lit off-centre read of blocks: a share of their neighbour's field (rows, columns)."""
        if not self._shift:
            return field
        share, left, right = abs(self._shift), slice(None, -1), slice(1, None)
        reading, read = (left, right) if self._shift > 0 else (right, left)
        seen = (1 - share) * field
        seen[:, reading] += share * field[:, read]
        return seen

    def silent_index(self, left: int, right: int) -> int:
        """Return the index that sends least light between two neighbours, whose blurred phase it cancels."""
        if (left, right) not in self._silent:
            data = slice(self.full_index + 1)
            rows = self._rows.from_silent_rows(self.zero_index) if self._rows else 0.0
            self._silent[left, right] = int(np.abs(self._left[data, left] + self._right[data, right] + rows).argmin())
        return self._silent[left, right]

    def show(self, indices: NDArray[np.uint16]) -> None:
        """Set the matrix to what the panel shows: `indices` of blocks, shape (rows, columns), of `tiles`."""
        self.matrix = self.modulation(indices).mul_(self.amplitude)

    def show_fields(self, fields: NDArray[np.complex64]) -> None:
        """Set the matrix from the first-order field (rows, columns) of every block, whatever shows it."""
        distortion = np.float32(1) if self.distortion is None else self.distortion.numpy()
        field = self._shifted(fields * distortion) * self.slit
        self.matrix = torch.from_numpy(field).mul_(self.amplitude)

    def forward(self, field: Tensor) -> Tensor:
        """Return the output fields (n, rows) of input fields (n, columns)."""
        return field @ self.matrix.T

    def backward(self, field: Tensor) -> Tensor:
        """Return the input-side fields (n, columns) of fields sent in at the output, (n, rows)."""
        return field @ self.matrix


class _RowTables:
    """A `RowResponse` as the tables that `SlitMultiplier.modulation` reads."""

    def __init__(self, response: RowResponse) -> None:
        self._far, self._further = np.ascontiguousarray(response.far, np.complex64), response.further
        self._above = np.ascontiguousarray(response.above, np.complex64)
        self._below = np.ascontiguousarray(response.below, np.complex64)

    def borders(self, pair: NDArray[np.intp], index: NDArray[np.intp]) -> NDArray[np.complex64]:
        """Return what the blurred borders to the blocks above and below add to every block's reading.

        Args:
            pair: Where each block's own index begins in a table of pairs, shape (rows, columns).
            index: Index of every block, and of those within the reach above and below.
        """
        field = self._above.take(pair + index[ROW_REACH - 1 : -ROW_REACH - 1])
        field += self._below.take(pair + index[ROW_REACH + 1 : len(index) - ROW_REACH + 1])
        return field

    def others(self, index: NDArray[np.intp], distortion: NDArray[np.complex64] | None) -> NDArray[np.complex64]:
        """Return what every block's reading receives of the other blocks of its column, each distorted as it is.

        Args:
            index: As for `borders`.
            distortion: Of the same blocks, same shape.
        """
        rows, columns = len(index) - 2 * ROW_REACH, index.shape[1]
        field = np.full((rows, columns), self._further, np.complex64)
        light = np.empty_like(field)
        for k in range(2 * ROW_REACH + 1):
            if k != ROW_REACH:
                # indices are within the table: `clip` spares a checked copy
                self._far[k].take(index[k : k + rows], out=light, mode="clip")
                field += light if distortion is None else np.multiply(light, distortion[k : k + rows], out=light)
        return field

    def from_silent_rows(self, zero_index: int) -> complex:
        """Return what a block receives of rows that write nothing."""
        return complex(self._far[:, zero_index].sum()) + self._further


def slit_ramp(columns: int, width_m: float, offset_m: float, wavelength_m: float, focal_length_m: float) -> Tensor:
    """Return the phase factors (columns,) a beam-to-slit offset puts on the inputs.

    An offset in the Fourier plane is a linear phase over the columns, 2 pi offset x / (wavelength f).
    """
    whole = 2 * math.pi * offset_m * width_m / (wavelength_m * focal_length_m)
    phase = torch.linspace(-0.5, 0.5 - 1 / columns, columns) * whole
    return torch.complex(torch.cos(phase), torch.sin(phase))


def slit_first_zero(wavelength_m: float, focal_length_m: float, aperture_m: float) -> float:
    """Return where the slit-plane field of a uniformly lit aperture first vanishes, wavelength f / aperture."""
    return wavelength_m * focal_length_m / aperture_m


def slit_power(width_m: float, first_zero_m: float) -> float:
    """Return the share of a uniform sum's power that the slit passes.

    The field in the slit plane is sinc(x / first_zero), so that a half-width of u first zeros passes
    2 / pi (Si(2 pi u) - sin^2(pi u) / (pi u)). Published: about 50 % of the power at 95 % accuracy
    (Guo et al. 2021); u = 0.27 gives 49.9 % and 0.30 gives 54.5 %.

    Args:
        width_m: Full slit width, > 0, centred on the beam.
        first_zero_m: From `slit_first_zero`.
    """
    angle = math.pi * width_m / (2 * first_zero_m)
    return 2 / math.pi * (_sine_integral(2 * angle) - math.sin(angle) ** 2 / angle)


def slit_half_width(power: float) -> float:
    """Return the half-width in first zeros of the slit that passes this share of a uniform sum's power, up to 1.

    Within one zero the slit passes 90 %; what passes more is taken for that.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slit_power(2 * middle, 1.0) < power else (low, middle)
    return high


def _sine_integral(x: float) -> float:
    """Return Si(x) for x >= 0 to 1e-5: power series, and beyond 20 the asymptotic one."""
    if x > 20:
        return math.pi / 2 - math.cos(x) / x * (1 - 2 / x**2) - math.sin(x) / x**2 * (1 - 6 / x**2)
    term, total, order = x, x, 1
    while abs(term) > 1e-12 or order < x:
        order += 2
        term *= -(x**2) / ((order - 1) * order)
        total += term / order
    return total
