"""Phase masks trained in the model, deployed on the imperfect bench, and trained further there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from labctl.experiments.bench_cell import BenchRun, calibrate, carry_out
from labctl.experiments.deployment import SMALL_GAP, Comparison, deployment_cells, deployment_rows
from labctl.experiments.diffractive.in_situ.reduced import reduced_bench
from labctl.experiments.table import Results, Table
from labctl.report.comparison import Row, rows_figure

PARTS = {
    "ideal": "trained and tested in the model",
    "deployed": "the same masks on the bench",
    "in_situ": "trained further in situ, as many epochs",
    "further": "trained further in the model, for comparison",
}


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        data: Data set, as the plans know it.
        epochs: Passes over it in silico, and again in situ.
        train_samples: Training samples used; None for all.
        test_samples: Test samples used; None for all.
        side: Samples along each side of the planes.
        learning_rate: Adam's step in rad, in silico; in situ, from trained masks, a quarter of it.
        bench: Shipped name or path of the bench file.
        truths: Truth seeds.
        larger: Factor on the imperfections of the repetition.
        seconds: Predicted time of one truth on one idle core.
    """

    data: str = "mnist"
    epochs: int = 1
    train_samples: int | None = 10_000
    test_samples: int | None = 2_000
    side: int = 256
    learning_rate: float = 0.02
    bench: str = "diffractive"
    truths: tuple[int, ...] = (1, 2, 3)
    larger: float = 3.0
    seconds: float = 7_200.0


def compare(comparison: Comparison, folder: Path) -> Mapping[str, Any]:
    """Return the accuracies in percent by the names of `PARTS`; runs and ledger are kept in `folder`.

    The bench's taps are registered before they are used, as on a table.
    """
    settings: Settings = comparison.settings
    ledger = folder / "ledger"
    overrides = {
        **reduced_bench(settings.bench, settings.side),
        "simulation.imperfection_scale": comparison.imperfections,
    }
    data = {"data": settings.data, "train_samples": settings.train_samples, "test_samples": settings.test_samples}

    def order(values: Mapping[str, Any], ledger: str | None = None) -> BenchRun:
        seeds = (comparison.seed, comparison.truth_seed)
        return BenchRun("train_masks", settings.bench, {**data, **values}, overrides, *seeds, ledger=ledger)

    rate, epochs = settings.learning_rate, settings.epochs
    ideal, masks = carry_out(order({"method": "in_silico", "epochs": epochs, "learning_rate": rate}), folder)
    calibrate("tap_registration", order({}), ledger)
    deployed, _ = carry_out(order({"epochs": 0, "start": str(masks)}, str(ledger)), folder)
    further = {"epochs": epochs, "start": str(masks), "learning_rate": rate / 4}
    in_situ, _ = carry_out(order(further, str(ledger)), folder)
    model, _ = carry_out(order({**further, "method": "in_silico"}), folder)
    summaries = {"ideal": ideal, "deployed": deployed, "in_situ": in_situ, "further": model}
    return {part: 100 * summary["test_accuracy"] for part, summary in summaries.items()}


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    title = f"three phase masks of {settings.side} x {settings.side} on the simulated bench"
    return rows_figure(title, [row for row in rows if row.unit == "%"])


d2nn_deployment_gap = Table(
    "d2nn_deployment_gap",
    {
        "quick": Settings(data="sample", epochs=1, train_samples=2_000, test_samples=500, side=64, seconds=120.0),
        "paper": Settings(),
    },
    partial(deployment_cells, compare),
    partial(deployment_rows, PARTS),
    _figure,
    "Truth seeds 1 to 3; masks trained in the calibrated model, tested on the bench, and trained further there for as "
    "many epochs with a quarter of the learning rate, from fields measured on both ways, the taps being registered; "
    f"where the mean gap is under {SMALL_GAP:g} points, repeated with larger imperfections. Quick: 2,000 of the "
    "embedded digits on planes of 64 x 64. The paper has no such number.",
)
