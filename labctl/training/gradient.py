"""Gradient methods: how one batch becomes the gradient of every layer, and how well it agrees with the model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.training.measure import BenchNetwork
from labctl.training.network import Rule, forward, gradient_at, half_square_loss, model_gradient

Floats = NDArray[np.float32]
MethodName = Literal["optical", "optical_corrected", "in_silico"]


@dataclass(frozen=True)
class StepGradient:
    """What one batch gave.

    Args:
        layers: Gradient of every layer's weights, shape (rows, columns).
        outputs: Network outputs, shape (n, outputs).
        sums: Sums before each hidden layer as they were sent on, shape (n, hidden); empty for a model.
        read: Where each hidden mode was within full scale, shape (n, hidden); elsewhere its error counts as 0.
        loss: Half-square loss of the batch.
        activations: Activations of each hidden layer as they were measured, shape (n, hidden); empty for a model.
        errors: Errors of each hidden layer as they were measured behind its cell, shape (n, hidden); likewise.
    """

    layers: list[Floats]
    outputs: Floats
    sums: list[Floats]
    read: list[NDArray[np.bool_]]
    loss: float
    activations: list[Floats] = field(default_factory=list)
    errors: list[Floats] = field(default_factory=list)


def optical(network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, targets: Floats) -> StepGradient:
    """Return the gradient from measured activations and measured back-propagated errors, probe as derivative.

    Of the weights before the output: error times activations; before the cell: gain times measured error times input
    (Guo et al. 2021, eqs. 2, 3, 5). The masks must show `weights` already.
    """
    return _measured(network, inputs, targets, corrected=False)


def optical_corrected(
    network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, targets: Floats
) -> StepGradient:
    """Return the optical gradient times the exact derivative's factor, from the same measured activations."""
    return _measured(network, inputs, targets, corrected=True)


def _measured(network: BenchNetwork, inputs: Floats, targets: Floats, *, corrected: bool) -> StepGradient:
    stages = network.bench.file.stages
    sums = network.read_forward(0, inputs)[stages[0].end.camera]
    sent = network.patterns.sent_sums(1, sums.data)
    after = network.read_forward(1, sums.data)
    tap = stages[1].activation_tap
    activations = after[tap.camera].data if tap else sent
    outputs = after[stages[1].end.camera].data
    errors = outputs - targets
    back = network.read_backward(1, sums.data, errors)
    read = ~(back.clipped | sums.clipped)
    hidden = back.data * read
    if corrected:
        hidden = hidden * network.exact_factor(sent, activations)
    count = np.float32(len(inputs))
    gradients = [hidden.T @ inputs / count, errors.T @ activations / count]
    gradients = [layer * passed for layer, passed in zip(gradients, network.transfer, strict=True)]
    loss = float(0.5 * (errors**2).sum(axis=1).mean())
    return StepGradient(gradients, outputs, [sent], [read], loss, [activations], [back.data])


def in_silico(network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, targets: Floats) -> StepGradient:
    """Return the exact gradient of the calibrated model at ideal weights; no light is used."""
    tensors = [torch.from_numpy(weight) for weight in weights]
    x, t = torch.from_numpy(inputs), torch.from_numpy(targets)
    _, activations = forward(tensors, x, network.absorption)
    gradients = model_gradient(tensors, x, t, network.absorption, "exact")
    loss = float(half_square_loss(activations[-1], t))
    return StepGradient([gradient.numpy() for gradient in gradients], activations[-1].numpy(), [], [], loss)


Method = Callable[[BenchNetwork, Sequence[Floats], Floats, Floats], StepGradient]
METHODS: dict[MethodName, Method] = {
    "optical": optical,
    "optical_corrected": optical_corrected,
    "in_silico": in_silico,
}
RULES: dict[MethodName, Rule] = {"optical": "approximate", "optical_corrected": "exact", "in_silico": "exact"}


@dataclass(frozen=True)
class Agreement:
    """How one layer's measured gradient compares with the calibrated model.

    Args:
        layer: Layer number from 1, in pump order.
        cosine: Against the model's gradient under the method's own rule.
        cosine_exact: Against the model's exact gradient.
        norm_ratio: Measured norm over the model's, own rule.
        noise_floor: Cosine that the scatter between measurements alone leaves.
    """

    layer: int
    cosine: float
    cosine_exact: float
    norm_ratio: float
    noise_floor: float


def agreement(
    network: BenchNetwork,
    method: MethodName,
    weights: Sequence[Floats],
    inputs: Floats,
    targets: Floats,
    used: StepGradient,
    repeats: Sequence[StepGradient],
) -> list[Agreement]:
    """Return the agreement of every layer between the gradient that is used and repeats of the same batch.

    The model is evaluated where the bench stood: at the weights the calibrated panels show, the sums that were sent,
    the output errors that were injected, and without the modes that were clipped. It is evaluated at the repeats'
    operating points, whose noise is independent of the gradient used, so that with a perfect model `cosine` is
    `noise_floor`, whatever the noise.
    """
    own = _models(network, weights, inputs, targets, repeats, RULES[method])
    exact = _models(network, weights, inputs, targets, repeats, "exact")
    rows = []
    for layer, measured in enumerate(used.layers):
        gradients = [measured, *(repeat.layers[layer] for repeat in repeats)]
        mine, best = (np.mean([model[layer] for model in models], axis=0) for models in (own, exact))
        ratio = float(np.linalg.norm(measured)) / max(float(np.linalg.norm(mine)), 1e-30)
        floor = noise_floor(gradients, [model[layer] for model in own])
        rows.append(Agreement(layer + 1, cosine(measured, mine), cosine(measured, best), ratio, floor))
    return rows


def noise_floor(gradients: Sequence[Floats], models: Sequence[Floats]) -> float:
    """Return the cosine that scatter alone leaves between one of `gradients` and the mean of `models`.

    With independent noise two measurements of g have the cosine C = |g|^2 / (|g|^2 + |n|^2), so one of them is
    |g| / sqrt(C) long, and the mean of K models with cosine C' among them |g| sqrt(1 + (1 / C' - 1) / K).

    Args:
        gradients: Measurements of the same batch.
        models: Model gradients at as many noisy operating points.
    """
    measured, modelled = max(_mean_cosine(gradients), 0.0), max(_mean_cosine(models), 1e-6)
    return math.sqrt(measured / (1 + (1 / modelled - 1) / len(models)))


def _mean_cosine(gradients: Sequence[Floats]) -> float:
    """Return the mean cosine over all pairs."""
    return float(np.mean([cosine(one, other) for one, other in combinations(gradients, 2)]))


def _models(
    network: BenchNetwork,
    weights: Sequence[Floats],
    inputs: Floats,
    targets: Floats,
    steps: Sequence[StepGradient],
    rule: Rule,
) -> list[list[Floats]]:
    """Return the model's gradient of every layer, at the operating point of each of `steps`."""
    passed = [torch.from_numpy(layer) for layer in network.transfer]
    shown = [w * t for w, t in zip(network.patterns.shown_weights(weights), passed, strict=True)]
    x = torch.from_numpy(inputs)
    models = []
    for step in steps:
        sums = [torch.from_numpy(one) for one in step.sums]
        read = [torch.from_numpy(one) for one in step.read]
        errors = torch.from_numpy(step.outputs - targets)
        layers = gradient_at(shown, x, sums, errors, network.absorption, rule, read)
        models.append([(layer * t).numpy() for layer, t in zip(layers, passed, strict=True)])
    return models


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine between two gradients; 0 when one of them is 0."""
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.vdot(one, other)) / norms if norms else 0.0
