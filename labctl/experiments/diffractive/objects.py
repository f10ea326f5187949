"""Objects in front of the first plate: images as amplitude or as phase of the light in the object plane."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from labctl.errors import ConfigError

Encoding = Literal["amplitude", "phase"]

OBJECT_SHARE = 0.4
"""Side of a digit over that of the plate: 80 of 200 pixels (published-systems 3.3)."""


def enlarged(images: Tensor, side: int) -> Tensor:
    """Return images (n, rows, cols) resampled bilinearly to (n, side, side); averaged where they shrink."""
    if images.shape[1:] == (side, side):
        return images
    shrinks = side < images.shape[1]
    return interpolate(images[:, None], (side, side), mode="bilinear", antialias=shrinks)[:, 0]


def object_fields(images: Tensor, side: int, shape: tuple[int, int], encoding: Encoding = "amplitude") -> Tensor:
    """Return the fields (n, rows, cols) complex64 of images centred in the object plane, dark around them.

    Args:
        images: Grey values 0..1, shape (n, height, width), float32.
        side: Pixels along each side of the object.
        shape: Samples (rows, cols) of the plane.
        encoding: `amplitude`: the grey value is the amplitude. `phase`: amplitude 1 inside the object, the grey value
            in turns is its phase.

    Raises:
        ConfigError: The object is larger than the plane.
    """
    rows, cols = shape
    if not 1 <= side <= min(shape):
        raise ConfigError(
            f"object of {side} x {side} pixels: the plane has {rows} x {cols}; give 1 to {min(shape)}, "
            "or more pixels to the plates"
        )
    values = enlarged(images, side)
    if encoding == "amplitude":
        fields = torch.complex(values, torch.zeros_like(values))
    else:
        turn = 2 * torch.pi * values
        fields = torch.complex(torch.cos(turn), torch.sin(turn))
    above, left = (rows - side) // 2, (cols - side) // 2
    return pad(fields, (left, cols - side - left, above, rows - side - above))
