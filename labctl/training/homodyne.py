"""Fields read by homodyne detection: shots in steps of the reference's phase become network quantities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.acquisition import Shots, measure
from labctl.bench import Bench
from labctl.devices import PatternStack
from labctl.errors import RunAborted
from labctl.optics.imaging.sensor import homodyne_field, sum_modes
from labctl.optics.multiplier.elements import PILOTS
from labctl.optics.multiplier.scales import Readout, StageScales
from labctl.training.network import NetworkShape
from labctl.training.patterns import Floats
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
from labctl.training.tally import Tally

RELOCKS = 5
"""Times a batch is taken before the run stops because the reference moves too fast."""

REFERENCE_FRAMES = 64
"""Frames averaged for the reference's brightness: 0.03 % of it at 2e5 electrons."""

PILOT_SHOTS = 16
"""Readings, in each of two quadratures, from which a camera's pilots are calibrated: their noise is 1e-3 then."""

SATURATED_PILOTS = 0.1
"""Share of saturated pilot readings above which a camera's phase is not trusted."""

DIMMED_PILOTS = 0.2
"""Pilots over what they were when they were calibrated below which a beam is blocked, or far off its power."""

DARK_PILOT = 0.01
"""Pilots over full scale below which there is no light to lock to: four times a reading's noise."""


@dataclass(frozen=True)
class SteppedShots:
    """Patterns sent into one layer, each shot in the same steps of phase.

    Args:
        layer: Layer number.
        cameras: Cameras that read them.
        beams: Beams that are on.
        stacks: As many frames for every DMD; shown together.
        reference: Reference beam, one of those that are stepped.
        steps_rad: Phases of a pattern's steps, shape (steps,), by beam; the reference's count from where it is held.
    """

    layer: int
    cameras: tuple[str, ...]
    beams: frozenset[str]
    stacks: Mapping[str, PatternStack]
    reference: str
    steps_rad: Mapping[str, NDArray[np.float64]]

    @property
    def signs(self) -> Floats:
        """Sign of a field in each step, which every beam's phase of pi turns."""
        return np.prod([np.cos(steps) for steps in self.steps_rad.values()], axis=0).round().astype(np.float32)

    def shots(self, held_rad: Sequence[float], patterns: int | None = None) -> Shots:
        """Return the shots of all patterns, or of the first few; those of one pattern side by side.

        Args:
            held_rad: Where the reference is held in each quadrature; a pattern's steps are taken once in every one.
            patterns: How many patterns, at most.
        """
        numbers = np.arange(min(map(len, self.stacks.values())))[:patterns]
        held = np.array(held_rad)[:, None]
        phases = {
            beam: np.tile((steps + held * (beam == self.reference)).ravel(), len(numbers))
            for beam, steps in self.steps_rad.items()
        }
        shown = np.repeat(numbers, len(held) * len(self.signs))
        return Shots(self.cameras, self.beams, dict.fromkeys(self.stacks, shown), phases)


@dataclass(frozen=True)
class Reading:
    """Fields of one camera in network quantities.

    Args:
        data: Data modes, shape (n, modes).
        clipped: Where a mode was beyond full scale, same shape.
    """

    data: Floats
    clipped: NDArray[np.bool_]


class HomodyneReader:
    """Reads a network's fields with every camera of a bench, and holds the reference they are read against.

    Args:
        bench: Open bench.
        shape: Neurons per layer.
        scales: What fields are as network quantities, by layer.
        tally: Gets what the readings cost and what is wrong with them.
        quadratures: 1 reads the quadrature in phase with the pilots, 2 reads both (see `BenchNetwork`).
    """

    def __init__(
        self, bench: Bench, shape: NetworkShape, scales: Sequence[StageScales], tally: Tally, quadratures: int
    ) -> None:
        self.reference = HeldReference()
        self.phase_error_rad = 0.0
        self.warnings: list[str] = []
        self._bench, self._shape, self._scales, self._tally = bench, shape, scales, tally
        self._quadratures = quadratures
        self._settings = bench.file.all_settings
        self._warned: set[str] = set()
        self._reference_electrons: dict[str, NDArray[np.float32]] = {}
        self._background: dict[str, Floats] = {}
        self._pilots: dict[str, NDArray[np.complex128]] = {}

    def state(self) -> dict[str, Any]:
        """Return what was told and measured so far, for `restore`: plain values and arrays; the tally is left out."""
        return {
            "reference": self.reference.state(),
            "phase_error_rad": self.phase_error_rad,
            "warnings": list(self.warnings),
            "warned": sorted(self._warned),
            "reference_electrons": dict(self._reference_electrons),
            "background": dict(self._background),
            "pilots": {camera: np.stack([pair.real, pair.imag]) for camera, pair in self._pilots.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, on a network of the same shape."""
        self.reference.restore(state["reference"])
        self.phase_error_rad = state["phase_error_rad"]
        self.warnings, self._warned = list(state["warnings"]), set(state["warned"])
        self._reference_electrons, self._background = dict(state["reference_electrons"]), dict(state["background"])
        self._pilots = {camera: parts[0] + 1j * parts[1] for camera, parts in state["pilots"].items()}

    def warn(self, message: str) -> None:
        """Note something the operator should know, once."""
        if message not in self._warned:
            self._warned.add(message)
            self.warnings.append(message)

    def measure_reference(self, dark: Mapping[str, PatternStack]) -> None:
        """Measure the reference's brightness on every camera.

        Args:
            dark: A dark frame by DMD, of every one, so that every camera sees tags that change from shot to shot.

        Raises:
            RunAborted: It is too weak on one of them.
        """
        reference = self._bench.file.reference
        only = dict.fromkeys(dark, np.zeros(REFERENCE_FRAMES, np.int64))
        frames = self._take(dark, Shots(reference.cameras, frozenset({reference.beam}), only))
        for camera, counts in frames.items():
            electrons = counts.mean(axis=0) * self._step(camera)
            if electrons.min() < 0.1 * reference.electrons.value:
                raise RunAborted(
                    f"{camera}: the reference leaves {electrons.min():.0f} electrons in its darkest mode, "
                    f"{reference.electrons.value:.0f} are expected; check its beam and alignment"
                )
            self._reference_electrons[camera] = electrons.astype(np.float32)

    def subtract(self, background: Mapping[str, Floats]) -> None:
        """Subtract a background, data modes by camera, from all that is read from now on; an empty one for none."""
        self._background = dict(background)

    # ---- readings

    def read(self, stepped: SteppedShots) -> dict[str, Reading]:
        """Take shots, follow the reference, and return the cameras' readings; in one quadrature it must stand still.

        Raises:
            RunAborted: The reference cannot be held, or the pilots are lost.
        """
        if any(camera not in self._pilots for camera in stepped.cameras):
            self._calibrate_pilots(stepped)
        for _ in range(RELOCKS):
            held = self.reference.held_rad(stepped.cameras)
            fields, saturated = self._take_fields(stepped, held, self._quadratures)
            phases = {}
            for camera in stepped.cameras:
                if not self._pilots_saturated(camera, saturated[camera]):
                    pilots = fields[camera][:, -PILOTS:]
                    self._require_light(camera, stepped.layer, pilots)
                    phases[camera] = pilot_phases(pilots, self._pilots[camera])
            means = {camera: mean_phase(phase) for camera, phase in phases.items()}
            self.phase_error_rad = self.reference.follow(means, held) if means else 0.0
            furthest = max((abs(phase) for phase in means.values()), default=0.0)
            still = abs(self.phase_error_rad) <= LARGEST_PHASE_RAD and furthest <= LARGEST_OFFSET_RAD
            if still or self._quadratures == 2:
                return {
                    camera: self._upright(stepped.layer, camera, fields[camera], phases.get(camera, np.zeros(1)), lost)
                    for camera, lost in saturated.items()
                }
            self._tally.relocks += 1
        raise RunAborted(
            f"reference phase moved by {self.phase_error_rad:+.2f} rad within one batch, {RELOCKS} times running; "
            f"{LARGEST_PHASE_RAD} rad is allowed: shield the reference arm, use smaller batches or quadratures=2"
        )

    def share_of_reference(self, stepped: SteppedShots) -> float:
        """Return the light on the one camera of shots as a share of the reference field there, rms over data modes."""
        (camera,) = stepped.cameras
        shots = stepped.shots([self.reference.held_rad(stepped.cameras)])
        counts = self._take(stepped.stacks, shots)[camera]
        readout = self._readout(stepped.layer, camera)
        fields = self._fields(stepped.layer, camera, _by_step(counts, stepped.signs), stepped.signs)
        data = fields[:, : self._used(stepped.layer, camera)]
        # the other quadrature is as strong on average
        electrons = 2 * readout.per_unit * float(np.mean((data / readout.per_field) ** 2))
        return math.sqrt(electrons / float(self._reference_electrons[camera].mean()))

    def _upright(
        self, layer: int, camera: str, fields: Fields, phases: NDArray[np.floating], lost: NDArray[np.bool_]
    ) -> Reading:
        """Return the data of fields read at `phases`, each mode turned by its own calibrated phase as well."""
        calibrated = self._bench.belief.modes(f"{camera}.reference_phase")
        own = np.zeros(1) if calibrated is None else np.pad(calibrated, (0, fields.shape[1] - len(calibrated)))
        unread = unreadable(fields, phases, own)
        if unread.any():
            self.warn(f"{camera}: {int(unread.any(0).sum())} of {len(own)} modes are near a quarter wave of reference "
                      f"phase and count as clipped; align the reference and calibrate again")  # fmt: skip
        return self._reading(layer, camera, turn_back(fields, phases, own), lost | unread)

    def _reading(self, layer: int, camera: str, fields: Floats, saturated: NDArray[np.bool_]) -> Reading:
        """Return the data modes of one camera: background taken off, full scale applied and clipping counted."""
        used = self._used(layer, camera)
        data = fields[:, :used]
        if camera in self._background:
            data = data - self._background[camera]
        limit = self._readout(layer, camera).full_scale
        clipped = (np.abs(data) > limit) | saturated[:, :used]
        self._tally.clipped_modes += int(clipped.sum())
        return Reading(np.clip(data, -limit, limit), clipped)

    # ---- pilots

    def _calibrate_pilots(self, stepped: SteppedShots) -> None:
        """Measure the pilots of cameras in both quadratures, with the first of the shots that are to be read."""
        heading, self._tally.heading = self._tally.heading, "setup"
        held = self.reference.held_rad(stepped.cameras)
        fields, saturated = self._take_fields(stepped, held, 2, PILOT_SHOTS)
        for camera in stepped.cameras:
            pilots = fields[camera][:, -PILOTS:]
            if self._pilots_saturated(camera, saturated[camera]):
                self._pilots[camera] = EQUAL_PILOTS
            else:
                self._require_light(camera, stepped.layer, pilots)
                self._pilots[camera] = pilot_response(pilots)
        self._tally.heading = heading

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
            stage = self._bench.file.stages[layer]
            backwards = stage.error_tap is not None and camera == stage.error_tap.camera
            beam = stage.injector.beam if backwards and stage.injector else stage.source.beam
            raise RunAborted(
                f"{camera}: its pilots are dark, at {seen:.2%} {what} where {least:.0%} is the least; "
                f"check that beam {beam} and the reference reach it"
            )

    # ---- fields and counts

    def _take_fields(
        self, stepped: SteppedShots, held_rad: float, quadratures: int, patterns: int | None = None
    ) -> tuple[dict[str, Fields], dict[str, NDArray[np.bool_]]]:
        """Return every camera's fields, and where they are saturated; both of shape (n, modes).

        Args:
            stepped: What is sent, and in which steps.
            held_rad: Phase the reference is held at.
            quadratures: 1, or 2 a quarter period apart, which makes fields complex.
            patterns: How many patterns, at most; all by default.
        """
        signs = stepped.signs
        shots = stepped.shots([held_rad + turn * math.pi / 2 for turn in range(quadratures)], patterns)
        fields, saturated = {}, {}
        for camera, taken in self._take(stepped.stacks, shots).items():
            counts = _by_step(taken, signs)
            parts = self._fields(stepped.layer, camera, counts, signs)
            fields[camera] = parts if quadratures == 1 else parts[0::2] - 1j * parts[1::2]
            saturated[camera] = self._saturated(camera, counts).reshape(-1, quadratures, parts.shape[1]).any(1)
        return fields, saturated

    def _fields(self, layer: int, camera: str, stepped: NDArray[np.uint32], signs: Floats) -> Floats:
        """Return fields in network quantities, pilots included, from counts (n, steps, modes)."""
        readout = self._readout(layer, camera)
        reference, step = self._reference_electrons[camera], self._step(camera)
        return homodyne_field(stepped, signs, step, reference, readout.per_unit) * np.float32(readout.per_field)

    def _saturated(self, camera: str, stepped: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return where any step of counts (n, steps, modes) is at the camera's top, shape (n, modes)."""
        device = self._bench.camera(camera)
        pixels = math.prod(device.shape) // self._modes(camera)
        return np.any(stepped >= pixels * device.top_count, axis=1)

    def _take(self, stacks: Mapping[str, PatternStack], shots: Shots) -> dict[str, NDArray[np.uint32]]:
        """Return counts (n, modes) by camera and add the cost to the tally."""
        tally, began_s = self._tally, self._bench.clock.now_s()
        taken = measure(self._bench, stacks, [shots])
        tally.expose(taken)
        tally.note(tally.seconds_by_heading, self._bench.clock.now_s() - began_s)
        counts = {}
        for camera, frames in taken.frames.items():
            counts[camera] = sum_modes(frames.counts, self._modes(camera), self._bench.camera(camera).top_count)
            electrons = float(frames.counts.sum(dtype=np.float64)) * self._step(camera)
            photons = electrons / self._settings[camera].quantum_efficiency
            tally.photons += photons
            tally.note(tally.photons_by_heading, photons)
        return counts

    def _modes(self, camera: str) -> int:
        """Return how many modes a camera reads, pilots included."""
        return next(stage.modes(camera) for stage in self._bench.file.stages if camera in stage.cameras)

    def _used(self, layer: int, camera: str) -> int:
        """Return how many of a camera's modes carry data of the network: rows behind the panel, columns before it."""
        rows, columns = self._shape.layers[layer]
        return rows if camera == self._bench.file.stages[layer].end.camera else columns

    def _readout(self, layer: int, camera: str) -> Readout:
        return self._scales[layer].readouts[camera]

    def _step(self, camera: str) -> float:
        settings = self._settings[camera]
        return settings.full_well / 2**settings.bit_depth


def _by_step(counts: NDArray[np.uint32], signs: Floats) -> NDArray[np.uint32]:
    """Return counts (shots, modes) by pattern and step, shape (n, steps, modes)."""
    return counts.reshape(-1, len(signs), counts.shape[1])
