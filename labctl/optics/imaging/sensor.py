"""Homodyne detection on an sCMOS camera: fields to electrons to counts, and back.

A mode of field E meets a reference; with n electrons per unit field squared and N_R reference electrons it gives
N = N_R + n |E|^2 + 2 sqrt(N_R n) Re(E exp(-i phase)). Two exposures half a turn apart leave
N(0) - N(pi) = 4 sqrt(N_R n) Re(E exp(-i phase)): one quadrature, without dark level or the intensities.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def electrons_per_unit(
    unit_power_w: float, fraction: float, quantum_efficiency: float, exposure_s: float, photon_energy_j: float
) -> float:
    """Return the electrons a mode of field 1 leaves in one exposure.

    Args:
        unit_power_w: Power of a mode of field 1.
        fraction: Share of that power on the camera.
        quantum_efficiency: Electrons per photon.
        exposure_s: Exposure time.
        photon_energy_j: Energy of one photon.
    """
    return unit_power_w * fraction * exposure_s * quantum_efficiency / photon_energy_j


def homodyne_electrons(quadrature: Tensor, power: Tensor, per_unit: float, reference: Tensor) -> Tensor:
    """Return the mean electrons of every mode.

    Args:
        quadrature: Re(E exp(-i phase)), shape (n, modes).
        power: |E|^2, same shape.
        per_unit: Electrons per unit field squared.
        reference: Reference electrons N_R, broadcastable to (n, modes).
    """
    return reference + per_unit * power + 2 * torch.sqrt(reference * per_unit) * quadrature


def read_out(
    electrons: Tensor,
    rng: np.random.Generator,
    *,
    noise_scale: float,
    read_noise: float,
    row_noise: float,
    step: float,
    pixels: int,
    top: int,
) -> NDArray[np.uint32]:
    """Return camera counts of summed modes.

    Shot noise is Gaussian here: modes hold 1e4 electrons and more, where Poisson's skew is below 1 %.

    Args:
        electrons: Mean electrons of each mode, any shape.
        rng: Noise source.
        noise_scale: Factor on shot and read noise; 0 leaves only rounding.
        read_noise: Electrons rms of one pixel and read-out.
        row_noise: Electrons rms common to the pixels of a mode, which lie in one row.
        step: Electrons per count.
        pixels: Pixels summed for one mode.
        top: Highest count of a mode.
    """
    signal = electrons.numpy()
    # each pixel's rounding is noise of step^2 / 12 on the sum; without any noise the whole sum is rounded once
    rounding = step**2 / 12 if noise_scale else 0.0
    constant = pixels * (noise_scale**2 * read_noise**2 + rounding) + (pixels * row_noise) ** 2
    variance = np.maximum(signal, 0) * noise_scale**2 + constant
    noisy = signal + np.sqrt(variance) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(np.rint(noisy / step), 0, top).astype(np.uint32)


def sum_modes(counts: NDArray[np.unsignedinteger], modes: int, top: int) -> NDArray[np.uint32]:
    """Return counts (n, modes) of whole modes; one with a saturated pixel reads as if all of them were.

    Args:
        counts: Frames (n, rows, cols), the pixels of one mode after those of the other.
        modes: Modes in a frame.
        top: Highest count of a pixel.
    """
    pixels = counts.reshape(len(counts), modes, -1)
    sums = pixels.sum(axis=2, dtype=np.uint32)
    sums[(pixels >= top).any(axis=2)] = top * pixels.shape[2]
    return sums


def homodyne_field(
    counts: NDArray[np.uint32],
    signs: NDArray[np.float32],
    step: float,
    reference: NDArray[np.floating],
    per_unit: float,
) -> NDArray[np.float32]:
    """Return the quadrature Re(E exp(-i phase)), shape (n, modes), from exposures with stepped phases.

    Args:
        counts: Counts, shape (n, steps, modes).
        signs: Sign of the quadrature in each step, e.g. (1, -1) for phases 0 and pi.
        step: Electrons per count.
        reference: Reference electrons of each mode.
        per_unit: Electrons per unit field squared.
    """
    difference = np.einsum("nsm,s->nm", counts.astype(np.float32), signs)
    return difference * (step / (2 * len(signs) * np.sqrt(reference * per_unit))).astype(np.float32)
