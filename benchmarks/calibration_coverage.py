"""How often the hidden truth lies inside the interval a calibration states, and what calibrating does for training.

`python benchmarks/calibration_coverage.py [BENCH] [--truths 20] [--steps 4]` calibrates as many twins of a bench at its
reference noise, and compares with `python -m sim_backends.truth`. Then it trains for a few steps on the first of them,
first believing the bench file and then the ledger, and prints the gradient agreement of both; for benches in free
space that is in `benchmarks/mask_gradient.py`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.bench import Bench, BenchFile, load_bench
from labctl.calibrations import MEASURED, Calibration, calibrations_of
from labctl.ledger import NORMAL_95, Entry, write_entry
from labctl.plan import parse_settings
from labctl.training.in_situ import train_in_situ


def truth_of(bench: str, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return the truth of a bench and seed by parameter name, as its own command prints it."""
    command = [sys.executable, "-m", "sim_backends.truth", bench, "--truth-seed", str(seed), "--json"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    phases = {f"{camera}.reference_phase": one for camera, one in printed["reference_phases"].items()}
    return {name: np.asarray(value, float) for name, value in {**printed["values"], **phases}.items()}


def calibrate(file: BenchFile, calibration: Calibration, seed: int) -> Entry:
    """Return the ledger entry of one calibration of the twin of truth `seed`, with noise of the same seed."""
    settings = parse_settings(calibration.measure, {})
    with Bench(file, True, seed=seed, truth_seed=seed) as bench:
        records = list(calibration.measure(bench, settings, np.random.default_rng(seed)))
        data = next(record for record in records if record.kind == MEASURED)
        fit = calibration.fit({**data.values, **data.arrays})
        return calibration.entry(bench, settings, fit, datetime.now(UTC))


def errors_in_sd(entry: Entry, truth: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return (found - true) / sd of every parameter, one number or one per mode."""
    found = entry.fit.parameters.items()
    return {name: np.atleast_1d((np.asarray(one.value) - truth[name]) / np.asarray(one.sd)) for name, one in found}


def coverage_lines(errors: Sequence[dict[str, NDArray[np.float64]]]) -> list[str]:
    """Return a line for every parameter: how many truths lie inside the 95 % interval, mode by mode and altogether."""
    lines = [
        f"{'parameter':34}{'median mode inside':>20}{'fewest, of one mode':>22}{'modes inside':>16}{'rms error/sd':>14}"
    ]
    for name in errors[0]:
        sds = np.stack([one[name] for one in errors])
        inside, truths = np.abs(sds) <= NORMAL_95, len(sds)
        typical = int(np.median(inside.sum(axis=0)))
        fewest = f"{int(inside.sum(axis=0).min())} of {truths}"
        rms = float(np.sqrt(np.mean(sds**2)))
        lines.append(f"{name:34}{f'{typical} of {truths}':>20}{fewest:>22}{inside.mean():>16.1%}{rms:>14.2f}")
    return lines


def agreement(file: BenchFile, seed: int, ledger: Path | None, steps: int) -> dict[str, Any]:
    """Return the mean gradient agreement by layer of a short training in situ, and the depth it believes in."""
    hidden = [stage.end.modes for stage in file.stages[:-1]]
    asked = {"data": "sample", "hidden": hidden, "train_samples": 64 * steps, "test_samples": 1, "epochs": 1}
    settings = parse_settings(train_in_situ, {**asked, "agreement_every": 1, "learning_rate": 1e-4})
    with Bench(file, True, seed=seed, truth_seed=seed, ledger=ledger) as bench:
        rows = [
            layer
            for record in train_in_situ(bench, settings, np.random.default_rng(seed))
            if record.kind == "agreement"
            for layer in record.values["layers"]
        ]
    layers = sorted({row["layer"] for row in rows})
    means = {key: [float(np.mean([row[key] for row in rows if row["layer"] == layer])) for layer in layers]
             for key in ("cosine", "norm_ratio", "noise_floor")}  # fmt: skip
    return means


def main() -> None:
    """Print the table of a bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="?", default="vapour_cell", help="shipped name or path")
    parser.add_argument("--truths", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    began_s, file = time.monotonic(), load_bench(options.bench)
    calibrations = calibrations_of(file)
    with tempfile.TemporaryDirectory() as folder:
        errors: list[dict[str, NDArray[np.float64]]] = []
        for seed in range(1, options.truths + 1):
            truth, entries = truth_of(options.bench, seed), [calibrate(file, one, seed) for one in calibrations]
            errors.append({name: sds for entry in entries for name, sds in errors_in_sd(entry, truth).items()})
            if seed == 1:
                for entry in entries:
                    write_entry(Path(folder), entry)
        lines = [f"bench {file.name}, {options.truths} truths, 95 % intervals", *coverage_lines(errors), ""]
        labels = () if file.in_free_space else (("bench file", None), ("ledger", Path(folder)))
        for label, ledger in labels:
            means = agreement(file, 1, ledger, options.steps)
            shown = (f"{key} {', '.join(f'{one:.3f}' for one in by_layer)}" for key, by_layer in means.items())
            lines.append(f"agreement of layers, {label:10} believed: {'; '.join(shown)}")
    sys.stdout.write("\n".join([*lines, f"{time.monotonic() - began_s:.0f} s"]) + "\n")


if __name__ == "__main__":
    main()
