"""How much of the loss between a model and the bench it is deployed on training in situ wins back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from labctl.experiments.bench_cell import LAST_EPOCH, BenchRun, carry_out
from labctl.experiments.deployment import SMALL_GAP, Comparison, deployment_cells, deployment_rows
from labctl.experiments.table import Results, Table
from labctl.report.comparison import Row, rows_figure

PARTS = {
    "ideal": "trained and tested in the model",
    "deployed": "the same weights on the bench",
    "in_situ": "trained in situ",
}


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        data: Data set, as the plans know it.
        epochs: Passes over it, in silico and in situ alike.
        train_samples: Training samples used; None for all.
        test_samples: Test samples used; None for all.
        hidden: Hidden neurons.
        bench: Shipped name or path of the bench file.
        truths: Truth seeds.
        larger: Factor on the imperfections of the repetition.
        seconds: Predicted time of one truth on one idle core.
    """

    data: str = "mnist"
    epochs: int = 10
    train_samples: int | None = None
    test_samples: int | None = None
    hidden: int = 128
    bench: str = "vapour_cell"
    truths: tuple[int, ...] = (1, 2, 3)
    larger: float = 3.0
    seconds: float = 180.0


def compare(comparison: Comparison, folder: Path) -> Mapping[str, Any]:
    """Return the accuracies in percent by the names of `PARTS`; all three runs are kept in `folder`."""
    settings: Settings = comparison.settings
    data = {
        "data": settings.data,
        "train_samples": settings.train_samples,
        "test_samples": settings.test_samples,
        "quadratures": 1 if comparison.imperfections == 1 else 2,  # a fast reference, strong aberrations
    }
    training = {**data, "hidden": [settings.hidden], "epochs": settings.epochs, "optical_depth": 10.0}
    overrides = {"simulation.imperfection_scale": comparison.imperfections}

    def run(plan: str, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Path]:
        order = BenchRun(plan, settings.bench, values, overrides, comparison.seed, comparison.truth_seed)
        return carry_out(order, folder)

    ideal, weights = run("train_in_silico", training)
    deployed, _ = run("evaluate", {**data, "run": str(weights)})
    in_situ, _ = run("train_in_situ", training)
    summaries = {"ideal": ideal, "deployed": deployed, "in_situ": in_situ}
    return {part: 100 * summary["test_accuracy"] for part, summary in summaries.items()}


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    return rows_figure("784-128-10 on the simulated bench", [row for row in rows if row.unit == "%"])


sa_deployment_gap = Table(
    "sa_deployment_gap",
    {"quick": Settings(data="sample", epochs=4, seconds=60), "paper": Settings()},
    partial(deployment_cells, compare),
    partial(deployment_rows, PARTS),
    _figure,
    f"Truth seeds 1 to 3, equal epochs, optical depth 10, cosine from 2e-3; where the mean gap is under {SMALL_GAP:g} "
    "points, repeated with larger imperfections and both quadratures read. Quick: the embedded sample. "
    f"{LAST_EPOCH} The paper has no such number.",
)
