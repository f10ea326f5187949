"""Training of fully connected networks in the model alone, for tables of many networks; no bench, no light."""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from labctl.training.network import Activation, NetworkShape, Rule, forward, gradient_at, half_square_loss
from labctl.training.tasks import Samples

TEST_BATCH = 1000
"""Samples tested at once: their activations stay in the processor's cache."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; the defaults are those of Guo et al. 2021, section IV, 50 epochs.

    Args:
        epochs: Passes over the training samples.
        batch_size: Samples per weight update.
        learning_rate: Adam's step, at the start where the schedule lowers it.
        schedule: `constant`, or `cosine` down to 0 at the end.
    """

    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 5e-4
    schedule: Literal["constant", "cosine"] = "constant"

    def rate(self, progress: float) -> float:
        """Return the learning rate at `progress`, 0 at the start and 1 at the end of the training."""
        fall = 1.0 if self.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * fall


@dataclass(frozen=True, eq=False)
class Epoch:
    """What one epoch of a training in the model has reached.

    Args:
        number: Counts from 1.
        loss: Mean half-square loss of its batches.
        choosing: Accuracy on the test samples of even number, by which the best epoch is chosen.
        reported: Accuracy on those of odd number.
        weights: Weights of every layer, shape (rows, columns); they go on changing with the training.
    """

    number: int
    loss: float
    choosing: float
    reported: float
    weights: Sequence[Tensor]


def initial_weights(shape: NetworkShape, depth: float, rng: np.random.Generator) -> list[Tensor]:
    """Return the initial weights of every layer.

    N(0, 0.1) up to a depth of 30; beyond, where small sums drown, two Gaussians of standard deviation 0.15 at
    +-0.15 (Guo et al. 2021; 0.1 is taken as the standard deviation, as in their code).

    Args:
        shape: Neurons per layer.
        depth: Optical depth of the absorbers; 0 for other nonlinearities.
        rng: Draws the weights.
    """
    draws = [rng.standard_normal(layer) for layer in shape.layers]
    if depth <= 30:
        scaled = [0.1 * draw for draw in draws]
    else:
        scaled = [0.15 * (draw + rng.choice((-1.0, 1.0), draw.shape)) for draw in draws]
    return [torch.from_numpy(draw.astype(np.float32)) for draw in scaled]


def train_model(
    weights: Sequence[Tensor],
    activation: Activation,
    rule: Rule,
    recipe: Recipe,
    train: Samples,
    test: Samples,
    rng: np.random.Generator,
) -> Generator[Epoch, None, None]:
    """Train `weights` in place by Adam on the half-square loss and yield every epoch.

    Args:
        weights: Per layer, shape (rows, columns).
        activation: The nonlinearity between layers.
        rule: What stands for its derivative.
        recipe: Epochs, batches and learning rate.
        train: Training samples.
        test: Test samples; see `Epoch` for what its halves are for.
        rng: Draws the order of the samples.
    """
    optimiser = torch.optim.Adam(weights, lr=recipe.learning_rate, fused=True)
    inputs, targets = (torch.from_numpy(array) for array in train.batch(slice(None)))
    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    step = 0
    for number in range(1, recipe.epochs + 1):
        losses: list[Tensor] = []
        for chosen in train.shuffled(recipe.batch_size, rng):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step / steps)
            picked = torch.from_numpy(chosen)
            x, t = inputs[picked], targets[picked]
            sums, activations = forward(weights, x, activation)
            losses.append(half_square_loss(activations[-1], t))
            gradients = gradient_at(weights, x, sums[:-1], activations[-1] - t, activation, rule)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimiser.step()
            step += 1
        halves = half_accuracies(lambda x: forward(weights, x, activation)[1][-1], test)
        yield Epoch(number, float(torch.stack(losses).mean()), *halves, weights)


def half_accuracies(
    outputs: Callable[[Tensor], Tensor], test: Samples, batch_size: int = TEST_BATCH
) -> tuple[float, float]:
    """Return the accuracies on the test samples of even and of odd number.

    MNIST's first 5,000 test digits are harder than the others: taken as halves, they would differ by 2 to 3 points.

    Args:
        outputs: Network outputs (n, classes) of inputs (n, inputs).
        test: Test samples, two or more.
        batch_size: Samples at once.
    """
    right = []
    for part in test.in_order(batch_size):
        inputs, targets = test.batch(part)
        right.append(outputs(torch.from_numpy(inputs)).numpy().argmax(axis=1) == targets.argmax(axis=1))
    whole = np.concatenate(right)
    return float(whole[::2].mean()), float(whole[1::2].mean())
