"""A pattern is blocks and their tiles: what it expands to, and which panels can show it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.devices import Codebook, Levels, Pattern, PatternStack, identity_codebook, pattern_fault

SHAPE = (9, 14)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """Return patterns that fit `SHAPE` at 8 bit, their tiles smaller or larger than their blocks."""
    block = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    grid = draw(st.tuples(st.integers(1, SHAPE[0] // block[0]), st.integers(1, SHAPE[1] // block[1])))
    top = draw(st.integers(0, SHAPE[0] - block[0] * grid[0]))
    left = draw(st.integers(0, SHAPE[1] - block[1] * grid[1]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tiles = rng.integers(0, 256, (4, *draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))))
    levels: Levels = tiles.astype(np.uint8) if draw(st.booleans()) else tiles.astype(np.uint16)
    return Pattern(rng.integers(0, 4, grid, np.uint16), Codebook("drawn", levels, block), (top, left))


@given(patterns())
def test_every_pixel_is_the_tile_of_its_block_and_the_rest_is_level_0(pattern: Pattern):
    frame = pattern.expand(SHAPE)
    tiles, (high, wide), (top, left) = pattern.codebook.tiles, pattern.codebook.block, pattern.origin
    expected = np.zeros(SHAPE, int)
    for (row, col), index in np.ndenumerate(pattern.indices):
        for y in range(high):
            for x in range(wide):
                level = tiles[index, y % tiles.shape[1], x % tiles.shape[2]]
                expected[top + row * high + y, left + col * wide + x] = level
    assert frame.dtype == tiles.dtype
    assert np.array_equal(frame, expected)


@given(patterns())
def test_a_pattern_that_fits_has_no_fault(pattern: Pattern):
    assert pattern_fault(pattern, SHAPE, 8) is None
    stack = PatternStack(pattern.indices[None], pattern.codebook, pattern.origin)
    assert pattern_fault(stack, SHAPE, 8) is None


@given(patterns(), st.integers(0, 2))
def test_a_stack_holds_patterns_that_share_codebook_and_origin(pattern: Pattern, number: int):
    stack = PatternStack(np.stack([pattern.indices] * 3), pattern.codebook, pattern.origin)
    assert len(stack) == 3
    assert np.array_equal(stack[number].expand(SHAPE), pattern.expand(SHAPE))


@pytest.mark.parametrize("bit_depth", [1, 8, 10])
def test_a_plain_frame_shows_its_levels(bit_depth: int):
    frame = np.random.default_rng(bit_depth).integers(0, 2**bit_depth, SHAPE, np.uint16)
    codebook = identity_codebook(bit_depth)
    pattern = Pattern(frame, codebook)
    assert len(codebook) == 2**bit_depth
    assert codebook.top_level == 2**bit_depth - 1
    assert pattern_fault(pattern, SHAPE, bit_depth) is None
    assert np.array_equal(pattern.expand(SHAPE), frame)


TWO = Codebook("two levels", np.array([0, 200], np.uint8)[:, None, None], (2, 3))
GRID = np.zeros((2, 2), np.uint16)

FAULTS = {
    "index beyond the codebook": (Pattern(np.full((1, 1), 2, np.uint16), TWO), 8, "block index 2.*two levels.*0 to 1"),
    "level beyond the panel": (Pattern(GRID, TWO), 7, "200.*7 bit.*0 to 127"),
    "too many rows": (Pattern(np.zeros((5, 1), np.uint16), TWO), 8, r"\(10, 3\).*\(9, 14\)"),
    "too many columns": (Pattern(np.zeros((1, 5), np.uint16), TWO), 8, r"\(2, 15\).*\(9, 14\)"),
    "origin outside": (Pattern(GRID, TWO, (-1, 0)), 8, r"\(-1, 0\).*\(9, 14\)"),
    "pushed out": (Pattern(GRID, TWO, (6, 0)), 8, r"\(10, 6\).*\(9, 14\)"),
    "signed indices": (Pattern(GRID.astype(np.int16), TWO), 8, "uint16.*int16"),  # type: ignore[arg-type]
    "no blocks": (Pattern(GRID[:0], TWO), 8, r"\(0, 2\)"),
    "a stack for a pattern": (Pattern(GRID[None], TWO), 8, r"2 dimensions.*\(1, 2, 2\)"),
    "a pattern for a stack": (PatternStack(GRID, TWO), 8, r"3 dimensions.*\(2, 2\)"),
    "an empty stack": (PatternStack(GRID[None][:0], TWO), 8, r"\(0, 2, 2\)"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_says_what_is_wrong_and_what_the_panel_has(case: str):
    pattern, bit_depth, message = FAULTS[case]
    fault = pattern_fault(pattern, SHAPE, bit_depth)
    assert fault is not None
    assert re.search(message, fault), fault


BAD_CODEBOOKS = {
    "a plane of tiles": (np.zeros((2, 3), np.uint8), (1, 1)),
    "signed levels": (np.zeros((2, 1, 1), np.int16), (1, 1)),
    "fields": (np.zeros((2, 1, 1), np.float32), (1, 1)),
    "a block without rows": (np.zeros((2, 1, 1), np.uint8), (0, 1)),
    "a block without columns": (np.zeros((2, 1, 1), np.uint8), (1, -1)),
}


@pytest.mark.parametrize("case", BAD_CODEBOOKS)
def test_a_codebook_that_means_nothing_is_refused(case: str):
    tiles, block = BAD_CODEBOOKS[case]
    with pytest.raises(ValueError, match=r"tiles|block"):
        Codebook("bad", tiles, block)


@pytest.mark.parametrize("shape", [(0, 1, 1), (2, 0, 1), (2, 1, 0)])
def test_a_codebook_of_nothing_is_refused(shape: tuple[int, int, int]):
    with pytest.raises(ValueError, match="tiles"):
        Codebook("empty", np.zeros(shape, np.uint8), (1, 1))
