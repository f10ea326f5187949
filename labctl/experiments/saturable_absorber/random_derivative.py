"""Accuracy when an arbitrary even function stands for the derivative, against that function's error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from labctl.experiments.saturable_absorber.model_cell import (
    HALVES,
    STEP_S,
    Data,
    ModelTraining,
    accuracies,
    train_cell,
)
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure, row_of
from labctl.training.activations import RandomDerivative, random_derivative
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption

ABSORBER = Absorption("published", 10.0)

SAMPLES = 6
"""Random samples of a function between 0 and 3 widths of the error's weight; the paper does not give its number."""

TOLERATED = 15.0
"""Derivative error in percent up to which the paper saw no loss."""

BOUNDS = (0.0, 0.15, 0.3, 0.6)
"""Errors between which accuracies are averaged."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        functions: Random functions trained with.
        drawn: Functions drawn; those trained with are spread evenly over their errors from 0 to 0.6.
        hidden: Neurons of each hidden layer.
        recipe: Of every training.
        references: Trainings with the exact derivative, for the spread between seeds.
        data: What is trained on.
    """

    functions: int = 200
    drawn: int = 1000
    hidden: tuple[int, ...] = (128,)
    recipe: Recipe = field(default_factory=Recipe)
    references: int = 5
    data: Data = field(default_factory=Data)


def spread_functions(settings: Settings, seed: int) -> list[RandomDerivative]:
    """Return the functions to train with: of those drawn, the ones nearest to evenly spaced errors."""
    rng = np.random.default_rng(seed)
    drawn = [random_derivative(ABSORBER, SAMPLES, rng) for _ in range(settings.drawn)]
    errors = np.array([one.error for one in drawn])
    chosen: list[RandomDerivative] = []
    for wanted in np.linspace(0, BOUNDS[-1], settings.functions):
        nearest = int(np.argmin(np.abs(errors - wanted)))
        chosen.append(drawn[nearest])
        errors[nearest] = np.inf  # each only once
    return chosen


def train_with_error(training: ModelTraining, folder: Path) -> Mapping[str, Any]:
    """Return what `train_cell` does, and the error of the function that stands for the derivative."""
    own = training.activation
    error = own.error if isinstance(own, RandomDerivative) else 0.0
    return {**train_cell(training, folder), "error": error}


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    def cell(name: str, activation: Absorption | RandomDerivative, repeat: int) -> Cell:
        training = ModelTraining(settings.data, settings.hidden, activation, "exact", settings.recipe, seed + repeat)
        steps = settings.recipe.epochs * (settings.data.train_samples or 60_000) / settings.recipe.batch_size
        return Cell(name, train_with_error, training, 3 + steps * 1.4 * STEP_S)

    functions = enumerate(spread_functions(settings, seed))
    cells = [cell(f"exact_{repeat}", ABSORBER, repeat) for repeat in range(settings.references)]
    return cells + [cell(f"random_{number}", function, number) for number, function in functions]


def _rows(settings: Settings, results: Results) -> list[Row]:
    exact = accuracies(results, "exact_")
    rows = [row_of("exact derivative", exact)]
    for low, high in pairwise(BOUNDS):
        inside = [
            float(result["accuracy"])
            for name, result in results.items()
            if name.startswith("random_") and low <= result["error"] < high
        ]
        if inside:
            rows.append(row_of(f"derivative error {100 * low:.0f} to {100 * high:.0f} %", inside))
            if 100 * high <= TOLERATED:
                loss = sum(exact) / len(exact) - sum(inside) / len(inside)
                rows.append(Row(f"loss up to {TOLERATED:.0f} % error", 0.0, loss, "points"))
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    points = sorted((100 * result["error"], float(result["accuracy"])) for result in results.values())
    ours = Curve("ours, one training each", [x for x, _ in points], [y for _, y in points], line=False)
    top = rows[0].ours or 0.0
    limit = Curve("published: no loss in this range", [0.0, TOLERATED], [top, top], published=True)
    return curves_figure(
        "784-128-10, depth 10, random derivatives", "derivative error 1 - S (%)", "accuracy (%)", [limit, ours]
    )


sa_random_derivative = Table(
    "sa_random_derivative",
    {
        "quick": Settings(functions=16, drawn=200, references=2),
        "paper": Settings(),
    },
    _cells,
    _rows,
    _figure,
    "Even functions through uniform random samples (PCHIP), error 1 - S of eq. B2 with the width E* of region (i), "
    "in the network the paper has at depth 10, 784-128-10, for its 50 epochs; functions are chosen by their errors, "
    f"before any training. {HALVES}",
)
