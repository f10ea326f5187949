"""What a modulator shows: block indices and the codebook that turns each index into panel levels."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.uint16]
Levels = NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class Codebook:
    """The tiles a block may show, one per index.

    Args:
        name: Says what the indices mean, e.g. "blazed carrier, 511 signed levels".
        tiles: Panel levels, shape (indices, tile rows, tile cols), uint8 or uint16.
        block: Rows and columns of panel pixels per block; the tile repeats to fill it.
        rest: Level of the panel outside the blocks; light that strays there should meet what is silent beside them.
    """

    name: str
    tiles: Levels
    block: tuple[int, int]
    rest: int = 0

    def __post_init__(self) -> None:
        if self.tiles.ndim != 3 or self.tiles.size == 0 or self.tiles.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"codebook tiles are (indices, rows, cols) of uint8 or uint16, got {self.tiles.shape}")
        if min(self.block) < 1:
            raise ValueError(f"a block has at least one pixel, got {self.block}")

    def __len__(self) -> int:
        return len(self.tiles)

    @cached_property
    def top_level(self) -> int:
        """Highest panel level in any tile."""
        return max(int(self.tiles.max()), self.rest)

    @cached_property
    def blocks(self) -> Levels:
        """Every index as a whole block, shape (indices, block rows, block cols)."""
        rows, cols = self.block
        repeat = (1, -(-rows // self.tiles.shape[1]), -(-cols // self.tiles.shape[2]))
        return np.tile(self.tiles, repeat)[:, :rows, :cols]


def identity_codebook(bit_depth: int) -> Codebook:
    """Return the codebook of plain frames: 1x1 blocks whose index is the panel level."""
    dtype = np.uint8 if bit_depth <= 8 else np.uint16
    return Codebook("plain frame", np.arange(2**bit_depth, dtype=dtype)[:, None, None], (1, 1))


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a modulator shows.

    Args:
        indices: Index of every block, shape (block rows, block cols), uint16.
        codebook: What each index looks like.
        origin: Row and column of the panel pixel where the first block begins; the rest of the panel is
            at the codebook's level for it.
    """

    indices: Indices
    codebook: Codebook
    origin: tuple[int, int] = (0, 0)

    def expand(self, shape: tuple[int, int]) -> Levels:
        """Return the panel frame of `shape` (rows, cols) in panel levels."""
        rows, cols = self.codebook.block
        tiles = self.codebook.blocks[self.indices]
        high, wide = self.indices.shape[0] * rows, self.indices.shape[1] * cols
        frame = np.full(shape, self.codebook.rest, self.codebook.tiles.dtype)
        top, left = self.origin
        frame[top : top + high, left : left + wide] = tiles.transpose(0, 2, 1, 3).reshape(high, wide)
        return frame


@dataclass(frozen=True, eq=False)
class PatternStack:
    """Many patterns that share codebook and origin, e.g. one batch.

    Args:
        indices: Shape (n, block rows, block cols), uint16.
        codebook: What each index looks like.
        origin: As in `Pattern`.
    """

    indices: Indices
    codebook: Codebook
    origin: tuple[int, int] = field(default=(0, 0))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> Pattern:
        return Pattern(self.indices[number], self.codebook, self.origin)


def pattern_fault(pattern: Pattern | PatternStack, shape: tuple[int, int], bit_depth: int) -> str | None:
    """Return why a panel of `shape` and `bit_depth` cannot show `pattern`, or None when it can."""
    indices, codebook, (top, left) = pattern.indices, pattern.codebook, pattern.origin
    ndim = 3 if isinstance(pattern, PatternStack) else 2
    if indices.ndim != ndim or indices.size == 0:
        return f"block indices need {ndim} dimensions and at least one block, got shape {indices.shape}"
    if indices.dtype != np.uint16:
        return f"block indices must be uint16, got {indices.dtype}"
    if int(indices.max()) >= len(codebook):
        return f"block index {int(indices.max())} is not in codebook '{codebook.name}' (0 to {len(codebook) - 1})"
    if codebook.top_level >= 2**bit_depth:
        return f"panel level {codebook.top_level} is beyond {bit_depth} bit (0 to {2**bit_depth - 1})"
    high = top + indices.shape[-2] * codebook.block[0]
    wide = left + indices.shape[-1] * codebook.block[1]
    if top < 0 or left < 0 or high > shape[0] or wide > shape[1]:
        return f"pattern covers pixels up to ({high}, {wide}) from {pattern.origin}, the panel has {shape}"
    return None
