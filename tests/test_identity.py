"""Frames find their shots by time and tag; none is taken for another's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.devices import Frames
from labctl.devices.tag import UNREADABLE
from labctl.identity import FrameFaults, identify

PERIOD_S = 1e-3
TOP = 4095


def taken(shots: int, start_s: float = 7.0, *, tags: bool = True) -> tuple[Frames, np.ndarray]:
    """Return frames without fault, and the numbers they must show; shot k shows 100 + k."""
    numbers = 100 + np.arange(shots)[:, None]
    shown = np.repeat(numbers[:, None], 2, axis=1) if tags else None
    times_s = start_s + PERIOD_S * np.arange(shots, dtype=np.float64)
    counts = np.arange(shots, dtype=np.uint32)[:, None, None] * np.ones((1, 1, 4), np.uint32)
    return Frames(counts, np.arange(shots), times_s, shown), numbers


def judged(frames: Frames, numbers: np.ndarray) -> tuple[list[int], FrameFaults]:
    frame_of, faults = identify(frames, numbers, PERIOD_S, TOP)
    return frame_of.tolist(), faults


def changed(frames: Frames, **parts: np.ndarray) -> Frames:
    return Frames(**{**{name: getattr(frames, name) for name in ("counts", "ids", "times_s", "tags")}, **parts})


@given(st.integers(1, 9), st.booleans(), st.floats(0, 1e4))
def test_frames_without_fault_are_each_their_shots(shots: int, tags: bool, start_s: float):
    assert judged(*taken(shots, start_s, tags=tags)) == (list(range(shots)), FrameFaults())


def test_the_cameras_clock_may_jitter_by_a_third_of_a_period():
    frames, numbers = taken(50)
    jitter = np.random.default_rng(1).uniform(-PERIOD_S / 6, PERIOD_S / 6, 50)
    assert judged(changed(frames, times_s=frames.times_s + jitter), numbers) == (list(range(50)), FrameFaults())


@given(st.sets(st.integers(0, 7), max_size=8))
def test_missing_frames_leave_all_others_where_they_belong(missing: set[int]):
    frames, numbers = taken(8)
    came = np.array([k for k in range(8) if k not in missing], int)
    frame_of, faults = judged(frames[came], numbers)
    assert faults == FrameFaults(lost=len(missing))
    assert {k: came[place] for k, place in enumerate(frame_of) if place >= 0} == {k: k for k in came}


def test_without_tags_nothing_is_used_when_a_frame_is_missing_at_an_end():
    frames, _ = taken(5, tags=False)
    for came in (np.arange(1, 5), np.arange(4)):
        frame_of, faults = judged(frames[came], np.zeros((5, 0), int))
        assert set(frame_of) == {-1}
        assert faults.lost == 5
    frame_of, faults = judged(frames[np.array([0, 1, 3, 4])], np.zeros((5, 0), int))
    assert (frame_of, faults) == ([0, 1, -1, 2, 3], FrameFaults(lost=1))


def test_a_frame_that_came_twice_is_not_used():
    frames, numbers = taken(4)
    assert judged(frames[np.array([0, 1, 1, 2, 3])], numbers) == ([0, -1, 3, 4], FrameFaults(repeated=1))


@pytest.mark.parametrize(
    ("shown", "faults"),
    [
        ([101, 101], FrameFaults(repeated=1)),
        ([101, 102], FrameFaults(torn=1)),
        ([UNREADABLE, 102], FrameFaults(torn=1)),
        ([102, UNREADABLE], FrameFaults(torn=1)),
    ],
)
def test_a_frame_with_another_tag_than_its_shots_is_not_used(shown: list[int], faults: FrameFaults):
    frames, numbers = taken(4)
    tags = np.repeat(numbers[:, None], 2, axis=1)
    tags[2, :, 0] = shown
    assert judged(changed(frames, tags=tags), numbers) == ([0, 1, -1, 3], faults)


def test_a_frame_saturated_all_over_is_told_from_a_torn_one():
    frames, numbers = taken(2)
    tags, counts = np.repeat(numbers[:, None], 2, axis=1), frames.counts.copy()
    tags[1], counts[1] = UNREADABLE, TOP
    assert judged(changed(frames, tags=tags, counts=counts), numbers) == ([0, -1], FrameFaults(saturated=1))


def test_times_that_cannot_be_those_of_the_triggers_leave_no_frame():
    frames, numbers = taken(3)
    stretched = changed(frames, times_s=7.0 + 2 * PERIOD_S * np.arange(3))
    assert judged(stretched, numbers) == ([-1, -1, -1], FrameFaults(lost=3))
