"""Convolutions as matrix products: against torch's own, against autograd, and patch by patch through a multiplier."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from labctl.optics.multiplier.slit_multiplier import SlitMultiplier
from labctl.training.convolution import (
    KERNEL,
    ConvolutionalShape,
    ConvolutionalTraining,
    Trained,
    forward,
    from_mean_pool,
    from_patches,
    gradient,
    initial_kernels,
    mean_pool,
    patches,
)
from labctl.training.datasets import load_dataset
from labctl.training.model_training import Recipe
from labctl.training.network import Absorption
from labctl.training.tasks import Samples, classification

ABSORBER = Absorption("published", 10.0)
SHAPE = ConvolutionalShape(side=28, channels=(3, 4), hidden=8)


def images(n: int, side: int, channels: int, seed: int = 0) -> Tensor:
    return torch.rand(n, side, side, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights (rows, kernel^2 channels) as torch's convolution takes them."""
    return weight.view(-1, KERNEL, KERNEL, channels).permute(0, 3, 1, 2)


def test_the_published_shape():
    assert ConvolutionalShape().flat == 1024
    assert ConvolutionalShape().layers == [(32, 25), (64, 800), (128, 1024), (10, 128)]


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (12, 3)])
def test_patches_times_weights_are_a_convolution(side: int, channels: int):
    x = images(2, side, channels)
    weight = torch.randn(6, KERNEL**2 * channels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = functional.conv2d(x.permute(0, 3, 1, 2), kernels(weight, channels)).permute(0, 2, 3, 1)
    torch.testing.assert_close(patches(x) @ weight.T, expected)


def test_the_way_back_is_the_transpose_of_the_way_forth():
    x, error = images(2, 12, 3), torch.randn(2, 8, 8, 75, dtype=torch.float64)
    assert float((patches(x) * error).sum()) == pytest.approx(float((x * from_patches(error, 3)).sum()))
    pooled = torch.randn(2, 6, 6, 3, dtype=torch.float64)
    assert float((mean_pool(x) * pooled).sum()) == pytest.approx(float((x * from_mean_pool(pooled)).sum()))


@pytest.mark.parametrize("dropout", [False, True])
def test_the_exact_gradient_is_autograds_through_torchs_own_layers(dropout: bool):
    weights = [weight.double() for weight in initial_kernels(SHAPE, np.random.default_rng(0))]
    x = 5 * images(3, 28, 1)
    targets = torch.rand(3, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept = 2.0 * (images(3, SHAPE.flat, 1, 3)[:, :, 0, 0] > 0.5) if dropout else None

    free = [weight.clone().requires_grad_() for weight in weights]
    value = x.permute(0, 3, 1, 2)
    for weight in free[:2]:
        sums = functional.conv2d(value, kernels(weight, value.shape[1]))
        value = functional.avg_pool2d(ABSORBER.activate(sums), 2)
    flat = value.permute(0, 2, 3, 1).flatten(1) * (1 if kept is None else kept)
    outputs = ABSORBER.activate(flat @ free[2].T) @ free[3].T
    (0.5 * ((outputs - targets) ** 2).sum(dim=1).mean()).backward()

    passed = forward(weights, x, ABSORBER, kept)
    torch.testing.assert_close(passed.sums[-1], outputs.detach())
    measured = gradient(weights, passed, passed.sums[-1] - targets, ABSORBER, "exact")
    for one, other in zip(measured, free, strict=True):
        torch.testing.assert_close(one, other.grad)


def test_a_multiplier_carries_a_layer_patch_by_patch_both_ways():
    """One panel of 6 x 25 blocks, shown once; every patch is one row of input fields, every error one sent back."""
    panel = SlitMultiplier(
        6, KERNEL**2, block=(16, 5), period=8, bit_depth=8, efficiency=0.26, fringing_px=0.6, registration_px=0.0
    )
    levels = np.random.default_rng(0).integers(0, panel.full_index + 1, panel.shape).astype(np.uint16)
    panel.show(levels)
    x = images(2, 12, 1).float()
    fields = patches(x).flatten(0, 2).to(torch.complex64)
    sums = panel.forward(fields).view(2, 8, 8, 6)
    weight = panel.matrix.real / panel.amplitude
    expected = functional.conv2d(x.permute(0, 3, 1, 2), kernels(weight, 1)).permute(0, 2, 3, 1)
    torch.testing.assert_close(sums.real / panel.amplitude, expected, rtol=1e-4, atol=1e-5)

    errors = torch.randn(2, 8, 8, 6, generator=torch.Generator().manual_seed(1))
    back = panel.backward(errors.flatten(0, 2).to(torch.complex64)).real / panel.amplitude
    expected = functional.conv_transpose2d(errors.permute(0, 3, 1, 2), kernels(weight, 1)).permute(0, 2, 3, 1)
    torch.testing.assert_close(from_patches(back.view(2, 8, 8, -1), 1), expected, rtol=1e-4, atol=1e-5)


# ---- trainings


def training(epochs: int, dropout: float = 0.0) -> ConvolutionalTraining:
    train, test = classification(load_dataset("sample"), 784, 10)
    few = Samples(train.inputs[:600], train.labels[:600], 10), Samples(test.inputs[:200], test.labels[:200], 10)
    rng = np.random.default_rng(0)
    recipe = Recipe(epochs=epochs, batch_size=20, learning_rate=3e-3)
    return ConvolutionalTraining(initial_kernels(SHAPE, rng), Trained(ABSORBER, dropout=dropout), recipe, *few, rng)


def test_it_learns_with_the_probes_transmission():
    epochs = list(training(10).run())
    assert epochs[-1].loss < 0.7 * epochs[0].loss
    assert epochs[-1].choosing > 0.5  # chance is 0.1


def test_put_away_and_taken_up_it_goes_on_as_if_nothing_had_been():
    whole = training(3, dropout=0.4)
    expected = [epoch.loss for epoch in whole.run()]
    first = training(3, dropout=0.4)
    next(first.run())
    second = training(3, dropout=0.4)
    second.restore(*first.state())
    assert [epoch.loss for epoch in second.run()] == expected[1:]
    for one, other in zip(second.weights, whole.weights, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
