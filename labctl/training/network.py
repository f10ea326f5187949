"""The trainer's network: shapes that fit a bench, and the calibrated model in network quantities."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from labctl.bench import BenchFile
from labctl.bench.power import largest_hidden
from labctl.errors import ConfigError
from labctl.optics import absorber

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


@dataclass(frozen=True)
class Absorption:
    """What trainers know of the cells: law and calibrated optical depth."""

    law: absorber.Law
    depth: float

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


def forward(weights: Sequence[Tensor], inputs: Tensor, absorption: Absorption) -> tuple[list[Tensor], list[Tensor]]:
    """Return sums before, and activations after, every layer; the last activation is the output itself.

    Args:
        weights: Per layer, shape (rows, columns).
        inputs: Shape (n, inputs).
        absorption: The cell.
    """
    sums, activations = [], [inputs]
    for layer, weight in enumerate(weights):
        sums.append(activations[-1] @ weight.T)
        last = layer == len(weights) - 1
        activations.append(sums[-1] if last else absorption.activate(sums[-1]))
    return sums, activations


def half_square_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples of sum (y - t)^2 / 2 (Guo et al. 2021, eq. 7)."""
    return 0.5 * ((outputs - targets) ** 2).sum(dim=1).mean()


def model_gradient(
    weights: Sequence[Tensor], inputs: Tensor, targets: Tensor, absorption: Absorption, rule: Rule
) -> list[Tensor]:
    """Return the gradient of `half_square_loss` on the model's own forward pass; arguments as for `gradient_at`."""
    sums, activations = forward(weights, inputs, absorption)
    return gradient_at(weights, inputs, sums[:-1], activations[-1] - targets, absorption, rule)


def gradient_at(
    weights: Sequence[Tensor],
    inputs: Tensor,
    sums: Sequence[Tensor],
    errors: Tensor,
    absorption: Absorption,
    rule: Rule,
    read: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return the gradient by eqs. 2 and 3 of Guo et al. 2021 at a given operating point.

    Args:
        weights: Per layer, shape (rows, columns).
        inputs: Shape (n, inputs).
        sums: Sums before each hidden layer, shape (n, hidden); the model's own or those shown on a bench.
        errors: Output minus target, shape (n, outputs).
        absorption: The cell.
        rule: Probe transmission alone, or the exact derivative.
        read: Where each hidden layer's error counts, shape (n, hidden); everywhere by default.
    """
    activations = [inputs, *(absorption.activate(one) for one in sums)]
    return backpropagate(weights, activations, sums, errors, absorption, rule, read)


def backpropagate(
    weights: Sequence[Tensor],
    activations: Sequence[Tensor],
    sums: Sequence[Tensor],
    errors: Tensor,
    absorption: Absorption,
    rule: Rule,
    read: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return the gradient as `gradient_at` does, from activations that are given.

    Args:
        weights: Per layer, shape (rows, columns).
        activations: At the input side of every layer, the network's inputs first.
        sums: Sums before each hidden layer.
        errors: Output minus target, shape (n, outputs).
        absorption: The cell.
        rule: Probe transmission alone, or the exact derivative.
        read: Where each hidden layer's error counts; everywhere by default.
    """
    error = errors / len(errors)
    gradients = [error.T @ activations[-1]]
    for layer in range(len(sums) - 1, -1, -1):
        slope = absorption.slope(sums[layer], activations[layer + 1], rule)
        error = (error @ weights[layer + 1]) * (slope if read is None else slope * read[layer])
        gradients.insert(0, error.T @ activations[layer])
    return gradients


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest output is their label."""
    return float((outputs.argmax(dim=1) == labels).float().mean())
