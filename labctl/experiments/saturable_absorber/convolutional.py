"""Convolutional network of absorbers at optical depth 10 in the model, approximate and exact derivative."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from labctl.experiments.checkpoint import keep, kept
from labctl.experiments.saturable_absorber.model_cell import HALVES, Data, accuracies, chosen, load_samples
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Curve, Row, curves_figure, row_of
from labctl.training.convolution import ConvolutionalShape, ConvolutionalTraining, Trained, initial_kernels
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption, Rule

PUBLISHED: dict[Rule, tuple[float, float]] = {"approximate": (99.3, 0.1), "exact": (99.4, 0.1)}

STEP_S = 30e-3
"""Seconds of one step of 64 samples at 32 and 64 channels: processor time on one thread."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        recipe: Of every training.
        rules: What stands for the derivative; one training per rule and seed.
        channels: Output channels of the convolutions.
        hidden: Neurons of the full hidden layer.
        dropout: Share of the flat values left out in each step.
        seeds: Trainings per rule.
        data: What is trained on.
    """

    recipe: Recipe
    rules: tuple[Rule, ...] = ("approximate", "exact")
    channels: tuple[int, ...] = (32, 64)
    hidden: int = 128
    dropout: float = 0.0
    seeds: int = 1
    data: Data = field(default_factory=Data)


@dataclass(frozen=True)
class ConvolutionalCell:
    """One training.

    Args:
        settings: Settings of the table.
        rule: What stands for the derivative.
        seed: Draws weights, data order and dropout.
    """

    settings: Settings
    rule: Rule
    seed: int


def train_convolutional(cell: ConvolutionalCell, folder: Path) -> Mapping[str, Any]:
    """Return what `chosen` does; after every epoch the training is put away in `folder` and taken up from there."""
    settings = cell.settings
    train, test = load_samples(settings.data)
    side = int(train.inputs.shape[1] ** 0.5)
    shape = ConvolutionalShape(side, settings.channels, settings.hidden, train.classes)
    rng = np.random.default_rng(cell.seed)
    trained = Trained(Absorption("published", 10.0), cell.rule, dropout=settings.dropout)
    training = ConvolutionalTraining(initial_kernels(shape, rng), trained, settings.recipe, train, test, rng)
    path, asked = folder / "checkpoint.safetensors", repr(cell)
    epochs: list[tuple[float, float]] = []
    if (found := kept(path)) and found[1]["asked"] == asked:
        epochs = [(one, other) for one, other in found[1]["epochs"]]
        training.restore(*found)
    for epoch in training.run():
        epochs.append((epoch.choosing, epoch.reported))
        arrays, state = training.state()
        keep(path, arrays, {**state, "asked": asked, "epochs": epochs})
    return chosen(epochs)


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    steps = settings.recipe.epochs * (settings.data.train_samples or 60_000) / settings.recipe.batch_size
    return [
        Cell(
            f"{rule}_{repeat}",
            train_convolutional,
            ConvolutionalCell(settings, rule, seed + repeat),
            5 + 1.1 * steps * STEP_S,
        )
        for repeat in range(settings.seeds)
        for rule in settings.rules
    ]


def _rows(settings: Settings, results: Results) -> list[Row]:
    return [row_of(f"{rule} derivative", accuracies(results, f"{rule}_"), *PUBLISHED[rule]) for rule in settings.rules]


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    epochs = [float(epoch) for epoch in range(1, settings.recipe.epochs + 1)]
    curves = [Curve(f"published, {rule}", epochs[-1:], [PUBLISHED[rule][0]], published=True) for rule in settings.rules]
    for rule in settings.rules:
        runs = [result["epochs"] for name, result in results.items() if name.startswith(f"{rule}_")]
        means = [float(np.mean([run[epoch][1] for run in runs])) for epoch in range(len(epochs))]
        curves.append(Curve(f"ours, {rule}", epochs, means))
    return curves_figure("Convolutional network, MNIST", "epoch", "accuracy (%)", curves)


sa_cnn = Table(
    "sa_cnn",
    {
        "quick": Settings(Recipe(epochs=6, learning_rate=1e-3, schedule="cosine")),
        "paper": Settings(Recipe(epochs=40), seeds=5),
    },
    _cells,
    _rows,
    _figure,
    "5x5x32, 5x5x64, mean pooling, full 128, no biases, inputs 0 to 5, depth 10, half-square loss, no dropout; quick: "
    f"6 epochs, cosine from 1e-3; paper: 40 epochs at 5e-4. {HALVES}",
)
