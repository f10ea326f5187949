"""Free space between two planes of the same grid, as one convolution with an effective kernel.

The output plane sees of a padded propagation only its impulse response at lags shorter than the plane. So that response
is found once at a large padding, cut to those lags, and a transform of twice the grid then returns exactly what the
large one would: padding costs memory and time when a transfer function is built, and none when light is propagated.

The same transfer function carries light backwards: free space is reciprocal, and nothing is conjugated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.free_space import kernels, sampling
from labctl.optics.grid import Grid

Method = Literal["angular_spectrum", "band_limited", "rayleigh_sommerfeld", "fresnel"]
METHODS: tuple[Method, ...] = get_args(Method)

LARGEST_ERROR = 0.25
"""A hop whose `field_error` is above this is refused: what it computes is no longer the light that was asked about."""

PADDINGS = (2, 3, 4, 5, 6, 8, 12, 16, 24, 32)
"""What an error message tries as a cure."""


@dataclass(frozen=True)
class Hop:
    """Free space from one plane to the next.

    Args:
        grid: Sampling of both planes.
        distance_m: Distance of the planes, > 0.
        wavelength_m: Wavelength in vacuum, > 0.
        method: `angular_spectrum` is exact but for light that leaves the padded window; `band_limited` drops what
            the window does not resolve; `rayleigh_sommerfeld` samples the kernel itself and needs no padding, for
            distances large enough; `fresnel` is the paraxial approximation.
        padding: Window over plane that the result stands for, an integer of at least 2; without meaning for
            `rayleigh_sommerfeld`. See `field_error` for what it leaves.
        refractive_index: Of the medium, > 0.

    Raises:
        ConfigError: A value out of range, or planes that this method does not sample finely enough.
    """

    grid: Grid
    distance_m: float
    wavelength_m: float
    method: Method = "angular_spectrum"
    padding: int = 5
    refractive_index: float = 1.0

    def __post_init__(self) -> None:
        for name in ("distance_m", "wavelength_m", "refractive_index"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"hop: {name} is {getattr(self, name)!r}; give a finite number above 0")
        if min(self.grid.shape) < 1 or not 0 < self.grid.pitch_m < float("inf"):
            raise ConfigError(f"hop: {self.grid} has no samples; give at least 1 row and column and a pitch above 0")
        if self.method not in METHODS:
            raise ConfigError(f"hop: no method {self.method!r}; use one of {', '.join(METHODS)}")
        if not isinstance(self.padding, int) or self.padding < 2:
            raise ConfigError(f"hop: padding is {self.padding}; give an integer of at least 2, so that planes fit")
        if self.method == "fresnel" and self.grid.pitch_m < self.medium_wavelength_m / 2:
            raise ConfigError(
                f"hop: pitch {self.grid.pitch_m:.3g} m is below half the wavelength ({self.medium_wavelength_m:.3g} m "
                "in the medium), where the Fresnel approximation carries waves that do not exist; use angular_spectrum"
            )
        if self.field_error > LARGEST_ERROR:
            raise ConfigError(_refusal(self))

    @property
    def medium_wavelength_m(self) -> float:
        """Wavelength in the medium."""
        return self.wavelength_m / self.refractive_index

    @property
    def field_error(self) -> float:
        """Estimated relative error of a random-phase field after this hop, from sampling alone.

        For 200x200 samples of 0.4 mm, 0.75 mm of wavelength and 30 mm it is 0.130, 0.044 and 0.016 at a padding of 2, 3
        and 5; measured against a padding of 24: 0.135, 0.044 and 0.014. Below about 0.01 it says no more than that:
        diffraction at the edge of the band, which rays do not know, adds a few thousandths. Smooth fields fare better.
        """
        return _field_error(self.grid, self.distance_m, self.medium_wavelength_m, self.method, self.padding)


@lru_cache(maxsize=32)
def transfer_function(hop: Hop, *, dtype: torch.dtype = torch.complex64, device: str = "cpu") -> Tensor:
    """Return what a hop does to every frequency of a grid twice as large, shape (2 rows, 2 cols), FFT order.

    Built in float64 and rounded once to `dtype`. The last 32 are kept and shared: do not write into them. Building
    takes, beside the result, 8 padding rows cols bytes for half a padded plane transformed along one axis.

    Args:
        hop: Free space to cross.
        dtype: torch.complex64 or torch.complex128.
        device: Where to keep it, as torch names it; anything but "cpu" is untested.
    """
    grid, distance_m, wavelength_m = hop.grid, hop.distance_m, hop.medium_wavelength_m
    if hop.method == "rayleigh_sommerfeld":
        quadrant = kernels.rayleigh_sommerfeld(grid, distance_m, wavelength_m)
    else:
        response = _response(hop)
        quadrant = kernels.impulse_response(grid, hop.padding, response)
    return kernels.transfer(quadrant).to(device=device, dtype=dtype)


def propagate(field: Tensor, transfer: Tensor) -> Tensor:
    """Return the field after a hop, forwards or backwards; differentiable.

    Args:
        field: Complex field (..., rows, cols).
        transfer: From `transfer_function`, (2 rows, 2 cols); several, for as many wavelengths, are stacked along a
            dimension that meets one of the field's.

    Raises:
        ConfigError: The field is not of the transfer function's grid.
    """
    check_grid(field, transfer)
    rows, cols = field.shape[-2:]
    spectrum = torch.fft.fft2(field, s=(2 * rows, 2 * cols))
    return torch.fft.ifft2(spectrum * transfer)[..., :rows, :cols]


def check_grid(field: Tensor, transfer: Tensor) -> None:
    """Refuse a field that is not of the transfer function's grid.

    Raises:
        ConfigError: They differ.
    """
    rows, cols = field.shape[-2:]
    if transfer.shape[-2:] != (2 * rows, 2 * cols):
        made_for = "x".join(str(size // 2) for size in transfer.shape[-2:])
        raise ConfigError(f"field: {rows}x{cols} samples meet a hop made for {made_for}; use one grid for both")


def _response(hop: Hop) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the hop's transfer function of frequencies along y and x, per metre."""
    distance_m, wavelength_m = hop.distance_m, hop.medium_wavelength_m
    if hop.method == "fresnel":
        return lambda fy, fx: kernels.fresnel(fy, fx, distance_m, wavelength_m)
    if hop.method == "angular_spectrum":
        return lambda fy, fx: kernels.angular_spectrum(fy, fx, distance_m, wavelength_m)
    limit_y, limit_x = sampling.band_limits_per_m(hop.grid, distance_m, wavelength_m, hop.padding)
    return lambda fy, fx: (
        kernels.angular_spectrum(fy, fx, distance_m, wavelength_m) * (fy.abs() <= limit_y) * (fx.abs() <= limit_x)
    )


def _field_error(grid: Grid, distance_m: float, wavelength_m: float, method: Method, padding: int) -> float:
    if method == "rayleigh_sommerfeld":
        return sampling.sampled_kernel_error(grid, distance_m, wavelength_m)
    return sampling.padded_error(
        grid, distance_m, wavelength_m, padding, fresnel=method == "fresnel", band_limit=method == "band_limited"
    )


def _refusal(hop: Hop) -> str:
    """Return why a hop is refused, and which distances, paddings and methods would do."""
    grid, distance_m, wavelength_m, padding = hop.grid, hop.distance_m, hop.medium_wavelength_m, hop.padding
    if hop.method == "rayleigh_sommerfeld":
        size_m = max(grid.size_m)
        fringe_m = wavelength_m * math.hypot(size_m, distance_m) / size_m
        why = f"the kernel's finest fringes, {fringe_m:.2g} m, take a pitch of at most {fringe_m / 2:.2g} m"
        bound, step = "at least", 1.1
    else:
        leaves, cut = "light leaves the padded window and comes back in", "the padded window resolves too little of it"
        why = cut if hop.method == "band_limited" else leaves
        bound, step = "at most", 1 / 1.1
    allowed_m = distance_m
    while not _passes(grid, allowed_m, wavelength_m, hop.method, padding):
        allowed_m *= step
    cures = [f"a distance of {bound} about {allowed_m:.2g} m"]
    if hop.method != "rayleigh_sommerfeld":
        enough = [more for more in PADDINGS if _passes(grid, distance_m, wavelength_m, hop.method, more)]
        cures += [f"a padding of at least {more}" for more in enough[:1]]
    others = ("angular_spectrum", "band_limited", "rayleigh_sommerfeld")
    cures += [f"method {other}" for other in others if _passes(grid, distance_m, wavelength_m, other, padding)]
    return (
        f"hop: {hop.method} over {distance_m:.3g} m, pitch {grid.pitch_m:.3g} m, padding {padding} would be "
        f"{min(hop.field_error, 1):.0%} wrong (at most {LARGEST_ERROR:.0%}): {why}; use {', or '.join(cures)}"
    )


def _passes(grid: Grid, distance_m: float, wavelength_m: float, method: Method, padding: int) -> bool:
    return _field_error(grid, distance_m, wavelength_m, method, padding) <= LARGEST_ERROR
