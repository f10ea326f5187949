"""A table's cell that runs one plan on a simulated bench and keeps the run's folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from labctl.bench import Bench, load_bench
from labctl.calibrations import MEASURED, load_calibration
from labctl.errors import RunAborted
from labctl.experiments.table import Cell
from labctl.ledger import write_entry
from labctl.plan import load_plan, parse_settings
from labctl.recorder import Recorder
from labctl.runner import Runner

LAST_EPOCH = "Accuracy after the last epoch on all test samples, no epoch chosen."
"""What tables in situ say of how their accuracies were taken."""


@dataclass(frozen=True)
class BenchRun:
    """One run of a plan on a simulated bench.

    Args:
        plan: Name of the plan.
        bench: Shipped name or path of the bench file.
        settings: Settings of the plan, by name.
        overrides: Values of the bench file, by dotted path.
        seed: Draws weights, data order and measurement noise.
        truth_seed: Draws the twins' truth; the bench file's by default.
        seconds: Predicted time on one idle core.
        ledger: Folder whose valid calibrations are believed; none by default.
    """

    plan: str
    bench: str
    settings: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    truth_seed: int | None = None
    seconds: float = 60.0
    ledger: str | None = None


def bench_cell(name: str, run: BenchRun) -> Cell:
    """Return the cell of one run."""
    return Cell(name, run_cell, run, run.seconds)


def run_cell(run: BenchRun, folder: Path) -> dict[str, Any]:
    """Carry out a run, record it in `folder`, and return accuracies in percent and what it cost."""
    summary, _ = carry_out(run, folder)
    return {
        "accuracy": 100 * summary["test_accuracy"],
        "epochs": [100 * accuracy for accuracy in summary["test_accuracies"]],
        "agreement": summary["gradient_agreement"],
        "exposures": summary["exposures"],
        "bench_seconds": summary["bench_seconds"],
        "clipped_weights": summary["clipped_weights"],
    }


def carry_out(run: BenchRun, folder: Path) -> tuple[Mapping[str, Any], Path]:
    """Carry out a run and return its summary and its folder below `folder`.

    Raises:
        RunAborted: It did not complete; the message says why.
        KeyboardInterrupt: It was interrupted.
    """
    plan, file = load_plan(run.plan), load_bench(run.bench, run.overrides)
    settings = parse_settings(plan, run.settings)
    ledger = Path(run.ledger) if run.ledger else None
    with Bench(file, simulate=True, seed=run.seed, truth_seed=run.truth_seed, ledger=ledger) as bench:
        header = {
            "bench": file.name,
            "simulated": list(file.devices),
            "seed": bench.seed,
            "truth_seed": bench.truth_seed,
            "settings": settings.model_dump(),
            "bench_file": file.model_dump(),
            "calibrations": [entry.id for entry in bench.belief.used],
            "believed": bench.calibrated_values,
            "device_states": bench.state(),
        }
        recorder = Recorder(folder, plan.name, header)
        outcome = Runner(plan, bench, settings, np.random.default_rng(run.seed), [recorder]).run()
        recorder.finish(outcome.status, outcome.summary, outcome.error)
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    if outcome.status != "completed":
        raise RunAborted(f"{run.plan} on bench {file.name} {outcome.status}: {outcome.error}; see {recorder.folder}")
    return outcome.summary, recorder.folder


def last_agreements(result: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Return layer and mean cosine of every layer in the last epoch of a run."""
    rows = result["agreement"]
    return [(row["layer"], row["cosine"]) for row in rows if row["epoch"] == rows[-1]["epoch"]]


def calibrate(name: str, run: BenchRun, ledger: Path) -> None:
    """Calibrate the bench of a run with a calibration's default settings, and enter the result into a ledger.

    Args:
        name: Name of the calibration.
        run: Whose bench, overrides and seeds are meant.
        ledger: Folder of the ledger.

    Raises:
        FitRejected: What was measured does not determine the parameters.
    """
    calibration, file = load_calibration(name), load_bench(run.bench, run.overrides)
    settings = parse_settings(calibration.measure, {})
    with Bench(file, simulate=True, seed=run.seed, truth_seed=run.truth_seed) as bench:
        records = list(calibration.measure(bench, settings, np.random.default_rng(run.seed)))
        data = next(record for record in records if record.kind == MEASURED)
        fit = calibration.fit({**data.values, **data.arrays})
        write_entry(ledger, calibration.entry(bench, settings, fit, datetime.now(UTC)))
