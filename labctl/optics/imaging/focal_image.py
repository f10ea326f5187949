"""What a camera behind a 2f lens sees: the power in each of its pixels, wherever and however it stands.

The lens is computed on samples of half a pixel along the panel's axes, summed over the pixel's area, and looked up at
the pixels' centres by bicubic interpolation. That the area is taken along the panel's axes, not the camera's, is all
that is left out: 1 - cos of their angle in the pixel's shape.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.grid import Grid
from labctl.optics.imaging.lens import Lens, intensity, zoom

SUBSAMPLES = 2
"""Samples of the focal plane along a pixel: finer than the intensity, as long as a far-field bin is a pixel or more."""

MARGIN = 4
"""Samples around what the camera covers, for the interpolation."""


@dataclass(frozen=True)
class Registration:
    """How a camera stands in the focal plane: pixel = turn(flip(place)) magnification / pitch + shift.

    Args:
        magnification: Of the optics between focal plane and camera, above 0.
        rotation_rad: By which the image is turned on the camera, from the rows' direction towards the columns'.
        shift: Where the axis is on the camera, (down, right) from its centre in pixels.
        flip: Whether the image is upside down, and whether left is right, before it is turned.

    Raises:
        ConfigError: The magnification is not above 0.
    """

    magnification: float = 1.0
    rotation_rad: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        if not self.magnification > 0:
            raise ConfigError(
                f"camera with magnification {self.magnification}: give one above 0, and a flip if need be"
            )

    def places_m(self, pixels: Tensor, pitch_m: float) -> Tensor:
        """Return where in the focal plane places on the camera are.

        Args:
            pixels: (down, right) from the camera's centre in pixels, shape (..., 2).
            pitch_m: Pixel pitch.

        Returns:
            (y, x) from the axis in metres, same shape.
        """
        cos, sin = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        signs = [-1.0 if turned else 1.0 for turned in self.flip]
        back = torch.tensor([[signs[0] * cos, signs[0] * sin], [-signs[1] * sin, signs[1] * cos]], dtype=pixels.dtype)
        offset = torch.tensor(self.shift, dtype=pixels.dtype)
        return (pixels - offset) @ back.T * (pitch_m / self.magnification)


STRAIGHT = Registration()
"""A camera along the panel's axes and centred on the axis."""


class FocalCamera:
    """A camera behind a lens: kernels and places are built once, images are taken often.

    Args:
        lens: The lens, with the panel before it.
        pixels: The camera's pixels.
        registration: How the camera stands.
        dtype: Of the fields.
        device: Where the fields are.

    Raises:
        ConfigError: The camera looks beyond what the panel's pitch resolves.
    """

    def __init__(
        self,
        lens: Lens,
        pixels: Grid,
        registration: Registration = STRAIGHT,
        *,
        dtype: torch.dtype = torch.complex64,
        device: torch.device | str = "cpu",
    ) -> None:
        rows, cols = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in pixels.shape)
        centres = torch.stack(torch.meshgrid(rows, cols, indexing="ij"), dim=-1)
        places_m = registration.places_m(centres, pixels.pitch_m)
        corners = places_m[[0, 0, -1, -1], [0, -1, 0, -1]]
        fine_m = pixels.pitch_m / registration.magnification / SUBSAMPLES
        lowest, highest = corners.min(dim=0).values, corners.max(dim=0).values
        height, width = (2 * math.ceil(float(extent) / fine_m / 2 + MARGIN) for extent in highest - lowest)
        middle = (lowest + highest) / 2
        self._zoom = zoom(
            lens, Grid((height, width), fine_m), (float(middle[0]), float(middle[1])), dtype=dtype, device=device
        )
        # a pixel's area begins half a pixel before its centre; samples of the sum are counted from their first
        first = torch.tensor([height // 2, width // 2], dtype=torch.float64) - (SUBSAMPLES - 1) / 2
        last = torch.tensor([height - SUBSAMPLES, width - SUBSAMPLES], dtype=torch.float64)
        at = ((places_m - middle) / fine_m + first) * 2 / last - 1
        self._at = at.flip(-1).to(device, dtype.to_real())[None]

    def image(self, field: Tensor) -> Tensor:
        """Return the power in every pixel, shape (..., pixel rows, pixel cols), of alternated panel fields."""
        power = intensity(self._zoom.forward(field)).reshape(-1, 1, *self._zoom.shape)
        summed = torch.nn.functional.avg_pool2d(power, SUBSAMPLES, stride=1) * SUBSAMPLES**2
        at = self._at.expand(len(summed), -1, -1, -1)
        seen = torch.nn.functional.grid_sample(summed, at, mode="bicubic", align_corners=True)
        return seen.clamp_min(0).reshape(*field.shape[:-2], *self._at.shape[1:3])
