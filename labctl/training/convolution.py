"""Convolutional network of absorbers, its convolutions as matrix products that a multiplier does patch by patch.

Images are (n, rows, columns, channels). A convolution without padding is the product of one weight matrix with every
patch of the image as a column, so that a multiplier with one column per patch element carries it, forwards with
patches and backwards with errors. No biases anywhere, mean pooling (Guo et al. 2021, section IV).
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labctl.training.model_training import Epoch, Recipe, half_accuracies
from labctl.training.network import Activation, Rule, half_square_loss
from labctl.training.tasks import Samples

KERNEL = 5
"""Rows and columns of every kernel, stride 1."""

POOL = 2
"""Rows and columns that are averaged."""

TEST_BATCH = 100
"""Samples tested at once: their patches take 20 MB."""


@dataclass(frozen=True)
class ConvolutionalShape:
    """Sizes of a network of convolutions, each with its absorbers and mean pooling, and two full layers behind them.

    Args:
        side: Rows and columns of the images, one channel.
        channels: Output channels of each convolution.
        hidden: Neurons of the full hidden layer.
        outputs: Classes.
    """

    side: int = 28
    channels: tuple[int, ...] = (32, 64)
    hidden: int = 128
    outputs: int = 10

    @property
    def flat(self) -> int:
        """Values behind the last pooling; 1024 for the defaults."""
        side = self.side
        for _ in self.channels:
            side = (side - KERNEL + 1) // POOL
        return side**2 * self.channels[-1]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Weight shapes (rows, columns) in pump order."""
        ins = (1, *self.channels[:-1])
        kernels = [(rows, KERNEL**2 * channels) for rows, channels in zip(self.channels, ins, strict=True)]
        return [*kernels, (self.hidden, self.flat), (self.outputs, self.hidden)]


@dataclass(frozen=True)
class Trained:
    """What a convolutional network is trained with, beside its shape and recipe.

    Args:
        activation: The nonlinearity behind every layer but the last.
        rule: What stands for its derivative.
        input_scale: Field of a full-white pixel: 5 for depths up to 10, 15 beyond (Guo et al. 2021).
        dropout: Share of the flat values left out in each step; 0.4 in the authors' code, unmentioned in the paper.
    """

    activation: Activation
    rule: Rule = "approximate"
    input_scale: float = 5.0
    dropout: float = 0.0


def patches(images: Tensor) -> Tensor:
    """Return every patch of `images` (n, rows, columns, channels) as a row: (n, rows', columns', kernel^2 channels)."""
    windows = images.unfold(1, KERNEL, 1).unfold(2, KERNEL, 1)  # (n, rows', columns', channels, kernel, kernel)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3)


def from_patches(errors: Tensor, channels: int) -> Tensor:
    """Return the errors of an image from those of its patches, the transpose of `patches`.

    Args:
        errors: Shape (n, rows', columns', kernel^2 channels).
        channels: Channels of the image.
    """
    n, rows, columns, _ = errors.shape
    pieces = errors.view(n, rows, columns, KERNEL, KERNEL, channels)
    image = errors.new_zeros(n, rows + KERNEL - 1, columns + KERNEL - 1, channels)
    for row in range(KERNEL):
        for column in range(KERNEL):
            image[:, row : row + rows, column : column + columns] += pieces[:, :, :, row, column]
    return image


def mean_pool(images: Tensor) -> Tensor:
    """Return the means of squares of `POOL` pixels, shape (n, rows / POOL, columns / POOL, channels)."""
    # four additions of strided images take a fifth of the time of one mean over two dimensions
    pieces = [images[:, row::POOL, column::POOL] for row in range(POOL) for column in range(POOL)]
    return sum(pieces[1:], pieces[0]) / POOL**2


def from_mean_pool(errors: Tensor) -> Tensor:
    """Return every pooled pixel's error shared out evenly, the transpose of `mean_pool`."""
    return errors.repeat_interleave(POOL, 1).repeat_interleave(POOL, 2) / POOL**2


def initial_kernels(shape: ConvolutionalShape, rng: np.random.Generator) -> list[Tensor]:
    """Return the initial weights of every layer, N(0, 0.1) (Guo et al. 2021)."""
    draws = [0.1 * rng.standard_normal(layer) for layer in shape.layers]
    return [torch.from_numpy(draw.astype(np.float32)) for draw in draws]


@dataclass(frozen=True, eq=False)
class Passed:
    """What a forward pass leaves behind for the way back.

    Args:
        products: What each layer multiplied: patches, or the values of a full layer.
        sums: What it gave, before the absorbers; the outputs last.
        activations: What the absorbers made of it, before pooling; none for the outputs.
        kept: Factor of every flat value: 0 where dropout left it out.
    """

    products: list[Tensor]
    sums: list[Tensor]
    activations: list[Tensor]
    kept: Tensor | None


def forward(weights: Sequence[Tensor], images: Tensor, activation: Activation, kept: Tensor | None = None) -> Passed:
    """Return the forward pass of scaled `images` (n, rows, columns, 1); arguments as in `Passed`."""
    products, sums, activations = [], [], []
    value = images
    for weight in weights[:-2]:
        products.append(patches(value))
        sums.append(products[-1] @ weight.T)
        activations.append(activation.activate(sums[-1]))
        value = mean_pool(activations[-1])
    flat = value.flatten(1)
    products.append(flat if kept is None else flat * kept)
    sums.append(products[-1] @ weights[-2].T)
    activations.append(activation.activate(sums[-1]))
    products.append(activations[-1])
    sums.append(products[-1] @ weights[-1].T)
    return Passed(products, sums, activations, kept)


def gradient(
    weights: Sequence[Tensor], passed: Passed, errors: Tensor, activation: Activation, rule: Rule
) -> list[Tensor]:
    """Return the gradient of every layer by eqs. 2 and 3 of Guo et al. 2021, kernels shared by all patches.

    Args:
        weights: Per layer, shape (rows, columns).
        passed: The forward pass.
        errors: Output minus target, shape (n, outputs).
        activation: The nonlinearity.
        rule: What stands for its derivative.
    """
    error = errors / len(errors)
    gradients = [error.T @ passed.products[-1]]
    for layer in range(len(weights) - 2, -1, -1):
        back = error @ weights[layer + 1]
        if layer == len(weights) - 3:  # before flattening and dropout
            back = back if passed.kept is None else back * passed.kept
            side = passed.sums[layer].shape[1] // POOL
            back = from_mean_pool(back.view(len(errors), side, side, -1))
        elif layer < len(weights) - 3:
            back = from_mean_pool(from_patches(back, weights[layer].shape[0]))
        error = back * activation.slope(passed.sums[layer], passed.activations[layer], rule)
        gradients.insert(0, error.flatten(0, -2).T @ passed.products[layer].flatten(0, -2))
    return gradients


class ConvolutionalTraining:
    """A training of a convolutional network in the model that can be put away between epochs and taken up again.

    Args:
        weights: Initial weights, trained in place.
        trained: Nonlinearity, rule, input scale, dropout.
        recipe: Epochs, batches, learning rate.
        train: Training samples, square images.
        test: Test samples.
        rng: Draws the order of the samples and what dropout leaves out.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        trained: Trained,
        recipe: Recipe,
        train: Samples,
        test: Samples,
        rng: np.random.Generator,
    ) -> None:
        self.weights = list(weights)
        self.done = 0
        self._trained, self._recipe, self._rng = trained, recipe, rng
        self._train, self._test = train, test
        self._optimiser = torch.optim.Adam(self.weights, lr=recipe.learning_rate, fused=True)

    def run(self) -> Generator[Epoch, None, None]:
        """Yield every epoch that is still to be done."""
        for number in range(self.done + 1, self._recipe.epochs + 1):
            loss = self._epoch(number)
            self.done = number
            halves = half_accuracies(lambda x: self._forward(x).sums[-1], self._test, TEST_BATCH)
            yield Epoch(number, loss, *halves, self.weights)

    def _epoch(self, number: int) -> float:
        recipe, trained, losses = self._recipe, self._trained, []
        per_epoch = math.ceil(len(self._train) / recipe.batch_size)
        for batch, chosen in enumerate(self._train.shuffled(recipe.batch_size, self._rng)):
            for group in self._optimiser.param_groups:
                group["lr"] = recipe.rate(((number - 1) * per_epoch + batch) / (recipe.epochs * per_epoch))
            inputs, targets = map(torch.from_numpy, self._train.batch(chosen))
            passed = self._forward(inputs, self._kept(len(inputs)))
            losses.append(float(half_square_loss(passed.sums[-1], targets)))
            errors = passed.sums[-1] - targets
            layers = gradient(self.weights, passed, errors, trained.activation, trained.rule)
            for weight, layer in zip(self.weights, layers, strict=True):
                weight.grad = layer
            self._optimiser.step()
        return sum(losses) / len(losses)

    def _forward(self, inputs: Tensor, kept: Tensor | None = None) -> Passed:
        side = math.isqrt(inputs.shape[1])
        images = self._trained.input_scale * inputs.view(len(inputs), side, side, 1)
        return forward(self.weights, images, self._trained.activation, kept)

    def _kept(self, samples: int) -> Tensor | None:
        """Return 1 / (1 - dropout) where a flat value is kept, else 0; None without dropout."""
        share = self._trained.dropout
        if not share:
            return None
        kept = self._rng.random((samples, self.weights[-2].shape[1]), np.float32) >= share
        return torch.from_numpy(kept.astype(np.float32) / np.float32(1 - share))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return weights and moments as arrays, and the epochs done and the generator's state, which JSON can hold."""
        arrays = {f"weight.{layer}": weight.numpy().copy() for layer, weight in enumerate(self.weights)}
        for layer, weight in enumerate(self.weights):
            moments = self._optimiser.state[weight]
            arrays |= {f"adam.{name}.{layer}": value.numpy().copy() for name, value in moments.items()}
        return arrays, {"done": self.done, "generator": self._rng.bit_generator.state}

    def restore(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for layer, weight in enumerate(self.weights):
            weight.copy_(torch.from_numpy(arrays[f"weight.{layer}"]))
            names = [name for name in arrays if name.startswith("adam.") and name.endswith(f".{layer}")]
            moments = {name.split(".")[1]: torch.from_numpy(arrays[name].copy()) for name in names}
            self._optimiser.state[weight] = moments
        self.done = about["done"]
        self._rng.bit_generator.state = about["generator"]
