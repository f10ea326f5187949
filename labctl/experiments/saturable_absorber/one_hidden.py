"""784-128-10 at optical depth 10 trained in situ on the simulated bench, beside its noise-free twins in the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labctl.experiments.bench_cell import LAST_EPOCH, BenchRun, bench_cell
from labctl.experiments.saturable_absorber.model_cell import accuracies
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure, row_of

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"learning_rate": 5e-4, "schedule": "constant", "batch_size": 64},
    "ours": {"learning_rate": 2e-3, "schedule": "cosine", "batch_size": 64},
}
PLANS = {"in_situ": "train_in_situ", "in_silico": "train_in_silico"}
NAMES = {"paper": "paper's recipe", "ours": "our schedule", "in_situ": "in situ", "in_silico": "noise-free in silico"}
"""Recipes and plans as the table names them."""

EPOCH_S = {"in_situ": 14.0, "in_silico": 3.0}
"""Seconds of one epoch of 60,000 samples and its test of 10,000, about, on one idle core."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        data: Data set, as the plans know it.
        epochs: Passes over it.
        seeds: Trainings per recipe.
        train_samples: Training samples used; None for all.
        test_samples: Test samples used; None for all.
        hidden: Hidden neurons.
        bench: Shipped name or path of the bench file.
    """

    data: str = "mnist"
    epochs: int = 50
    seeds: int = 2
    train_samples: int | None = None
    test_samples: int | None = None
    hidden: int = 128
    bench: str = "vapour_cell"


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    share = (settings.train_samples or (5_000 if settings.data == "sample" else 60_000)) / 60_000
    common = {
        "data": settings.data,
        "hidden": [settings.hidden],
        "epochs": settings.epochs,
        "optical_depth": 10.0,
        "train_samples": settings.train_samples,
        "test_samples": settings.test_samples,
    }
    return [
        bench_cell(
            f"{where}_{recipe}_{repeat}",
            BenchRun(
                plan,
                settings.bench,
                {**common, **choices},
                seed=seed + repeat,
                seconds=5 + settings.epochs * share * EPOCH_S[where],
            ),
        )
        for where, plan in PLANS.items()
        for recipe, choices in RECIPES.items()
        for repeat in range(settings.seeds)
    ]


def _rows(settings: Settings, results: Results) -> list[Row]:
    rows = []
    for recipe in RECIPES:
        situ, silico = (accuracies(results, f"{where}_{recipe}_") for where in PLANS)
        rows.append(row_of(f"in situ, {NAMES[recipe]}", situ, 97.3, 0.1))
        rows.append(row_of(f"its noise-free twin in silico, {NAMES[recipe]}", silico, 97.3, 0.1))
        differences = [one - other for one, other in zip(situ, silico, strict=True)]
        rows.append(row_of(f"in situ less its twin, {NAMES[recipe]}", differences, unit="points"))
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    epochs = list(range(1, settings.epochs + 1))
    curves = [Curve("published, 50 epochs", epochs[-1:], [97.3], published=True)]
    for where in PLANS:
        for recipe in RECIPES:
            runs = [results[name]["epochs"] for name in results if name.startswith(f"{where}_{recipe}_")]
            means = [sum(values) / len(runs) for values in zip(*runs, strict=True)]
            curves.append(Curve(f"{NAMES[where]}, {NAMES[recipe]}", epochs, means))
    return curves_figure("784-128-10, optical depth 10", "epoch", "test accuracy (%)", curves)


sa_one_hidden = Table(
    "sa_one_hidden",
    {"quick": Settings(data="sample", epochs=8, seeds=1), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    "In situ: probe transmission as derivative, reference noise and imperfections of the bench file; its twin: the "
    "calibrated model without noise, exact derivative, same seed, data order and recipe. The bench is simulated. "
    "Quick: 8 epochs of the embedded sample of 5,000 digits, from which no network gets to 97 %. "
    f"{LAST_EPOCH}",
)
