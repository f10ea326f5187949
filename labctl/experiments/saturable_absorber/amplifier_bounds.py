"""Power gain the amplifiers of each layer would need, lower and upper bound, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from labctl.experiments.saturable_absorber.model_cell import (
    FAST,
    HALVES,
    Data,
    ModelTraining,
    chosen,
    epochs_of,
    model_cell,
)
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure, row_of
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption

PUBLISHED_DB = 10.0
"""Gain per stage at optical depth 30, about."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        hidden: Neurons of each hidden layer.
        depth: Optical depth.
        recipe: Of the training.
        data: What is trained on.
    """

    hidden: tuple[int, ...] = (128, 128)
    depth: float = 30.0
    recipe: Recipe = field(default_factory=Recipe)
    data: Data = field(default_factory=Data)


def gain_bounds_db(weight: Tensor) -> tuple[float, float]:
    """Return lower and upper bound of the power gain behind a lossless interferometer mesh, in dB.

    The passive mesh W has row and column sums of squares up to 1, and w = A W: at least the largest such sum of w,
    at most its largest singular value squared (Guo et al. 2021). A slit multiplier needs far more: see
    `labctl check`.

    Args:
        weight: Shape (rows, columns).
    """
    squares = weight**2
    lower = max(float(squares.sum(dim=0).max()), float(squares.sum(dim=1).max()))
    upper = float(torch.linalg.matrix_norm(weight, ord=2)) ** 2
    return 10 * math.log10(lower), 10 * math.log10(upper)


def train_with_bounds(training: ModelTraining, folder: Path) -> Mapping[str, Any]:
    """Return the accuracy of a training and every epoch's bounds: layer by layer, lower and upper."""
    bounds, epochs = [], []
    for epoch in epochs_of(training):
        bounds.append([gain_bounds_db(weight) for weight in epoch.weights])
        epochs.append((epoch.choosing, epoch.reported))
    return {**chosen(epochs), "bounds_db": bounds}


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    training = ModelTraining(
        settings.data, settings.hidden, Absorption("published", settings.depth), "approximate", settings.recipe, seed
    )
    return [replace(model_cell("training", training), compute=train_with_bounds)]


def _rows(settings: Settings, results: Results) -> list[Row]:
    result = results["training"]
    rows = [row_of("accuracy", [result["accuracy"]])]
    for layer, (lower, upper) in enumerate(result["bounds_db"][-1], 1):
        rows.append(row_of(f"layer {layer}, lower bound", [lower], PUBLISHED_DB, unit="dB"))
        rows.append(row_of(f"layer {layer}, upper bound", [upper], PUBLISHED_DB, unit="dB"))
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    history = results["training"]["bounds_db"]
    epochs = [float(epoch) for epoch in range(1, len(history) + 1)]
    curves = [Curve("published, about", [1.0, float(len(history))], [PUBLISHED_DB] * 2, published=True)]
    for layer in range(len(history[0])):
        for which, name in enumerate(("lower", "upper")):
            curves.append(Curve(f"layer {layer + 1}, {name}", epochs, [bounds[layer][which] for bounds in history]))
    return curves_figure("Amplifier gain per layer", "epoch", "power gain (dB)", curves)


sa_amplifier_bounds = Table(
    "sa_amplifier_bounds",
    {"quick": Settings(recipe=replace(FAST, epochs=10)), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    f"784-128-128-10 at optical depth 30, approximate rule, bounds after the last epoch. {HALVES}",
)
