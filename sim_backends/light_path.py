"""The simulated light path: one truth, one clock, one noise source, shared by all twins of a bench.

Twins write their state in, cameras take exposures out. What the light is, in front of the cameras, is one fidelity's
business (`sim_backends.matrix`); beams, triggers, noise and the developing of frames are here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.clock import Clock
from labctl.devices import CameraSettings, Codebook, Frames, Pattern, PatternStack
from labctl.errors import LimitError, StateError
from labctl.optics.elements import Regenerate, centred_origin
from labctl.optics.layout import Layout
from labctl.optics.network import StageOptics, build_stages
from labctl.optics.sensor import electrons_per_unit, homodyne_electrons, read_out
from labctl.optics.stages import Stage
from sim_backends.disturbance import Disturbance, ShotNoise
from sim_backends.faults import Injector, read_faults
from sim_backends.matrix import MatrixLight, cut_blocks
from sim_backends.noise import load_noise_set
from sim_backends.snapshot import restore, snapshot
from sim_backends.states import BeamState, CellState, MirrorState, SensorState, TableState
from sim_backends.tags import tag_light
from sim_backends.truth import draw_truth, stream
from sim_backends.wave import WaveLight

FIDELITIES = {"matrix": MatrixLight, "wave": WaveLight}
"""What `simulation.fidelity` may name."""


class LightPath:
    """The bench as light.

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
        terms = load_noise_set(simulation["noise"], simulation["terms"]).scaled(
            simulation["noise_scale"], imperfections
        )
        self.layout = layout
        self.clock = clock
        self.truth = draw_truth(layout.parameters(), truth_seed, imperfections)
        self.disturbance = Disturbance(layout, self.truth, terms, simulation["noise_scale"], seed)
        bits = {stage.multiply.device: settings[stage.multiply.device].bit_depth for stage in layout.stages}
        self.stages = build_stages(
            layout, self.truth.values, bits, terms["probe_grating"], terms["neighbour_crosstalk"]
        )
        for optics in self.stages:
            self.disturbance.distort(optics, settings[optics.stage.multiply.device].shape)
        # a stream of its own: tags leave the noise of all other pixels what it is without them
        self._tag_rng = stream(seed, "noise of tags")
        jumps = {"phase_jump": self.disturbance.jump_phase, "slit_jump": self.disturbance.jump_slit}
        events = {"disconnect": self._lose_link, **jumps}
        faults = read_faults(simulation["faults"], list(settings))
        self.injector = Injector(faults, clock, seed, events)
        self._settings = settings
        state = TableState()
        self.beams: dict[str, BeamState] = state.beams
        self.temperatures_c: dict[str, Callable[[], float]] = state.temperatures_c
        self.positions_m: dict[str, dict[str, float]] = state.positions_m
        self.sensors: dict[str, SensorState] = {}
        self.cells: dict[str, CellState] = {}
        self.on_panels: dict[str, Pattern] = {}
        self.on_mirrors: dict[str, Pattern] = {}
        self._mirrors = state.mirrors
        light = FIDELITIES[simulation["fidelity"]]
        self._light = light(layout, self.stages, settings, self.truth, self.disturbance, state)
        self._sequences: dict[tuple[str, int], tuple[NDArray[np.uint16], Codebook]] = {}
        self._dark: dict[str, Codebook] = {}
        sources = [source for stage in self.stages for source in (stage.source, stage.injector) if source]
        self._sources = {source.device: source for source in sources}
        for name in self._sources:
            self.darken_mirrors(name)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to continue this simulation; no sequence may be playing."""
        return snapshot(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue a simulation of the same bench, truth and seed where `state` was taken."""
        restore(self, state)

    # ---- what twins write

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Show `pattern` on a phase panel; one outside the light path is ignored."""
        self.on_panels[name] = pattern
        self._light.show_panel(name, pattern)

    def load_mirrors(self, name: str, sequence: int, patterns: PatternStack) -> None:
        """Keep a DMD's sequence as indices of its modes."""
        if name in self._sources:
            self._sequences[name, sequence] = self._mode_indices(name, patterns)

    def show_mirrors(self, name: str, pattern: Pattern, number: int) -> None:
        """Show one pattern on a DMD, under a tag number, until something else is played."""
        if name in self._sources:
            self.on_mirrors[name] = pattern
            stack = PatternStack(pattern.indices[None], pattern.codebook, pattern.origin)
            self._mirrors[name] = MirrorState(*self._mode_indices(name, stack), numbers=np.array([number]))

    def free_mirrors(self, name: str, sequence: int) -> None:
        """Forget a sequence."""
        self._sequences.pop((name, sequence), None)

    def arm_mirrors(self, name: str, sequence: int, order: NDArray[np.integer], numbers: NDArray[np.integer]) -> None:
        """Make a DMD step through `order`, under tag `numbers`, at the triggers to come."""
        self.on_mirrors.pop(name, None)
        if name in self._sources:
            self._mirrors[name] = MirrorState(*self._sequences[name, sequence], order, numbers)

    def darken_mirrors(self, name: str) -> None:
        """Turn all mirrors of a DMD off."""
        self.on_mirrors.pop(name, None)
        source = self._sources.get(name)
        if source is not None:
            if name not in self._dark:
                off = np.zeros((1, *source.tiles.shape[1:]), np.uint8)
                self._dark[name] = Codebook("all mirrors off", off, source.element.block)
            self._mirrors[name] = MirrorState(np.zeros((1, source.modes), np.uint16), self._dark[name])

    def _mode_indices(self, name: str, patterns: PatternStack) -> tuple[NDArray[np.uint16], Codebook]:
        """Return the stack as indices (n, modes) of a code; a stack in another geometry gets a code of its own."""
        source, codebook = self._sources[name], patterns.codebook
        block, shape = source.element.block, self._settings[name].shape
        origin = centred_origin(shape, block, (1, source.modes))
        fits = codebook.block == block and patterns.indices.shape[1:] == (1, source.modes)
        if fits and patterns.origin == origin:
            return patterns.indices[:, 0, :], codebook
        frames = (patterns[k].expand(shape) for k in range(len(patterns)))
        blocks = np.concatenate([cut_blocks(frame, block, (1, source.modes), origin) for frame in frames])
        if len(blocks) > np.iinfo(np.uint16).max:
            raise LimitError(name, f"{len(patterns)} plain frames are too many in `matrix` fidelity; use mode blocks")
        own = np.arange(len(blocks), dtype=np.uint16).reshape(len(patterns), source.modes)
        return own, Codebook("plain frames", blocks, block)

    def _lose_link(self, name: str) -> None:
        """Do what a device does by itself when its link to the computer is lost."""
        if name in self.beams and self._settings[name].falls_dark:
            self.beams[name].on = False

    # ---- what cameras take

    def sensor_pixels(self, camera: str) -> int:
        """Return how many pixels are summed in one value of a frame: all of a mode in `matrix` fidelity."""
        rows, columns = self._camera(camera).roi_per_mode
        return rows * columns // self._light.pixels(camera)

    def sensor_shape(self, camera: str) -> tuple[int, int]:
        """Return rows and columns of a camera's frames, pixels that show tags included."""
        rows, columns = self._light.frame_shape(camera, self._port(camera)[2])
        return rows, columns + 2 * self._camera(camera).tag_pixels

    def arm_sensor(self, camera: str, n: int) -> None:
        """Make a camera wait for `n` triggers."""
        self.sensors[camera].armed = n

    def expose(self, camera: str, n: int) -> Frames:
        """Return `n` frames of one camera at its own pace, everything else standing still."""
        waiting = {name: beam.sequence for name, beam in self.beams.items()}
        for beam in self.beams.values():
            beam.sequence = None
        try:
            return self._run(n, [camera], self._camera(camera).period_s)[camera]
        finally:
            for name, phases in waiting.items():
                self.beams[name].sequence = phases

    def trigger(self, master: str, n: int, picture_s: float) -> None:
        """Let `n` triggers from `master`, one per picture, step armed DMDs and beams and expose armed cameras."""
        armed = [name for name, sensor in self.sensors.items() if sensor.armed]
        for name in armed:
            if self.sensors[name].armed != n:
                raise StateError(name, f"is armed for {self.sensors[name].armed} frames, {master} triggers {n}")
        self._require_steps(master, n)
        slow = [name for name in armed if picture_s < max(self._camera(name).period_s, self.sensors[name].exposure_s)]
        for name, frames in self._run(n, armed, picture_s).items():
            if name in slow:  # busy at every other trigger or more
                frames = Frames(frames.counts[::2], frames.ids[: len(frames.ids[::2])], frames.times_s[::2])
            self.sensors[name].frames = frames
            self.sensors[name].armed = 0
        for beam in self.beams.values():
            beam.sequence = None
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

    # ---- the light itself

    @torch.inference_mode()
    def _run(self, n: int, cameras: Sequence[str], period: float) -> dict[str, Frames]:
        """Return `n` frames of each camera, one per `period` seconds, and let their time pass."""
        period = max(period, *(self.sensors[name].exposure_s for name in cameras)) if cameras else period
        times = self.clock.now_s() + period * np.arange(n, dtype=np.float64)
        noise = self.disturbance.shots(times)
        frames = {}
        for optics in self.stages:
            wanted = [name for name in cameras if name in optics.stage.cameras]
            if wanted:
                ports = self._light.ports(optics, noise, self.clock.now_s(), wanted)
                developed = {name: self._develop(optics, name, ports[name], times, noise) for name in wanted}
                frames |= {name: self._with_tags(name, developed[name]) for name in wanted}
        self.clock.wait(n * period)
        return frames

    def _develop(
        self, optics: StageOptics, camera: str, fields: Tensor, times: NDArray[np.float64], noise: ShotNoise
    ) -> Frames:
        """Return the frames a camera makes of the fields on it."""
        settings, sensor, tap = self._camera(camera), self.sensors[camera], optics.stage.activation_tap
        fields = self.disturbance.with_ghost(camera, fields)
        per_unit = self.electrons_per_unit(camera)
        reference_beam = self.beams[self.layout.reference.beam]
        phase = reference_beam.phase_rad if reference_beam.sequence is None else reference_beam.sequence[: len(times)]
        against = torch.from_numpy(np.exp(-1j * (phase + noise.reference_rad)).astype(np.complex64))
        modes, pixels = fields.shape[1:]
        quadrature = (fields * against[:, None, None] * self.disturbance.mode_phases(camera, modes)[:, None]).real
        power = fields.real**2 + fields.imag**2
        if tap and camera == tap.camera:
            power = power + self.disturbance.off_line_share / pixels * self._light.pump_power(optics, noise)[..., None]
        electrons = homodyne_electrons(quadrature, power, per_unit, self._reference_electrons(camera, noise) / pixels)
        electrons = electrons * self.disturbance.pixel_response(camera, modes, pixels, self.sensor_pixels(camera))
        frames = electrons.reshape(len(times), *self._light.frame_shape(camera, modes))
        row_noise = self.disturbance.row_noise
        if row_noise and pixels > 1:  # pixels of a mode read on their own share their row's noise
            rows = self.disturbance.rng.standard_normal((*frames.shape[:2], 1), dtype=np.float32)
            frames, row_noise = frames + row_noise * torch.from_numpy(rows), 0.0
        counts = read_out(
            frames,
            self.disturbance.rng,
            noise_scale=self.disturbance.noise_scale,
            read_noise=settings.read_noise,
            row_noise=row_noise,
            step=settings.electrons_per_count,
            pixels=self.sensor_pixels(camera),
            top=self.top_count(camera),
        )
        ids = sensor.next_id + np.arange(len(times))
        sensor.next_id += len(times)
        return Frames(counts, ids, times)

    def _with_tags(self, camera: str, frames: Frames) -> Frames:
        """Return the frames with the pixels at both ends of each row that see the tags of DMDs."""
        settings, sensor = self._camera(camera), self.sensors[camera]
        if not settings.tags:
            return frames
        numbers = [self._mirrors[dmd].numbers for dmd in settings.tags]
        light = tag_light(numbers, len(frames)) * (settings.tag_electrons * sensor.exposure_s / settings.exposure_s)
        ends = np.broadcast_to(light[:, None, None], (len(frames), 2, frames.counts.shape[1], settings.tag_pixels))
        counts = read_out(
            torch.from_numpy(ends.astype(np.float32)),
            self._tag_rng,
            noise_scale=self.disturbance.noise_scale,
            read_noise=settings.read_noise,
            row_noise=self.disturbance.row_noise,
            step=settings.electrons_per_count,
            pixels=self.sensor_pixels(camera),
            top=self.top_count(camera),
        )
        tagged = np.concatenate([counts[:, 0], frames.counts, counts[:, 1]], axis=2)
        return Frames(tagged, frames.ids, frames.times_s)

    def _reference_electrons(self, camera: str, noise: ShotNoise) -> Tensor:
        reference = self.layout.reference
        beam = self.beams[reference.beam]
        if not beam.on or camera not in reference.cameras:
            return torch.zeros(1, 1, 1)
        nominal = self._settings[reference.beam].power_w
        exposure = self.sensors[camera].exposure_s / self._camera(camera).exposure_s
        mean = self.truth.values["reference.electrons"] * beam.power_w / nominal * exposure
        return torch.from_numpy((mean * noise.power[reference.beam]).astype(np.float32))[:, None, None]

    def electrons_per_unit(self, camera: str) -> float:
        """Return the true electrons per unit field squared and exposure of a camera."""
        settings = self._camera(camera)
        return electrons_per_unit(
            self.layout.unit_power_w,
            self.truth.values[f"{self._port(camera)[1]}.fraction"],
            settings.quantum_efficiency,
            self.sensors[camera].exposure_s,
            self.layout.laser.photon_energy_j,
        )

    def top_count(self, camera: str) -> int:
        """Return the highest count of one value of a frame."""
        return self.sensor_pixels(camera) * (2 ** self._camera(camera).bit_depth - 1)

    def _camera(self, name: str) -> CameraSettings:
        return self._settings[name]

    def _port(self, camera: str) -> tuple[Stage, str, int]:
        """Return the stage a camera belongs to, the prefix of its parameters, and its number of modes."""
        for optics in self.stages:
            port = optics.stage.cameras.get(camera)
            if port is not None:
                prefix = port.device if isinstance(port, Regenerate) else camera
                return optics.stage, prefix, optics.stage.modes(camera)
        raise StateError(camera, "is not in the light path of this bench")
