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
        self._own = torch.from_numpy(own.astype(np.complex64))
        self._pair = torch.from_numpy(pair.astype(np.complex64)).reshape(-1)

    def modulation(self, indices: NDArray[np.uint16]) -> Tensor:
        """Return the complex modulation of every weight, neighbours' crosstalk included, shape (rows, columns)."""
        index = torch.from_numpy(indices.astype(np.int32))
        bordered = torch.nn.functional.pad(index, (1, 1), value=self.zero_index)
        row_of_pair = index * len(self._own)
        field = self._own[index]
        field += self._pair[row_of_pair + bordered[:, :-2]]
        field += self._pair[row_of_pair + bordered[:, 2:]]
        return field

    def silent_index(self, left: int, right: int) -> int:
        """Return the index that sends least light between two neighbours, whose blurred phase it cancels."""
        size = len(self._own)
        pair = self._pair.reshape(size, size)
        return int((self._own + pair[:, left] + pair[:, right]).abs()[: self.full_index + 1].argmin())

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
