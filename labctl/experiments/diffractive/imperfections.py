"""Errors of printing and mounting: plates displaced, turned, printed in steps, absorbing, and planes misplaced."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from labctl.experiments.diffractive.network import Transmission


def displaced(plates: Transmission, shift_px: Tensor, angle_rad: Tensor) -> Transmission:
    """Return plates shifted and turned about their centre, opaque beyond their edges.

    The transmission is interpolated linearly: for a shift, that is what each sample sees of square neurons.

    Args:
        plates: As they should be.
        shift_px: Downwards and to the right, in neurons, shape (plates, 2).
        angle_rad: Anticlockwise as seen in the picture of the plate, shape (plates,).
    """
    masks = torch.view_as_real(plates.masks()).permute(0, 3, 1, 2)  # real and imaginary part as two channels
    _, _, rows, cols = masks.shape
    cos, sin = torch.cos(angle_rad), torch.sin(angle_rad)
    # affine_grid asks where each output sample comes from, in units of half the plate.
    down, right = shift_px[:, 0], shift_px[:, 1]
    x = torch.stack((cos, -sin * rows / cols, (-cos * right + sin * down) * 2 / cols), dim=1)
    y = torch.stack((sin * cols / rows, cos, (-sin * right - cos * down) * 2 / rows), dim=1)
    grid = affine_grid(torch.stack((x, y), dim=1), list(masks.shape), align_corners=False)
    real, imaginary = grid_sample(masks, grid.to(masks), mode="bilinear", align_corners=False).unbind(1)
    moved = torch.complex(real, imaginary)
    return Transmission(moved.angle(), moved.abs())


def stepped(plates: Transmission, levels: int) -> Transmission:
    """Return plates printed in `levels` equal steps of height over one turn of phase."""
    step = 2 * math.pi / levels
    return Transmission(torch.round(plates.phase / step).remainder(levels) * step, plates.amplitude)


def absorbing(plates: Transmission, extinction_ratio: float) -> Transmission:
    """Return plates whose material absorbs.

    A phase phi within one turn is a height lambda phi / (2 pi dn); over it the amplitude falls as
    exp(-2 pi k height / lambda) = exp(-phi k / dn).

    Args:
        plates: As they should be.
        extinction_ratio: k / dn, extinction coefficient over index less that of air.
    """
    loss = torch.exp(-extinction_ratio * plates.phase.remainder(2 * math.pi))
    return Transmission(plates.phase, loss if plates.amplitude is None else loss * plates.amplitude)
