"""Measuring a network on a bench: masks written, fields sent and read, in network quantities."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.acquisition import Measurement, Shot, measure
from labctl.bench import Bench
from labctl.devices import PatternStack
from labctl.errors import ConfigError, RunAborted
from labctl.optics.absorber import depth_at, exact_factor, temperature_for
from labctl.optics.elements import PILOTS
from labctl.optics.scales import Readout
from labctl.optics.sensor import homodyne_field, sum_modes
from labctl.training.network import Absorption, NetworkShape, require_fit
from labctl.training.patterns import Floats, NetworkPatterns
from labctl.training.reference import (
    EQUAL_PILOTS,
    LARGEST_OFFSET_RAD,
    LARGEST_PHASE_RAD,
    Fields,
    HeldReference,
    mean_phase,
    pilot_phases,
    pilot_response,
    pilot_strength,
    turn_back,
    unreadable,
)

logger = logging.getLogger(__name__)

RELOCKS = 5
"""Times a batch is taken before the run stops because the reference moves too fast."""

REFERENCE_FRAMES = 64
"""Frames averaged for the reference's brightness: 0.03 % of it at 2e5 electrons."""

BACKGROUND_SHOTS = 32
"""Readings averaged for the background: a sixth of one reading's noise."""


EVEN_WEIGHT = 0.8
"""Weight shown while the transfer is measured, over the largest."""

TRANSFER_BATCH = 100
"""Inputs between two looks at the reference phase while the transfer is measured."""

PILOT_SHOTS = 16
"""Readings, in each of two quadratures, from which a camera's pilots are calibrated: their noise is 1e-3 then."""

SATURATED_PILOTS = 0.1
"""Share of saturated pilot readings above which a camera's phase is not trusted."""

DIMMED_PILOTS = 0.2
"""Pilots over what they were when they were calibrated below which a beam is blocked, or far off its power."""

DARK_PILOT = 0.01
"""Pilots over full scale below which there is no light to lock to: four times a reading's noise."""


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


@dataclass(frozen=True)
class Reading:
    """Fields of one camera in network quantities.

    Args:
        data: Data modes, shape (n, modes).
        clipped: Where a mode was beyond full scale, same shape.
    """

    data: Floats
    clipped: NDArray[np.bool_]


class BenchNetwork:
    """A network as an open bench carries it.

    Args:
        bench: Open bench.
        shape: Neurons per layer.
        optical_depth: Requested depth; sets the cell's temperature by the calibrated curve.
        quadratures: 1 reads the quadrature in phase with the pilots; 2 reads both, with twice the exposures, and turns
            every reading by its own pilots' phase: for a reference that moves fast, or light far out of phase.
        error_exposures: 2 steps the probe's phase; 4 steps the reference as well, which removes leaked pump light.

    Raises:
        ConfigError: The network or the depth does not fit the bench.
    """

    def __init__(
        self, bench: Bench, shape: NetworkShape, optical_depth: float, error_exposures: int = 2, quadratures: int = 1
    ) -> None:
        require_fit(bench.file, shape)
        self.bench = bench
        self.shape = shape
        self.tally = Tally()
        self.reference = HeldReference()
        self.phase_error_rad = 0.0
        self._error_exposures = error_exposures
        self._quadratures = quadratures
        self.patterns = NetworkPatterns(bench.file, shape)
        self._settings = bench.file.all_settings
        self.warnings: list[str] = []
        self._warned: set[str] = set()
        self._reference_electrons: dict[str, NDArray[np.float32]] = {}
        self._background: dict[str, Floats] = {}
        self._pilots: dict[str, NDArray[np.complex128]] = {}
        self._spill: dict[int, Floats] = {}
        self.transfer: list[Floats] = [np.ones(layer, np.float32) for layer in shape.layers]
        self.temperatures_c = depth_settings(bench, optical_depth)
        self.absorption = Absorption(bench.file.absorber_law, optical_depth if self.temperatures_c else 0.0)

    # ---- going on

    def state(self) -> dict[str, Any]:
        """Return what was spent, told and measured so far, for `restore`: plain values and arrays."""
        phases = {"reference": self.reference.state(), "phase_error_rad": self.phase_error_rad}
        told = {"warnings": list(self.warnings), "warned": sorted(self._warned)}
        measured = {
            "reference_electrons": dict(self._reference_electrons),
            "background": dict(self._background),
            "transfer": {f"layer_{k + 1}": layer for k, layer in enumerate(self.transfer)},
            "pilots": {camera: np.stack([pair.real, pair.imag]) for camera, pair in self._pilots.items()},
        }
        return {"tally": asdict(self.tally), **phases, **told, **measured}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, on a network of the same shape."""
        self.tally = Tally(**state["tally"])
        self.reference.restore(state["reference"])
        self.phase_error_rad = state["phase_error_rad"]
        self.warnings, self._warned = list(state["warnings"]), set(state["warned"])
        self._reference_electrons, self._background = dict(state["reference_electrons"]), dict(state["background"])
        self.transfer = [state["transfer"][f"layer_{k + 1}"] for k in range(len(self.shape.layers))]
        self._pilots = {camera: parts[0] + 1j * parts[1] for camera, parts in state["pilots"].items()}

    # ---- setting up

    def prepare(self) -> None:
        """Bring the cells to temperature and measure the reference's brightness on every camera."""
        self.warm_cells()
        self._measure_reference()

    def warm_cells(self) -> None:
        """Bring the cells to temperature, side by side."""
        for cell, temperature_c in self.temperatures_c.items():
            self.bench.cell(cell).set_temperature(temperature_c)
        for cell, temperature_c in self.temperatures_c.items():
            self.bench.cell(cell).wait_for_temperature(temperature_c)

    def _measure_reference(self) -> None:
        reference = self.bench.file.reference
        # every source shows dark frames, so that every camera sees tags that change from shot to shot
        dark = {stage.source.device: self.patterns.dark(k) for k, stage in enumerate(self.bench.file.stages)}
        shot = Shot(reference.cameras, frozenset({reference.beam}), dict.fromkeys(dark, 0))
        frames = self._take(dark, [shot] * REFERENCE_FRAMES)
        for camera, counts in frames.items():
            electrons = counts.mean(axis=0) * self._step(camera)
            if electrons.min() < 0.1 * reference.electrons.value:
                raise RunAborted(
                    f"{camera}: the reference leaves {electrons.min():.0f} electrons in its darkest mode, "
                    f"{reference.electrons.value:.0f} are expected; check its beam and alignment"
                )
            self._reference_electrons[camera] = electrons.astype(np.float32)

    def measure_background(self) -> None:
        """Measure what forward cameras read with no data sent, under the masks shown now.

        It is subtracted from decoded fields until the next call; light from mirrors that are off is most of it.
        """
        self.tally.heading = "background"
        self._background.clear()
        means: dict[str, Floats] = {}
        for layer, (_, columns) in enumerate(self.shape.layers):
            nothing = np.zeros((BACKGROUND_SHOTS, columns), np.float32)
            for camera, reading in self.read_forward(layer, nothing).items():
                means[camera] = reading.data.mean(axis=0)
        self._background.update(means)

    def measure_transfer(self) -> None:
        """Measure how much of every weight its panel passes on: one input at a time through an even mask.

        A block's light may be weak or turned in phase (aberration, dust, uneven illumination); turned by more than a
        quarter period it acts with the opposite sign, and so must its gradient. Shows masks of its own.
        """
        limits = [stage.multiply.weight_range for stage in self.bench.file.stages]
        even = [
            np.full(shape, EVEN_WEIGHT * limit, np.float32)
            for shape, limit in zip(self.shape.layers, limits, strict=True)
        ]
        for layer, weight in enumerate(even):
            self._show_mask(layer, weight)
        shown = [weight.numpy() for weight in self.patterns.shown_weights(even)]
        self.measure_background()
        self.tally.heading = "transfer"
        for layer, (_, columns) in enumerate(self.shape.layers):
            stage = self.bench.file.stages[layer]
            size = 1.0 if layer == 0 else self._readout(layer - 1, self._end_camera(layer - 1)).full_scale
            for start in range(0, columns, TRANSFER_BATCH):
                one = size * np.eye(columns, dtype=np.float32)[start : start + TRANSFER_BATCH]
                read = self.read_forward(layer, one)
                tap = stage.activation_tap
                sent = np.diagonal(read[tap.camera].data, start) if tap else np.full(len(one), size)
                sums = read[stage.end.camera].data.T
                part = slice(start, start + len(one))
                self.transfer[layer][:, part] = sums / (shown[layer][:, part] * sent)

    # ---- masks

    def write_masks(self, weights: Sequence[Floats]) -> None:
        """Write every layer's weights to its panel; those beyond the bench's range are clipped and counted."""
        for layer, weight in enumerate(weights):
            limit = self.bench.file.stages[layer].multiply.weight_range
            self.tally.clipped_weights += int((np.abs(weight) > limit).sum())
            self._show_mask(layer, weight)

    def _show_mask(self, layer: int, weight: Floats) -> None:
        panel = self.bench.slm(self.bench.file.stages[layer].multiply.device)
        pattern = self.patterns.mask(layer, weight)
        panel.show(pattern)
        self._spill[layer] = self.patterns.pilot_spill(layer, pattern.indices)
        self.tally.mask_writes += 1

    # ---- fields

    def read_forward(self, layer: int, values: Floats) -> dict[str, Reading]:
        """Send `values` into a layer and return what its forward cameras read.

        Args:
            layer: Layer number.
            values: Inputs 0..1 for layer 0, sums to re-send for later ones, shape (n, columns).

        Raises:
            RunAborted: The reference cannot be held, or the pilots are lost.
        """
        stage = self.bench.file.stages[layer]
        cameras = tuple(
            port for port in (stage.activation_tap and stage.activation_tap.camera, stage.end.camera) if port
        )
        beams = frozenset({stage.source.beam, self.bench.file.reference.beam})
        stacks = {stage.source.device: self.patterns.inputs(layer, values)}
        device, reference = stage.source.device, self.bench.file.reference.beam

        def shots(held_rad: float) -> list[Shot]:
            steps = [{reference: held_rad}, {reference: held_rad + math.pi}]
            shown = [{device: k} for k in range(len(values))]
            return [Shot(cameras, beams, pattern, phases) for pattern in shown for phases in steps]

        return self._read(layer, cameras, stacks, shots, np.array([1, -1], np.float32))

    def read_backward(self, layer: int, values: Floats, errors: Floats) -> Reading:
        """Send errors backwards through a layer and return what leaves its cell towards the layer before.

        Each sample's forward field stays on in the cell meanwhile. Errors are scaled per sample to the modulator's
        range and unscaled after reading.

        Args:
            layer: Layer number; a cell must stand in it.
            values: What `read_forward` sent, shape (n, columns).
            errors: Errors of the layer's sums, shape (n, rows): those of the outputs, or what was read behind it.
        """
        stage = self.bench.file.stages[layer]
        if stage.error_tap is None or stage.injector is None:
            raise ConfigError(f"layer {layer} of bench {self.bench.file.name} reads no errors back")
        scale = np.maximum(np.abs(errors).max(axis=1, keepdims=True), 1e-12)
        sent = self.patterns.errors(layer, errors / scale)
        stacks = {stage.source.device: self.patterns.inputs(layer, values), stage.injector.device: sent}
        reference, probe, camera = self.bench.file.reference.beam, stage.injector.beam, stage.error_tap.camera
        beams = frozenset({stage.source.beam, probe, reference})
        pi = math.pi
        steps = [(0.0, 0.0), (pi, 0.0)] if self._error_exposures == 2 else [(0.0, 0.0), (pi, 0.0), (0.0, pi), (pi, pi)]
        source, inject = stage.source.device, stage.injector.device

        def shots(held_rad: float) -> list[Shot]:
            phases = [{probe: p, reference: held_rad + r} for p, r in steps]
            shown = [{source: k, inject: k} for k in range(len(values))]
            return [Shot((camera,), beams, pattern, phase) for pattern in shown for phase in phases]

        signs = np.array([math.cos(p) * math.cos(r) for p, r in steps], np.float32).round()
        reading = self._read(layer, (camera,), stacks, shots, signs)[camera]
        # pilots leave light in the data columns, and like the error itself it has passed the pumped cell
        passed = self.absorption.probe(torch.from_numpy(self.patterns.sent_sums(layer, values))).numpy()
        return Reading((reading.data - self._spill[layer] * passed) * scale, reading.clipped)

    def exact_factor(self, sums: Floats, activations: Floats) -> Floats:
        """Return what turns the probe's transmission into the exact derivative, from measured fields."""
        law, depth = self.absorption.law, self.absorption.depth
        before, after = torch.from_numpy(sums) ** 2, torch.from_numpy(activations) ** 2
        return exact_factor(before, after, depth, law).numpy()

    def wrong_way_pump(self, layer: int, values: Floats) -> float:
        """Return the pump light on the error camera as a share of the reference field there, rms over modes."""
        stage = self.bench.file.stages[layer]
        if stage.error_tap is None:
            return 0.0
        reference, camera = self.bench.file.reference.beam, stage.error_tap.camera
        beams = frozenset({stage.source.beam, reference})
        held = self.reference.held_rad((camera,))
        shots = [
            Shot((camera,), beams, {stage.source.device: k}, {reference: held + phase})
            for k in range(len(values))
            for phase in (0.0, math.pi)
        ]
        counts = self._take({stage.source.device: self.patterns.inputs(layer, values)}, shots)[camera]
        stepped = counts.reshape(-1, 2, counts.shape[1])
        readout = self._readout(layer, camera)
        data = self._fields(layer, camera, stepped, np.array([1, -1], np.float32))[:, : values.shape[1]]
        # the other quadrature is as strong on average
        electrons = 2 * readout.per_unit * float(np.mean((data / readout.per_field) ** 2))
        return math.sqrt(electrons / float(self._reference_electrons[camera].mean()))

    # ---- one reading

    def _read(
        self,
        layer: int,
        cameras: tuple[str, ...],
        stacks: Mapping[str, PatternStack],
        shots: Callable[[float], list[Shot]],
        signs: Floats,
    ) -> dict[str, Reading]:
        """Take shots, follow the reference, and return the cameras' readings; in one quadrature it must stand still."""
        if any(camera not in self._pilots for camera in cameras):
            self._calibrate_pilots(layer, cameras, stacks, shots, signs)
        for _ in range(RELOCKS):
            held = self.reference.held_rad(cameras)
            quadratures = [shots(held + turn * math.pi / 2) for turn in range(self._quadratures)]
            fields, saturated = self._take_fields(layer, stacks, quadratures, signs)
            phases = {}
            for camera in cameras:
                if not self._pilots_saturated(camera, saturated[camera]):
                    pilots = fields[camera][:, -PILOTS:]
                    self._require_light(camera, layer, pilots)
                    phases[camera] = pilot_phases(pilots, self._pilots[camera])
            means = {camera: mean_phase(phase) for camera, phase in phases.items()}
            self.phase_error_rad = self.reference.follow(means, held) if means else 0.0
            furthest = max((abs(phase) for phase in means.values()), default=0.0)
            still = abs(self.phase_error_rad) <= LARGEST_PHASE_RAD and furthest <= LARGEST_OFFSET_RAD
            if still or self._quadratures == 2:
                return {
                    camera: self._upright(layer, camera, fields[camera], phases.get(camera, np.zeros(1)), lost)
                    for camera, lost in saturated.items()
                }
            self.tally.relocks += 1
        raise RunAborted(
            f"reference phase moved by {self.phase_error_rad:+.2f} rad within one batch, {RELOCKS} times running; "
            f"{LARGEST_PHASE_RAD} rad is allowed: shield the reference arm, use smaller batches or quadratures=2"
        )

    def _upright(
        self, layer: int, camera: str, fields: Fields, phases: NDArray[np.floating], lost: NDArray[np.bool_]
    ) -> Reading:
        """Return the data of fields read at `phases`, each mode turned by its own calibrated phase as well."""
        calibrated = self.bench.belief.modes(f"{camera}.reference_phase")
        own = np.zeros(1) if calibrated is None else np.pad(calibrated, (0, PILOTS))
        unread = unreadable(fields, phases, own)
        if unread.any():
            self.warn(f"{camera}: {int(unread.any(0).sum())} of {len(own)} modes are near a quarter wave of reference "
                      f"phase and count as clipped; align the reference and calibrate again")  # fmt: skip
        return self._reading(layer, camera, turn_back(fields, phases, own), lost | unread)

    def _take_fields(
        self, layer: int, stacks: Mapping[str, PatternStack], quadratures: Sequence[list[Shot]], signs: Floats
    ) -> tuple[dict[str, Fields], dict[str, NDArray[np.bool_]]]:
        """Return every camera's fields, and where they are saturated; both of shape (n, modes).

        Args:
            layer: Layer number.
            stacks: Frames by DMD.
            quadratures: Shots of one quadrature, or of two a quarter period apart, which makes fields complex.
            signs: Sign of every step of a pattern.
        """
        steps = len(signs)
        shots = [
            shot for k in range(0, len(quadratures[0]), steps) for shots in quadratures for shot in shots[k : k + steps]
        ]
        fields, saturated = {}, {}
        for camera, taken in self._take(stacks, shots).items():
            counts = taken.reshape(-1, steps, taken.shape[1])
            parts = self._fields(layer, camera, counts, signs)
            fields[camera] = parts if len(quadratures) == 1 else parts[0::2] - 1j * parts[1::2]
            saturated[camera] = self._saturated(camera, counts).reshape(-1, len(quadratures), parts.shape[1]).any(1)
        return fields, saturated

    def _calibrate_pilots(
        self,
        layer: int,
        cameras: tuple[str, ...],
        stacks: Mapping[str, PatternStack],
        shots: Callable[[float], list[Shot]],
        signs: Floats,
    ) -> None:
        """Measure the pilots of cameras in both quadratures; arguments as for `_read`."""
        heading, self.tally.heading = self.tally.heading, "setup"
        held, count = self.reference.held_rad(cameras), PILOT_SHOTS * len(signs)
        quadratures = [shots(held + turn * math.pi / 2)[:count] for turn in range(2)]
        fields, saturated = self._take_fields(layer, stacks, quadratures, signs)
        for camera in cameras:
            pilots = fields[camera][:, -PILOTS:]
            if self._pilots_saturated(camera, saturated[camera]):
                self._pilots[camera] = EQUAL_PILOTS
            else:
                self._require_light(camera, layer, pilots)
                self._pilots[camera] = pilot_response(pilots)
        self.tally.heading = heading

    def _pilots_saturated(self, camera: str, saturated: NDArray[np.bool_]) -> bool:
        """Return whether a camera's phase cannot be trusted because too many of its pilots are at the top."""
        lost = saturated[:, -PILOTS:].mean() > SATURATED_PILOTS
        if lost:
            self.warn(f"{camera}: its pilots are saturated, the reference phase is not followed there; "
                      f"too much light reaches this camera")  # fmt: skip
        return bool(lost)

    def _require_light(self, camera: str, layer: int, pilots: Fields) -> None:
        """Stop where pilots are too dark to say where the reference stands: it has not moved, a beam is missing."""
        if camera in self._pilots:
            seen, least = pilot_strength(pilots, self._pilots[camera]), DIMMED_PILOTS
            what = "of what they were when they were calibrated"
        else:
            seen = float(np.sqrt(np.mean(np.abs(pilots) ** 2))) / self._readout(layer, camera).full_scale
            least, what = DARK_PILOT, "of full scale"
        if seen < least:
            stage = self.bench.file.stages[layer]
            backwards = stage.error_tap is not None and camera == stage.error_tap.camera
            beam = stage.injector.beam if backwards and stage.injector else stage.source.beam
            raise RunAborted(
                f"{camera}: its pilots are dark, at {seen:.2%} {what} where {least:.0%} is the least; "
                f"check that beam {beam} and the reference reach it"
            )

    def _saturated(self, camera: str, stepped: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return where any step of counts (n, steps, modes) is at the camera's top, shape (n, modes)."""
        device = self.bench.camera(camera)
        pixels = math.prod(device.shape) // self._modes(camera)
        return np.any(stepped >= pixels * device.top_count, axis=1)

    def _modes(self, camera: str) -> int:
        """Return how many modes a camera reads, pilots included."""
        return next(stage.modes(camera) for stage in self.bench.file.stages if camera in stage.cameras)

    def _fields(self, layer: int, camera: str, stepped: NDArray[np.uint32], signs: Floats) -> Floats:
        """Return fields in network quantities, pilots included, from counts (n, steps, modes)."""
        readout = self._readout(layer, camera)
        reference, step = self._reference_electrons[camera], self._step(camera)
        return homodyne_field(stepped, signs, step, reference, readout.per_unit) * np.float32(readout.per_field)

    def _reading(self, layer: int, camera: str, fields: Floats, saturated: NDArray[np.bool_]) -> Reading:
        """Return the data modes of one camera: background taken off, full scale applied and clipping counted."""
        stage = self.bench.file.stages[layer]
        used = self.shape.layers[layer][0] if camera == stage.end.camera else self.shape.layers[layer][1]
        data = fields[:, :used]
        if camera in self._background:
            data = data - self._background[camera]
        limit = self._readout(layer, camera).full_scale
        clipped = (np.abs(data) > limit) | saturated[:, :used]
        self.tally.clipped_modes += int(clipped.sum())
        return Reading(np.clip(data, -limit, limit), clipped)

    def warn(self, message: str) -> None:
        """Note something the operator should know, once."""
        if message not in self._warned:
            self._warned.add(message)
            self.warnings.append(message)

    def _end_camera(self, layer: int) -> str:
        return self.bench.file.stages[layer].end.camera

    def _readout(self, layer: int, camera: str) -> Readout:
        return self.patterns.scales[layer].readouts[camera]

    def _step(self, camera: str) -> float:
        settings = self._settings[camera]
        return settings.full_well / 2**settings.bit_depth

    def _take(self, stacks: Mapping[str, PatternStack], shots: Sequence[Shot]) -> dict[str, NDArray[np.uint32]]:
        """Return counts (n, modes) by camera and add the cost to the tally."""
        tally, began_s = self.tally, self.bench.clock.now_s()
        taken = measure(self.bench, stacks, shots)
        tally.expose(taken)
        tally.note(tally.seconds_by_heading, self.bench.clock.now_s() - began_s)
        counts = {}
        for camera, frames in taken.frames.items():
            counts[camera] = sum_modes(frames.counts, self._modes(camera), self.bench.camera(camera).top_count)
            electrons = float(frames.counts.sum(dtype=np.float64)) * self._step(camera)
            photons = electrons / self._settings[camera].quantum_efficiency
            tally.photons += photons
            tally.note(tally.photons_by_heading, photons)
        return counts


def setup_exposures(layers: int, error_batches: Sequence[int] = (), error_exposures: int = 0) -> int:
    """Return the exposures that setting up takes: reference brightness, and the pilots of every camera.

    Args:
        layers: Layers of the network.
        error_batches: Samples of the first reading of every error camera that is read.
        error_exposures: Exposures of one error reading in one quadrature.
    """
    forward = 2 * 2 * layers * min(PILOT_SHOTS, BACKGROUND_SHOTS)
    return REFERENCE_FRAMES + forward + 2 * error_exposures * sum(min(PILOT_SHOTS, one) for one in error_batches)


def depth_settings(bench: Bench, optical_depth: float) -> dict[str, float]:
    """Return the reservoir temperature of every cell that gives a requested depth by its calibrated curve.

    Raises:
        ConfigError: A cell cannot reach it; names what it can.
    """
    temperatures = {}
    for cell in [stage.absorb for stage in bench.file.stages if stage.absorb]:
        limits, at_70c = bench.file.settings(cell.device), cell.depth_at_70c.value
        low, high = limits.min_temperature_c, limits.max_temperature_c
        temperature = temperature_for(optical_depth, at_70c, low, high)
        if temperature is None:
            raise ConfigError(
                f"optical_depth {optical_depth:g}: cell {cell.device} reaches {depth_at(low, at_70c):.2g} to "
                f"{depth_at(high, at_70c):.3g} between {low:g} and {high:g} degC"
            )
        temperatures[cell.device] = temperature
    return temperatures
