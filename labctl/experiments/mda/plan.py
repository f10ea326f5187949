"""Plan `mda`: a sequence of useq-schema, frame by frame, in labctl's own hands.

A device that fails ends the run as failed, with the frames taken until then on disk.
"""

from collections.abc import Generator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from labctl.bench import Bench
from labctl.errors import RunStopped
from labctl.experiments.mda.change import Standing, change_to, darkened
from labctl.experiments.mda.frames import MICRO, Frame, Job, make_job
from labctl.experiments.mda.settings import MdaSettings
from labctl.experiments.mda.survey import Survey, survey
from labctl.plan import plan
from labctl.recorder.stack import describe_stack
from labctl.records import Budget, Changes, Record, Summary, join_tree, split_tree

LINE_BYTES = 700
"""What a frame needs on disk besides its pixels: its line and its chunk's file."""

HELD_S = 1.0
"""A plan that is left alone for longer between two frames was paused: times from there on are that much later."""


def _budget(bench: Bench, settings: MdaSettings) -> Budget:
    """Return what a sequence will cost; the travel of stages comes on top, and disk is before compression."""
    job = make_job(bench.file, settings)
    found = survey(job)
    rows, columns = job.camera_settings.shape
    frame_bytes = rows * columns * _dtype(2**job.camera_settings.bit_depth - 1).itemsize + LINE_BYTES
    return Budget(
        exposures={"mda": found.frames},
        mask_writes=found.shown,
        bench_seconds=found.seconds,
        steps=found.frames,
        disk_bytes=found.frames * frame_bytes,
    )


@plan(MdaSettings, budget=_budget, resumable=True)
def mda(
    bench: Bench, settings: MdaSettings, rng: np.random.Generator, checkpoint: Record | None = None
) -> Generator[Record, Changes | None, Summary]:
    """Take the frames of a useq-schema sequence (time, positions, z, channels, panel images) into OME-Zarr."""
    job = make_job(bench.file, settings)
    acquisition = _Acquisition(bench, job, survey(job), settings.checkpoint_every)
    return (yield from acquisition.run(checkpoint))


class _Acquisition:
    """One sequence on its way.

    Args:
        bench: Open bench.
        job: What is to be taken.
        found: What it comes to.
        checkpoint_every: Frames between checkpoints.
    """

    def __init__(self, bench: Bench, job: Job, found: Survey, checkpoint_every: int) -> None:
        self._bench, self._job, self._found, self._every = bench, job, found, checkpoint_every
        self._camera = bench.camera(job.camera)
        self._done = 0
        self._checkpoints = 0
        self._started_s = bench.clock.now_s()
        self._standing = self._unknown()
        self._brightest = 0

    def run(self, checkpoint: Record | None) -> Generator[Record, Changes | None, Summary]:
        """Take all frames, or those left after `checkpoint`, and return the summary."""
        late = self._restore(join_tree(checkpoint.values, checkpoint.arrays)) if checkpoint else False
        with self._bench.dark_at_end():
            if not checkpoint:
                yield from self._announce()
            frames = self._job.frames()
            for frame in islice(frames, self._done):
                self._standing = self._after(change_to(self._job, frame, self._standing)[1], frame)
            if late:
                self._standing = self._unknown()
            for frame in frames:
                if late:  # the table's clock began anew: go on at once, and keep the distances from there
                    self._started_s, late = self._bench.clock.now_s() - frame.start_s, False
                record = self._take(frame)
                try:
                    yield record
                except RunStopped:
                    yield self._checkpoint()
                    raise
                held_s = self._bench.clock.now_s() - record.bench_time_s
                if held_s > HELD_S:
                    self._started_s += held_s
                if self._done % self._every == 0:
                    yield self._checkpoint()
        return self._summary()

    def _announce(self) -> Generator[Record, Changes | None, None]:
        """Tell what will be kept: the stack, and the images of panels by channel."""
        bench, job, top = self._bench, self._job, self._camera.top_count
        values = describe_stack("frame/counts", self._found.described(job), self._camera.shape, _dtype(top).name, top)
        yield Record("stack", 0, bench.clock.now_s(), values)
        images = {
            f"{panel}.{k}": image
            for k, preset in enumerate(job.presets.values())
            for panel, image in preset.images.items()
        }
        presets = {channel or "no channel": dict(preset.powers_w) for channel, preset in job.presets.items()}
        values = {"frames": self._found.frames, "camera": job.camera, "powers_w": presets}
        yield Record("setup", 0, bench.clock.now_s(), values, images)

    def _take(self, frame: Frame) -> Record:
        """Bring the bench where the frame needs it, take it, and return its record."""
        bench, clock = self._bench, self._bench.clock
        change, self._standing = change_to(self._job, frame, self._standing)
        change.prepare(bench, self._job.camera)
        if frame.restarts:
            self._started_s = clock.now_s()
        left_s = self._started_s + frame.start_s - clock.now_s()
        if left_s > 0:
            clock.wait(left_s)
        change.light(bench)
        taken = self._camera.acquire(1)
        measured_um = self._measured_um(frame)
        if not frame.keep_open:
            for beam in sorted(self._standing.lit):
                bench.beam(beam).off()
        self._standing = self._after(self._standing, frame)
        counts = taken.counts[0].astype(_dtype(self._camera.top_count))
        self._brightest = max(self._brightest, int(counts.max()))
        values: dict[str, Any] = {
            "image": frame.image,
            "place": self._found.place(frame),
            "index": dict(frame.index),
            "channel": frame.channel,
            "position_um": measured_um,
            "exposure_s": frame.exposure_s,
            "id": int(taken.ids[0]),
            "time_s": float(taken.times_s[0]),
            "mean_counts": float(counts.mean()),
        }
        record = Record("frame", self._done, clock.now_s(), values, {"counts": counts})
        self._done += 1
        return record

    def _measured_um(self, frame: Frame) -> dict[str, float]:
        """Return where the stages say they are, along the axes the sequence moves."""
        stages = {self._job.axes[axis][0] for axis in frame.target_m}
        position_m = {stage: self._bench.stage(stage).position_m for stage in sorted(stages)}
        places = {axis: self._job.axes[axis] for axis in frame.target_m}
        return {axis: position_m[stage][name] / MICRO for axis, (stage, name) in places.items()}

    def _unknown(self) -> Standing:
        """Return how a bench stands of which nothing is known but its beams."""
        return Standing(lit=frozenset(beam.name for beam in self._bench.beams if beam.is_on))

    @staticmethod
    def _after(standing: Standing, frame: Frame) -> Standing:
        return standing if frame.keep_open else darkened(standing)

    def _checkpoint(self) -> Record:
        """Return where to go on: the next frame; in simulation, also what the bench will have been."""
        state = {"done": self._done, "checkpoints": self._checkpoints + 1, "brightest": self._brightest}
        state |= {"started_s": self._started_s, "simulation": self._bench.simulation_state()}
        record = Record("checkpoint", self._checkpoints, self._bench.clock.now_s(), *split_tree(state))
        self._checkpoints += 1
        return record

    def _restore(self, state: Mapping[str, Any]) -> bool:
        """Go back to a checkpoint; return whether the clock has begun anew since."""
        self._done, self._checkpoints = state["done"], state["checkpoints"]
        self._brightest, self._started_s = state["brightest"], state["started_s"]
        if state["simulation"]:
            self._bench.restore_simulation(state["simulation"])
        return not state["simulation"]

    def _summary(self) -> Summary:
        images = self._found.described(self._job)
        shape = " x ".join(str(n) for n in images[0]["shape"])
        share = self._brightest / self._camera.top_count
        message = (
            f"{self._done} frames of {self._job.camera} in {len(images)} image(s) of {shape} (t, c, z), pixels of "
            f"{self._job.pixel_m / MICRO:.4g} um, in images.ome.zarr; brightest {share:.0%} of the top"
        )
        return {
            "frames": self._done,
            "images": len(images),
            "pixel_um": self._job.pixel_m / MICRO,
            "brightest_counts": self._brightest,
            "message": message,
        }


def _dtype(top: int) -> np.dtype[Any]:
    """Return the type in which counts up to `top` are stored: 16 bits, or 32 where they are needed."""
    return np.dtype(np.uint16 if top < 2**16 else np.uint32)
