"""A whole sequence looked through once before anything moves: its frames, its images, its cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labctl.errors import ConfigError
from labctl.experiments.mda.change import timeline
from labctl.experiments.mda.frames import MICRO, Frame, Job

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
        starts_s: Start time by time index.
    """

    frames: int = 0
    seconds: float = 0.0
    shown: int = 0
    images: dict[str, PositionImage] = field(default_factory=dict)
    starts_s: dict[int, float] = field(default_factory=dict)

    def place(self, frame: Frame) -> list[int]:
        """Return where a frame is stored: its time, channel and plane; planes rise."""
        image, z = self.images[frame.image], frame.index.get("z", 0)
        z = image.shape[2] - 1 - z if image.falling else z
        return [frame.index.get("t", 0), frame.index.get("c", 0), z]

    def described(self, job: Job) -> list[dict[str, Any]]:
        """Return the images as a record of a stack has them."""
        pixel_um = job.pixel_m / MICRO
        seconds = _step(self.starts_s)
        return [
            {
                "name": name,
                "shape": list(image.shape),
                "channels": [name for _, name in sorted(image.channels.items())],
                "scale": [seconds, abs(_step(image.planes_um) or 0.0) or None, pixel_um, pixel_um],
                "position_um": {axis: place_m / MICRO for axis, place_m in image.first_m.items()},
                "first_um": min(image.planes_um.values(), default=None),
            }
            for name, image in self.images.items()
        ]


def survey(job: Job) -> Survey:
    """Return what a sequence comes to on a bench, every frame of it checked.

    Raises:
        ConfigError: Two positions have the same name; or as `Job.frames`.
        LimitError: As `Job.frames`.
    """
    found = Survey()
    for frame, change, seconds in timeline(job):
        found.frames += 1
        found.seconds = seconds
        found.shown += len(change.images)
        number = frame.index.get("p", -1), frame.index.get("g", -1)
        image = found.images.setdefault(frame.image, PositionImage(number, frame.target_m))
        if image.number != number:
            raise ConfigError(f"sequence: stage_positions: the name '{frame.image}' stands twice; give each its own")
        t, c, z = (frame.index.get(axis, 0) for axis in ("t", "c", "z"))
        image.shape = (max(image.shape[0], t + 1), max(image.shape[1], c + 1), max(image.shape[2], z + 1))
        found.starts_s.setdefault(t, frame.start_s)
        if frame.channel is not None:
            image.channels.setdefault(c, frame.channel)
        if "z" in frame.target_m:
            image.planes_um.setdefault(z, frame.target_m["z"] / MICRO)
    return found


def _step(values: Mapping[int, float]) -> float | None:
    """Return the distance between neighbours, None where there are none or their distances differ."""
    numbers = sorted(values)
    if len(numbers) < 2 or numbers != list(range(len(numbers))):
        return None
    step = (values[numbers[-1]] - values[0]) / (len(numbers) - 1)
    even = all(abs(values[k] - values[0] - k * step) <= EVEN * abs(step) for k in numbers)
    return step if even and step else None
