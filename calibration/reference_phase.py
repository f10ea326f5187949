"""Reference phase of every mode of every camera, against where the camera's pilots see phase 0.

A camera mode reads |E| cos(phase). At the end of a stage, `phase` is that of the mode's row with all data columns
evenly lit at full weight, the phase of its light on average; behind the cell it is that of the mode itself. What comes
back to the error camera has passed a column of the panel, whose phase the forward light lost as well, so there the
phase counts against that of the same column's forward light.

Ghosts lie one mode beside, coherent with their neighbour: every phase is measured twice, the second time with every
other sign changed, so that they cancel. The cell stays cold: it transmits all light, at no phase of its own.
"""

import math
from collections.abc import Generator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calibration.four_steps import STEPS_RAD, Fields, above_dark, take_fields
from labctl.bench import Bench
from labctl.calibrations import MEASURED, Calibration
from labctl.devices import PatternStack
from labctl.errors import FitRejected
from labctl.ledger import Estimate, Fit
from labctl.optics.multiplier.elements import Read, Tap
from labctl.optics.multiplier.stages import Stage
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.training.network import NetworkShape
from labctl.training.patterns import NetworkPatterns

SHARE = 0.75
"""Field asked of every reading, as a share of the camera's full scale."""

LARGEST_SD_RAD = 0.1
"""Uncertainty above which a phase is refused: half a percent of the reading, as much as not knowing 0.1 rad costs."""


class ReferencePhaseSettings(Settings):
    """Settings of `measure_reference_phase`."""

    repeats: int = Field(default=32, ge=8, le=1000, description="fields taken of every pattern")
    keep: Literal["summary", "sampled", "all"] = Field(default="all", description="arrays that are stored")


def _budget(bench: Bench, settings: ReferencePhaseSettings) -> Budget:
    fields, masks = 0, 0
    for stage in bench.file.stages:
        fields, masks = fields + 4, masks + 2
        if stage.activation_tap:
            fields += 4
        if _way_back_camera(stage):
            fields, masks = fields + 4 * (stage.source.modes + 1), masks + 2
    file, panel = bench.file, bench.file.settings(bench.file.stages[0].multiply.device)
    exposures = len(STEPS_RAD) * settings.repeats * fields
    period = file.settings(file.stages[0].end.camera).period_s
    return Budget(
        exposures={"calibration": exposures},
        photons=exposures * file.stages[0].rows * file.reference.electrons.value
        / file.settings(file.stages[0].end.camera).quantum_efficiency,
        mask_writes=masks,
        bench_seconds=exposures * period + masks * (panel.latency_s + panel.settle_s),
        steps=sum(len(_order(stage)) for stage in file.stages),
    )  # fmt: skip


@plan(ReferencePhaseSettings, budget=_budget)
def measure_reference_phase(
    bench: Bench, settings: ReferencePhaseSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Measure the reference phase of every mode of every camera."""
    for stage in bench.file.stages:
        if stage.absorb:
            cell, cold_c = bench.cell(stage.absorb.device), bench.file.settings(stage.absorb.device).min_temperature_c
            cell.set_temperature(cold_c)
            cell.wait_for_temperature(cold_c)
    table = _Table(bench, settings.repeats)
    arrays: dict[str, NDArray[Any]] = {}
    done = 0
    for layer, stage in enumerate(bench.file.stages):
        for camera, measured in table.cameras(layer, stage):
            arrays |= {f"{camera}.{name}": array for name, array in measured.items()}
            yield Record("step", done, bench.clock.now_s(), {"camera": camera})
            done += 1
    stages = bench.file.stages
    values = {
        "cameras": [camera for stage in stages for camera in _order(stage)],
        "read_at": {camera: stage.end.camera for stage in stages if (camera := _way_back_camera(stage))},
    }
    yield Record(MEASURED, 0, bench.clock.now_s(), values, arrays)
    return {"message": f"{done} cameras measured in {bench.clock.now_s():.0f} s of bench time"}


def _order(stage: Stage) -> list[str]:
    """Return the cameras of a stage in the order they are measured: a way back is compared with its way out."""
    taps = [tap.camera for tap in (stage.activation_tap,) if tap]
    back = _way_back_camera(stage)
    return [*taps, stage.end.camera, *([back] if back else [])]


def _way_back_camera(stage: Stage) -> str | None:
    """Return the camera that errors come back to from this stage's output."""
    return stage.error_tap.camera if stage.error_tap and isinstance(stage.end, Read) else None


class _Table:
    """An open bench whose cameras are measured one after the other."""

    def __init__(self, bench: Bench, repeats: int) -> None:
        self.shape = NetworkShape.largest(bench.file)
        self.patterns = NetworkPatterns(bench.file, self.shape)
        self.bench, self.repeats = bench, repeats

    def cameras(self, layer: int, stage: Stage) -> Generator[tuple[str, dict[str, NDArray[Any]]], None, None]:
        """Yield camera by camera what its fit needs."""
        rows, columns = (np.stack([np.ones(count), _alternating(count)]) for count in self.shape.layers[layer])
        if stage.activation_tap:
            camera = stage.activation_tap.camera
            values = columns * SHARE * stage.activation_tap.full_scale
            yield camera, {"fields": self._forward(layer, camera, values), "signs": columns}
        yield stage.end.camera, {"fields": self._end(layer, stage, rows), "signs": rows}
        if stage.error_tap and isinstance(stage.end, Read):
            back, out = self._way_back(layer, stage.error_tap, stage.end, rows, columns)
            yield stage.error_tap.camera, {"fields": back, "columns": out, "signs": rows}

    def _show(self, layer: int, signs: NDArray[np.float64]) -> float:
        """Show a mask of full weights of these signs (rows, columns) and return the weight."""
        panel = self.bench.file.stages[layer].multiply
        weights = (signs * panel.weight_range).astype(np.float32)
        self.bench.slm(panel.device).show(self.patterns.mask(layer, weights))
        return panel.weight_range

    def _end(self, layer: int, stage: Stage, rows: NDArray[np.float64]) -> Fields:
        """Return fields at a stage's end under masks with these signs of rows, all data evenly lit."""
        columns = self.shape.layers[layer][1]
        taken = []
        for signs in rows:
            weight = self._show(layer, np.repeat(signs[:, None], columns, axis=1))
            level = min(SHARE * stage.end.full_scale / (columns * weight), self._brightest(layer))
            taken.append(self._forward(layer, stage.end.camera, np.full((1, columns), level))[0])
        return np.stack(taken)

    def _way_back(
        self, layer: int, tap: Tap, end: Read, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> tuple[Fields, Fields]:
        """Return the fields that come back of all rows, and those that go out of every single column."""
        back, out = [], []
        for row_signs, column_signs in zip(rows, columns, strict=True):
            weight = self._show(layer, np.outer(row_signs, column_signs))
            errors = row_signs[None] * min(SHARE * tap.full_scale / (len(row_signs) * weight), 1.0)
            stack = self.patterns.errors(layer, _with_dark(errors))
            back.append(self._fields(tap.camera, end.inject, end.beam, stack)[0])
            level = min(SHARE * end.full_scale / weight, self._brightest(layer))
            out.append(self._forward(layer, end.camera, np.eye(len(column_signs)) * level))
        return np.stack(back), np.stack(out)

    def _forward(self, layer: int, camera: str, values: NDArray[np.float64]) -> Fields:
        """Return the fields of `values` (n, columns) sent into a layer, as `_fields`."""
        source = self.bench.file.stages[layer].source
        return self._fields(camera, source.device, source.beam, self.patterns.inputs(layer, _with_dark(values)))

    def _fields(self, camera: str, dmd: str, beam: str, stack: PatternStack) -> Fields:
        """Return fields (frames, lit and dark, repeats, modes); the stack's last frame is dark."""
        count = len(stack) - 1
        order = np.array([frame for lit in range(count) for frame in (lit, count)] * self.repeats)
        fields = take_fields(self.bench, camera, frozenset({beam}), {dmd: stack}, {dmd: order})
        return fields.reshape(self.repeats, count, 2, -1).transpose(1, 2, 0, 3)

    def _brightest(self, layer: int) -> float:
        """Return the largest value a layer's source can send."""
        return self.patterns.scales[layer].source_field if layer else 1.0


def _with_dark(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.vstack([values, np.zeros_like(values[:1])]).astype(np.float32)


def _alternating(count: int) -> NDArray[np.float64]:
    return np.where(np.arange(count) % 2, -1.0, 1.0)


# ---- fit


def fit_reference_phase(data: Mapping[str, Any]) -> Fit:
    """Return the phase of every data mode by camera, in rad, `<camera>.reference_phase`.

    Args:
        data: `cameras` in order; of each `<camera>.fields` (patterns, lit and dark, repeats, modes) and
            `<camera>.signs` (patterns, modes lit); of an error camera `<camera>.columns` too (patterns, columns, lit
            and dark, repeats, modes of the camera that `read_at` names). The last two modes are pilots.

    Raises:
        FitRejected: A mode is so dark that its phase is uncertain by more than 0.1 rad.
    """
    found: dict[str, Estimate] = {}
    goodness: dict[str, float] = {}
    for camera in data["cameras"]:
        read, signs = above_dark(data[f"{camera}.fields"]), data[f"{camera}.signs"]
        if camera in data["read_at"]:
            end = found[_named(data["read_at"][camera])]
            phase, sd = _way_back(read, above_dark(data[f"{camera}.columns"]), signs, end)
        else:
            phase, sd = _mean_phase(np.einsum("prm,pm->rm", read[..., : signs.shape[1]], signs))
        dark = np.flatnonzero(~(sd <= LARGEST_SD_RAD))
        if dark.size:
            raise FitRejected(
                f"{camera}: the phase of {dark.size} of {len(sd)} modes, {dark[0]} the first, is uncertain by more "
                f"than {LARGEST_SD_RAD} rad; check that light reaches them, or take more repeats"
            )
        found[_named(camera)] = Estimate(phase, sd)
        goodness[f"{camera}.sd_rms_rad"] = float(np.sqrt(np.mean(sd**2)))
        goodness[f"{camera}.phase_rms_rad"] = float(np.sqrt(np.mean(phase**2)))
    return Fit(found, goodness)


def _named(camera: str) -> str:
    return f"{camera}.reference_phase"


def _mean_phase(fields: Fields) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return phase and its standard deviation of `fields` (repeats, modes), from their scatter."""
    mean = fields.mean(axis=0)
    scatter = np.angle(fields * np.conj(mean)).std(axis=0, ddof=1)
    return -np.angle(mean), scatter / math.sqrt(len(fields))


def _way_back(
    back: Fields, columns: Fields, signs: NDArray[np.float64], end: Estimate
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return phases of the light that comes back against that of the same column's forward light."""
    rows = np.exp(1j * np.asarray(end.value)) * signs
    out = np.einsum("mkrj,mj->mrk", columns[..., : rows.shape[1]], rows)
    ratio = back[..., : out.shape[-1]] * np.conj(out)
    phase, sd = _mean_phase((ratio / np.abs(ratio.mean(axis=1, keepdims=True))).sum(axis=0))
    # the rows' own uncertainty is common to all columns: it is mostly that of their pilot
    return phase, np.hypot(sd, float(np.mean(end.sd)))


reference_phase = Calibration(
    "reference_phase",
    measure_reference_phase,
    fit_reference_phase,
    valid_for_s=8 * 3600.0,
    valid_because="a slit that drifts by 0.3 um/h turns the ends of a row by 0.07 rad/h [reference-benches 1, 6]",
    applies_to=lambda file: not file.in_free_space,
)
