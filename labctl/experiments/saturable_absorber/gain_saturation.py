"""Accuracy with saturable gain in place of absorption, probe transmission sent back."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from labctl.experiments.saturable_absorber.model_cell import HALVES, Data, ModelTraining, accuracies, model_cell
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure, row_of
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption

PUBLISHED = {3.0: 97.3}
"""Accuracy by small-signal gain g0, +- 0.1; the paper calls the gain useful from 1 on."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        gains: Small-signal gains g0; 0 is a linear network.
        hidden: Neurons of each hidden layer; the paper does not say of which of its networks it speaks.
        recipe: Of every training.
        seeds: Trainings per gain.
        data: What is trained on.
    """

    gains: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 3.0)
    hidden: tuple[int, ...] = (128, 128)
    recipe: Recipe = field(default_factory=Recipe)
    seeds: int = 5
    data: Data = field(default_factory=Data)


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    return [
        model_cell(
            f"gain{gain:g}_{repeat}",
            ModelTraining(
                settings.data,
                settings.hidden,
                Absorption("published", -gain),
                "approximate",
                settings.recipe,
                seed + repeat,
            ),
        )
        for repeat in range(settings.seeds)
        for gain in settings.gains
    ]


def _rows(settings: Settings, results: Results) -> list[Row]:
    return [
        row_of(f"g0 = {gain:g}", accuracies(results, f"gain{gain:g}_"), PUBLISHED.get(gain), 0.1 if gain == 3 else None)
        for gain in settings.gains
    ]


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    ours = Curve("ours, approximate", list(settings.gains), [row.ours or 0.0 for row in rows])
    published = Curve("published", list(PUBLISHED), list(PUBLISHED.values()), published=True, line=False)
    return curves_figure("Saturable gain, MNIST", "small-signal gain g0", "accuracy (%)", [published, ours])


sa_gain_saturation = Table(
    "sa_gain_saturation",
    {"quick": Settings(seeds=1), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    "Approximate rule, 784-128-128-10 (one hidden layer stays a point lower), Adam 5e-4, 50 epochs; quick: one seed. "
    f"{HALVES}",
)
