"""The optical tag: a DMD shows the number of its frame on spare mirrors, and cameras read it back from spare pixels.

A tag is a row of blocks: one that is always lit, one that is always dark, then the number in Gray code, highest bit
first. It stands at both ends of a frame, so that a frame torn between two patterns shows two different numbers.
"""

import numpy as np
from numpy.typing import NDArray

NUMBER_BITS = 12
"""Bits of a number: frames are told apart over 4096 of them, some 30 batches."""

TAG_BLOCKS = 2 + NUMBER_BITS
"""Blocks of one tag."""

DARK = -1
"""Read where no tag is lit: the DMD's mirrors are off."""

UNREADABLE = -2
"""Read where a block is neither lit nor dark, or the always-dark block is lit."""

_CLEAR = 0.25
"""How far from dark or from lit, as a share of the lit block, a block may be and still count as either."""


def tag_blocks(numbers: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which blocks are lit for `numbers` (any shape, modulo 2^12), shape (..., 14)."""
    wrapped = np.asarray(numbers) % 2**NUMBER_BITS
    gray = wrapped ^ (wrapped >> 1)
    bits = (gray[..., None] >> np.arange(NUMBER_BITS - 1, -1, -1)) & 1
    ends = np.broadcast_to([True, False], (*wrapped.shape, 2))
    return np.concatenate([ends, bits.astype(bool)], axis=-1)


def read_tags(levels: NDArray[np.number], lit: float) -> NDArray[np.int64]:
    """Return the numbers that tags show, or `DARK` or `UNREADABLE`.

    Args:
        levels: Brightness of each block, shape (..., 14).
        lit: Brightness expected of a lit block; the tag itself says what counts as lit once it is there.
    """
    levels = levels.astype(np.float32)
    marker = levels[..., :1]
    on, off = levels > (1 - _CLEAR) * marker, levels < _CLEAR * marker
    clear = np.all(on | off, axis=-1) & off[..., 1] & (marker[..., 0] >= _CLEAR * lit)
    numbers = on[..., 2:] @ (1 << np.arange(NUMBER_BITS - 1, -1, -1))
    for shift in (1, 2, 4, 8):  # from Gray code: the running exclusive or of all higher bits
        numbers ^= numbers >> shift
    dark = levels.max(axis=-1) < _CLEAR * lit
    return np.where(dark, DARK, np.where(clear, numbers, UNREADABLE))


def paint_tag(frame: NDArray[np.unsignedinteger], number: int, block: tuple[int, int]) -> None:
    """Write a number's tag over the first and the last mirrors of a binary `frame`, blocks of `block` (rows, cols)."""
    rows, columns = block
    tag = np.repeat(tag_blocks(np.asarray(number)), columns)
    frame[:rows, : len(tag)] = tag
    frame[-rows:, -len(tag) :] = tag
