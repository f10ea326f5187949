"""Which frame belongs to which shot: by count, by camera time against trigger time, and by the optical tag."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.devices import Frames
from labctl.devices.tag import UNREADABLE


@dataclass(frozen=True)
class FrameFaults:
    """How many frames could not be used.

    Args:
        lost: Shots of which no frame came.
        repeated: Frames that came twice, or show another instant's patterns.
        torn: Frames whose two ends show different patterns, or none that can be read.
        saturated: Frames at their highest count everywhere, tags included.
    """

    lost: int = 0
    repeated: int = 0
    torn: int = 0
    saturated: int = 0

    def __add__(self, other: "FrameFaults") -> "FrameFaults":
        return FrameFaults(
            self.lost + other.lost,
            self.repeated + other.repeated,
            self.torn + other.torn,
            self.saturated + other.saturated,
        )

    def __bool__(self) -> bool:
        return bool(self.lost or self.repeated or self.torn or self.saturated)

    def __str__(self) -> str:
        return f"{self.lost} lost, {self.repeated} repeated, {self.torn} torn, {self.saturated} saturated"


def identify(
    frames: Frames, numbers: NDArray[np.int64], period_s: float, top_count: int
) -> tuple[NDArray[np.int64], FrameFaults]:
    """Return the position of each shot's frame in a triggered sequence, -1 where there is none, and what is wrong.

    Camera times count from the camera's first frame, as its clock is not the board's: where frames are missing, tags
    say which trigger that first frame had. Without tags, missing frames leave all others without identity.

    Args:
        frames: What the camera delivered.
        numbers: Tag numbers that every shot must show, shape (shots, DMDs).
        period_s: Time from trigger to trigger.
        top_count: Highest count a frame can hold.
    """
    shots = len(numbers)
    frame_of = np.full(shots, -1)
    if not len(frames):
        return frame_of, FrameFaults(lost=shots)
    after = np.rint((frames.times_s - frames.times_s[0]) / period_s).astype(int)
    spare = shots - 1 - int(after.max())
    if after.min() < 0 or spare < 0 or (spare and frames.tags is None):
        return frame_of, FrameFaults(lost=shots)
    shot = after + _first_shot(frames, numbers, after, spare)
    taken = np.bincount(shot, minlength=shots)
    torn, other, saturated = _wrong(frames, numbers[shot], top_count)
    right = ~(torn | other | saturated) & (taken[shot] == 1)
    frame_of[shot[right]] = np.flatnonzero(right)
    twice = int(np.clip(taken - 1, 0, None).sum())
    lost = int((taken == 0).sum())
    return frame_of, FrameFaults(lost, twice + int(other.sum()), int(torn.sum()), int(saturated.sum()))


def _first_shot(frames: Frames, numbers: NDArray[np.int64], after: NDArray[np.integer], spare: int) -> int:
    """Return which shot the first frame is of, `spare` being the last it can be: where most tags agree."""
    if not spare or frames.tags is None:
        return 0
    first = frames.tags[:, 0]
    agree = [np.all(first == numbers[after + start], axis=1).sum() for start in range(spare + 1)]
    return int(np.argmax(agree))


def _wrong(
    frames: Frames, numbers: NDArray[np.int64], top_count: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which frames are torn, show other numbers than theirs, or are saturated all over."""
    no = np.zeros(len(frames), bool)
    if frames.tags is None:
        return no, no, no
    first, last = frames.tags[:, 0], frames.tags[:, 1]
    unreadable = np.any(frames.tags == UNREADABLE, axis=(1, 2))
    torn = unreadable | np.any(first != last, axis=1)
    other = ~torn & np.any(first != numbers, axis=1)
    full = no.copy()
    full[unreadable] = np.all(frames.counts[unreadable] >= top_count, axis=(1, 2))
    return torn & ~full, other, full
