"""Optical depth and saturation power of a vapour cell, from sweeps of the power sent through it.

The field behind a mode of the cell is g a t(s a^2; depth), a the amplitude its device writes, relative to full. The
gain g and the saturation parameter s at full amplitude belong to the mode, the depth to the cell. The shape alone fixes
depth and s: no gain, tap fraction, camera response or reference phase enters, they are all in g. What it cannot fix is
the power that a mode carries at full amplitude: the saturation power is that power over s, so that it is exact in
units of the field as the bench file has it sent, and in watts uncertain by the sending device's efficiency.

Every other mode is dark, so that neither ghosts nor atoms flying between beams bring in a neighbour's light. All modes
are swept, since uneven illumination leaves their mean power as it is. Intensities that carry no phase (light off the
line) do not show in homodyne readings.
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from calibration.four_steps import STEPS_RAD, Fields, take_fields
from labctl.bench import Bench, BenchFile
from labctl.calibrations import MEASURED, Calibration
from labctl.errors import ConfigError, FitRejected
from labctl.ledger import Estimate, Fit
from labctl.optics.multiplier import absorber as laws
from labctl.optics.multiplier.elements import Absorb, Regenerate, Tap
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.training.measure import depth_settings
from labctl.training.network import NetworkShape
from labctl.training.patterns import NetworkPatterns
from labctl.units import Hertz

LEVELS = 14
"""Amplitudes of a sweep, in equal ratios."""

SPAN = 40.0
"""Largest over smallest amplitude: at 1/40 of full scale 8 the cell is 4 % saturated."""

SHARE = 0.85
"""Largest field sent, as a share of the camera's full scale; uneven illumination stays below it."""

GROUPS = 10
"""Groups of repeats that are left out in turn to find the uncertainty."""

STUDENT = 2.262 / 1.960
"""95 % of Student's distribution over that of the normal one, for 9 degrees of freedom."""

POWER_DRIFT = 0.005
"""Relative drift of the beams' power while a cell is warmed, per hour (reference-benches section 6)."""

DEEPEST, SHALLOWEST = 7.0, 0.3
"""Depths between which a sweep determines both parameters: beyond, weak light vanishes in noise, or never bends."""

MOST_STEPS = 60
"""Steps of a fit; from the first guess about ten are needed."""

WORST_MISFIT = 2.0
"""Chi square per degree of freedom above which the law does not describe the cell."""


class AbsorberSettings(Settings):
    """Settings of `measure_absorber`."""

    optical_depth: float = Field(default=4.0, ge=1, le=6, description="depth to measure at, by the bench file")
    repeats: int = Field(default=40, ge=GROUPS, le=1000, multiple_of=GROUPS, description="sweeps taken")
    laser_detuning_hz: Hertz = Field(
        default=0.3e6,
        ge=0,
        description="rms distance of the locked laser from the line, its effect believed to half",
    )
    keep: Literal["summary", "sampled", "all"] = Field(default="all", description="arrays that are stored")


class _Cell(NamedTuple):
    """A cell that can be swept, and what stands around it."""

    layer: int
    source: Regenerate
    cell: Absorb
    tap: Tap


def _cells(file: BenchFile) -> list[_Cell]:
    return [
        _Cell(layer, stage.source, stage.absorb, stage.activation_tap)
        for layer, stage in enumerate(file.stages)
        if stage.absorb and stage.activation_tap and isinstance(stage.source, Regenerate)
    ]


def _budget(bench: Bench, settings: AbsorberSettings) -> Budget:
    cells, file = _cells(bench.file), bench.file
    if not cells:
        raise ConfigError(f"bench {file.name} has no cell behind a re-sending device with a forward tap to calibrate")
    temperatures_c = depth_settings(bench, settings.optical_depth)
    exposures = len(STEPS_RAD) * settings.repeats * 2 * LEVELS
    cameras = [file.settings(one.tap.camera) for one in cells]
    modes = [file.stages[one.layer].columns for one in cells]
    electrons = exposures * file.reference.electrons.value
    return Budget(
        exposures={"calibration": exposures * len(cells)},
        photons=sum(electrons * n / camera.quantum_efficiency for n, camera in zip(modes, cameras, strict=True)),
        bench_seconds=max(file.settings(name).warming_s(at_c) for name, at_c in temperatures_c.items())
        + sum(exposures * camera.period_s for camera in cameras),
        steps=settings.repeats * len(cells),
    )


@plan(AbsorberSettings, budget=_budget)
def measure_absorber(
    bench: Bench, settings: AbsorberSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Sweep the power through every cell and read what passes."""
    temperatures_c = depth_settings(bench, settings.optical_depth)
    for name, at_c in temperatures_c.items():
        bench.cell(name).set_temperature(at_c)
    for name, at_c in temperatures_c.items():
        bench.cell(name).wait_for_temperature(at_c)
    cells = _cells(bench.file)
    arrays: dict[str, NDArray[Any]] = {}
    drives: dict[str, dict[str, float]] = {}
    for count, one in enumerate(cells):
        sweep, taken, name = _Sweep(bench, one), [], one.cell.device
        for repeat in range(settings.repeats):  # each on its own: the oven wanders from one to the next
            taken.append(sweep.take())
            values = {"cell": name, "sweep": repeat}
            yield Record("step", count * settings.repeats + repeat, bench.clock.now_s(), values)
        arrays |= {f"{name}.fields": np.stack(taken), f"{name}.amplitudes": sweep.written}
        drives[name] = {"temperature_c": temperatures_c[name], **sweep.drive()}
    measured = {
        "law": bench.file.absorber_law,
        "laser_detuning_hz": settings.laser_detuning_hz,
        "hours": bench.clock.now_s() / 3600,
        "drives": drives,
    }
    yield Record(MEASURED, 0, bench.clock.now_s(), measured, arrays)
    warm = ", ".join(f"{name} at {at_c:.1f} degC" for name, at_c in temperatures_c.items())
    return {"temperatures_c": temperatures_c, "message": f"{settings.repeats} sweeps: {warm}"}


class _Sweep:
    """Amplitude sweeps of one re-sending device, even modes first, then odd ones."""

    def __init__(self, bench: Bench, cell: _Cell) -> None:
        patterns = NetworkPatterns(bench.file, NetworkShape.largest(bench.file))
        self.bench, self.cell, self.source = bench, cell, patterns.optics[cell.layer].source
        largest = min(SHARE * cell.tap.full_scale / patterns.scales[cell.layer].source_field, 1.0)
        levels = np.geomspace(largest / SPAN, largest, LEVELS)
        even = np.arange(self.source.modes) % 2 == 0
        asked = np.concatenate([levels[:, None] * comb for comb in (even, ~even)]).astype(np.float32)
        self.stack = patterns.every_mode(cell.layer, asked)
        sent = self.source.amplitude(self.stack.indices[:, 0]).astype(float)
        self.written = np.where(even, sent[:LEVELS], sent[LEVELS:])

    def take(self) -> Fields:
        """Return the fields (levels, modes) of one sweep; each mode is read in the comb that lights it."""
        element = self.cell.source
        frames = {element.device: np.arange(2 * LEVELS)}
        stacks = {element.device: self.stack}
        fields = take_fields(self.bench, self.cell.tap.camera, frozenset({element.beam}), stacks, frames)
        return np.where(np.arange(fields.shape[1]) % 2 == 0, fields[:LEVELS], fields[LEVELS:])

    def drive(self) -> dict[str, float]:
        """Return the believed mean power of a mode at full amplitude, and its relative uncertainty."""
        file, element = self.bench.file, self.cell.source
        power_w = self.source.full_field(file.settings(element.beam).power_w) ** 2 * file.unit_power_w
        return {"power_w": power_w, "relative_sd": element.efficiency.sd / element.efficiency.value}


# ---- fit


def fit_absorber(data: Mapping[str, Any]) -> Fit:
    """Return `<cell>.saturation_power` in W and `<cell>.depth_at_70c` of every cell.

    Uncertainties: scatter between sweeps by leaving groups of them out, whatever they have in common within a sweep;
    the laser's distance from the line, which divides depth and saturation alike by 1 + (2 detuning / linewidth)^2 for
    atoms at rest and is corrected for, to half of it; for the power also the device's efficiency and the beam's drift.

    Args:
        data: `law`, `laser_detuning_hz`, `hours` since the power was set, `drives` by cell (`temperature_c`,
            `power_w` of a mode at full amplitude, `relative_sd`), and by cell `fields` (sweeps, levels, modes),
            complex in any unit, and `amplitudes` (levels, modes), 0..1.

    Raises:
        FitRejected: The law does not describe the data, or the depth is beyond what a sweep can determine.
    """
    law: laws.Law = data["law"]
    detuned = (2 * data["laser_detuning_hz"] / laws.NATURAL_LINEWIDTH_HZ) ** 2 if law != "doppler" else 0.0
    found: dict[str, Estimate] = {}
    goodness: dict[str, float] = {}
    for cell, drive in data["drives"].items():
        readings, amplitudes = _upright(data[f"{cell}.fields"]), data[f"{cell}.amplitudes"]
        curve = _fit_curve(readings, amplitudes, law)
        _require_good(cell, curve, law)
        groups = np.arange(len(readings)) % GROUPS
        left = [_fit_curve(readings[groups != k], amplitudes, law, curve) for k in range(GROUPS)]
        depth_sd = _jackknife([one.depth for one in left])
        drive_sd = _jackknife([math.log(one.saturation) for one in left])
        at_70c = (1 + detuned) / laws.depth_at(drive["temperature_c"], 1.0)
        found[f"{cell}.depth_at_70c"] = Estimate(
            curve.depth * at_70c, math.hypot(depth_sd, 0.5 * detuned * curve.depth) * at_70c
        )
        power = drive["power_w"] / (curve.saturation * (1 + detuned))
        relative = math.hypot(drive_sd, 0.5 * detuned, drive["relative_sd"], POWER_DRIFT * data["hours"])
        found[f"{cell}.saturation_power"] = Estimate(power, power * relative)
        goodness |= {
            f"{cell}.chi_square_per_point": curve.misfit,
            f"{cell}.depth": curve.depth,
            f"{cell}.full_drive_saturation": curve.saturation,
            f"{cell}.full_drive_relative_sd": math.hypot(drive_sd, 0.5 * detuned),
        }
    return Fit(found, goodness)


def _upright(fields: Fields) -> NDArray[np.float64]:
    """Return readings (sweeps, levels, modes) along each mode's own phase, the common phase of a sweep taken off.

    The brighter half of a sweep says where both are; they are sought in turn.
    """
    bright = fields[:, fields.shape[1] // 2 :].sum(axis=1)
    modes = np.exp(-1j * np.angle(bright[0]))
    for _ in range(3):
        common = np.exp(-1j * np.angle(bright @ modes))
        modes = np.exp(-1j * np.angle(np.einsum("rm,r->m", bright, common)))
    common = np.exp(-1j * np.angle(bright @ modes))
    return np.real(fields * common[:, None, None] * modes)


@dataclass(frozen=True)
class _Curve:
    """A fitted transmission curve.

    Args:
        unknowns: Logarithms of the depth, of every mode's gain, and of its saturation parameter at full amplitude.
        misfit: Chi square per degree of freedom.
    """

    unknowns: NDArray[np.float64]
    misfit: float

    @property
    def depth(self) -> float:
        """Optical depth."""
        return math.exp(self.unknowns[0])

    @property
    def saturation(self) -> float:
        """Mean saturation parameter at full amplitude: that of the mean power of a mode."""
        return float(np.exp(self.unknowns[1 + len(self.unknowns) // 2 :]).mean())


def _first_guess(mean: NDArray[np.float64], amplitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unknowns to start from: a depth of 3, and a brightest field of 7 in saturation units."""
    gains = np.abs(mean[-1] / amplitudes[-1])
    return np.concatenate([[math.log(3.0)], np.log(gains), np.log(50.0 / amplitudes[-1] ** 2)])


def _fit_curve(
    readings: NDArray[np.float64], amplitudes: NDArray[np.float64], law: laws.Law, start: _Curve | None = None
) -> _Curve:
    """Return the least-squares fit of g a t(s a^2; depth) to the mean of `readings`, by Levenberg-Marquardt steps."""
    mean = readings.mean(axis=0)
    noise = max(float(np.sqrt(readings.var(axis=0, ddof=1).mean() / len(readings))), 1e-12 * float(np.abs(mean).max()))
    unknowns = start.unknowns if start else _first_guess(mean, amplitudes)
    model, slopes = _model(unknowns, amplitudes, law)
    chi, damping = float((((mean - model) / noise) ** 2).sum()), 1e-3
    for _ in range(MOST_STEPS):
        trial = unknowns + _step(slopes / noise, (mean - model) / noise, damping)
        model_there, slopes_there = _model(trial, amplitudes, law)
        chi_there = float((((mean - model_there) / noise) ** 2).sum())
        if not chi_there <= chi:
            damping *= 10
            continue
        gained, damping = chi - chi_there, damping / 5
        unknowns, model, slopes, chi = trial, model_there, slopes_there, chi_there
        if gained < 1e-6 * (1 + chi):
            break
    return _Curve(unknowns, chi / (mean.size - len(unknowns)))


def _model(
    unknowns: NDArray[np.float64], amplitudes: NDArray[np.float64], law: laws.Law
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the model (levels, modes) and its slopes by ln depth, ln g and ln s, shape (3, levels, modes)."""
    modes = amplitudes.shape[1]
    depth = torch.full(amplitudes.shape, math.exp(unknowns[0]), dtype=torch.float64, requires_grad=True)
    gains, full = np.exp(unknowns[1 : 1 + modes]), np.exp(unknowns[1 + modes :])
    saturation = torch.from_numpy(full * amplitudes**2).requires_grad_()
    passed = laws.transmission(saturation, depth, law)
    by_depth, by_saturation = torch.autograd.grad(passed.sum(), (depth, saturation))
    sent = gains * amplitudes
    model = sent * passed.detach().numpy()
    by_ln_depth = sent * (by_depth * depth).detach().numpy()
    by_ln_full = sent * (by_saturation * saturation).detach().numpy()
    return model, np.stack([by_ln_depth, model, by_ln_full])


def _step(slopes: NDArray[np.float64], rest: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """Return the damped least-squares step: one unknown in common, two of every mode."""
    _, levels, modes = slopes.shape
    jacobian = np.zeros((levels, modes, 1 + 2 * modes))
    jacobian[:, :, 0] = slopes[0]
    own = np.arange(modes)
    jacobian[:, own, 1 + own] = slopes[1]
    jacobian[:, own, 1 + modes + own] = slopes[2]
    flat = jacobian.reshape(levels * modes, -1)
    normal = flat.T @ flat
    normal[np.diag_indices_from(normal)] *= 1 + damping
    step: NDArray[np.floating] = np.linalg.solve(normal, flat.T @ rest.ravel())
    return step.clip(-1, 1)


def _jackknife(values: list[float]) -> float:
    """Return the standard deviation of an estimate from those with one group left out, for a 95 % of 1.96 of it."""
    spread = np.asarray(values)
    return STUDENT * math.sqrt((len(spread) - 1) * float(spread.var()))


def _require_good(cell: str, curve: _Curve, law: laws.Law) -> None:
    if not curve.misfit <= WORST_MISFIT:
        raise FitRejected(
            f"{cell}: the {law} law misses the sweep by chi square {curve.misfit:.2f} per point, {WORST_MISFIT:g} is "
            f"allowed; check absorber_law, the laser's lock, and that no camera mode is saturated"
        )
    if not SHALLOWEST <= curve.depth <= DEEPEST:
        raise FitRejected(
            f"{cell}: a depth of {curve.depth:.2f} was found, sweeps determine {SHALLOWEST:g} to {DEEPEST:g}; "
            f"ask for another optical_depth"
        )


absorber = Calibration(
    "absorber",
    measure_absorber,
    fit_absorber,
    valid_for_s=30 * 24 * 3600.0,
    valid_because="a sealed cell keeps its density; beam waists and windows change in weeks [K]",
    applies_to=lambda file: not file.in_free_space and bool(_cells(file)),
)
