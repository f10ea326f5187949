"""Images displaced by parts of a sample."""

import math

import torch
from torch import Tensor


def shift_ramp(shape: tuple[int, int], shift: tuple[float, float]) -> Tensor:
    """Return the factor of an image's spectrum that displaces it by `shift` samples; complex64, FFT order.

    Args:
        shape: Rows and columns of the spectrum.
        shift: Displacement in samples along each.
    """
    down, right = (axis_ramp(n, by) for n, by in zip(shape, shift, strict=True))
    return torch.outer(down, right).to(torch.complex64)


def axis_ramp(n: int, by: float) -> Tensor:
    """Return the factor along one axis of `n` frequencies that displaces by `by` samples; complex128, FFT order."""
    phase = -2 * math.pi * by * torch.fft.fftfreq(n, dtype=torch.float64)
    turn = torch.sin(phase)
    if n % 2 == 0:  # the highest frequency is its own opposite: a displacement back must be the transpose of one forth
        turn[n // 2] = 0
    return torch.complex(torch.cos(phase), turn)


def dark_around(n: int) -> int:
    """Return the length to which `n` samples are padded to be displaced: odd, at least twice `n`, quick to transform.

    An odd length has no highest frequency that is its own opposite, and so loses nothing of images that are as fine as
    their samples.
    """
    length = 2 * n + 1
    while _unfactored(length) > 1:
        length += 2
    return length


def _unfactored(n: int) -> int:
    for factor in (3, 5, 7):
        while n % factor == 0:
            n //= factor
    return n


def displaced(image: Tensor, shift: tuple[float, float]) -> Tensor:
    """Return a complex image (..., rows, cols) displaced by `shift` samples (down, right); it is dark around."""
    rows, cols = image.shape[-2:]
    size = (dark_around(rows), dark_around(cols))
    return torch.fft.ifft2(torch.fft.fft2(image, s=size) * shift_ramp(size, shift))[..., :rows, :cols]
