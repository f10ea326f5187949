"""What has to be changed on a bench from one frame to the next, what that takes, and how it is done."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labctl.bench import Bench, BenchFile
from labctl.bench.presets import plain_pattern
from labctl.experiments.mda.frames import Frame, Job


@dataclass(frozen=True)
class Standing:
    """How a bench stands; what is missing is not known.

    Args:
        target_m: Where x, y and z were sent.
        images: What panels were given to show.
        powers_w: Powers that beams were given.
        lit: Beams that are on.
        exposure_s: Exposure of the camera.
    """

    target_m: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint16]] = field(default_factory=dict)
    powers_w: Mapping[str, float] = field(default_factory=dict)
    lit: frozenset[str] = frozenset()
    exposure_s: float | None = None


@dataclass(frozen=True)
class Change:
    """What a frame needs that does not stand yet.

    Args:
        off: Beams to switch off.
        moves_m: Targets by stage and axis.
        images: Images by panel.
        powers_w: Powers by beam.
        on: Beams to switch on.
        exposure_s: Exposure, None to leave it.
    """

    off: tuple[str, ...]
    moves_m: Mapping[str, Mapping[str, float]]
    images: Mapping[str, NDArray[np.uint16]]
    powers_w: Mapping[str, float]
    on: tuple[str, ...]
    exposure_s: float | None

    def preparing_s(self, file: BenchFile) -> float:
        """Return the seconds that `prepare` takes where stages arrive at once; travel comes on top."""
        panels = [file.settings(panel) for panel in self.images]
        switching_s = sum(file.settings(beam).both_s for beam in self.off)
        settling_s = sum(file.settings(stage).settle_s for stage in self.moves_m)
        return switching_s + settling_s + sum(panel.latency_s + panel.settle_s for panel in panels)

    def prepare(self, bench: Bench, camera: str) -> None:
        """Bring everything but the light where the frame needs it."""
        for beam in self.off:
            bench.beam(beam).off()
        if self.exposure_s is not None:
            bench.camera(camera).set_exposure(self.exposure_s)
        for stage, target_m in self.moves_m.items():
            bench.stage(stage).move_to(**target_m)
        for panel, image in self.images.items():
            bench.slm(panel).show(plain_pattern(image, bench.slm(panel).bit_depth))
        for beam, power_w in self.powers_w.items():
            bench.beam(beam).set_power(power_w)

    def light(self, bench: Bench) -> None:
        """Switch the beams on that the frame needs."""
        for beam in self.on:
            bench.beam(beam).on()


def change_to(job: Job, frame: Frame, before: Standing) -> tuple[Change, Standing]:
    """Return what `frame` needs on a bench that stands as `before`, and how it stands then."""
    preset = job.presets[frame.channel]
    moves_m: dict[str, dict[str, float]] = {}
    for axis, target_m in frame.target_m.items():
        if before.target_m.get(axis) != target_m:
            stage, name = job.axes[axis]
            moves_m.setdefault(stage, {})[name] = target_m
    lit = frozenset(preset.powers_w)
    change = Change(
        off=tuple(sorted(before.lit - lit)),
        moves_m=moves_m,
        images={panel: image for panel, image in preset.images.items() if before.images.get(panel) is not image},
        powers_w={beam: watts for beam, watts in preset.powers_w.items() if before.powers_w.get(beam) != watts},
        on=tuple(sorted(lit - before.lit)),
        exposure_s=None if before.exposure_s == frame.exposure_s else frame.exposure_s,
    )
    images, powers_w = {**before.images, **preset.images}, {**before.powers_w, **preset.powers_w}
    return change, Standing(frame.target_m, images, powers_w, lit, frame.exposure_s)


def darkened(standing: Standing) -> Standing:
    """Return how a bench stands after its beams went off."""
    return Standing(standing.target_m, standing.images, standing.powers_w, frozenset(), standing.exposure_s)


def timeline(job: Job) -> Iterator[tuple[Frame, Change, float, float]]:
    """Yield every frame with its change, the seconds it takes to prepare, and those from then on, waits left out.

    Raises:
        ConfigError: As `Job.frames`.
        LimitError: As `Job.frames`.
    """
    standing, period_s = Standing(), job.camera_settings.period_s
    for frame in job.frames():
        change, standing = change_to(job, frame, standing)
        taking_s = sum(job.file.settings(beam).both_s for beam in change.on) + max(period_s, frame.exposure_s)
        if not frame.keep_open:
            taking_s += sum(job.file.settings(beam).both_s for beam in standing.lit)
            standing = darkened(standing)
        yield frame, change, change.preparing_s(job.file), taking_s
