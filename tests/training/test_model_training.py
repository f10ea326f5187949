"""Trainings in the model: gain, random derivatives, initial weights, recipes, and that they learn."""

import numpy as np
import pytest
import torch

from labctl.errors import ConfigError
from labctl.optics.multiplier.absorber import LAWS, derivative_error, region_edge
from labctl.training.activations import RandomDerivative, Rectifier, random_derivative
from labctl.training.datasets import load_dataset
from labctl.training.model_training import Recipe, half_accuracies, initial_weights, train_model
from labctl.training.network import Absorption, NetworkShape, model_gradient
from labctl.training.tasks import Samples, classification

ABSORBER = Absorption("published", 10.0)


@pytest.fixture(scope="module")
def digits() -> tuple[Samples, Samples]:
    """Return 1,500 and 500 real digits."""
    train, test = classification(load_dataset("sample"), 784, 10)
    return Samples(train.inputs[:1500], train.labels[:1500], 10), Samples(test.inputs[:500], test.labels[:500], 10)


# ---- gain


def test_gain_is_equation_4_with_the_sign_of_the_depth_turned():
    field = torch.linspace(-5, 5, 101, dtype=torch.float64)
    expected = torch.exp(1.5 / (1 + field**2)) * field
    torch.testing.assert_close(Absorption("published", -3.0).activate(field), expected)


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_the_exact_slope_of_a_gain_is_autograds(gain: float):
    medium = Absorption("published", -gain)
    field = torch.linspace(-5, 5, 101, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(medium.activate(field).sum(), field)
    torch.testing.assert_close(medium.slope(field, medium.activate(field), "exact"), expected)


@pytest.mark.parametrize("depth", [-10.5, float("nan"), float("inf")])
def test_a_depth_beyond_the_range_is_refused(depth: float):
    with pytest.raises(ConfigError, match="optical depth"):
        Absorption("published", depth)


@pytest.mark.parametrize("law", [law for law in LAWS if law != "published"])
def test_only_the_published_law_has_a_gain(law):
    with pytest.raises(ConfigError, match=f"gain 1 under the {law} law"):
        Absorption(law, -1.0)


# ---- derivatives


def test_a_rectifiers_gradient_is_autograds():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(size, generator=generator) for size in ((6, 12), (4, 6))]
    inputs, targets = torch.rand(7, 12, generator=generator), torch.rand(7, 4, generator=generator)
    free = [weight.clone().requires_grad_() for weight in weights]
    outputs = torch.relu(inputs @ free[0].T) @ free[1].T
    (0.5 * ((outputs - targets) ** 2).sum(dim=1).mean()).backward()
    measured = model_gradient(weights, inputs, targets, Rectifier(), "exact")
    for one, other in zip(measured, free, strict=True):
        torch.testing.assert_close(one, other.grad)


def test_a_random_derivative_is_even_smooth_and_goes_through_its_samples():
    own = RandomDerivative(ABSORBER, (0.2, 0.9, 0.1, 0.6), 6.0)
    field = torch.tensor([0.0, 2.0, 4.0, 6.0])
    torch.testing.assert_close(own.slope(field, field, "exact"), torch.tensor([0.2, 0.9, 0.1, 0.6]))
    across = torch.linspace(-9, 9, 2001)
    slope = own.slope(across, across, "exact")
    torch.testing.assert_close(slope, slope.flip(0))
    assert float(slope.min()) >= 0.1 - 1e-6  # monotone between samples: nothing overshoots
    assert float(slope.max()) <= 0.9 + 1e-6
    assert float(slope.diff().abs().max()) < 0.01


def test_the_error_of_the_exact_derivative_is_zero_and_of_the_probe_that_of_the_absorber():
    edge = region_edge(10.0)
    places = torch.linspace(0, 3 * edge, 400)
    exact = ABSORBER.slope(places, ABSORBER.activate(places), "exact")
    probe = ABSORBER.slope(places, ABSORBER.activate(places), "approximate")
    assert RandomDerivative(ABSORBER, tuple(exact.tolist()), 3 * edge).error == pytest.approx(0, abs=1e-3)
    own = RandomDerivative(ABSORBER, tuple(probe.tolist()), 3 * edge).error
    assert own == pytest.approx(derivative_error(10.0, "published", edge), abs=2e-3)


def test_random_derivatives_differ_and_follow_their_generator():
    one, other = (random_derivative(ABSORBER, 6, np.random.default_rng(seed)) for seed in (0, 1))
    assert one != other
    assert one == random_derivative(ABSORBER, 6, np.random.default_rng(0))
    assert 0 < one.error < 1


# ---- trainings


def test_initial_weights_have_the_published_spread():
    shape = NetworkShape(784, (128,), 10)
    shallow = initial_weights(shape, 30.0, np.random.default_rng(0))[0]
    deep = initial_weights(shape, 31.0, np.random.default_rng(0))[0]
    assert float(shallow.std()) == pytest.approx(0.1, rel=0.02)
    assert float(deep.mean()) == pytest.approx(0, abs=0.01)
    assert float(deep.std()) == pytest.approx(0.15 * 2**0.5, rel=0.02)


def test_the_rate_falls_along_a_cosine_or_stays():
    assert Recipe().rate(0.9) == 5e-4
    fall = [Recipe(learning_rate=2e-3, schedule="cosine").rate(progress) for progress in (0, 0.5, 1)]
    np.testing.assert_allclose(fall, [2e-3, 1e-3, 0], atol=1e-12)


def test_halves_are_the_samples_of_even_and_of_odd_number():
    test = Samples(np.zeros((4, 2), np.uint8), np.array([1, 0, 1, 0]), 2)
    always_one = torch.tensor([[0.0, 1.0]])
    assert half_accuracies(lambda x: always_one.expand(len(x), 2), test, batch_size=3) == (1.0, 0.0)


@pytest.mark.parametrize("rule", ["approximate", "exact"])
def test_a_training_learns_and_repeats_itself(digits: tuple[Samples, Samples], rule):
    def run() -> list[tuple[float, float, float]]:
        rng = np.random.default_rng(0)
        weights = initial_weights(NetworkShape(784, (32, 16), 10), 10.0, rng)
        recipe = Recipe(epochs=10, batch_size=25, learning_rate=2e-3, schedule="cosine")
        epochs = train_model(weights, ABSORBER, rule, recipe, *digits, rng)
        return [(epoch.loss, epoch.choosing, epoch.reported) for epoch in epochs]

    first = run()
    assert first[-1][0] < 0.5 * first[0][0]
    assert min(first[-1][1:]) > 0.7  # chance is 0.1
    assert run() == first


def test_at_depth_zero_the_network_is_linear(digits: tuple[Samples, Samples]):
    rng = np.random.default_rng(0)
    weights = initial_weights(NetworkShape(784, (16,), 10), 0.0, rng)
    one, other = (torch.rand(5, 784, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    linear = Absorption("published", 0.0)
    outputs = [(linear.activate(x @ weights[0].T) @ weights[1].T) for x in (one, other, one + other)]
    torch.testing.assert_close(outputs[0] + outputs[1], outputs[2])
