"""The trainer's network: shapes that fit a bench, and the calibrated model in network quantities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from torch import Tensor

from labctl.bench import BenchFile
from labctl.bench.power import largest_hidden
from labctl.errors import ConfigError
from labctl.optics.multiplier import absorber

Rule = Literal["approximate", "exact"]


@dataclass(frozen=True)
class NetworkShape:
    """Neurons per layer.

    Args:
        inputs: Input amplitudes.
        hidden: Neurons of each hidden layer.
        outputs: Classes.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    @classmethod
    def largest(cls, file: BenchFile) -> "NetworkShape":
        """Return the network that uses every data mode of a bench."""
        first, ends = file.stages[0].source.modes, [stage.end.modes for stage in file.stages]
        return cls(first, tuple(ends[:-1]), ends[-1])

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Weight shapes (rows, columns) in pump order."""
        sizes = [self.inputs, *self.hidden, self.outputs]
        return [(rows, columns) for columns, rows in pairwise(sizes)]


def require_fit(file: BenchFile, shape: NetworkShape) -> None:
    """Refuse a network the bench cannot carry.

    Raises:
        ConfigError: Names the largest layers that fit.
    """
    largest = largest_hidden(file)
    if len(shape.hidden) != len(largest):
        raise ConfigError(f"hidden {list(shape.hidden)}: bench {file.name} has {len(largest)} hidden layer(s)")
    for asked, fits in zip(shape.hidden, largest, strict=True):
        if not 1 <= asked <= fits:
            raise ConfigError(f"hidden {list(shape.hidden)}: the largest that fits bench {file.name} is {largest}")
    source, end = file.stages[0].source, file.stages[-1].end
    if shape.inputs > source.modes:
        raise ConfigError(f"{shape.inputs} inputs: bench {file.name} has {source.modes} input modes")
    if shape.outputs > end.modes:
        raise ConfigError(f"{shape.outputs} outputs: bench {file.name} has {end.modes} output modes")


LARGEST_GAIN = 10.0
"""Largest small-signal gain g0 of a model: exp(10) is 43 dB, where one pass of a real amplifier lases by itself."""


class Activation(Protocol):
    """A nonlinearity between two layers, element by element."""

    def activate(self, sums: Tensor) -> Tensor:
        """Return the activations of `sums`."""
        ...

    def slope(self, sums: Tensor, activations: Tensor, rule: Rule) -> Tensor:
        """Return what stands for the derivative at `sums`."""
        ...


@dataclass(frozen=True)
class Absorption:
    """What trainers know of the cells: law and calibrated optical depth.

    Args:
        law: Absorber law.
        depth: Optical depth for intensity, >= 0. Down to -10 it is a saturable gain, a0 = -g0 in eqs. 4 to 6 of Guo
            et al. 2021: inverted atoms, `published` law only.

    Raises:
        ConfigError: The depth is no number, or a gain the law or the range does not allow.
    """

    law: absorber.Law
    depth: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.depth) and self.depth >= -LARGEST_GAIN):
            raise ConfigError(
                f"optical depth {self.depth:g}: allowed are numbers >= 0, or a gain down to {-LARGEST_GAIN:g}"
            )
        if self.depth < 0 and self.law != "published":
            raise ConfigError(f"gain {-self.depth:g} under the {self.law} law: only the published law has a gain")

    def activate(self, sums: Tensor) -> Tensor:
        """Return the activations of `sums`, both in units of the saturation field."""
        return absorber.forward(sums, self.depth, self.law)

    def probe(self, sums: Tensor) -> Tensor:
        """Return the probe's field transmission where the cell is pumped by `sums`."""
        return absorber.transmission(sums**2, self.depth, self.law)

    def slope(self, sums: Tensor, activations: Tensor, rule: Rule) -> Tensor:
        """Return what stands for the activation's derivative: probe transmission, or that times the exact factor."""
        probe = self.probe(sums)
        if rule == "approximate":
            return probe
        return probe * absorber.exact_factor(sums**2, activations**2, self.depth, self.law)


def forward(weights: Sequence[Tensor], inputs: Tensor, activation: Activation) -> tuple[list[Tensor], list[Tensor]]:
    """Return sums before, and activations after, every layer; the last activation is the output itself.

    Args:
        weights: Per layer, shape (rows, columns).
        inputs: Shape (n, inputs).
        activation: The cell, or another nonlinearity.
    """
    sums, activations = [], [inputs]
    for layer, weight in enumerate(weights):
        sums.append(activations[-1] @ weight.T)
        last = layer == len(weights) - 1
        activations.append(sums[-1] if last else activation.activate(sums[-1]))
    return sums, activations


def half_square_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples of sum (y - t)^2 / 2 (Guo et al. 2021, eq. 7)."""
    return 0.5 * ((outputs - targets) ** 2).sum(dim=1).mean()


def model_gradient(
    weights: Sequence[Tensor], inputs: Tensor, targets: Tensor, activation: Activation, rule: Rule
) -> list[Tensor]:
    """Return the gradient of `half_square_loss` on the model's own forward pass; arguments as for `gradient_at`."""
    sums, activations = forward(weights, inputs, activation)
    return gradient_at(weights, inputs, sums[:-1], activations[-1] - targets, activation, rule)


def gradient_at(
    weights: Sequence[Tensor],
    inputs: Tensor,
    sums: Sequence[Tensor],
    errors: Tensor,
    activation: Activation,
    rule: Rule,
    read: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return the gradient by eqs. 2 and 3 of Guo et al. 2021 at a given operating point.

    Args:
        weights: Per layer, shape (rows, columns).
        inputs: Shape (n, inputs).
        sums: Sums before each hidden layer, shape (n, hidden); the model's own or those shown on a bench.
        errors: Output minus target, shape (n, outputs).
        activation: The cell, or another nonlinearity.
        rule: Probe transmission alone, or the exact derivative.
        read: Where each hidden layer's error counts, shape (n, hidden); everywhere by default.
    """
    activations = [inputs, *(activation.activate(one) for one in sums)]
    return backpropagate(weights, activations, sums, errors, activation, rule, read)


def backpropagate(
    weights: Sequence[Tensor],
    activations: Sequence[Tensor],
    sums: Sequence[Tensor],
    errors: Tensor,
    activation: Activation,
    rule: Rule,
    read: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return the gradient as `gradient_at` does, from activations that are given.

    Args:
        weights: Per layer, shape (rows, columns).
        activations: At the input side of every layer, the network's inputs first.
        sums: Sums before each hidden layer.
        errors: Output minus target, shape (n, outputs).
        activation: The cell, or another nonlinearity.
        rule: Probe transmission alone, or the exact derivative.
        read: Where each hidden layer's error counts; everywhere by default.
    """
    error = errors / len(errors)
    gradients = [error.T @ activations[-1]]
    for layer in range(len(sums) - 1, -1, -1):
        slope = activation.slope(sums[layer], activations[layer + 1], rule)
        error = (error @ weights[layer + 1]) * (slope if read is None else slope * read[layer])
        gradients.insert(0, error.T @ activations[layer])
    return gradients


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest output is their label."""
    return float((outputs.argmax(dim=1) == labels).float().mean())
