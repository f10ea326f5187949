"""How far one image lies from another, in parts of a sample, where nothing but a complex factor is between them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.free_space.shift import axis_ramp, dark_around, displaced

Shift = tuple[float, float]
"""Samples (down, right)."""

Vector = NDArray[np.float64]
Model = Callable[[Sequence[Tensor], Shift], Tensor]
"""From images (rows, cols) and a shift, the image that is expected."""

REACH = 3
"""Whole samples to either side among which a search begins: 4 sd of two cameras that are placed to 0.5 each."""

FIRST_WINDOW, WINDOW = 48, 128
"""Side of the part in the middle of the images in which a search begins, and ends; more adds time, not precision."""

MARGIN = 2
"""Samples along the edges that do not count: what has left the image there cannot be brought back."""

INSIDE = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))

PROBE = 0.02
"""Shift by which slopes are taken, in samples."""

ENOUGH = 1e-4
"""Step at which a search ends, in samples."""

MOST_STEPS = 30
"""Steps of a search; about five are needed."""


def least_squares(residual: Callable[[Vector], Vector], start: Vector) -> tuple[Vector, float]:
    """Return the unknowns with the least sum of squares of `residual`, by Gauss-Newton steps, and that sum."""
    at = start
    for _ in range(MOST_STEPS):
        sides = PROBE * np.eye(len(at))
        slopes = np.stack([(residual(at + side) - residual(at - side)) / (2 * PROBE) for side in sides], axis=1)
        step = np.linalg.solve(slopes.T @ slopes, slopes.T @ residual(at))
        at = at - step.clip(-0.5, 0.5)
        if np.abs(step).max() < ENOUGH:
            break
    return at, float(np.square(residual(at)).sum())


def misfit(target: NDArray[np.complexfloating], model: NDArray[np.complexfloating]) -> Vector:
    """Return what the best multiple of `model` leaves of `target`, real and imaginary parts over the target's norm."""
    factor = np.vdot(model, target) / np.vdot(model, model).real
    rest = (target - factor * model) / np.linalg.norm(target)
    return np.concatenate([rest.real.ravel(), rest.imag.ravel()]).astype(float)


def find_shift(target: Tensor, model: Model, images: Sequence[Tensor]) -> tuple[Vector, float]:
    """Return the shift (down, right) at which `model` of `images` is `target`, and the share of power it leaves."""

    def rest_in(window: int) -> Callable[[Vector], Vector]:
        middle = tuple(slice(max(0, (side - window) // 2), (side + window) // 2) for side in target.shape)
        seen, parts = target[middle][INSIDE].numpy(), [image[middle] for image in images]
        return lambda at: misfit(seen, model(parts, (float(at[0]), float(at[1])))[INSIDE].numpy())

    first, whole = rest_in(FIRST_WINDOW), np.arange(-REACH, REACH + 1.0)
    starts = [np.array([down, right]) for down in whole for right in whole]
    return least_squares(rest_in(WINDOW), min(starts, key=lambda at: float(np.square(first(at)).sum())))


def through_mask(images: Sequence[Tensor], shift: Shift) -> Tensor:
    """Return a camera's image of light behind a mask that was rewritten: model for `find_shift`.

    Args:
        images: The image before, and what the mask transmits now over what it did then.
        shift: How far the image lies off the mask's samples.
    """
    image, ratio = images
    return displaced(ratio * displaced(image, (-shift[0], -shift[1])), shift)


def moved(images: Sequence[Tensor], shift: Shift) -> Tensor:
    """Return an image displaced by `shift`: model for `find_shift`."""
    return displaced(images[0], shift)


def conjugate_inside(output: Tensor) -> Tensor:
    """Return the conjugate of an image (rows, cols), dark at its edges, so that none of it is lost when displaced."""
    inside = torch.zeros_like(output)
    inside[INSIDE] = output[INSIDE].conj()
    return inside


class Overlap:
    """The sum of one image, displaced, times another: sum over x of a(x - d) b(x), for any d.

    Args:
        displaced: Images a (..., rows, cols).
        still: Images b (..., rows, cols); leading dimensions broadcast.
    """

    def __init__(self, displaced: Tensor, still: Tensor) -> None:
        rows, cols = (dark_around(side) for side in displaced.shape[-2:])
        there = torch.fft.fft2(displaced, s=(rows, cols)) / (rows * cols)
        self._spectrum = (there * torch.fft.fft2(still.conj(), s=(rows, cols)).conj()).numpy()

    def at(self, shift: Vector) -> NDArray[np.complex64]:
        """Return the sums (...) for a shift (down, right) in samples."""
        sides = self._spectrum.shape[-2:]
        down, right = (axis_ramp(n, float(by)).numpy().astype(np.complex64) for n, by in zip(sides, shift, strict=True))
        return (self._spectrum @ right) @ down

    def on_whole_samples(self, reach: int) -> NDArray[np.complexfloating]:
        """Return the sums (..., 2 reach + 1, 2 reach + 1) for whole shifts of -reach to reach each way."""
        side = np.arange(-reach, reach + 1)
        return np.fft.fft2(self._spectrum)[..., side[:, None], side[None, :]]
