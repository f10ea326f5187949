"""784-128-128-10 at optical depth 30 in the model, both derivatives beside rectifiers; quick also shortly in situ."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from labctl.experiments.bench_cell import BenchRun, bench_cell, last_agreements
from labctl.experiments.saturable_absorber.model_cell import FAST, HALVES, Data, ModelTraining, accuracies, model_cell
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Row, row_of, rows_figure
from labctl.training.activations import Rectifier
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption, Rule

ABSORBER = Absorption("published", 30.0)

VARIANTS: dict[str, tuple[str, Absorption | Rectifier, Rule, float, float]] = {
    "approximate": ("absorber, approximate derivative", ABSORBER, "approximate", 98.0, 0.2),
    "exact": ("absorber, exact derivative", ABSORBER, "exact", 98.1, 0.3),
    "rectifier": ("rectifier, half-square loss", Rectifier(), "exact", 98.0, 0.2),
}
"""Row, activation, rule, published accuracy and its standard deviation."""

DEEP_BENCH = "vapour_cell_deep"


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        hidden: Neurons of each hidden layer.
        recipe: Of every training in the model.
        seeds: Trainings per variant.
        data: What is trained on in the model.
        in_situ: Training in situ beside them, where its bench is installed; None for none.
    """

    hidden: tuple[int, ...] = (128, 128)
    recipe: Recipe = field(default_factory=Recipe)
    seeds: int = 5
    data: Data = field(default_factory=Data)
    in_situ: BenchRun | None = None


QUICK_IN_SITU = BenchRun(
    "train_in_situ", DEEP_BENCH, {"data": "sample", "hidden": [64, 64], "epochs": 4, "optical_depth": 10.0}, seconds=120
)
"""At depth 10, where the sample's few steps are enough to learn."""


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    cells = [
        model_cell(
            f"{name}_{repeat}",
            ModelTraining(settings.data, settings.hidden, activation, rule, settings.recipe, seed + repeat),
        )
        for repeat in range(settings.seeds)
        for name, (_, activation, rule, _, _) in VARIANTS.items()
    ]
    if settings.in_situ:
        cells.append(bench_cell("in_situ", replace(settings.in_situ, seed=seed)))
    return cells


def _rows(settings: Settings, results: Results) -> list[Row]:
    rows = [
        row_of(text, accuracies(results, f"{name}_"), published, sd)
        for name, (text, _, _, published, sd) in VARIANTS.items()
    ]
    if "in_situ" in results:
        rows.append(row_of("in situ, short, embedded sample", accuracies(results, "in_situ")))
        agreements = last_agreements(results["in_situ"])
        rows += [
            row_of(f"its gradient agreement, layer {layer}", [cosine], unit="cosine") for layer, cosine in agreements
        ]
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    shown = [row for row in rows if row.unit == "%" and row.published is not None]
    return rows_figure("784-128-128-10 at optical depth 30", shown)


sa_two_hidden = Table(
    "sa_two_hidden",
    {"quick": Settings(recipe=replace(FAST, epochs=10), seeds=1, in_situ=QUICK_IN_SITU), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    f"In the model, half-square loss, no biases; quick: 10 epochs, cosine from 2e-3; paper: 50 at 5e-4. {HALVES} "
    "In situ: last epoch, all test samples.",
)
