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
from labctl.training.network import (
    Absorption,
    Rule,
    backpropagate,
    forward,
    gradient_at,
    half_square_loss,
    model_gradient,
)

Floats = NDArray[np.float32]

DROWNED = 0.5
"""Noise floor below which a layer learns mostly noise: less than half of its gradient is signal."""
BenchMethodName = Literal["optical", "optical_corrected", "physics_aware", "finite_difference"]
MethodName = BenchMethodName | Literal["in_silico"]


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


@dataclass(frozen=True)
class ForwardPass:
    """One batch sent through the bench, as it was measured.

    Args:
        sums: Sums before each hidden layer as they were sent on, shape (n, hidden).
        activations: At the input side of every layer, shape (n, columns); the inputs first.
        outputs: Shape (n, outputs).
        read: Where each hidden layer's sums were within full scale, shape (n, hidden).
    """

    sums: list[Floats]
    activations: list[Floats]
    outputs: Floats
    read: list[NDArray[np.bool_]]


def forward_pass(network: BenchNetwork, inputs: Floats) -> ForwardPass:
    """Return what the bench makes of `inputs` (n, inputs) under the masks shown now, layer by layer."""
    sums, activations, read = [], [inputs], []
    values = inputs
    for layer, stage in enumerate(network.bench.file.stages):
        readings = network.read_forward(layer, values)
        if layer:
            tap = stage.activation_tap
            activations.append(readings[tap.camera].data if tap else sums[-1])
        end = readings[stage.end.camera]
        values = end.data
        if layer < len(network.shape.hidden):
            sums.append(network.patterns.sent_sums(layer + 1, values))
            read.append(~end.clipped)
    return ForwardPass(sums, activations, values, read)


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
    passed = forward_pass(network, inputs)
    errors = passed.outputs - targets
    error = errors
    count = np.float32(len(inputs))
    gradients: list[Floats] = [error.T @ passed.activations[-1] / count]
    read: list[NDArray[np.bool_]] = []
    seen: list[Floats] = []
    for layer in range(len(passed.sums), 0, -1):
        sums = passed.sums[layer - 1]
        back = network.read_backward(layer, sums, error)
        inside = passed.read[layer - 1] & ~back.clipped
        factor = network.exact_factor(sums, passed.activations[layer]) if corrected else np.float32(1)
        error: Floats = back.data * inside * factor
        gradients.insert(0, error.T @ passed.activations[layer - 1] / count)
        read.insert(0, inside)
        seen.insert(0, back.data)
    gradients = [layer * share for layer, share in zip(gradients, network.transfer, strict=True)]
    return StepGradient(gradients, passed.outputs, passed.sums, read, half_square(errors), passed.activations[1:], seen)


def physics_aware(network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, targets: Floats) -> StepGradient:
    """Return the calibrated model's exact gradient at the measured sums, activations and outputs.

    Only the forward pass takes light (physics-aware training: Wright et al., Nature 601, 549, 2022). The model sends
    the measured output error back through the weights it believes the panels pass on.
    """
    passed = forward_pass(network, inputs)
    errors = passed.outputs - targets
    layers = backpropagate(
        passed_weights(network, weights),
        [torch.from_numpy(one) for one in passed.activations],
        [torch.from_numpy(one) for one in passed.sums],
        torch.from_numpy(errors),
        network.absorption,
        "exact",
        [torch.from_numpy(one) for one in passed.read],
    )
    gradients = [layer.numpy() * share for layer, share in zip(layers, network.transfer, strict=True)]
    return StepGradient(
        gradients, passed.outputs, passed.sums, passed.read, half_square(errors), passed.activations[1:]
    )


def passed_weights(network: BenchNetwork, weights: Sequence[Floats]) -> list[torch.Tensor]:
    """Return the weights the calibrated panels show, times the share of each that was seen to be passed on."""
    shown = network.patterns.shown_weights(weights)
    return [weight * torch.from_numpy(share) for weight, share in zip(shown, network.transfer, strict=True)]


def half_square(errors: Floats) -> float:
    """Return the mean over samples of sum errors^2 / 2; `errors` of shape (n, outputs)."""
    return float(0.5 * (errors**2).sum(axis=1).mean())


def in_silico(network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, targets: Floats) -> StepGradient:
    """Return the exact gradient of the calibrated model at ideal weights; no light is used."""
    tensors = [torch.from_numpy(weight) for weight in weights]
    x, t = torch.from_numpy(inputs), torch.from_numpy(targets)
    _, activations = forward(tensors, x, network.absorption)
    gradients = model_gradient(tensors, x, t, network.absorption, "exact")
    loss = float(half_square_loss(activations[-1], t))
    return StepGradient([gradient.numpy() for gradient in gradients], activations[-1].numpy(), [], [], loss)


def finite_difference(directions: int, step: float, rng: np.random.Generator) -> "Method":
    """Return the method that measures the loss's slope along random directions of all weights together.

    Two-sided: the mean over directions d, every entry +1 or -1, of (L(w + h d) - L(w - h d)) / 2h times d. Its
    expectation is the gradient, up to order h^2 (Spall, IEEE Trans. Autom. Control 37, 332, 1992, whose 1 / d is d
    here). Only forward passes, but masks are written for each, and they show the last of them afterwards.

    Args:
        directions: Directions per gradient.
        step: How far every weight is moved, h.
        rng: Draws the directions.
    """

    def method(network: BenchNetwork, weights: Sequence[Floats], inputs: Floats, targets: Floats) -> StepGradient:
        gradients = [np.zeros_like(weight) for weight in weights]
        outputs, sums = np.zeros_like(targets), [np.float32(0)] * len(network.shape.hidden)
        loss, share = 0.0, np.float32(1 / (2 * directions))
        for _ in range(directions):
            signs = [rng.integers(0, 2, weight.shape).astype(np.float32) * 2 - 1 for weight in weights]
            slope = 0.0
            for side in (1, -1):
                shown = [weight + side * step * sign for weight, sign in zip(weights, signs, strict=True)]
                network.write_masks([one.astype(np.float32) for one in shown])
                passed = forward_pass(network, inputs)
                one = half_square(passed.outputs - targets)
                slope += side * one / (2 * step)
                loss += float(share) * one
                outputs += share * passed.outputs
                sums = [mean + share * measured for mean, measured in zip(sums, passed.sums, strict=True)]
            for gradient, sign in zip(gradients, signs, strict=True):
                gradient += np.float32(slope / directions) * sign
        read = [np.ones(np.shape(one), np.bool_) for one in sums]
        return StepGradient(gradients, outputs, [np.asarray(one) for one in sums], read, loss)

    return method


Method = Callable[[BenchNetwork, Sequence[Floats], Floats, Floats], StepGradient]
RULES: dict[MethodName, Rule] = {
    "optical": "approximate",
    "optical_corrected": "exact",
    "physics_aware": "exact",
    "finite_difference": "exact",
    "in_silico": "exact",
}


def gradient_method(name: MethodName, directions: int, step: float, rng: np.random.Generator) -> Method:
    """Return the method of that name; `directions`, `step` and `rng` are for `finite_difference`."""
    if name == "finite_difference":
        return finite_difference(directions, step, rng)
    return {
        "optical": optical,
        "optical_corrected": optical_corrected,
        "physics_aware": physics_aware,
        "in_silico": in_silico,
    }[name]


@dataclass(frozen=True)
class Cost:
    """What one gradient takes on the bench.

    Args:
        exposures: Exposures per sample.
        mask_writes: Masks written beyond those that show the weights.
        backward: Whether light is sent backwards.
    """

    exposures: int
    mask_writes: int
    backward: bool


def cost_of(name: MethodName, layers: int, error_exposures: int, quadratures: int, directions: int) -> Cost:
    """Return the cost of one gradient of a network of `layers` weight layers; settings as in `TrainSettings`."""
    forwards = 2 * quadratures * layers  # a pair of phase steps
    if name == "in_silico":
        return Cost(0, 0, backward=False)
    if name == "finite_difference":
        return Cost(2 * directions * forwards, 2 * directions * layers, backward=False)
    if name == "physics_aware":
        return Cost(forwards, 0, backward=False)
    return Cost(forwards + error_exposures * quadratures * (layers - 1), 0, backward=True)


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


def noise_warning(rows: Sequence[Agreement], sums: Floats, absorption: Absorption) -> str | None:
    """Return what to tell of layers whose gradient is mostly noise, and what the first cell passes; None without any.

    Args:
        rows: Agreement of every layer.
        sums: Sums before the first cell, in saturation fields, shape (n, hidden).
        absorption: Calibrated cells.
    """
    drowned = [row for row in rows if row.noise_floor < DROWNED]
    if not drowned:
        return None
    layers = " and ".join(str(row.layer) for row in drowned)
    passed = absorption.activate(torch.from_numpy(sums)).numpy()
    share = float(np.linalg.norm(passed)) / max(float(np.linalg.norm(sums)), 1e-30)
    return (
        f"the gradient of layer {layers} drowns in noise (noise floor {min(row.noise_floor for row in drowned):.2f}): "
        f"a cell {absorption.depth:.3g} deep passes {share:.1%} of sums of {np.sqrt(np.mean(sums**2)):.2g} saturation "
        f"fields rms; raise initial_sd, lower optical_depth or take larger batches"
    )


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
    shown, x = passed_weights(network, weights), torch.from_numpy(inputs)
    models = []
    for step in steps:
        sums = [torch.from_numpy(one) for one in step.sums]
        read = [torch.from_numpy(one) for one in step.read]
        errors = torch.from_numpy(step.outputs - targets)
        layers = gradient_at(shown, x, sums, errors, network.absorption, rule, read)
        models.append([layer.numpy() * share for layer, share in zip(layers, network.transfer, strict=True)])
    return models


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine between two gradients; 0 when one of them is 0."""
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.vdot(one, other)) / norms if norms else 0.0
