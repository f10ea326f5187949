"""A plane sampled on square pixels: where its samples are, and which spatial frequencies they can hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """Samples of a plane, centred on the optical axis.

    Args:
        shape: Samples (rows, cols).
        pitch_m: Distance of neighbouring samples along both axes.
    """

    shape: tuple[int, int]
    pitch_m: float

    @property
    def size_m(self) -> tuple[float, float]:
        """Height and width, pixel edge to pixel edge."""
        return self.shape[0] * self.pitch_m, self.shape[1] * self.pitch_m

    def coordinates_m(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return y (rows, 1), downwards, and x (1, cols) of the samples, symmetric about the axis."""
        rows, cols = (np.asarray((np.arange(n) - (n - 1) / 2) * self.pitch_m, np.float64) for n in self.shape)
        return rows[:, None], cols[None, :]

    def frequencies_per_m(self, padding: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the frequencies (rows, 1) and (1, cols) of a grid `padding` times as large, in FFT order."""
        rows, cols = (np.asarray(np.fft.fftfreq(padding * n, self.pitch_m), np.float64) for n in self.shape)
        return rows[:, None], cols[None, :]
