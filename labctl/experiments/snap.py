"""Plan `snap`: frames of one camera, as the bench stands."""

import math
from collections.abc import Generator
from typing import Literal

import numpy as np
from pydantic import Field

from labctl.bench import Bench
from labctl.errors import ConfigError
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.units import Seconds

COUNT_BYTES = 2
"""Of a pixel, before compression."""


class SnapSettings(Settings):
    """Settings of `snap`."""

    camera: str = Field(description="camera of the bench file")
    frames: int = Field(default=1, ge=1, le=10_000, description="frames taken")
    exposure_s: Seconds | None = Field(default=None, description="exposure, the bench file's by default")
    beams: tuple[str, ...] = Field(default=(), description="beams that are on meanwhile")
    keep: Literal["summary", "sampled", "all"] = Field(default="all", description="arrays that are stored")


def _budget(bench: Bench, settings: SnapSettings) -> Budget:
    entry = bench.file.devices.get(settings.camera)
    if entry is None or entry.kind != "camera":
        known = ", ".join(name for name, one in bench.file.devices.items() if one.kind == "camera")
        raise ConfigError(f"camera '{settings.camera}' is not on bench {bench.file.name}; it has: {known}")
    for name in settings.beams:
        beam = bench.file.devices.get(name)
        if beam is None or beam.kind != "beam":
            known = ", ".join(name for name, one in bench.file.devices.items() if one.kind == "beam")
            raise ConfigError(f"beam '{name}' is not on bench {bench.file.name}; it has: {known}")
    low, high = entry.settings.min_exposure_s, entry.settings.max_exposure_s
    if settings.exposure_s is not None and not low <= settings.exposure_s <= high:
        raise ConfigError(f"exposure {settings.exposure_s:g} s: {settings.camera} can do {low:g} to {high:g} s")
    period = max(entry.settings.period_s, settings.exposure_s or entry.settings.exposure_s)
    stored = 0 if settings.keep == "summary" else settings.frames
    return Budget(
        exposures={"snap": settings.frames},
        bench_seconds=settings.frames * period,
        steps=settings.frames,
        disk_bytes=stored * math.prod(entry.settings.shape) * COUNT_BYTES,
    )


@plan(SnapSettings, budget=_budget)
def snap(bench: Bench, settings: SnapSettings, rng: np.random.Generator) -> Generator[Record, Changes | None, Summary]:
    """Take frames of one camera with the named beams on."""
    _budget(bench, settings)
    camera = bench.camera(settings.camera)
    if settings.exposure_s is not None:
        camera.set_exposure(settings.exposure_s)
    with bench.dark_at_end():
        for name in settings.beams:
            bench.beam(name).on()
        brightest, mean = 0, 0.0
        for index in range(settings.frames):
            frame = camera.acquire(1)
            brightest = max(brightest, int(frame.counts.max()))
            mean += float(frame.counts.mean()) / settings.frames
            values = {"id": int(frame.ids[0]), "time_s": float(frame.times_s[0])}
            yield Record("frame", index, bench.clock.now_s(), values, {"counts": frame.counts[0]})
    share = brightest / camera.top_count
    message = (
        f"{settings.frames} frame(s) of {settings.camera}: mean {mean:.1f} counts, brightest {share:.0%} of the top"
    )
    return {"mean_counts": mean, "brightest_counts": brightest, "frames": settings.frames, "message": message}
