"""Complex fields from a micromirror device: superpixels of 4 x 4 mirrors behind a low-pass at a carrier.

The stop is placed so that the 16 mirrors of a superpixel arrive with 16 evenly spaced phases; the field is the sum over
those that are on (Goorden, Bertolotti and Mosk, Opt. Express 22:17999, 2014). Mirrors of opposite phase cancel, which
leaves 3^8 = 6561 different fields.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

SIDE = 4
"""Mirrors along one side of a superpixel."""

PHASES = SIDE * SIDE
"""Phases of the mirrors of a superpixel, evenly spaced over a turn."""

FULL = 4.5
"""Sum of unit mirrors that counts as amplitude 1. Sums reach 5.1, but near there they lie far apart."""

LOOK_UP = 1024
"""Cells along one side of the table that finds the nearest field; finer than the fields lie."""


@lru_cache(maxsize=1)
def superpixel_tiles() -> NDArray[np.uint8]:
    """Return the tile of every field, shape (6561, 4, 4), dark first."""
    on = np.indices((3,) * (PHASES // 2)).reshape(PHASES // 2, -1).T  # per opposite pair: none, the one, the other
    mirrors = np.concatenate([on == 1, on == 2], axis=1)  # by phase
    return mirrors[:, np.arange(PHASES).reshape(SIDE, SIDE)].astype(np.uint8)


def superpixel_response(tiles: NDArray[np.uint8]) -> NDArray[np.complex128]:
    """Return the field of superpixels (n, 4, 4) over that of full amplitude, shape (n,)."""
    phasor = np.exp(2j * np.pi * np.arange(PHASES) / PHASES)
    return np.asarray(tiles.reshape(len(tiles), -1) @ phasor / FULL, np.complex128)


@lru_cache(maxsize=1)
def _nearest() -> NDArray[np.uint16]:
    fields = superpixel_response(superpixel_tiles())
    at = (np.arange(LOOK_UP) + 0.5) / LOOK_UP * 2 - 1
    places = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1)
    found = KDTree(np.stack([fields.real, fields.imag], axis=-1)).query(places)[1]
    return np.asarray(found, np.uint16)


def superpixel_indices(field: NDArray[np.complexfloating]) -> NDArray[np.uint16]:
    """Return the index of the tile nearest to each field; amplitudes beyond 1 are written as 1.

    The error is 1.7 % of full amplitude rms over all fields and at most 5.7 %; near the dark sums lie closer.

    Args:
        field: Fields over that of full amplitude, any shape.
    """
    amplitude = np.abs(field)
    inside = field / np.maximum(amplitude, 1)
    row, column = (
        np.clip((part + 1) * (LOOK_UP / 2), 0, LOOK_UP - 1).astype(np.intp) for part in (inside.real, inside.imag)
    )
    return _nearest()[row, column]


def superpixel_fields(indices: NDArray[np.integer]) -> Tensor:
    """Return the fields that indices stand for, complex64, over that of full amplitude."""
    fields = torch.from_numpy(superpixel_response(superpixel_tiles()).astype(np.complex64))
    return fields[torch.from_numpy(indices.astype(np.int64))]
