"""What a network's measurements have cost so far: exposures, photons and bench time, and what went wrong."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from labctl.acquisition import Measurement


@dataclass
class Tally:
    """What has been spent, by heading: exposures, photons on cameras and bench time; and what went wrong."""

    exposures: dict[str, int] = field(default_factory=dict)
    photons_by_heading: dict[str, float] = field(default_factory=dict)
    seconds_by_heading: dict[str, float] = field(default_factory=dict)
    photons: float = 0.0
    mask_writes: int = 0
    clipped_modes: int = 0
    clipped_weights: int = 0
    relocks: int = 0
    retries: int = 0
    frames_lost: int = 0
    frames_repeated: int = 0
    frames_torn: int = 0
    frames_saturated: int = 0
    heading: str = "setup"

    def note(self, spent: dict[str, Any], amount: float) -> None:
        """Add an amount to what was spent under the present heading."""
        spent[self.heading] = spent.get(self.heading, 0) + amount

    def expose(self, taken: Measurement) -> None:
        """Add the exposures of a measurement under the present heading, those of retries under their own."""
        self.note(self.exposures, taken.exposures)
        if taken.retries:
            self.exposures["retries"] = self.exposures.get("retries", 0) + taken.retries
        self.retries += taken.retries
        self.frames_lost += taken.faults.lost
        self.frames_repeated += taken.faults.repeated
        self.frames_torn += taken.faults.torn
        self.frames_saturated += taken.faults.saturated

    @property
    def frame_counts(self) -> dict[str, int]:
        """Frames that could not be used, by fault, and exposures taken again for them; for records."""
        names = ("frames_lost", "frames_repeated", "frames_torn", "frames_saturated", "retries")
        return {name: getattr(self, name) for name in names}

    def spent(self, bench_seconds: float) -> dict[str, Any]:
        """Return what all measurements cost, for summaries."""
        return {
            "exposures": sum(self.exposures.values()),
            "exposures_by_heading": dict(self.exposures),
            "photons_by_heading": dict(self.photons_by_heading),
            "seconds_by_heading": dict(self.seconds_by_heading),
            **self.frame_counts,
            "photons": self.photons,
            "mask_writes": self.mask_writes,
            "bench_seconds": bench_seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a tally given as a dictionary (`dataclasses.asdict`)."""
        vars(self).update(asdict(Tally(**state)))
