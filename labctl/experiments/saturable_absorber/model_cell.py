"""A table's cell that trains one fully connected network in the model: data, network, activation, recipe and seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from labctl.errors import RunAborted
from labctl.experiments.table import Cell, Results
from labctl.training.activations import RandomDerivative, Rectifier
from labctl.training.datasets import load_dataset
from labctl.training.model_training import Epoch, Recipe, initial_weights, train_model
from labctl.training.network import Absorption, NetworkShape, Rule
from labctl.training.tasks import Samples, classification, first_of

FAST = Recipe(learning_rate=2e-3, schedule="cosine")
"""Our own recipe: reaches in few epochs what the published one takes 50 for."""

HALVES = (
    "Test samples of even number choose the best epoch, those of odd number give the accuracy (the paper's protocol "
    "of two halves, interleaved because MNIST's first 5,000 test digits are harder than the rest)."
)
"""What tables in the model say of how their accuracies were taken."""

STEP_S = 7e-4
"""Seconds of one step of 64 samples, 784-128-128-10, measured on one idle core; one hidden layer takes 5e-4."""


@dataclass(frozen=True)
class Data:
    """What a table trains on.

    Args:
        name: Data set, as `load_dataset` knows it.
        train_samples: Training samples used; None for all.
        test_samples: Test samples used; None for all.
    """

    name: str = "mnist"
    train_samples: int | None = None
    test_samples: int | None = None


@dataclass(frozen=True)
class ModelTraining:
    """One training in the model.

    Args:
        data: What it trains on.
        hidden: Neurons of each hidden layer.
        activation: The nonlinearity.
        rule: What stands for its derivative.
        recipe: Epochs, batches, learning rate.
        seed: Draws initial weights and the order of the samples.
    """

    data: Data
    hidden: tuple[int, ...]
    activation: Absorption | Rectifier | RandomDerivative
    rule: Rule
    recipe: Recipe
    seed: int


@cache
def load_samples(data: Data) -> tuple[Samples, Samples]:
    """Return training and test samples; loaded once per process."""
    loaded = load_dataset(data.name)
    train, test = classification(loaded, loaded.train_images[0].size, loaded.classes)
    return first_of(train, data.train_samples, "train_samples"), first_of(test, data.test_samples, "test_samples")


def epochs_of(training: ModelTraining) -> Iterable[Epoch]:
    """Return the epochs of a training, computed as they are asked for."""
    train, test = load_samples(training.data)
    rng = np.random.default_rng(training.seed)
    shape = NetworkShape(train.inputs.shape[1], training.hidden, train.classes)
    depth = training.activation.depth if isinstance(training.activation, Absorption) else 0.0
    weights = initial_weights(shape, depth, rng)
    return train_model(weights, training.activation, training.rule, training.recipe, train, test, rng)


def train_cell(training: ModelTraining, folder: Path) -> dict[str, Any]:
    """Train, and return the accuracy reported at the epoch that was chosen, and what every epoch reached."""
    epochs = [(epoch.choosing, epoch.reported) for epoch in epochs_of(training)]
    return chosen(epochs)


def chosen(epochs: list[tuple[float, float]]) -> dict[str, Any]:
    """Return what a table keeps of a training's accuracies (choosing, reported), in percent.

    Raises:
        RunAborted: There was no epoch.
    """
    if not epochs:
        raise RunAborted("a training had no epoch; ask for one or more")
    percent = [(100 * choosing, 100 * reported) for choosing, reported in epochs]
    best = max(range(len(percent)), key=lambda epoch: percent[epoch][0])
    return {"accuracy": percent[best][1], "best_epoch": best + 1, "epochs": percent}


def model_cell(name: str, training: ModelTraining) -> Cell:
    """Return the cell of one training, with its predicted time."""
    samples = training.data.train_samples or 60_000
    step_s = STEP_S if len(training.hidden) > 1 else 5e-4
    steps = training.recipe.epochs * samples / training.recipe.batch_size
    return Cell(name, train_cell, training, 3 + steps * step_s)


def accuracies(results: Results, start: str) -> list[float]:
    """Return the accuracies in percent of all cells whose name starts with `start`."""
    return [float(result["accuracy"]) for name, result in results.items() if name.startswith(start)]
