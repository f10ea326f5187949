"""Plan `power_sweep`: how every mode of every cell passes pump and probe, from weak light to full scale."""

from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from labctl.bench import Bench
from labctl.errors import ConfigError
from labctl.optics.multiplier.absorber import transmission
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.training.measure import BACKGROUND_SHOTS, BenchNetwork, setup_exposures
from labctl.training.network import NetworkShape
from labctl.training.patterns import Floats
from labctl.training.settings import bench_seconds, photons
from labctl.training.threads import one_thread

PROBED_ROWS = 10
"""Rows whose probe fields add up in every mode: their weights' errors average out."""

PROBE_SHARE = 0.8
"""Probe field of a mode behind a transparent cell, as a share of its camera's full scale."""


class SweepSettings(Settings):
    """Settings of `power_sweep`."""

    optical_depth: float = Field(default=10.0, ge=0, le=200, description="requested optical depth of the cells")
    points: int = Field(default=20, ge=2, le=1000, description="pump fields, in equal steps from weak to the largest")
    largest: float | None = Field(
        default=None, gt=0, description="largest pump field in saturation units, full scale by default"
    )
    repeats: int = Field(default=16, ge=1, le=1000, description="readings averaged at each field")
    error_exposures: Literal[2, 4] = Field(default=2, description="4 also steps the reference: removes leaked pump")
    keep: Literal["summary", "sampled", "all"] = Field(default="all", description="arrays that are stored")


def _budget(bench: Bench, settings: SweepSettings) -> Budget:
    """Return what a sweep will cost; a relock of the reference comes on top."""
    layers = len(bench.file.stages)
    cells = _cells(bench)
    points = settings.points * len(cells)
    exposures = {
        "setup": setup_exposures(layers, [settings.repeats] * (layers - 1), settings.error_exposures),
        "background": 2 * layers * BACKGROUND_SHOTS,
        "sweep": points * settings.repeats * (2 + settings.error_exposures),
    }
    modes = max(bench.file.stages[layer].source.modes for layer in cells)
    return Budget(
        exposures=exposures,
        photons=photons(bench.file, exposures),
        mask_writes=layers,
        bench_seconds=bench_seconds(bench, exposures, layers, settings.optical_depth),
        steps=points,
        disk_bytes=points * (400 + 3 * 4 * modes),
    )


def _cells(bench: Bench) -> dict[int, str]:
    """Return the cells of a bench by the layer they stand in."""
    cells = {layer: stage.absorb.device for layer, stage in enumerate(bench.file.stages) if stage.absorb}
    if not cells:
        raise ConfigError(f"bench {bench.file.name} has no cell to sweep")
    return cells


@plan(SweepSettings, budget=_budget)
def power_sweep(
    bench: Bench, settings: SweepSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Sweep the pump field at every cell and measure what passes, of pump and of probe, against the model's law."""
    stages, cells = bench.file.stages, _cells(bench)
    shape = NetworkShape(stages[0].source.modes, tuple(stage.end.modes for stage in stages[:-1]), stages[-1].end.modes)
    network, started_s = (
        BenchNetwork(bench, shape, settings.optical_depth, settings.error_exposures),
        bench.clock.now_s(),
    )
    with one_thread():
        network.prepare()
        network.write_masks([_probing_weights(network, layer) for layer in range(len(stages))])
        network.measure_background()
        network.tally.heading = "sweep"
        results, index = {}, 0
        for layer, cell in cells.items():
            largest = settings.largest or _full_scale(network, layer)
            rows = []
            for k in range(settings.points):
                values, arrays = _point(network, layer, largest * (k + 1) / settings.points, settings.repeats)
                rows.append(values)
                yield Record("step", index, bench.clock.now_s(), {"cell": cell, **values}, arrays)
                index += 1
            results[cell] = _against_model(rows)
    law, depth = network.absorption.law, network.absorption.depth
    lines = [
        f"field transmission against the {law} law at optical depth {depth:.3g}, rms over {settings.points} fields"
    ]
    lines += [
        f"{cell}: pump {one['pump_deviation']:.3f}, probe {one['probe_deviation']:.3f} (scale {one['probe_scale']:.2f})"
        for cell, one in results.items()
    ]
    lines += network.warnings
    return {"cells": results, **network.tally.spent(bench.clock.now_s() - started_s), "message": "\n".join(lines)}


def _full_scale(network: BenchNetwork, layer: int) -> float:
    """Return the largest pump field of a layer: its camera's full scale, or what its DMD can send."""
    tap = network.bench.file.stages[layer].activation_tap
    sent = network.patterns.scales[layer].source_field
    return min(tap.full_scale, sent) if tap else sent


def _probing_weights(network: BenchNetwork, layer: int) -> Floats:
    """Return weights that send the same probe field into every mode, negative in one half so that pump sums cancel."""
    rows, columns = network.shape.layers[layer]
    stage = network.bench.file.stages[layer]
    weights = np.zeros((rows, columns), np.float32)
    if stage.error_tap:
        lit = min(rows, PROBED_ROWS)
        each = min(PROBE_SHARE * stage.error_tap.full_scale / lit, stage.multiply.weight_range)
        weights[:lit] = each * np.where(np.arange(columns) < columns // 2, 1, -1)
    return weights


def _point(
    network: BenchNetwork, layer: int, field: float, repeats: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the means and the fields per mode at one pump field."""
    stage, (rows, columns) = network.bench.file.stages[layer], network.shape.layers[layer]
    values = np.full((repeats, columns), field, np.float32)
    sent = network.patterns.sent_sums(layer, values)[0]
    errors = np.zeros((repeats, rows), np.float32)
    errors[:, :PROBED_ROWS] = 1
    tap = stage.activation_tap
    after = network.read_forward(layer, values)[tap.camera].data.mean(axis=0) if tap else sent
    back = network.read_backward(layer, values, errors).data.mean(axis=0)
    weights = network.patterns.shown_weights([_probing_weights(network, one) for one in range(layer + 1)])[layer]
    probe = back / (errors[0] @ weights.numpy())
    absorption = network.absorption
    model = transmission(torch.from_numpy(sent) ** 2, absorption.depth, absorption.law).numpy()
    means: dict[str, Any] = {
        "pump_field": float(sent.mean()),
        "transmitted_field": float(after.mean()),
        "model_field": float((model * sent).mean()),
        "pump_transmission": float((after / sent).mean()),
        "probe_transmission": float(probe.mean()),
        "model_transmission": float(model.mean()),
    }
    return means, {"incident": sent, "transmitted": after, "probe": probe.astype(np.float32)}


def _against_model(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return the curves of one cell, and how far pump and probe are from the model, rms over the points.

    The probe came through a multiplier whose weights are not exactly known, so one factor for all points,
    `probe_scale`, is fitted before they are compared.
    """
    curves = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    pump, probe, model = (curves[f"{name}_transmission"] for name in ("pump", "probe", "model"))
    scale = float(probe @ model / (model @ model)) or 1.0
    return {
        **{key: curve.tolist() for key, curve in curves.items()},
        "probe_scale": scale,
        "pump_deviation": float(np.sqrt(np.mean((pump - model) ** 2))),
        "probe_deviation": float(np.sqrt(np.mean((probe / scale - model) ** 2))),
    }
