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


def displaced(image: Tensor, shift: tuple[float, float]) -> Tensor:
    """Return a complex image (..., rows, cols) displaced by `shift` samples (down, right); it is dark around."""
    rows, cols = image.shape[-2:]
    ramp = shift_ramp((2 * rows, 2 * cols), shift)
    return torch.fft.ifft2(torch.fft.fft2(image, s=(2 * rows, 2 * cols)) * ramp)[..., :rows, :cols]
