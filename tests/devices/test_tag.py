"""Tags: what is shown is read, whatever the light; what is half one number and half another is read as neither."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.devices.tag import DARK, NUMBER_BITS, TAG_BLOCKS, UNREADABLE, paint_tag, read_tags, tag_blocks

EVERY = np.arange(2**NUMBER_BITS)
NUMBERS = st.integers(0, 2**NUMBER_BITS - 1)


def test_every_number_is_read_as_itself():
    assert np.array_equal(read_tags(tag_blocks(EVERY) * 700.0, 700.0), EVERY)


def test_neighbours_differ_in_one_block_all_the_way_round():
    assert np.all((tag_blocks(EVERY) != tag_blocks(EVERY + 1)).sum(axis=1) == 1)


@given(NUMBERS, st.floats(0.3, 3), st.integers(0, 2**32))
def test_brightness_and_noise_do_not_matter(number: int, brightness: float, seed: int):
    noise = np.random.default_rng(seed).normal(0, 3, TAG_BLOCKS)
    assert read_tags(tag_blocks(np.array(number)) * 200 * brightness + noise, 200.0) == number


def test_no_light_is_read_as_dark():
    assert read_tags(np.full(TAG_BLOCKS, 4), 200.0) == DARK


@given(NUMBERS, NUMBERS, st.floats(0.3, 0.7))
def test_two_numbers_in_one_exposure_cannot_be_read(first: int, second: int, share: float):
    blocks = share * tag_blocks(np.array(first)) + (1 - share) * tag_blocks(np.array(second))
    assert read_tags(blocks * 500, 500.0) == (first if first == second else UNREADABLE)


def test_light_everywhere_cannot_be_read():
    assert read_tags(np.full(TAG_BLOCKS, 4095), 2000.0) == UNREADABLE


@pytest.mark.parametrize("number", [0, 1, 2730, 4095])
def test_painted_mirrors_are_read_at_both_ends(number: int):
    frame = np.random.default_rng(0).integers(0, 2, (20, 90), np.uint8)
    before = frame.copy()
    paint_tag(frame, number, (3, 2))
    columns = 2 * TAG_BLOCKS
    for ends in (frame[:3, :columns], frame[-3:, -columns:]):
        assert np.all(read_tags(ends[:, ::2], 1.0) == number)
        assert np.array_equal(ends[:, ::2], ends[:, 1::2])
    untouched = np.ones_like(frame, bool)
    untouched[:3, :columns] = untouched[-3:, -columns:] = False
    assert np.array_equal(frame[untouched], before[untouched])
