"""Accuracy of 784-128-128-10 against optical depth, probe transmission or exact derivative sent back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from labctl.experiments.saturable_absorber.model_cell import (
    FAST,
    HALVES,
    Data,
    ModelTraining,
    accuracies,
    model_cell,
)
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure, row_of
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption, Rule

RULES: tuple[Rule, ...] = ("approximate", "exact")

PUBLISHED = {0.0: 85.7, 0.1: 87.7, 0.3: 93.2, 1.0: 96.5, 2.0: 97.3, 4.0: 97.5, 8.0: 97.4, 30.0: 98.0, 50.0: 97.2}
"""Accuracy by depth, approximate rule: 0 and 30 from the text, the others read by eye from Fig. 4a(iii)."""


@dataclass(frozen=True)
class Settings:
    """Settings of the sweep.

    Args:
        depths: Optical depths; 0 is a linear network.
        hidden: Neurons of each hidden layer.
        recipe: Of every training.
        seeds: Trainings per depth and rule.
        data: What is trained on.
    """

    depths: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 10.0, 20.0, 30.0, 50.0)
    hidden: tuple[int, ...] = (128, 128)
    recipe: Recipe = field(default_factory=Recipe)
    seeds: int = 5
    data: Data = field(default_factory=Data)


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    return [
        model_cell(
            f"depth{depth:g}_{rule}_{repeat}",
            ModelTraining(
                settings.data, settings.hidden, Absorption("published", depth), rule, settings.recipe, seed + repeat
            ),
        )
        for repeat in range(settings.seeds)
        for depth in settings.depths
        for rule in RULES
        if depth > 0 or rule == "exact"  # without absorption both rules are the same
    ]


def _rows(settings: Settings, results: Results) -> list[Row]:
    rows = []
    for depth in settings.depths:
        for rule in RULES if depth else RULES[1:]:
            name = f"depth {depth:g}, {rule}" if depth else "depth 0, linear"
            published = PUBLISHED.get(depth) if rule == "approximate" or not depth else None
            rows.append(row_of(name, accuracies(results, f"depth{depth:g}_{rule}_"), published))
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    curves = [Curve("published, approximate (by eye)", list(PUBLISHED), list(PUBLISHED.values()), published=True)]
    for rule in RULES:
        depths = [depth for depth in settings.depths if depth or rule == "exact"]
        means = [row_of("", accuracies(results, f"depth{depth:g}_{rule}_")).ours or 0.0 for depth in depths]
        curves.append(Curve(f"ours, {rule}", depths, means))
    return curves_figure("784-128-128-10 on MNIST", "optical depth", "accuracy (%)", curves, log=True)


sa_depth_sweep = Table(
    "sa_depth_sweep",
    {"quick": Settings(recipe=replace(FAST, epochs=10), seeds=1), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    f"Half-square loss, no biases, inputs 0 to 1; quick: 10 epochs, cosine from 2e-3; paper: 50 at 5e-4. {HALVES}",
)
