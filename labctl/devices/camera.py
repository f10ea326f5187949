"""Camera: integer frames, each with its number and the time it was taken."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from labctl.clock import Clock
from labctl.devices.base import Device, LitSettings, Shape
from labctl.devices.dmd import Trigger
from labctl.devices.tag import TAG_BLOCKS, read_tags
from labctl.errors import FrameLost, LimitError, StateError
from labctl.units import Fraction, Metres, Seconds

Counts = NDArray[np.unsignedinteger]


class CameraSettings(LitSettings):
    """What a camera is, for driver and twin alike.

    Args:
        shape: Sensor rows and columns.
        pitch_m: Pixel pitch.
        bit_depth: Bits of a count.
        justification: Which bits of the word carry the count.
        exposure_s: Exposure at opening.
        min_exposure_s: Shortest exposure.
        max_exposure_s: Longest exposure.
        period_s: Time from frame to frame in a triggered sequence.
        quantum_efficiency: Electrons per photon at the bench's wavelength.
        full_well: Electrons a pixel holds.
        read_noise: Electrons rms per pixel and read-out.
        roi_per_mode: Pixels (rows, cols) summed for one mode.
        tags: DMDs whose optical tags it sees, in this order, on spare pixels at both ends of each row, one per block.
        tag_electrons: Electrons that a lit block of a tag leaves in `exposure_s`.
        external_trigger: Whether pulses on a trigger input can expose its frames.
    """

    shape: Shape
    pitch_m: Metres = Field(gt=0)
    bit_depth: int = Field(ge=1, le=16)
    justification: Literal["low", "high"] = "low"
    exposure_s: Seconds
    min_exposure_s: Seconds
    max_exposure_s: Seconds
    period_s: Seconds = Field(gt=0)
    quantum_efficiency: Fraction = Field(gt=0, le=1)
    full_well: float = Field(gt=0)
    read_noise: float = Field(ge=0)
    roi_per_mode: Shape = (1, 1)
    tags: tuple[str, ...] = ()
    tag_electrons: float = Field(default=20_000.0, gt=0)
    external_trigger: bool = True

    @property
    def tag_pixels(self) -> int:
        """Pixels at either end of each row that show tags."""
        return TAG_BLOCKS * len(self.tags)

    @property
    def electrons_per_count(self) -> float:
        """Electrons that make one count."""
        return self.full_well / 2**self.bit_depth

    @model_validator(mode="after")
    def _exposure_within_range(self) -> Self:
        if not 0 < self.min_exposure_s <= self.exposure_s <= self.max_exposure_s:
            low, high = self.min_exposure_s, self.max_exposure_s
            raise ValueError(
                f"exposure {self.exposure_s:g} s is not within min and max exposure, {low:g} to {high:g} s"
            )
        return self


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames as the camera gave them.

    Args:
        counts: Shape (n, rows, cols), unsigned integers.
        ids: The camera's own frame numbers, shape (n,), rising by one without a gap.
        times_s: Bench time of each exposure's start, shape (n,).
        tags: What the optical tags at the frame's two ends show (see `labctl.devices.tag`), shape (n, 2, DMDs); None
            where the camera sees none.
    """

    counts: Counts
    ids: NDArray[np.int64]
    times_s: NDArray[np.float64]
    tags: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, chosen: NDArray[np.integer]) -> "Frames":
        """Return the frames at the positions `chosen`."""
        tags = None if self.tags is None else self.tags[chosen]
        return Frames(self.counts[chosen], self.ids[chosen], self.times_s[chosen], tags)


def join_frames(parts: Sequence[Frames]) -> Frames:
    """Return the frames of all `parts`, at least one, in their order."""
    if len(parts) == 1:
        return parts[0]
    tags = [part.tags for part in parts if part.tags is not None]
    return Frames(
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.times_s for part in parts]),
        np.concatenate(tags) if len(tags) == len(parts) else None,
    )


class Camera(Device):
    """Base of cameras; a dropped frame is an error, never a gap.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Sensor geometry and limits.
    """

    kind = "camera"

    def __init__(self, name: str, clock: Clock, settings: CameraSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings
        self.bit_depth = settings.bit_depth
        self._armed = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the frames delivered now, without the pixels that show tags."""
        rows, columns = self._ask(self._do_shape)
        return rows, columns - 2 * self.settings.tag_pixels

    @property
    def top_count(self) -> int:
        """Highest count a frame can hold; a pixel there is saturated."""
        return self._ask(self._do_top_count)

    @property
    def exposure_s(self) -> float:
        """Exposure time the camera reports."""
        self._require_open()
        return self._ask(self._do_exposure_s)

    def set_exposure(self, exposure_s: float) -> None:
        """Set the exposure time.

        Raises:
            StateError: The camera is closed.
            LimitError: Outside the camera's range.
        """
        self._require_open()
        limits = self.settings
        self._require_within("exposure", exposure_s, limits.min_exposure_s, limits.max_exposure_s, "s")
        self._ask(self._do_set_exposure, exposure_s)

    def acquire(self, n: int) -> Frames:
        """Take `n` frames now, at the camera's own pace.

        Raises:
            StateError: The camera is closed or armed.
            FrameLost: Fewer frames came than were asked for, or their numbers have a gap.
        """
        self.arm(n, "internal")
        return self.collect()

    def arm(self, n: int, trigger: Trigger = "external") -> None:
        """Make ready for `n` frames, taken at once (internal) or one per trigger pulse (external).

        Raises:
            StateError: The camera is closed or armed already.
            LimitError: Not at least one frame, or no such trigger.
        """
        self._require_open()
        if self._armed:
            raise StateError(self.name, f"still waits for {self._armed} frames; collect or disarm first")
        if n < 1:
            raise LimitError(self.name, f"{n} frames were asked for, at least 1 is needed")
        if trigger not in ("internal", "external"):
            raise LimitError(self.name, f"trigger '{trigger}' was asked for, allowed is internal or external")
        if trigger == "external" and not self.settings.external_trigger:
            raise LimitError(self.name, "has no trigger input; acquire frame by frame")
        self._ask(self._do_arm, n, trigger)
        self._armed = n

    def collect(self) -> Frames:
        """Return the frames the camera was armed for.

        Raises:
            StateError: The camera is closed or not armed.
            FrameLost: Fewer frames came than it was armed for, or their numbers have a gap.
        """
        expected, frames = self._armed, self.delivered()
        gap = len(frames) > 1 and bool(np.any(np.diff(frames.ids) != 1))
        if len(frames) != expected or gap:
            what = "with a gap in their numbers" if gap else f"where {expected} were expected"
            raise FrameLost(self.name, f"{len(frames)} frames came {what}; check trigger rate and cable, then repeat")
        return frames

    def delivered(self) -> Frames:
        """Return whatever came of the frames the camera was armed for; `collect` where none may be missing.

        Raises:
            StateError: The camera is closed or not armed.
        """
        self._require_open()
        if not self._armed:
            raise StateError(self.name, "is not armed; arm it before collecting")
        expected, self._armed = self._armed, 0
        exposure_s = self.exposure_s
        longest_s = max(self.settings.period_s, exposure_s)
        return self._without_tags(self._ask_lasting(expected * longest_s, self._do_collect), exposure_s)

    def _without_tags(self, raw: Frames, exposure_s: float) -> Frames:
        """Return frames without their tag pixels, and what the tags say: first row's start and last row's end."""
        settings, strip = self.settings, self.settings.tag_pixels
        if not strip:
            return raw
        ends = np.stack([raw.counts[:, 0, :strip], raw.counts[:, -1, -strip:]], axis=1)
        electrons = settings.tag_electrons * exposure_s / settings.exposure_s
        lit = min(electrons / settings.electrons_per_count, self.top_count)
        tags = read_tags(ends.reshape(len(raw), 2, len(settings.tags), TAG_BLOCKS), lit)
        return Frames(raw.counts[:, :, strip:-strip], raw.ids, raw.times_s, tags)

    def disarm(self) -> None:
        """Give up frames that were armed for; does nothing otherwise."""
        self._require_open()
        if self._armed:
            self._armed = 0
            self._ask(self._do_disarm)

    def close(self) -> None:
        """Disarm and disconnect; closing twice does nothing."""
        try:
            super().close()
        finally:
            self._armed = 0

    def _do_shape(self) -> tuple[int, int]:
        """Return the rows and columns of raw frames, pixels that show tags included."""
        return self.settings.shape

    def _do_top_count(self) -> int:
        return 2**self.bit_depth - 1

    @abstractmethod
    def _do_exposure_s(self) -> float: ...

    @abstractmethod
    def _do_set_exposure(self, exposure_s: float) -> None: ...

    @abstractmethod
    def _do_arm(self, n: int, trigger: Trigger) -> None: ...

    @abstractmethod
    def _do_collect(self) -> Frames: ...

    @abstractmethod
    def _do_disarm(self) -> None: ...
