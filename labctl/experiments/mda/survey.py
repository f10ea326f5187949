"""A whole sequence looked through once before anything moves: its frames, its images, its cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from labctl.errors import ConfigError
from labctl.experiments.mda.change import timeline
from labctl.experiments.mda.frames import MICRO, Frame, Job
from labctl.experiments.mda.rounds import MOST_FRAMES, Round, Times, busy_s, require_countable, too_many

EVEN = 1e-6
"""Share of a distance by which distances may differ and still count as the same."""


@dataclass
class PositionImage:
    """What is known of the image of one position.

    Args:
        number: Its numbers in the stage positions and in their grid, -1 where there is none.
        first_m: Where its first frame is meant to be taken, by axis.
        shape: Times, channels and planes.
        channels: Names of the channels by number.
        planes_um: Where the planes are, by number.
    """

    number: tuple[int, int]
    first_m: Mapping[str, float]
    shape: tuple[int, int, int] = (0, 0, 0)
    channels: dict[int, str] = field(default_factory=dict)
    planes_um: dict[int, float] = field(default_factory=dict)

    @property
    def falling(self) -> bool:
        """Whether planes are taken from the top down; they are stored from the bottom up."""
        step_um = _step(self.planes_um)
        return step_um is not None and step_um < 0


@dataclass
class Survey:
    """What a sequence comes to.

    Args:
        frames: Number of frames.
        seconds: How long the bench will be busy, travel of stages left out.
        shown: Images written to panels.
        images: By name, in the order of their first frames.
        interval_s: Seconds between two times, None where that is not always the same, or 0: one after another.
    """

    frames: int = 0
    seconds: float = 0.0
    shown: int = 0
    images: dict[str, PositionImage] = field(default_factory=dict)
    interval_s: float | None = None

    def place(self, frame: Frame) -> list[int]:
        """Return where a frame is stored: its time, channel and plane; planes rise."""
        image, z = self.images[frame.image], frame.index.get("z", 0)
        z = image.shape[2] - 1 - z if image.falling else z
        return [frame.index.get("t", 0), frame.index.get("c", 0), z]

    def described(self, job: Job) -> list[dict[str, Any]]:
        """Return the images as a record of a stack has them."""
        pixel_um = job.pixel_m / MICRO
        return [
            {
                "name": name,
                "shape": list(image.shape),
                "channels": [name for _, name in sorted(image.channels.items())],
                "scale": [self.interval_s, abs(_step(image.planes_um) or 0.0) or None, pixel_um, pixel_um],
                "position_um": {axis: place_m / MICRO for axis, place_m in image.first_m.items()},
                "first_um": min(image.planes_um.values(), default=None),
            }
            for name, image in self.images.items()
        ]


def survey(job: Job) -> Survey:
    """Return what a sequence comes to on a bench: each of its positions, planes, channels and exposures checked.

    Times are walked as far as they differ, so that a sequence of many takes no longer than one of few.

    Raises:
        ConfigError: Two positions have the same name; more frames than a run takes; or as `Job.frames`.
        LimitError: As `Job.frames`.
    """
    require_countable(job.sequence)
    times = Times.of(job.sequence)
    found, rounds, starts_s = Survey(), list[Round](), dict[int, float]()
    for frame, change, preparing_s, taking_s in timeline(replace(job, sequence=times.walked)):
        t = frame.index.get("t", 0)
        if not rounds or frame.restarts or (t, frame.start_s) != (rounds[-1].t, rounds[-1].start_s):
            rounds.append(Round(t, frame.start_s, frame.restarts, preparing_s))
            preparing_s = 0.0
        this, count = rounds[-1], 1 + times.again(t)
        this.taking_s += preparing_s + taking_s
        found.frames += count
        found.shown += count * len(change.images)
        if found.frames > MOST_FRAMES:
            raise too_many(f"more than {MOST_FRAMES:,}")
        starts_s.setdefault(t, frame.start_s)
        _note(found, frame, times.whole(t))
    found.seconds = busy_s(rounds, times)
    found.interval_s = _step(starts_s) if times.starts_s is None else _even(times.starts_s)
    return found


def _note(found: Survey, frame: Frame, t: int) -> None:
    """Note a frame of time `t` in the image it belongs to."""
    number = frame.index.get("p", -1), frame.index.get("g", -1)
    image = found.images.setdefault(frame.image, PositionImage(number, frame.target_m))
    if image.number != number:
        raise ConfigError(f"sequence: stage_positions: the name '{frame.image}' stands twice; give each its own")
    c, z = frame.index.get("c", 0), frame.index.get("z", 0)
    image.shape = (max(image.shape[0], t + 1), max(image.shape[1], c + 1), max(image.shape[2], z + 1))
    if frame.channel is not None:
        image.channels.setdefault(c, frame.channel)
    if "z" in frame.target_m:
        image.planes_um.setdefault(z, frame.target_m["z"] / MICRO)


def _step(values: Mapping[int, float]) -> float | None:
    """Return the distance between neighbours by number, None where numbers are missing or `_even` finds none."""
    numbers = sorted(values)
    return _even([values[k] for k in numbers]) if numbers == list(range(len(numbers))) else None


def _even(values: Sequence[float]) -> float | None:
    """Return the distance between neighbours, None where it differs, is 0, or there are none."""
    if len(values) < 2:
        return None
    step = (values[-1] - values[0]) / (len(values) - 1)
    even = all(abs(value - values[0] - k * step) <= EVEN * abs(step) for k, value in enumerate(values))
    return step if even and step else None
