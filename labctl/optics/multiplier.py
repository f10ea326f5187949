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

from labctl.optics.modulator import InverseResponse, blazed_response, blazed_tiles


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
    ) -> None:
        self.shape = (rows, columns)
        self.block, self.period, self.bit_depth = block, period, bit_depth
        self.amplitude = passive_amplitude(columns, rows, efficiency)
        self.distortion: Tensor | None = None
        self.matrix = torch.zeros(self.shape, dtype=torch.complex64)
        self._fringing_px = fringing_px
        self._shift = registration_px / block[1]
        self.tiles = blazed_tiles(block[0], period, bit_depth)
        self.use_tiles(self.tiles)
        self.full_index = len(self.tiles) - 2
        self.quarter_index = len(self.tiles) - 1
        data: NDArray[np.float64] = np.real(self.response[: self.full_index + 1])
        self.reach = float(np.abs(data).max())
        self.inverse = InverseResponse(data)

    def use_tiles(self, tiles: NDArray[np.uint16]) -> None:
        """Take `tiles` (indices, rows, 1) as the code of the indices from now on."""
        own, pair = blazed_response(tiles, self.bit_depth, self.period, self.block[1], self._fringing_px)
        self.response = own + 2 * np.diag(pair)
        self.zero_index = int(np.abs(self.response).argmin())
        # half of a block's own light belongs to either side, so that one look-up a side gives all of it
        self._silent: dict[tuple[int, int], int] = {}
        self._sides = (pair + own[:, None] / 2).astype(np.complex64)

    def modulation(self, indices: NDArray[np.uint16]) -> Tensor:
        """Return the complex modulation of every weight, neighbours' crosstalk included, shape (rows, columns)."""
        index = np.pad(indices.astype(np.intp), ((0, 0), (1, 1)), constant_values=self.zero_index)
        row = index[:, 1:-1] * len(self._sides)
        field = np.take(self._sides, row + index[:, :-2])
        field += np.take(self._sides, row + index[:, 2:])
        return torch.from_numpy(field)

    def silent_index(self, left: int, right: int) -> int:
        """Return the index that sends least light between two neighbours, whose blurred phase it cancels."""
        if (left, right) not in self._silent:
            data = self._sides[: self.full_index + 1]
            self._silent[left, right] = int(np.abs(data[:, left] + data[:, right]).argmin())
        return self._silent[left, right]

    def show(self, indices: NDArray[np.uint16]) -> None:
        """Set the matrix to what the panel shows: `indices` of blocks, shape (rows, columns), of `tiles`."""
        self.show_fields(self.modulation(indices))

    def show_fields(self, field: Tensor) -> None:
        """Set the matrix from the modulation (rows, columns) of every block; `field` is taken over."""
        if self._shift:
            # a column lit off-centre reads a share of its neighbour's weight
            right = self._shift > 0
            kept, border = (field[:, 1:], (0, 1)) if right else (field[:, :-1], (1, 0))
            neighbour = torch.nn.functional.pad(kept, border)
            field = torch.lerp(field, neighbour, torch.tensor(abs(self._shift), dtype=field.dtype))
        if self.distortion is not None:
            field *= self.distortion
        self.matrix = field.mul_(self.amplitude)

    def forward(self, field: Tensor) -> Tensor:
        """Return the output fields (n, rows) of input fields (n, columns)."""
        return field @ self.matrix.T

    def backward(self, field: Tensor) -> Tensor:
        """Return the input-side fields (n, columns) of fields sent in at the output, (n, rows)."""
        return field @ self.matrix


def slit_ramp(columns: int, width_m: float, offset_m: float, wavelength_m: float, focal_length_m: float) -> Tensor:
    """Return the phase factors (columns,) a beam-to-slit offset puts on the inputs.

    An offset in the Fourier plane is a linear phase over the columns, 2 pi offset x / (wavelength f).
    """
    x = (torch.arange(columns) / columns - 0.5) * width_m
    phase = 2 * math.pi * offset_m * x / (wavelength_m * focal_length_m)
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


def slit_mean_field(width_m: float, first_zero_m: float) -> float:
    """Return the mean field over the slit relative to that at its centre, Si(pi u) / (pi u); as `slit_power`."""
    angle = math.pi * width_m / (2 * first_zero_m)
    return _sine_integral(angle) / angle


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
