"""The simulated table: one truth, one clock, one noise source, shared by all twins of a bench, whatever its light does.

Twins write their state in, cameras take exposures out. Beams, triggers, faults and tags are here; what the light is in
front of the cameras is a light path's business (`sim_backends.light_path`, `sim_backends.free_space_light`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.clock import Clock
from labctl.devices import CameraSettings, Codebook, Frames, Pattern, PatternStack
from labctl.errors import StateError
from labctl.optics.imaging.sensor import read_out
from labctl.optics.layout import Layout
from sim_backends.disturbance import Disturbance, ShotNoise
from sim_backends.faults import Injector, read_faults
from sim_backends.noise import load_noise_set
from sim_backends.snapshot import restore, snapshot
from sim_backends.states import BeamLight, CellState, MirrorState, SensorState, TableState
from sim_backends.tags import tag_light
from sim_backends.truth import draw_truth, stream


class SimulatedTable(ABC):
    """The devices' side of a simulated bench.

    Args:
        layout: Optical content of the bench file.
        settings: Settings of every device in it, by name.
        clock: Bench time.
        simulation: The bench file's `simulation` section.
        truth_seed: Draws the hidden truth.
        seed: Draws measurement noise.

    Raises:
        ConfigError: Unknown noise set or term.
    """

    def __init__(
        self,
        layout: Layout,
        settings: Mapping[str, Any],
        clock: Clock,
        simulation: Mapping[str, Any],
        truth_seed: int,
        seed: int,
    ) -> None:
        imperfections = simulation["imperfection_scale"] if simulation["imperfections"] else 0.0
        self._terms = load_noise_set(simulation["noise"], simulation["terms"]).scaled(
            simulation["noise_scale"], imperfections
        )
        self.layout = layout
        self.clock = clock
        self.truth = draw_truth(layout.parameters(), truth_seed, imperfections)
        self.disturbance = Disturbance(layout, self.truth, self._terms, simulation["noise_scale"], seed)
        # a stream of its own: tags leave the noise of all other pixels what it is without them
        self._tag_rng = stream(seed, "noise of tags")
        jumps = {"phase_jump": self.disturbance.jump_phase, "slit_jump": self.disturbance.jump_slit}
        faults = read_faults(simulation["faults"], list(settings))
        self._settings = settings
        self._state = TableState()
        self.beams: dict[str, BeamLight] = self._state.beams
        events = {"disconnect": partial(_lose_link, self.beams, settings), **jumps}
        self.injector = Injector(faults, clock, seed, events)
        self.temperatures_c: dict[str, Callable[[], float]] = self._state.temperatures_c
        self.positions_m: dict[str, Mapping[str, float]] = self._state.positions_m
        self.sensors: dict[str, SensorState] = {}
        self.cells: dict[str, CellState] = {}
        self.on_panels: dict[str, Pattern] = {}
        self.on_mirrors: dict[str, Pattern] = {}
        self._mirrors = self._state.mirrors
        self._sequences: dict[tuple[str, int], tuple[NDArray[np.uint16], Codebook]] = {}
        self._fidelity: str = simulation["fidelity"]
        self._set_up()

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to continue this simulation; no sequence may be playing."""
        return snapshot(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue a simulation of the same bench, truth and seed where `state` was taken."""
        restore(self, state)

    # ---- what a light path says

    @abstractmethod
    def _set_up(self) -> None:
        """Make the light from layout, truth and settings, all mirrors off; called once, when all else is there."""

    @abstractmethod
    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Show `pattern` on a phase panel; one outside the light path is ignored."""

    @abstractmethod
    def darken_mirrors(self, name: str) -> None:
        """Turn all mirrors of a DMD off."""

    @abstractmethod
    def _writes(self, dmd: str) -> bool:
        """Return whether a DMD stands in the light path."""

    @abstractmethod
    def _indices(self, dmd: str, patterns: PatternStack) -> tuple[NDArray[np.uint16], Codebook]:
        """Return a stack as indices (n, ...) of a code that the light path reads."""

    @abstractmethod
    def frame_shape(self, camera: str) -> tuple[int, int]:
        """Return rows and columns of a camera's frames, without pixels that show tags."""

    @abstractmethod
    def sensor_pixels(self, camera: str) -> int:
        """Return how many pixels are summed in one value of a frame."""

    @abstractmethod
    def _counts(
        self, cameras: Sequence[str], times: NDArray[np.float64], noise: ShotNoise
    ) -> dict[str, NDArray[np.unsignedinteger]]:
        """Return the counts (n, rows, cols) each camera reads at n instants, without pixels that show tags."""

    # ---- what twins write

    def load_mirrors(self, name: str, sequence: int, patterns: PatternStack) -> None:
        """Keep a DMD's sequence as indices of its modes."""
        if self._writes(name):
            self._sequences[name, sequence] = self._indices(name, patterns)

    def show_mirrors(self, name: str, pattern: Pattern, number: int) -> None:
        """Show one pattern on a DMD, under a tag number, until something else is played."""
        if self._writes(name):
            self.on_mirrors[name] = pattern
            stack = PatternStack(pattern.indices[None], pattern.codebook, pattern.origin)
            self._mirrors[name] = MirrorState(*self._indices(name, stack), numbers=np.array([number]))

    def free_mirrors(self, name: str, sequence: int) -> None:
        """Forget a sequence."""
        self._sequences.pop((name, sequence), None)

    def arm_mirrors(self, name: str, sequence: int, order: NDArray[np.integer], numbers: NDArray[np.integer]) -> None:
        """Make a DMD step through `order`, under tag `numbers`, at the triggers to come."""
        self.on_mirrors.pop(name, None)
        if self._writes(name):
            self._mirrors[name] = MirrorState(*self._sequences[name, sequence], order, numbers)

    # ---- what cameras take

    def sensor_shape(self, camera: str) -> tuple[int, int]:
        """Return rows and columns of a camera's frames, pixels that show tags included."""
        rows, columns = self.frame_shape(camera)
        return rows, columns + 2 * self._camera(camera).tag_pixels

    def top_count(self, camera: str) -> int:
        """Return the highest count of one value of a frame."""
        return self.sensor_pixels(camera) * (2 ** self._camera(camera).bit_depth - 1)

    def arm_sensor(self, camera: str, n: int) -> None:
        """Make a camera wait for `n` triggers."""
        self.sensors[camera].armed = n

    def expose(self, camera: str, n: int) -> Frames:
        """Return `n` frames of one camera at its own pace, everything else standing still."""
        return self._run(n, [camera], self._camera(camera).period_s, triggered=False)[camera]

    def trigger(self, master: str, n: int, picture_s: float) -> None:
        """Let `n` triggers from `master`, one per picture, step armed DMDs and beams and expose armed cameras."""
        armed = [name for name, sensor in self.sensors.items() if sensor.armed]
        for name in armed:
            if self.sensors[name].armed != n:
                raise StateError(name, f"is armed for {self.sensors[name].armed} frames, {master} triggers {n}")
        self._require_steps(master, n)
        slow = [name for name in armed if picture_s < max(self._camera(name).period_s, self.sensors[name].exposure_s)]
        for name, frames in self._run(n, armed, picture_s, triggered=True).items():
            if name in slow:  # busy at every other trigger or more
                frames = Frames(frames.counts[::2], frames.ids[: len(frames.ids[::2])], frames.times_s[::2])
            self.sensors[name].frames = frames
            self.sensors[name].armed = 0
        for beam in self.beams.values():
            beam.end_sequence()
        for state in self._mirrors.values():
            state.order = state.order[-1:]
            state.numbers = None if state.numbers is None else state.numbers[-1:]

    def _require_steps(self, master: str, n: int) -> None:
        """Refuse triggers that would leave a DMD or beam behind, its frames under another identity."""
        for name, state in self._mirrors.items():
            if len(state.order) not in (1, n):
                raise StateError(name, f"is armed for {len(state.order)} steps, {master} triggers {n}")
        for name, beam in self.beams.items():
            if beam.sequence is not None and len(beam.sequence) != n:
                raise StateError(name, f"has {len(beam.sequence)} phases loaded, {master} triggers {n}")

    def collect(self, camera: str) -> Frames:
        """Return what a triggered camera holds; no frames when no trigger came."""
        sensor = self.sensors[camera]
        frames, sensor.frames, sensor.armed = sensor.frames, None, 0
        return frames or Frames(np.zeros((0, *self.sensor_shape(camera)), np.uint32), np.zeros(0, int), np.zeros(0))

    def meter_power_w(self, meter: str) -> float:
        """Return the power on a meter: that of the beam the bench file lets it look at."""
        beam = self.beams.get(self.layout.meters.get(meter, ""))
        return beam.power_w * self.disturbance.power_at(self.clock.now_s()) if beam and beam.on else 0.0

    @torch.inference_mode()
    def _run(self, n: int, cameras: Sequence[str], period: float, *, triggered: bool) -> dict[str, Frames]:
        """Return `n` frames of each camera, one per `period` seconds, and let their time pass."""
        for name, beam in self.beams.items():
            steps = beam.sequence if triggered else None
            self._state.phases_rad[name] = np.asarray(beam.phase_rad if steps is None else steps)
        period = max(period, *(self.sensors[name].exposure_s for name in cameras)) if cameras else period
        times = self.clock.now_s() + period * np.arange(n, dtype=np.float64)
        noise = self.disturbance.shots(times)
        frames = {}
        for name, counts in self._counts(cameras, times, noise).items():
            sensor = self.sensors[name]
            frames[name] = Frames(self._with_tags(name, counts), sensor.next_id + np.arange(n), times)
            sensor.next_id += n
        self.clock.wait(n * period)
        return frames

    def _with_tags(self, camera: str, frames: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """Return the frames with the pixels at both ends of each row that see the tags of DMDs."""
        settings, sensor = self._camera(camera), self.sensors[camera]
        if not settings.tags:
            return frames
        numbers = [self._mirrors[dmd].numbers for dmd in settings.tags]
        light = tag_light(numbers, len(frames)) * (settings.tag_electrons * sensor.exposure_s / settings.exposure_s)
        ends = np.broadcast_to(light[:, None, None], (len(frames), 2, frames.shape[1], settings.tag_pixels))
        electrons = torch.from_numpy(ends.astype(np.float32))
        counts = self._read_out(camera, electrons, self._tag_rng, self.disturbance.row_noise)
        return np.concatenate([counts[:, 0], frames, counts[:, 1]], axis=2)

    def _read_out(
        self, camera: str, electrons: Tensor, rng: np.random.Generator, row_noise: float
    ) -> NDArray[np.unsignedinteger]:
        """Return a camera's counts of mean `electrons`, any shape, with noise drawn from `rng`."""
        settings = self._camera(camera)
        return read_out(
            electrons,
            rng,
            noise_scale=self.disturbance.noise_scale,
            read_noise=settings.read_noise,
            row_noise=row_noise,
            step=settings.electrons_per_count,
            pixels=self.sensor_pixels(camera),
            top=self.top_count(camera),
        )

    def _camera(self, name: str) -> CameraSettings:
        return self._settings[name]


def _lose_link(beams: Mapping[str, BeamLight], settings: Mapping[str, Any], device: str) -> None:
    """Do what a device does by itself when its link to the computer is lost.

    It knows no table, which knows it: arrays in a cycle would stay in memory long after a bench is closed.
    """
    if device in beams and settings[device].falls_dark:
        beams[device].go_dark()
