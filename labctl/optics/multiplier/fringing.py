"""Panels below the pixel: the phase of square pixels, blurred by fringing fields, on a grid of sub-pixels."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SUBPIXELS = 4
"""Samples per pixel for the blur of a panel's phase; 8 change no field by more than 0.5 % from 0.4 px of blur up."""


def blur_reach(sigma_px: float) -> int:
    """Return how many pixels to each side take part in a blur of `sigma_px`: 4 sigma from the pixel's edge."""
    return math.ceil(4 * sigma_px + 0.5)


def blur_kernel(sigma_px: float) -> NDArray[np.float64]:
    """Return the share of every pixel in the blurred value at each sub-pixel, shape (SUBPIXELS, 2 reach + 1).

    A Gaussian of `sigma_px` over pixels that are constant inside; 0 returns the pixel itself.
    """
    reach = blur_reach(sigma_px)
    at = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    edges = np.arange(-reach, reach + 2) - 0.5 - at[:, None]
    if sigma_px > 0:
        below = np.vectorize(lambda edge: 0.5 * math.erfc(-edge / (sigma_px * math.sqrt(2))))(edges)
    else:
        below = (edges > 0).astype(float)
    shares = np.diff(below, axis=1)
    return shares / shares.sum(axis=1, keepdims=True)


def blurred_phase(phase: Tensor, sigma_px: float) -> Tensor:
    """Return the phase of a panel on sub-pixels, blurred in both directions.

    Args:
        phase: Phase of every pixel, shape (rows, cols), with a border of `blur_reach` pixels, which is used up.
        sigma_px: Gaussian sigma of the blur in pixels.

    Returns:
        Shape ((rows - 2 reach) SUBPIXELS, (cols - 2 reach) SUBPIXELS).
    """
    kernel = torch.from_numpy(blur_kernel(sigma_px)).to(phase.dtype)[:, None]

    def along_rows(values: Tensor) -> Tensor:
        finer = torch.nn.functional.conv1d(values[:, None], kernel)
        return finer.transpose(1, 2).reshape(len(values), -1)

    return along_rows(along_rows(phase).T).T
