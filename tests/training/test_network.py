"""The trainer's model: gradients against autograd, and against error fields sent backwards through the elements."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from labctl.bench import BenchFile, load_bench
from labctl.errors import ConfigError
from labctl.optics.multiplier import absorber
from labctl.optics.multiplier.absorber import LAWS, Law
from labctl.optics.multiplier.elements import Encode, Read
from labctl.optics.multiplier.network import Absorber, Source
from labctl.optics.multiplier.slit_multiplier import SlitMultiplier
from labctl.training.network import (
    Absorption,
    NetworkShape,
    Rule,
    accuracy,
    forward,
    gradient_at,
    half_square_loss,
    model_gradient,
    require_fit,
)

DEPTH = 10.0
SAMPLES = 7

every_law = pytest.mark.parametrize("law", LAWS)
one_and_two_hidden = pytest.mark.parametrize(
    "shape", [NetworkShape(12, (6,), 4), NetworkShape(12, (6, 5), 4)], ids=["one hidden", "two hidden"]
)


def problem(shape: NetworkShape, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return weights that drive the cell through its nonlinear region, inputs 0..1 and targets."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(size, generator=generator, dtype=dtype) for size in shape.layers]
    inputs = torch.rand(SAMPLES, shape.inputs, generator=generator, dtype=dtype)
    targets = torch.rand(SAMPLES, shape.outputs, generator=generator, dtype=dtype)
    return weights, inputs, targets


# ---- shapes


def test_layers_are_weight_shapes_in_pump_order():
    assert NetworkShape(784, (128,), 10).layers == [(128, 784), (10, 128)]
    assert NetworkShape(784, (128, 64), 10).layers == [(128, 784), (64, 128), (10, 64)]
    assert NetworkShape(4, (), 2).layers == [(2, 4)]


@pytest.fixture(scope="module")
def vapour_cell() -> BenchFile:
    return load_bench("vapour_cell")


@pytest.mark.parametrize("shape", [NetworkShape(784, (128,), 10), NetworkShape(1, (1,), 1)])
def test_networks_up_to_what_the_bench_carries_fit(vapour_cell: BenchFile, shape: NetworkShape):
    require_fit(vapour_cell, shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (NetworkShape(784, (129,), 10), r"hidden \[129\]: the largest that fits bench vapour_cell is \[128\]"),
        (NetworkShape(784, (0,), 10), r"hidden \[0\]: the largest that fits bench vapour_cell is \[128\]"),
        (NetworkShape(784, (64, 64), 10), r"hidden \[64, 64\]: bench vapour_cell has 1 hidden layer"),
        (NetworkShape(784, (), 10), r"hidden \[\]: bench vapour_cell has 1 hidden layer"),
        (NetworkShape(785, (128,), 10), "785 inputs: bench vapour_cell has 784 input modes"),
        (NetworkShape(784, (128,), 11), "11 outputs: bench vapour_cell has 10 output modes"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_and_the_largest_named(
    vapour_cell: BenchFile, shape: NetworkShape, message: str
):
    with pytest.raises(ConfigError, match=message):
        require_fit(vapour_cell, shape)


# ---- forward pass and loss


@every_law
@one_and_two_hidden
def test_forward_is_sums_through_the_cell_and_a_linear_output(law: Law, shape: NetworkShape):
    weights, inputs, _ = problem(shape)
    sums, activations = forward(weights, inputs, Absorption(law, DEPTH))
    assert activations[0] is inputs
    for layer, weight in enumerate(weights):
        torch.testing.assert_close(sums[layer], activations[layer] @ weight.T)
    for before, after in zip(sums[:-1], activations[1:-1], strict=True):
        torch.testing.assert_close(after, absorber.forward(before, DEPTH, law))
    torch.testing.assert_close(activations[-1], sums[-1])


def test_the_loss_is_half_the_squared_error_summed_over_outputs():
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    assert float(half_square_loss(outputs, targets)) == ((1 + 4) / 2 + 16 / 2) / 2


def test_accuracy_is_the_share_of_right_answers():
    outputs = torch.tensor([[0.1, 0.9], [2.0, -3.0], [-1.0, -0.5], [0.0, 1.0]])
    assert accuracy(outputs, torch.tensor([1, 0, 0, 0])) == 0.5


# ---- gradients


@every_law
@one_and_two_hidden
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_exact_gradient_is_autograds(law: Law, shape: NetworkShape, dtype: torch.dtype, tolerance: float):
    weights, inputs, targets = problem(shape, dtype)
    absorption = Absorption(law, DEPTH)
    free = [weight.clone().requires_grad_() for weight in weights]
    loss = half_square_loss(forward(free, inputs, absorption)[1][-1], targets)
    expected = torch.autograd.grad(loss, free)
    found = model_gradient(weights, inputs, targets, absorption, "exact")
    for ours, autograds in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        scale = float(autograds.abs().max())
        torch.testing.assert_close(ours, autograds, rtol=tolerance, atol=tolerance * scale)


@every_law
@one_and_two_hidden
def test_the_approximate_gradient_puts_the_probes_transmission_for_the_derivative(law: Law, shape: NetworkShape):
    weights, inputs, targets = problem(shape)
    expected = [torch.zeros_like(weight) for weight in weights]
    for x, target in zip(inputs, targets, strict=True):
        fields, transmissions = [x], []
        for weight in weights[:-1]:
            z = weight @ fields[-1]
            transmissions.append(absorber.transmission(z**2, DEPTH, law))
            fields.append(transmissions[-1] * z)
        error = weights[-1] @ fields[-1] - target
        expected[-1] += torch.outer(error, fields[-1]) / SAMPLES
        for layer in range(len(weights) - 2, -1, -1):
            error = transmissions[layer] * (weights[layer + 1].T @ error)
            expected[layer] += torch.outer(error, fields[layer]) / SAMPLES
    found = model_gradient(weights, inputs, targets, Absorption(law, DEPTH), "approximate")
    for ours, by_hand in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, by_hand, rtol=1e-10, atol=1e-12)


@every_law
def test_both_rules_agree_on_the_output_layer_and_where_nothing_saturates(law: Law):
    weights, inputs, targets = problem(NetworkShape(12, (6,), 4))
    absorption = Absorption(law, 1.0)
    approximate, exact = (model_gradient(weights, inputs, targets, absorption, r) for r in ("approximate", "exact"))
    torch.testing.assert_close(approximate[-1], exact[-1])
    assert not torch.allclose(approximate[0], exact[0], rtol=1e-3)
    faint = [1e-5 * weights[0], weights[1]]
    approximate, exact = (model_gradient(faint, inputs, targets, absorption, r) for r in ("approximate", "exact"))
    torch.testing.assert_close(approximate[0], exact[0], rtol=1e-6, atol=0.0)


@every_law
def test_a_step_against_the_exact_gradient_lowers_the_loss(law: Law):
    weights, inputs, targets = problem(NetworkShape(12, (6, 5), 4))
    absorption = Absorption(law, DEPTH)
    gradient = model_gradient(weights, inputs, targets, absorption, "exact")
    before, after = (
        float(half_square_loss(forward(moved, inputs, absorption)[1][-1], targets))
        for moved in (weights, [w - 1e-4 * g for w, g in zip(weights, gradient, strict=True)])
    )
    expected = 1e-4 * sum(float((g**2).sum()) for g in gradient)
    assert before - after == pytest.approx(expected, rel=0.05)


# ---- the gradient where a bench stood

every_rule = pytest.mark.parametrize("rule", ["approximate", "exact"])


def off_the_model(shape: NetworkShape) -> tuple[list[Tensor], Tensor, list[Tensor], Tensor, list[Tensor]]:
    """Return weights, inputs, sums and output errors that no forward pass gives, and masks with a third left out."""
    weights, inputs, _ = problem(shape)
    generator = torch.Generator().manual_seed(1)
    sums = [2 * torch.randn(SAMPLES, size, generator=generator, dtype=inputs.dtype) for size in shape.hidden]
    errors = torch.randn(SAMPLES, shape.outputs, generator=generator, dtype=inputs.dtype)
    read = [torch.rand(one.shape, generator=generator) > 1 / 3 for one in sums]
    return weights, inputs, sums, errors, read


@every_law
@every_rule
@one_and_two_hidden
def test_at_the_models_own_operating_point_it_is_the_models_gradient(law: Law, rule: Rule, shape: NetworkShape):
    weights, inputs, targets = problem(shape)
    absorption = Absorption(law, DEPTH)
    sums, activations = forward(weights, inputs, absorption)
    everywhere = [torch.ones(one.shape, dtype=torch.bool) for one in sums[:-1]]
    expected = model_gradient(weights, inputs, targets, absorption, rule)
    for read in (None, everywhere):
        found = gradient_at(weights, inputs, sums[:-1], activations[-1] - targets, absorption, rule, read)
        for at_point, models in zip(found, expected, strict=True):
            torch.testing.assert_close(at_point, models, rtol=0, atol=0)


@every_law
@one_and_two_hidden
@pytest.mark.parametrize("masked", [False, True])
def test_elsewhere_the_exact_gradient_is_autograds_of_sums_that_are_off_by_a_constant(
    law: Law, shape: NetworkShape, masked: bool
):
    """What a bench shows is the model plus an offset; a mode that is not read has an activation but no derivative."""
    weights, inputs, sums, errors, read = off_the_model(shape)
    free = [weight.clone().requires_grad_() for weight in weights]
    field = inputs
    for weight, at_point, there in zip(free[:-1], sums, read, strict=True):
        z = field @ weight.T
        field = absorber.forward(z + (at_point - z).detach(), DEPTH, law)
        field = torch.where(there, field, field.detach()) if masked else field
    outputs = field @ free[-1].T
    expected = torch.autograd.grad(half_square_loss(outputs, (outputs - errors).detach()), free)
    found = gradient_at(weights, inputs, sums, errors, Absorption(law, DEPTH), "exact", read if masked else None)
    for ours, autograds in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, autograds, rtol=1e-10, atol=1e-10 * float(autograds.abs().max()))


@every_law
@every_rule
@one_and_two_hidden
def test_a_mode_that_is_not_read_contributes_nothing(law: Law, rule: Rule, shape: NetworkShape):
    """As if the error came back through weights that are 0 for that sample and mode."""
    weights, inputs, sums, errors, read = off_the_model(shape)
    absorption = Absorption(law, DEPTH)
    found = gradient_at(weights, inputs, sums, errors, absorption, rule, read)
    expected = [torch.zeros_like(weight) for weight in weights]
    for k in range(SAMPLES):
        cut = [weights[0], *(weight * there[k] for weight, there in zip(weights[1:], read, strict=True))]
        alone = slice(k, k + 1)
        one = gradient_at(cut, inputs[alone], [z[alone] for z in sums], errors[alone], absorption, rule)
        expected = [total + part / SAMPLES for total, part in zip(expected, one, strict=True)]
    for ours, by_sample in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, by_sample, rtol=1e-10, atol=1e-12)


@every_rule
def test_masks_act_on_their_own_layer_and_those_before_it(rule: Rule):
    weights, inputs, sums, errors, _ = off_the_model(NetworkShape(12, (6, 5), 4))
    absorption = Absorption("published", DEPTH)
    whole = gradient_at(weights, inputs, sums, errors, absorption, rule)
    first, second = (torch.ones(one.shape, dtype=torch.bool) for one in sums)
    first[:, 2] = False
    found = gradient_at(weights, inputs, sums, errors, absorption, rule, [first, second])
    assert not found[0][2].any()
    others = [row for row in range(6) if row != 2]
    torch.testing.assert_close(found[0][others], whole[0][others], rtol=0, atol=0)
    torch.testing.assert_close(found[1:], whole[1:], rtol=0, atol=0)
    nowhere = gradient_at(weights, inputs, sums, errors, absorption, rule, [first, torch.zeros_like(second)])
    assert not nowhere[0].any()
    assert not nowhere[1].any()
    torch.testing.assert_close(nowhere[2], whole[2], rtol=0, atol=0)


# ---- the same gradient with light

TEMPERATURE_C = 67.0
PUMP_W, PROBE_W, UNIT_W, GAIN = 3e-4, 2e-5, 1e-6, 10.0
PART = {"value": 0.5, "source": "test"}

ENCODE = Encode.model_validate(
    {"device": "dmd", "beam": "pump", "modes": 10, "pilot_columns": 2, "block": [255, 2], "efficiency": PART}
)
INJECT = Read.model_validate(
    {"camera": "camera", "fraction": PART, "full_scale": 4, "inject": "dmd", "beam": "probe", "modes": 2,
     "block": [64, 10], "carrier": 8, "efficiency": PART}
)  # fmt: skip


def panel(rows: int, columns: int, seed: int) -> SlitMultiplier:
    """Return a multiplier that shows random real weights; with fringing they depend on their neighbours."""
    optics = SlitMultiplier(
        rows, columns, block=(16, 5), period=8, bit_depth=8, efficiency=0.26, fringing_px=0.6, registration_px=0.0
    )
    data = np.random.default_rng(seed).integers(0, optics.full_index + 1, optics.shape)
    optics.show(data.astype(np.uint16))
    return optics


@every_law
def test_error_fields_sent_backwards_through_the_pumped_cell_are_the_approximate_gradient(law: Law):
    """Sums by light, activations by the cell, errors by light the other way; only the products are formed outside.

    The camera and mirrors between the two panels are taken as perfect here: they re-send the field times the gain.
    """
    source, injector = Source(ENCODE, 0.5, UNIT_W), Source(INJECT.injector, 0.05, UNIT_W)
    first, second = panel(6, source.modes, 0), panel(injector.modes, 6, 1)
    cell = Absorber(law, 12.5)
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (SAMPLES, source.modes)).astype(np.uint16)
    error_levels = rng.integers(0, injector.full_index + 1, (SAMPLES, injector.modes)).astype(np.uint16)

    # forward
    sums = GAIN * first.forward(source.fields(pixels, PUMP_W))
    activations = sums * cell.pump_transmission(sums, TEMPERATURE_C)
    outputs = second.forward(activations)
    # backward: the error as levels of its modulator, each full level one unit
    errors = torch.from_numpy(injector.amplitude(error_levels))
    sent = injector.fields(error_levels, PROBE_W)
    returned = second.backward(sent) * cell.probe_transmission(sums, TEMPERATURE_C) / injector.full_field(PROBE_W)

    inputs = torch.from_numpy(source.amplitude(pixels))
    weights = [GAIN * source.full_field(PUMP_W) * first.matrix.real, second.matrix.real]
    measured = [returned.real.T @ inputs / SAMPLES, errors.T @ activations.real / SAMPLES]

    assert max(float(field.imag.abs().max()) for field in (sums, outputs, returned)) < 1e-5
    assert 0.1 < float(sums.real.abs().median()) < 10  # the cell is neither dark nor bleached
    absorption = Absorption(law, absorber.depth_at(TEMPERATURE_C, 12.5))
    # targets such that the model's own errors are the ones that were sent
    targets = forward(weights, inputs, absorption)[1][-1] - errors
    torch.testing.assert_close(targets + errors, outputs.real, rtol=1e-5, atol=1e-5)
    expected = model_gradient(weights, inputs, targets, absorption, "approximate")
    for light, model in zip(measured, expected, strict=True):
        scale = float(model.abs().max())
        assert scale > 0
        torch.testing.assert_close(light, model, rtol=1e-5, atol=1e-5 * scale)


@every_law
def test_measured_fields_times_the_exact_factor_are_the_exact_gradient(law: Law):
    """The correction needs only what was measured: both saturations of every mode."""
    weights, inputs, targets = problem(NetworkShape(12, (6,), 4))
    sums, activations = forward(weights, inputs, Absorption(law, DEPTH))
    probe = Absorber(law, 12.5).probe_transmission(sums[0].to(torch.complex128), 70.0, depth_scale=DEPTH / 12.5)
    factor = absorber.exact_factor(sums[0] ** 2, activations[1] ** 2, DEPTH, law)
    returned = ((activations[-1] - targets) @ weights[1]) * probe * factor
    exact = model_gradient(weights, inputs, targets, Absorption(law, DEPTH), "exact")
    torch.testing.assert_close(returned.T @ inputs / SAMPLES, exact[0], rtol=1e-10, atol=1e-12)


def test_the_approximate_direction_stays_close_to_the_exact_one():
    """Published law at depth 10: a shape error of 7 % of the derivative is a cosine of about 0.96."""
    weights, inputs, targets = problem(NetworkShape(40, (30,), 4))
    both = [
        model_gradient(weights, inputs, targets, Absorption("published", DEPTH), r)[0] for r in ("approximate", "exact")
    ]
    cosine = float((both[0] * both[1]).sum() / (both[0].norm() * both[1].norm()))
    assert cosine > 0.9
    assert not math.isclose(cosine, 1, abs_tol=1e-3)
