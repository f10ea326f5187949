"""Whole trainings on small benches: what is measured agrees with the model, and what goes wrong is said."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, RunAborted
from labctl.plan import parse_settings
from labctl.records import Record
from labctl.training.datasets import load_dataset
from labctl.training.evaluate import evaluate
from labctl.training.gradient import optical, optical_corrected
from labctl.training.in_silico import train_in_silico
from labctl.training.in_situ import train_in_situ
from labctl.training.measure import BenchNetwork
from labctl.training.network import NetworkShape, Rule, gradient_at

SETTINGS: dict[str, Any] = {
    "data": "sample",
    "hidden": [8],
    "train_samples": 320,
    "test_samples": 100,
    "epochs": 1,
    "agreement_every": 5,
    # 16 inputs: weights of 0.5 make sums of the order of the saturation field, as 0.1 does with 784
    "initial_sd": 0.5,
    "optical_depth": 4,
    "learning_rate": 0.03,
}
FINE = {
    **{f"devices.{camera}.settings.bit_depth": 16 for camera in ("camera_z1", "camera_hidden_1", "camera_error_1")},
    "devices.camera_output.settings.bit_depth": 16,
    "devices.slm_1.settings.bit_depth": 16,
    "devices.slm_2.settings.bit_depth": 16,
    "simulation.noise_scale": 0,
    "simulation.imperfections": False,
}


METHODS_AND_RULES: list[tuple[Any, Rule]] = [(optical, "approximate"), (optical_corrected, "exact")]


def run(
    small: Path,
    overrides: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    plan: Any = train_in_situ,
    seed: int = 0,
    **options: Any,
) -> tuple[list[Record], Mapping[str, Any]]:
    """Return all records and the summary of one plan on the small bench."""
    file = load_bench(small, overrides or {})
    asked = parse_settings(plan, {**SETTINGS, **(settings or {})})
    records: list[Record] = []
    with Bench(file, True, seed=seed, **options) as bench:
        steps = plan(bench, asked, np.random.default_rng(seed))
        while True:
            try:
                records.append(next(steps))
            except StopIteration as end:
                return records, end.value


def means(summary: Mapping[str, Any], key: str) -> list[float]:
    """Return one agreement figure by layer, averaged over epochs."""
    rows = summary["gradient_agreement"]
    layers = sorted({row["layer"] for row in rows})
    return [float(np.mean([row[key] for row in rows if row["layer"] == layer])) for layer in layers]


@pytest.fixture(params=["published", "propagated", "doppler"])
def law(request: pytest.FixtureRequest) -> str:
    return request.param


# ---- the gradient


def test_ideal_16_bit_twins_measure_the_gradient_at_what_is_shown(law: str):
    data = load_dataset("sample", None)
    rng = np.random.default_rng(3)
    chosen = rng.integers(0, len(data.train_labels), 64)
    inputs = (data.train_images[chosen].reshape(64, -1) / 255).astype(np.float32)
    targets = np.eye(10, dtype=np.float32)[data.train_labels[chosen]]
    with Bench(load_bench("vapour_cell", {**FINE, "absorber_law": law}), True) as bench:
        network = BenchNetwork(bench, NetworkShape(784, (128,), 10), 10.0)
        network.prepare()
        weights = [(rng.standard_normal(shape) * 0.1).astype(np.float32) for shape in network.shape.layers]
        network.write_masks(weights)
        network.measure_background()  # the order stop spreads some of the pilots' light onto the last data rows
        for method, rule in METHODS_AND_RULES:
            measured = method(network, weights, inputs, targets)
            expected = gradient_at(
                network.patterns.shown_weights(weights),
                torch.from_numpy(inputs),
                [torch.from_numpy(measured.sums[0])],
                torch.from_numpy(measured.outputs - targets),
                network.absorption,
                rule,
            )
            for ours, model in zip(measured.layers, expected, strict=True):
                error = float(np.linalg.norm(ours - model.numpy()) / np.linalg.norm(model.numpy()))
                assert error <= 2e-3


@pytest.mark.parametrize("method", ["optical", "optical_corrected"])
def test_agreement_falls_with_noise_to_the_floor_and_not_beyond(small_bench_file: Path, method: str):
    for scale, least in ((1, 0.97), (5, 0.5)):
        overrides = {"simulation.imperfections": False, "simulation.noise_scale": scale}
        _, summary = run(small_bench_file, overrides, {"method": method, "agreement_every": 1, "train_samples": 1600})
        for cosine, floor in zip(means(summary, "cosine"), means(summary, "noise_floor"), strict=True):
            assert cosine > least
            assert cosine == pytest.approx(floor, abs=0.03)


def test_the_correction_makes_the_measured_gradient_exact(small_bench_file: Path, law: str):
    overrides = {"simulation.imperfections": False, "absorber_law": law}
    exact = {}
    for method in ("optical", "optical_corrected"):
        _, summary = run(small_bench_file, overrides, {"method": method})
        exact[method] = means(summary, "cosine_exact")[0]
        floor = means(summary, "noise_floor")[0]
    assert exact["optical_corrected"] == pytest.approx(floor, abs=0.02)
    assert exact["optical"] < exact["optical_corrected"]


def test_with_reference_imperfections_it_agrees_and_learns(small_bench_file: Path):
    for truth_seed in (1, 2):
        records, summary = run(small_bench_file, {}, {"train_samples": 1600, "epochs": 2}, truth_seed=truth_seed)
        losses = [record.values["loss"] for record in records if record.kind == "step"]
        assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
        for cosine, floor in zip(means(summary, "cosine"), means(summary, "noise_floor"), strict=True):
            assert cosine > floor - 0.03


# ---- what goes wrong is said


def test_without_leak_rejection_agreement_falls_and_the_run_says_why():
    small = {"hidden": [128], "initial_sd": 0.1, "optical_depth": 10, "train_samples": 192, "test_samples": 50}
    vapour_cell = Path("vapour_cell")
    _, good = run(vapour_cell, {}, small)
    records, bad = run(vapour_cell, {"light.absorb.leak_rejection": "0 dB"}, small)
    warnings = [record.values["message"] for record in records if record.kind == "warning"]
    assert means(bad, "cosine")[0] < means(good, "cosine")[0] - 0.1
    assert any("wrong way" in message and "leak rejection" in message for message in warnings)
    _, stepped = run(vapour_cell, {"light.absorb.leak_rejection": "0 dB"}, {**small, "error_exposures": 4})
    assert means(stepped, "cosine")[0] > means(bad, "cosine")[0] + 0.05


def test_cells_that_pass_no_light_are_named_with_the_cure(small_bench_file: Path):
    def warnings_at(initial_sd: float) -> list[str]:
        settings = {"initial_sd": initial_sd, "optical_depth": 10, "train_samples": 64, "agreement_every": 1}
        records, _ = run(small_bench_file, {}, settings)
        return [record.values["message"] for record in records if record.kind == "warning"]

    (message,) = warnings_at(0.05)
    assert "layer 2 drowns in noise" in message or "layer 1 and 2 drowns in noise" in message
    assert "raise initial_sd, lower optical_depth or take larger batches" in message
    assert not warnings_at(0.5)


def test_a_reference_that_drifts_is_followed_through_more_than_a_turn(small_bench_file: Path):
    drift = {"simulation.terms": {"reference_phase_drift": {"value": "40 rad"}}}  # per minute
    records, summary = run(small_bench_file, drift, {"train_samples": 1000})
    phases = np.array([record.values["reference_rad"] for record in records if record.kind == "step"])
    assert np.ptp(phases) > 2 * np.pi
    for cosine, floor in zip(means(summary, "cosine"), means(summary, "noise_floor"), strict=True):
        assert cosine > floor - 0.25


def test_a_reference_that_cannot_be_held_ends_the_run_with_the_reason(small_bench_file: Path):
    wild = {"simulation.terms": {"reference_phase_walk": {"value": "60 rad"}}}
    with pytest.raises(RunAborted, match=r"reference phase moved by .* 0\.3 rad is allowed"):
        run(small_bench_file, wild)


@pytest.mark.parametrize("share", [1e-6, 0.03])
@pytest.mark.parametrize(
    ("beam", "camera"), [("pump", "camera_z1"), ("pump_hidden", "camera_hidden_1"), ("probe", "camera_error_1")]
)
def test_a_beam_that_is_blocked_is_named_and_not_a_reference_that_moved(
    small_bench_file: Path, beam: str, camera: str, share: float
):
    with Bench(load_bench(small_bench_file), True) as bench:
        network = BenchNetwork(bench, NetworkShape(16, (8,), 4), 4.0)
        network.prepare()
        weights = [np.full(shape, 0.2, np.float32) for shape in network.shape.layers]
        network.write_masks(weights)
        batch = np.full((8, 16), 0.5, np.float32), np.zeros((8, 4), np.float32)
        optical(network, weights, *batch)
        bench.beam(beam).set_power(share * bench.beam(beam).settings.power_w)
        with pytest.raises(RunAborted, match=rf"{camera}: its pilots are dark.*beam {beam} and the reference"):
            optical(network, weights, *batch)


def test_pilots_that_saturate_are_named_and_no_reason_to_stop(small_bench_file: Path):
    for fraction in (0.5, 1.0):  # the file has 0.128
        file = load_bench(small_bench_file, {"light.3.tap.fraction.value": fraction})
        with Bench(file, True) as bench:
            network = BenchNetwork(bench, NetworkShape(16, (8,), 4), 4.0)
            network.prepare()
            weights = [np.full(shape, 0.2, np.float32) for shape in network.shape.layers]
            network.write_masks(weights)
            optical(network, weights, np.full((8, 16), 0.5, np.float32), np.zeros((8, 4), np.float32))
        assert any("camera_error_1: its pilots are saturated" in message for message in network.warnings)


def test_modes_beyond_full_scale_are_counted_and_their_error_is_0(small_bench_file: Path):
    file = load_bench(small_bench_file, {"light.regenerate.full_scale": 1.0, "simulation.noise_scale": 0})
    with Bench(file, True) as bench:
        network = BenchNetwork(bench, NetworkShape(16, (8,), 4), 6.0)
        network.prepare()
        weights = [np.full(shape, 0.2, np.float32) for shape in network.shape.layers]
        network.write_masks(weights)
        inputs = np.tile(np.array([[0.1], [1.0]], np.float32), (1, 16))  # sums of about 0.3 and 3
        gradient = optical(network, weights, inputs, np.zeros((2, 4), np.float32))
    assert gradient.read[0][0].all()
    assert not gradient.read[0][1].any()
    assert network.tally.clipped_modes >= 8
    assert np.abs(gradient.sums[0]).max() < 1.1


def test_weights_beyond_the_range_are_clipped_and_counted(small_bench_file: Path):
    file = load_bench(small_bench_file)
    limit = file.stages[0].multiply.weight_range
    with Bench(file, True) as bench:
        network = BenchNetwork(bench, NetworkShape(16, (8,), 4), 6.0)
        weights = [np.zeros(shape, np.float32) for shape in network.shape.layers]
        weights[0][0, :3] = (2 * limit, -2 * limit, limit)
        network.write_masks(weights)
    assert network.tally.clipped_weights == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": [9]}, r"largest that fits.*8"),
        ({"hidden": [4, 4]}, "1 hidden layer"),
        ({"optical_depth": 150}, r"optical_depth 150.*between 20 and 90 degC"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(small_bench_file: Path, settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        run(small_bench_file, {}, settings)


# ---- records, budget, seeds


def test_the_budget_is_what_a_run_really_costs(small_bench_file: Path):
    steady = {"simulation.terms": {"reference_phase_walk": {"value": "0 rad", "source": "off in this test"}}}
    file = load_bench(small_bench_file, steady)
    settings = parse_settings(train_in_situ, {**SETTINGS, "train_samples": 330, "epochs": 2})
    expected = train_in_situ.budget(Bench(file, True), settings)
    records, summary = run(small_bench_file, steady, {"train_samples": 330, "epochs": 2})
    assert summary["exposures_by_heading"] == dict(expected.exposures)
    assert summary["exposures"] == expected.total_exposures
    assert summary["mask_writes"] == expected.mask_writes
    assert sum(record.kind == "step" for record in records) == expected.steps
    assert summary["bench_seconds"] == pytest.approx(expected.bench_seconds, rel=0.05)
    assert summary["photons"] == pytest.approx(expected.photons, rel=0.35)


def test_equal_seeds_give_equal_records_and_other_seeds_others(small_bench_file: Path):
    def steps(**options: Any) -> list[Any]:
        records, _ = run(small_bench_file, {}, {"train_samples": 128}, **options)
        return [(record.kind, record.bench_time_s, dict(record.values)) for record in records]

    first = steps(seed=1)
    assert steps(seed=1) == first
    assert steps(seed=2) != first
    assert steps(seed=1, truth_seed=9) != first


def test_the_cell_is_set_to_what_the_curve_says_and_its_depth_is_used(small_bench_file: Path):
    records, _ = run(small_bench_file, {}, {"optical_depth": 20, "train_samples": 64})
    (setup,) = [record for record in records if record.kind == "setup"]
    assert setup.values["temperatures_c"]["cell"] == pytest.approx(76.5, abs=1.0)
    assert "optical depth 20" in setup.values["message"]
    assert setup.bench_time_s > 20 * 60  # 2 K/min from the room


def test_live_learning_rate_changes_what_is_learned(small_bench_file: Path):
    from labctl.records import Changes

    file = load_bench(small_bench_file)
    settings = parse_settings(train_in_situ, {**SETTINGS, "train_samples": 256})

    def weights(change: Changes | None) -> np.ndarray:
        with Bench(file, True) as bench:
            steps = train_in_situ(bench, settings, np.random.default_rng(0))
            record = next(steps)
            while record.kind != "weights":
                record = steps.send(change if record.kind == "step" else None)
            return record.arrays["weights.slm_1"]

    assert not np.array_equal(weights(None), weights(Changes({"learning_rate": 1e-4})))


# ---- in the model, and deployed


def test_in_silico_uses_no_light_and_learns(small_bench_file: Path):
    settings = {"train_samples": 1600, "epochs": 2}
    file = load_bench(small_bench_file)
    asked = parse_settings(train_in_silico, {**SETTINGS, **settings})
    assert train_in_silico.budget(Bench(file, True), asked).total_exposures == 0
    _, summary = run(small_bench_file, {}, settings, plan=train_in_silico)
    assert summary["exposures"] == 0
    assert summary["bench_seconds"] == 0
    assert summary["test_accuracy"] > 0.45  # four classes of 4x4 pixels, 50 steps


def test_deployed_weights_reach_the_models_accuracy_on_an_ideal_bench(small_bench_file: Path, tmp_path: Path):
    from labctl.recorder import Recorder

    records, _ = run(small_bench_file, {}, {"train_samples": 1600}, plan=train_in_silico)
    recorder = Recorder(tmp_path, "train_in_silico", {})
    for record in records:
        recorder(record)
    recorder.finish("completed", {})
    deploy = {"run": recorder.folder, "data": "sample", "test_samples": 200}
    file = load_bench(small_bench_file, FINE)
    with Bench(file, True) as bench:
        steps = evaluate(bench, parse_settings(evaluate, deploy), np.random.default_rng(0))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                summary = end.value
                break
    assert summary["test_accuracy"] == pytest.approx(summary["model_accuracy"], abs=0.05)


# ---- honesty


def test_trainers_never_see_the_truth(small_bench_file: Path):
    """Nothing a trainer holds can tell one truth from another before light is taken."""

    def held(truth_seed: int) -> list[np.ndarray]:
        with Bench(load_bench(small_bench_file), True, truth_seed=truth_seed) as bench:
            network = BenchNetwork(bench, NetworkShape(16, (8,), 4), 6.0)
            shown = network.patterns.shown_weights([np.full(s, 0.1, np.float32) for s in network.shape.layers])
            readouts = [readout for scales in network.patterns.scales for readout in scales.readouts.values()]
            numbers = [np.array([one.per_field, one.per_unit, one.full_scale]) for one in readouts]
            return [one.numpy() for one in shown] + numbers + [np.array(network.absorption.depth)]

    for one, other in zip(held(1), held(2), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((3, 16), np.float32), r"weights of layer 1: floats of shape \(8, 16\)"),
        (np.full((8, 16), np.nan, np.float32), r"weights of layer 1: 128 value\(s\) are not finite"),
        (np.zeros((8, 16), np.uint16), "floats of shape"),
    ],
)
def test_a_mask_that_means_nothing_is_refused_before_light(small_bench_file: Path, weights: Any, message: str):
    with Bench(load_bench(small_bench_file), True) as bench:
        network = BenchNetwork(bench, NetworkShape(16, (8,), 4), 6.0)
        with pytest.raises(ConfigError, match=message):
            network.write_masks([weights, np.zeros((4, 8), np.float32)])
        assert not any(beam.is_on for beam in bench.beams)
        assert network.tally.mask_writes == 0


def test_a_diverged_training_ends_with_the_reason(small_bench_file: Path):
    with pytest.raises(RunAborted, match="learning_rate"):
        run(small_bench_file, {}, {"learning_rate": 1e30, "schedule": "constant"}, plan=train_in_silico)
