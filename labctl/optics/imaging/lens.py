"""A 2f lens: light in its front focal plane (a panel) arrives in its back focal plane as the Fourier transform.

U(x') = sum over x of u(x) exp(-2 pi i x x' / (wavelength f)), scaled so that |field|^2 is the power in a sample
(Goodman, Introduction to Fourier Optics, 5.2). The kernel is symmetric, so it carries light back as it carries it
forth. The axis is on sample n // 2 of either plane, along both axes; the lens's global phase is left out.

Panel fields here are alternated: sample (row, col) times (-1)^(row + col). A plain FFT then has its axis in the
middle, and the two shifts of the whole field are saved; illuminate the panel with `alternation` times the source.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.grid import Grid

EVERY = slice(None)
"""All rows or columns."""


@dataclass(frozen=True)
class Lens:
    """A lens with a panel in its front focal plane.

    Args:
        panel: Samples of the panel, an even number along both axes.
        focal_length_m: Focal length.
        wavelength_m: Wavelength.

    Raises:
        ConfigError: A length is not above 0, or the panel has an odd side.
    """

    panel: Grid
    focal_length_m: float
    wavelength_m: float

    def __post_init__(self) -> None:
        if not min(self.focal_length_m, self.wavelength_m, self.panel.pitch_m) > 0:
            raise ConfigError(
                f"lens of {self.focal_length_m} m at {self.wavelength_m} m before a panel of pitch "
                f"{self.panel.pitch_m} m: give lengths above 0"
            )
        if any(n < 2 or n % 2 for n in self.panel.shape):
            raise ConfigError(f"lens before a panel of {self.panel.shape} samples: pad it to even rows and columns")

    @property
    def bin_m(self) -> tuple[float, float]:
        """Pitch of the focal plane's samples along rows and columns, wavelength f / (n pitch)."""
        reach_m = self.reach_m
        return reach_m / self.panel.shape[0], reach_m / self.panel.shape[1]

    @property
    def reach_m(self) -> float:
        """Side of the square in the focal plane that the panel's pitch reaches before its orders repeat."""
        return self.wavelength_m * self.focal_length_m / self.panel.pitch_m


def alternation(shape: tuple[int, int]) -> Tensor:
    """Return (-1)^(row + col), float32, shape (rows, cols): a factor of the panel's illumination."""
    rows, cols = (1 - 2 * (torch.arange(n) % 2) for n in shape)
    return (rows[:, None] * cols).float()


def panel_field(frame: NDArray[np.unsignedinteger], response: Tensor, source: Tensor) -> Tensor:
    """Return the field behind a panel that shows a frame of grey levels.

    Args:
        frame: Grey levels, shape (..., rows, cols).
        response: Complex reflection of every level, shape (levels,).
        source: Field on the panel, complex of the same precision, broadcastable to the frame.

    Raises:
        ConfigError: The frame has a level without a response.
    """
    if frame.size and (top := int(frame.max())) >= len(response):
        raise ConfigError(f"panel frame with level {top}: the response knows levels 0 to {len(response) - 1}")
    # "clip" only spares numpy's own check, six times the look-up itself
    return torch.from_numpy(np.take(response.numpy(), frame, mode="clip")).mul_(source)


def focus(field: Tensor, rows: slice = EVERY, cols: slice = EVERY) -> Tensor:
    """Return the focal plane's field on its own bins, alternated like the panel's: the way back is the same.

    Only the columns asked for are transformed along the rows, which costs a third less where they are few.

    Args:
        field: Alternated field, complex, shape (..., rows, cols).
        rows: Region of interest in bins; the axis is at rows // 2.
        cols: The same along columns.
    """
    if rows == EVERY and cols == EVERY:
        return torch.fft.fft2(field, norm="ortho")
    lines = torch.fft.fft(field, norm="ortho")[..., cols]
    # transposed first: an FFT along strided data is up to three times slower
    columns = torch.fft.fft(lines.transpose(-1, -2).contiguous(), norm="ortho")[..., rows]
    return columns.transpose(-1, -2)


@dataclass(frozen=True)
class Chirp:
    """The lens along one axis between a panel and samples of any pitch and place, as Bluestein's convolution.

    With a b = (a^2 + b^2 - (b - a)^2) / 2 the kernel exp(-2 pi i c a b) is a chirp, a convolution with a chirp, and a
    chirp (Rabiner, Schafer, Rader, Bell Syst. Tech. J. 48:1249, 1969): its cost does not grow with the zoom.

    Args:
        panel: Chirp of the panel's samples, its alternation included, shape (n,).
        between: Transform of the convolution's chirp, shape (at least n + m - 1,).
        window: Chirp of the window's samples, shape (m,).
    """

    panel: Tensor
    between: Tensor
    window: Tensor

    def forward(self, field: Tensor) -> Tensor:
        """Return fields (..., m) of the window from alternated fields (..., n) of the panel."""
        spectrum = torch.fft.fft(field * self.panel, n=len(self.between)) * self.between
        return torch.fft.ifft(spectrum)[..., : len(self.window)] * self.window

    def backward(self, field: Tensor) -> Tensor:
        """Return alternated fields (..., n) of the panel from fields (..., m) of the window: the transpose."""
        spectrum = torch.fft.ifft(field * self.window, n=len(self.between)) * self.between
        return torch.fft.fft(spectrum)[..., : len(self.panel)] * self.panel


@dataclass(frozen=True)
class Zoom:
    """A lens between its panel and a window of the focal plane, see `zoom`.

    Args:
        rows: Kernel along y.
        cols: Kernel along x.
    """

    rows: Chirp
    cols: Chirp

    @property
    def shape(self) -> tuple[int, int]:
        """Samples (rows, cols) of the window."""
        return len(self.rows.window), len(self.cols.window)

    def forward(self, field: Tensor) -> Tensor:
        """Return the window's field, not alternated, from the panel's alternated one (..., rows, cols)."""
        lines = self.cols.forward(field).transpose(-1, -2).contiguous()
        return self.rows.forward(lines).transpose(-1, -2)

    def backward(self, field: Tensor) -> Tensor:
        """Return the panel's alternated field from light that enters through the window (..., rows, cols)."""
        lines = self.rows.backward(field.transpose(-1, -2).contiguous()).transpose(-1, -2)
        return self.cols.backward(lines.contiguous())


def zoom(
    lens: Lens,
    window: Grid,
    centre_m: tuple[float, float] = (0.0, 0.0),
    *,
    dtype: torch.dtype = torch.complex64,
    device: torch.device | str = "cpu",
) -> Zoom:
    """Return the lens onto samples of any pitch: a camera finer than the far-field bin, or beside the axis.

    Args:
        lens: Lens.
        window: Samples in the focal plane; sample (rows // 2, cols // 2) is its centre.
        centre_m: Where the window's centre is, (y, x) from the axis.
        dtype: Of the fields; chirps are built in float64 and rounded once.
        device: Where the fields are.

    Raises:
        ConfigError: The window reaches beyond what the panel's pitch resolves.
    """
    edges = [abs(c) + n * window.pitch_m / 2 for c, n in zip(centre_m, window.shape, strict=True)]
    if window.pitch_m <= 0 or max(edges) > lens.reach_m / 2:
        raise ConfigError(
            f"window of {window.shape} samples of {window.pitch_m} m around {centre_m} m: the panel's pitch reaches "
            f"{lens.reach_m / 2:.3g} m from the axis; give a positive pitch and a smaller window, or nearer the axis"
        )
    axes = (
        _chirp(
            n, m, lens.panel.pitch_m * window.pitch_m / (lens.wavelength_m * lens.focal_length_m), c / window.pitch_m
        )
        for n, m, c in zip(lens.panel.shape, window.shape, centre_m, strict=True)
    )
    rows, cols = (Chirp(*(torch.from_numpy(part).to(device, dtype) for part in axis)) for axis in axes)
    return Zoom(rows, cols)


def _chirp(panel: int, window: int, turns: float, centre: float) -> tuple[NDArray[np.complex128], ...]:
    """Return the three chirps of one axis, `turns` of phase per pair of samples, the window `centre` off the axis."""
    length = cast("int", next_fast_len(panel + window - 1))  # its stub allows None
    a = np.arange(panel, dtype=np.float64) - panel // 2
    b = np.arange(window, dtype=np.float64) - window // 2 + centre
    lag = np.arange(length)
    lag = np.where(lag < window, lag, lag - length) + b[0] - a[0]
    half_turn = 1j * np.pi * turns
    alternating = np.where(np.arange(panel) % 2, -1.0, 1.0)
    return (
        alternating * np.exp(-half_turn * a**2),
        np.fft.fft(np.exp(half_turn * lag**2)),
        np.exp(-half_turn * b**2) * np.sqrt(turns),
    )


def intensity(field: Tensor) -> Tensor:
    """Return |field|^2, real, same shape: the power in every sample."""
    return field.real.square().addcmul_(field.imag, field.imag)
