"""Triggered 64x64 exposures with frames dropped, repeated and torn on purpose: `python benchmarks/soak.py`.

A DMD is imaged on a camera; both are twins of the small bench, behind the same base classes, acquisition and fault
injection as any other. Every injected fault must be detected, every frame that is used must show, pixel for pixel, the
pattern of its shot, and memory must not grow. The exit code says whether all that held.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from labctl.acquisition import Shots, measure
from labctl.bench import Bench, load_bench
from labctl.clock import Clock
from labctl.devices import Codebook, Frames, Pattern, PatternStack, identity_codebook
from labctl.optics.imaging.sensor import read_out
from sim_backends.faults import Injector, read_faults
from sim_backends.states import BeamState, MirrorState, SensorState
from sim_backends.tags import tag_light

BENCH = Path(__file__).parents[1] / "tests" / "benches" / "small_cell.yaml"
DMD, CAMERA, BEAM = "dmd_input", "camera_z1", "pump"
ROWS, COLUMNS = 64, 36
"""Pixels of a frame that show the pattern; 14 more at either end of each row show the tag: 64 x 64."""

PATTERNS, SHOTS = 250, 500
"""Patterns loaded at a time, and shots of one acquisition."""

RATE = 1e-3
FAULTS = {"dropped": "lost", "repeated": "repeated", "torn": "torn"}
"""Injected faults, and what each is detected as."""

LIT = 20_000.0
"""Electrons of a lit pixel."""

WARM_UP = 0.1
"""Share of the run after which memory is looked at for the first time."""


class ImagingPath:
    """A light path without any optics: every block of a DMD's pattern is one pixel of the camera.

    Args:
        layout: Bench file; only its devices are used.
        settings: Settings of every device, by name.
        clock: Bench time.
        simulation: The bench file's `simulation` section.
        truth_seed: Unused, there is nothing hidden.
        seed: Draws noise and faults.
    """

    latest: ClassVar["ImagingPath"]

    def __init__(
        self, layout: Any, settings: Mapping[str, Any], clock: Clock, simulation: Mapping[str, Any],
        truth_seed: int, seed: int,
    ) -> None:  # fmt: skip
        ImagingPath.latest = self
        self.injector = Injector(read_faults(simulation["faults"], list(settings)), clock, seed, {})
        self.beams: dict[str, BeamState] = {}
        self.sensors: dict[str, SensorState] = {}
        self.temperatures_c: dict[str, Any] = {}
        self.cells: dict[str, Any] = {}
        self.positions_m: dict[str, Any] = {}
        self._settings, self._clock, self._rng = settings, clock, np.random.default_rng(seed)
        self._sequences: dict[int, NDArray[np.uint16]] = {}
        self._mirrors = MirrorState(np.zeros((1, ROWS, COLUMNS), np.uint16), identity_codebook(1))

    def load_mirrors(self, name: str, sequence: int, patterns: PatternStack) -> None:
        """Keep a sequence."""
        if name == DMD:
            self._sequences[sequence] = patterns.indices

    def arm_mirrors(self, name: str, sequence: int, order: NDArray[Any], numbers: NDArray[Any]) -> None:
        """Step through `order` at the triggers to come."""
        self._mirrors = MirrorState(self._sequences[sequence], self._mirrors.codebook, order, numbers)

    def free_mirrors(self, name: str, sequence: int) -> None:
        """Forget a sequence."""
        self._sequences.pop(sequence, None)

    def darken_mirrors(self, name: str) -> None:
        """Turn the mirrors off."""
        if name == DMD:
            self._mirrors = MirrorState(np.zeros((1, ROWS, COLUMNS), np.uint16), self._mirrors.codebook)

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Do nothing: no panel is in this path."""

    def sensor_shape(self, camera: str) -> tuple[int, int]:
        """Return the raw frame."""
        return ROWS, COLUMNS + 2 * self._settings[camera].tag_pixels

    def top_count(self, camera: str) -> int:
        """Return the highest count of a pixel."""
        return 2 ** self._settings[camera].bit_depth - 1

    def arm_sensor(self, camera: str, n: int) -> None:
        """Make the camera wait for `n` triggers."""
        self.sensors[camera].armed = n

    def trigger(self, master: str, n: int, picture_s: float) -> None:
        """Expose `n` frames of the camera."""
        settings, sensor = self._settings[CAMERA], self.sensors[CAMERA]
        light = self._mirrors.indices[self._mirrors.order].astype(np.float32) * (LIT * self.beams[BEAM].on)
        tags = np.repeat(tag_light([self._mirrors.numbers], n)[:, None], ROWS, axis=1) * settings.tag_electrons
        counts = read_out(
            torch.from_numpy(np.concatenate([tags, light, tags], axis=2)),
            self._rng,
            noise_scale=1.0,
            read_noise=settings.read_noise,
            row_noise=0.0,
            step=settings.electrons_per_count,
            pixels=1,
            top=self.top_count(CAMERA),
        )
        times_s = self._clock.now_s() + picture_s * np.arange(n, dtype=np.float64)
        sensor.frames = Frames(counts, sensor.next_id + np.arange(n), times_s)
        sensor.next_id += n
        self._clock.wait(n * picture_s)

    def collect(self, camera: str) -> Frames:
        """Return what the camera holds."""
        sensor = self.sensors[camera]
        frames, sensor.frames, sensor.armed = sensor.frames, None, 0
        return frames or Frames(np.zeros((0, *self.sensor_shape(camera)), np.uint32), np.zeros(0, int), np.zeros(0))


@dataclass
class Score:
    """What the soak has seen so far."""

    exposures: int = 0
    retries: int = 0
    detected: Counter[str] = field(default_factory=Counter)
    wrong_pixels: int = 0
    bad_used: int = 0
    warm_bytes: int = 0
    end_bytes: int = 0

    @property
    def growth(self) -> float:
        """Growth of resident memory from warm-up to end, as a share."""
        return self.end_bytes / self.warm_bytes - 1


def take(bench: Bench, rng: np.random.Generator, score: Score) -> None:
    """Take one acquisition and compare every frame of it with the pattern of its shot."""
    indices = rng.integers(0, 2, (PATTERNS, ROWS, COLUMNS), dtype=np.uint16)
    stack = PatternStack(indices, Codebook("image", np.array([[[0]], [[1]]], np.uint8), (4, 5)), (0, 30))
    order = rng.integers(0, PATTERNS, SHOTS)
    taken = measure(bench, {DMD: stack}, [Shots((CAMERA,), frozenset({BEAM}), {DMD: order})])
    frames = taken.frames[CAMERA]
    half = LIT / 2 / bench.file.settings(CAMERA).electrons_per_count
    score.wrong_pixels += int(((frames.counts > half) != indices[order].astype(bool)).sum())
    score.exposures += taken.exposures
    score.retries += taken.retries
    score.detected.update(lost=taken.faults.lost, repeated=taken.faults.repeated, torn=taken.faults.torn)
    score.bad_used += len(set(frames.ids.tolist()) & {one.number for one in ImagingPath.latest.injector.log})


def soak(exposures: int, seed: int, console: Console) -> bool:
    """Take `exposures`, print what was seen, and return whether all of it was right."""
    faults = [{"device": CAMERA, "fault": fault, "rate": RATE} for fault in FAULTS]
    changes = {
        "simulation.light_path": f"{__name__}.ImagingPath",
        "simulation.faults": faults,
        f"devices.{DMD}.settings.shape": [256, 240],
    }
    rng, score, process = np.random.default_rng(seed), Score(), psutil.Process()
    rounds = max(2, exposures // SHOTS)
    began_s = time.perf_counter()
    with Bench(load_bench(BENCH, changes), True, seed=seed) as bench:
        for k in track(range(rounds), "soak", console=console):
            take(bench, rng, score)
            if k == int(rounds * WARM_UP):
                score.warm_bytes = process.memory_info().rss
        injected = Counter(FAULTS[one.fault] for one in ImagingPath.latest.injector.log)
    score.end_bytes = process.memory_info().rss
    passed = injected == +score.detected and not score.bad_used and not score.wrong_pixels and score.growth < 0.05
    table = Table("check", "seen", "bar")
    for kind in FAULTS.values():
        table.add_row(f"{kind}: detected", f"{score.detected[kind]}", f"{injected[kind]} injected")
    table.add_row("bad frames used", f"{score.bad_used}", "0")
    table.add_row("pixels of used frames unlike their pattern", f"{score.wrong_pixels}", "0")
    table.add_row("memory growth", f"{score.growth:+.1%} of {score.warm_bytes / 2**20:.0f} MiB", "below 5 %")
    console.print(table)
    wall_s = time.perf_counter() - began_s
    verdict = "passed" if passed else "FAILED"
    console.print(f"{score.exposures:,} exposures and {score.retries} retries in {wall_s:.0f} s: {verdict}")
    return passed


def main() -> None:
    """Read the options and soak."""
    logging.getLogger("labctl").setLevel(logging.ERROR)  # hundreds of retries are what is asked for here
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--exposures", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    sys.exit(0 if soak(given.exposures, given.seed, Console()) else 1)


if __name__ == "__main__":
    main()
