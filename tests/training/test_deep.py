"""Two hidden layers: errors that are re-sent between two cells give every layer the model's gradient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labctl.bench import Bench, load_bench, require_able
from labctl.errors import ConfigError
from labctl.plan import parse_settings
from labctl.training.datasets import load_dataset
from labctl.training.gradient import (
    Method,
    StepGradient,
    cosine,
    finite_difference,
    optical,
    optical_corrected,
    physics_aware,
)
from labctl.training.in_situ import train_in_situ
from labctl.training.measure import BenchNetwork
from labctl.training.network import Absorption, NetworkShape, forward, gradient_at, half_square_loss, model_gradient
from labctl.training.settings import TrainSettings, initial_sds
from labctl.training.tasks import classification

SMALL_DEEP = Path(__file__).parents[1] / "benches" / "small_deep.yaml"
SHAPE = NetworkShape(16, (8, 8), 4)
DEPTH = 2.0
IDEAL = {"simulation.noise_scale": 0, "simulation.imperfections": False}


def fine(bench: str | Path) -> dict[str, Any]:
    """Overrides for a bench that is what its file says, with counts and levels too fine to matter."""
    devices = load_bench(bench).devices
    finer = [name for name, entry in devices.items() if entry.kind in ("camera", "slm")]
    return {**IDEAL, **{f"devices.{name}.settings.bit_depth": 16 for name in finer}}


def problem(shape: NetworkShape = SHAPE) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return weights, inputs 0..1 and one-hot targets."""
    rng = np.random.default_rng(2)
    weights = [rng.uniform(-0.45, 0.45, layer).astype(np.float32) for layer in shape.layers]
    inputs = (rng.integers(0, 256, (24, shape.inputs)) / 255).astype(np.float32)
    return weights, inputs, np.eye(shape.outputs, dtype=np.float32)[rng.integers(0, shape.outputs, len(inputs))]


def ready(bench: Bench, weights: Sequence[np.ndarray], depth: float = DEPTH) -> BenchNetwork:
    network = BenchNetwork(bench, SHAPE, depth)
    network.prepare()
    network.write_masks(weights)
    network.measure_background()  # pilots are ten times brighter than activations
    return network


def tensors(arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def autograd(network: BenchNetwork, weights: Sequence[np.ndarray], inputs: np.ndarray, targets: np.ndarray) -> list:
    """Return the model's exact gradient at the weights the panels show, by automatic differentiation."""
    free = [weight.clone().requires_grad_() for weight in network.patterns.shown_weights(weights)]
    outputs = forward(free, torch.from_numpy(inputs), network.absorption)[1][-1]
    return [one.numpy() for one in torch.autograd.grad(half_square_loss(outputs, torch.from_numpy(targets)), free)]


# ---- an ideal bench


@pytest.mark.parametrize(("law", "depth"), [("published", 30), ("propagated", 3), ("doppler", 3)])
def test_an_ideal_bench_measures_autograds_gradient_of_every_layer(law: str, depth: float):
    """On the shipped bench: in small blocks the order stop mixes rows, which the trainer's model leaves out."""
    rng, shape = np.random.default_rng(2), NetworkShape(784, (128, 128), 10)
    train, _ = classification(load_dataset("sample", None), shape.inputs, shape.outputs)
    inputs, targets = train.batch(rng.integers(0, len(train), 32))
    sds = (0.2, 0.1, 0.05)  # every sum stays within full scale
    weights = [(rng.standard_normal(s) * sd).astype(np.float32) for s, sd in zip(shape.layers, sds, strict=True)]
    with Bench(load_bench("vapour_cell_deep", {**fine("vapour_cell_deep"), "absorber_law": law}), True) as bench:
        network = BenchNetwork(bench, shape, depth)
        network.prepare()
        network.write_masks(weights)
        network.measure_background()
        expected = autograd(network, weights, inputs, targets)
        for method in (optical_corrected, physics_aware):
            measured = method(network, weights, inputs, targets)
            assert all(read.all() for read in measured.read)
            for ours, exact in zip(measured.layers, expected, strict=True):
                assert cosine(ours, exact) > 0.999
                assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(exact), rel=0.02)
        measured = optical(network, weights, inputs, targets)
        model = gradient_at(
            network.patterns.shown_weights(weights),
            torch.from_numpy(inputs),
            tensors(measured.sums),
            torch.from_numpy(measured.outputs - targets),
            network.absorption,
            "approximate",
        )
        for ours, approximate in zip(measured.layers, model, strict=True):
            assert cosine(ours, approximate.numpy()) > 0.999


def test_modes_that_were_clipped_send_no_error_back_at_either_layer():
    weights, inputs, targets = problem()
    weights[0][:4], weights[1][4:] = 0.45, 0.45  # these modes leave full scale, others do not
    overrides = {**IDEAL, "light.2.regenerate.full_scale": 2.0, "light.7.regenerate.full_scale": 0.5}
    with Bench(load_bench(SMALL_DEEP, overrides), True) as bench:
        measured = optical(ready(bench, weights), weights, inputs, targets)
    for layer, read in enumerate(measured.read):
        assert not read.all()
        silent = ~read.any(axis=0)
        assert silent.any()
        assert not measured.layers[layer][silent].any()
        assert measured.layers[layer][~silent].any()


# ---- methods that need less, or other, light


def spent_on(network: BenchNetwork, method: Method) -> tuple[StepGradient, int, int]:
    """Return one gradient, the exposures and the mask writes it took."""
    weights, inputs, targets = problem()
    network.tally.heading, written = "counted", network.tally.mask_writes
    network.tally.exposures["counted"] = 0
    gradient = method(network, weights, inputs, targets)
    return gradient, network.tally.exposures["counted"], network.tally.mask_writes - written


def test_physics_aware_takes_forward_light_alone():
    weights, inputs, _ = problem()
    with Bench(load_bench(SMALL_DEEP, IDEAL), True) as bench:
        network = ready(bench, weights)
        _, light, _ = spent_on(network, physics_aware)
        _, both, _ = spent_on(network, optical)
    assert light == 2 * 3 * len(inputs)
    assert both == light + 2 * 2 * len(inputs)


def test_finite_differences_point_along_the_gradient_on_average():
    directions = 300
    weights, inputs, targets = problem()
    with Bench(load_bench(SMALL_DEEP, fine(SMALL_DEEP)), True) as bench:
        network = ready(bench, weights)
        exact = np.concatenate([one.ravel() for one in autograd(network, weights, inputs, targets)])
        measured = finite_difference(directions, 0.02, np.random.default_rng(5))(network, weights, inputs, targets)
    found = np.concatenate([one.ravel() for one in measured.layers])
    # along the gradient g every direction gives (g d)^2, whose mean is |g|^2 and whose spread at most sqrt(2) |g|^2
    share = float(found @ exact / (exact @ exact))
    assert share == pytest.approx(1, abs=3 * np.sqrt(2 / directions))
    # across it K directions among N weights leave noise of |g| sqrt(N / K)
    assert cosine(found, exact) == pytest.approx(1 / np.sqrt(1 + exact.size / directions), abs=0.1)
    assert cosine(found, exact) > 0.5


def test_finite_differences_write_masks_for_each_side_of_each_direction():
    weights, inputs, _ = problem()
    with Bench(load_bench(SMALL_DEEP, IDEAL), True) as bench:
        network = ready(bench, weights)
        _, exposures, writes = spent_on(network, finite_difference(5, 0.02, np.random.default_rng(0)))
    assert exposures == 5 * 2 * 3 * 2 * len(inputs)
    assert writes == 5 * 2 * 3


# ---- whole trainings

SETTINGS: dict[str, Any] = {
    "data": "sample",
    "hidden": [8, 8],
    "train_samples": 330,
    "test_samples": 60,
    "epochs": 1,
    "agreement_every": 4,
    "initial_sd": 0.5,
    "optical_depth": DEPTH,
    "learning_rate": 0.03,
    "directions": 2,
}
STEADY = {"simulation.terms": {"reference_phase_walk": {"value": "0 rad", "source": "off in this test"}}}


@pytest.mark.parametrize("method", ["optical", "optical_corrected", "physics_aware", "finite_difference"])
@pytest.mark.parametrize("steps", [None, 3, 8])
def test_the_budget_is_what_every_method_costs(method: str, steps: int | None):
    settings = parse_settings(train_in_situ, {**SETTINGS, "method": method, "steps": steps})
    with Bench(load_bench(SMALL_DEEP, STEADY), True) as bench:
        expected = train_in_situ.budget(bench, settings)
        plan = train_in_situ(bench, settings, np.random.default_rng(0))
        records, summary = [], None
        while summary is None:
            try:
                records.append(next(plan))
            except StopIteration as end:
                summary = end.value
    assert summary["exposures_by_heading"] == {key: count for key, count in expected.exposures.items() if count}
    assert summary["mask_writes"] == expected.mask_writes
    assert summary["bench_seconds"] == pytest.approx(expected.bench_seconds, rel=0.05)
    steps_seen = [record for record in records if record.kind == "step"]
    assert len(steps_seen) == expected.steps == (steps or 6)
    agreements = [record for record in records if record.kind == "agreement"]
    assert agreements
    assert [row["layer"] for row in agreements[0].values["layers"]] == [1, 2, 3]


def test_the_shipped_deep_bench_can_do_what_it_declares():
    file = load_bench("vapour_cell_deep")
    require_able(file)
    assert "simulation only" in file.description
    assert [stage.end.modes for stage in file.stages] == [128, 128, 10]


def test_on_the_shipped_deep_bench_every_layer_agrees_early():
    """With reference noise and imperfections, over the first 21 steps, at the settings a user gets by default."""
    deep = {"data": "sample", "hidden": [128, 128], "optical_depth": 30, "steps": 21, "agreement_every": 5}
    with Bench(load_bench("vapour_cell_deep"), True) as bench:
        settings = parse_settings(train_in_situ, {**deep, "test_samples": 20})
        records = list(train_in_situ(bench, settings, np.random.default_rng(0)))
    assert all(temperature_c < 90 for temperature_c in records[0].values["temperatures_c"].values())
    rows = [row for record in records if record.kind == "agreement" for row in record.values["layers"]]
    assert len(rows) == 5 * 3
    for layer in (1, 2, 3):
        assert np.mean([row["cosine"] for row in rows if row["layer"] == layer]) > 0.9


def test_weights_start_as_published_until_cells_grow_too_deep_for_them():
    def sds(**asked: Any) -> tuple[float, ...]:
        return initial_sds(TrainSettings(**asked))

    assert sds(hidden=(8,), optical_depth=10) == (0.1, 0.1)
    assert sds(hidden=(8, 8), optical_depth=30) == (0.2, 0.2, 0.02)
    assert sds(hidden=(8, 8), optical_depth=30, initial_sd=0.1) == (0.1, 0.1, 0.1)
    assert sds(hidden=(8,), optical_depth=10, initial_sd=(0.3, 0.2)) == (0.3, 0.2)
    with pytest.raises(ConfigError, match=r"initial_sd \[0.3, 0.2\]: 3 layers need 3"):
        sds(hidden=(8, 8), initial_sd=(0.3, 0.2))


def test_each_cell_is_brought_to_the_depth_by_its_own_curve():
    other = {"light.9.absorb.depth_at_70c": 20.0}
    with Bench(load_bench(SMALL_DEEP, other), True) as bench:
        network = BenchNetwork(bench, SHAPE, 8.0)
        network.prepare()
        assert network.temperatures_c["cell_2"] < network.temperatures_c["cell"] - 3
        for cell, temperature_c in network.temperatures_c.items():
            assert bench.cell(cell).temperature_c == pytest.approx(temperature_c, abs=0.2)
    assert network.absorption == Absorption("published", 8.0)


def test_model_and_bench_agree_on_what_two_hidden_layers_are():
    weights, inputs, targets = problem()
    parts = tensors(weights), torch.from_numpy(inputs), torch.from_numpy(targets)
    free = [weight.clone().requires_grad_() for weight in parts[0]]
    absorption = Absorption("published", DEPTH)
    loss = half_square_loss(forward(free, parts[1], absorption)[1][-1], parts[2])
    expected = torch.autograd.grad(loss, free)
    for ours, theirs in zip(model_gradient(*parts, absorption, "exact"), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
