"""Plan `compare_methods`: the same training by several gradient methods, and what each made of its light."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from labctl.bench import Bench
from labctl.plan import plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.training.gradient import MethodName, cost_of
from labctl.training.loop import Training
from labctl.training.measure import BACKGROUND_SHOTS, setup_exposures
from labctl.training.scoring import bench_confusion, confusion_accuracy
from labctl.training.settings import (
    TrainSettings,
    bench_seconds,
    load_samples,
    method_budget,
    photons,
    total_steps,
)
from labctl.training.threads import one_thread

LEFT_OUT = ("weights", "checkpoint")
"""Records of a training that a comparison does not pass on: they belong to runs of one training."""


class CompareSettings(TrainSettings):
    """Settings of `compare_methods`; none may change while it runs."""

    methods: tuple[MethodName, ...] = Field(
        default=("optical", "optical_corrected", "physics_aware", "finite_difference", "in_silico"),
        min_length=1,
        description="gradient methods, trained one after the other",
    )
    exposures: int | None = Field(
        default=None, ge=1, description="training exposures each method may take, in place of equal steps"
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="Adam's step; 5e-4 is the published one")

    @field_validator("methods")
    @classmethod
    def _are_different(cls, methods: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        if len(set(methods)) != len(methods):
            raise ValueError("each method is compared once")
        return methods


def steps_by_method(settings: CompareSettings, samples: int) -> dict[MethodName, int]:
    """Return how many weight updates each method makes on `samples` training samples.

    All make as many, unless an exposure budget is given. Then each makes the whole steps it has the light for, one at
    least, and `in_silico`, which takes none, as many as the longest of the others.
    """
    equal, layers = total_steps(samples, settings), len(settings.hidden) + 1
    batch = min(settings.batch_size, samples)
    steps: dict[MethodName, int] = dict.fromkeys(settings.methods, equal)
    if settings.exposures is not None:
        for method in settings.methods:
            per_sample = cost_of(
                method, layers, settings.error_exposures, settings.quadratures, settings.directions
            ).exposures
            steps[method] = max(1, settings.exposures // (per_sample * batch)) if per_sample else 0
        longest = max(steps.values()) or equal
        steps = {method: count or longest for method, count in steps.items()}
    return steps


def _budget(bench: Bench, settings: CompareSettings) -> Budget:
    """Return what all trainings together will cost, exposures by method and heading; relocks come on top."""
    train, test, _ = load_samples(bench.file, settings)
    layers = len(settings.hidden) + 1
    forward = 2 * settings.quadratures * layers
    exposures: dict[str, int] = {}
    writes = steps = 0
    for method, count in steps_by_method(settings, len(train)).items():
        budget = method_budget(bench, settings.model_copy(update={"steps": count}), method)
        parts, steps, writes = budget.exposures, steps + budget.steps, writes + budget.mask_writes
        if method == "in_silico":
            parts = {
                "setup": setup_exposures(layers),
                "background": forward * BACKGROUND_SHOTS,
                "evaluation": forward * len(test),
            }
            writes += layers
        exposures |= {f"{method} {heading}": number for heading, number in parts.items()}
    return Budget(
        exposures=exposures,
        photons=photons(bench.file, exposures),
        mask_writes=writes,
        bench_seconds=bench_seconds(bench, exposures, writes, settings.optical_depth),
        steps=steps,
        disk_bytes=400 * steps,  # a committed record with its values
    )


@plan(CompareSettings, budget=_budget)
def compare_methods(
    bench: Bench, settings: CompareSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Train by each gradient method from the same weights, data order and truth, and compare what they reach."""
    train, test, source = load_samples(bench.file, settings)
    seed = int(rng.integers(2**63))
    counts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for method, steps in steps_by_method(settings, len(train)).items():
        own = settings.model_copy(update={"steps": steps})
        training = Training(bench, own, method, train, test, np.random.default_rng(seed))
        training.network.warm_cells()  # before its clock starts: the first method must not pay for all
        started_s, loss = bench.clock.now_s(), float("nan")
        records = training.run()
        while True:
            try:
                record = next(records)
            except StopIteration as end:
                summary = dict(end.value)
                break
            if record.kind in LEFT_OUT:
                continue
            loss = record.values["loss"] if record.kind == "epoch" else loss
            index = counts[record.kind] = counts.get(record.kind, -1) + 1
            yield replace(record, index=index, values={**record.values, "method": method})
        if not training.on_bench:
            summary |= _deployed(training, test)
            for message in training.network.warnings:
                index = counts["warning"] = counts.get("warning", -1) + 1
                yield Record("warning", index, bench.clock.now_s(), {"message": message, "method": method})
        summary |= training.network.tally.spent(bench.clock.now_s() - started_s)
        rows.append({"method": method, "steps": steps, "loss": loss, **_row(summary)})
        values = {**rows[-1], "message": _line(rows[-1])}
        yield Record("comparison", len(rows) - 1, bench.clock.now_s(), values)
    best = max(rows, key=lambda row: row["test_accuracy"])
    columns = ("method", "steps", "loss", "right", "agreement by layer", "exposures", "photons", "bench time")
    per = ("right per 1e6 exposures", "per 1e12 photons", "per hour")
    title = f"{len(rows)} methods on {bench.file.name}; the light of agreement and evaluation is counted in"
    return {
        "data": source,
        "comparison": rows,
        "table": {"title": title, "columns": [*columns, *per], "rows": [_cells(row) for row in rows]},
        "message": f"{best['method']} is best with {best['test_accuracy']:.2%} of {len(test)} test samples right",
    }


def _deployed(training: Training, test: Any) -> dict[str, Any]:
    """Return the accuracy on the bench of weights that were trained in the model."""
    network = training.network
    with one_thread():
        network.prepare()
        network.write_masks(training.weights)
        network.measure_background()
        return {"test_accuracy": confusion_accuracy(bench_confusion(network, test))}


def _row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one method from the summary of its training."""
    kept = ("test_accuracy", "exposures", "photons", "mask_writes", "bench_seconds", "clipped_modes")
    agreements, right = summary["gradient_agreement"], summary["test_accuracy"]
    layers = sorted({row["layer"] for row in agreements})
    return {
        **{key: summary[key] for key in kept},
        **{
            key: [float(np.mean([row[key] for row in agreements if row["layer"] == layer])) for layer in layers]
            for key in ("cosine", "cosine_exact", "noise_floor")
        },
        "accuracy_per_exposure": right / summary["exposures"],
        "accuracy_per_photon": right / summary["photons"],
        "accuracy_per_bench_second": right / summary["bench_seconds"],
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["method"],
        f"{row['steps']:,}",
        f"{row['loss']:.3f}",
        f"{row['test_accuracy']:.1%}",
        " ".join(f"{cosine:.3f}" for cosine in row["cosine"]) or "no light",
        f"{row['exposures']:,}",
        f"{row['photons']:.2g}",
        f"{row['bench_seconds'] / 60:.1f} min",
        f"{1e6 * row['accuracy_per_exposure']:.3g}",
        f"{1e12 * row['accuracy_per_photon']:.3g}",
        f"{3600 * row['accuracy_per_bench_second']:.3g}",
    ]


def _line(row: Mapping[str, Any]) -> str:
    return f"{row['method']}: {row['test_accuracy']:.2%} right after {row['steps']:,} steps, loss {row['loss']:.4f}"
