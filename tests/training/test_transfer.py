"""What the panels pass on of every weight is measured, and a far-off table is learned on all the same."""

from pathlib import Path

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.plan import parse_settings
from labctl.training.in_situ import train_in_situ
from labctl.training.measure import BenchNetwork
from labctl.training.network import NetworkShape

SHAPE = NetworkShape(16, (8,), 4)
FAR_OFF = {"simulation.imperfection_scale": 3.0}


def network_on(bench: Bench, quadratures: int = 1) -> BenchNetwork:
    network = BenchNetwork(bench, SHAPE, 4.0, quadratures=quadratures)
    network.prepare()
    network.measure_transfer()
    return network


def test_an_ideal_table_passes_every_weight_on(small_bench_file: Path):
    ideal = {"simulation.noise_scale": 0.0, "simulation.imperfections": False}
    with Bench(load_bench(small_bench_file, ideal), True) as bench:
        for layer in network_on(bench).transfer:
            assert layer == pytest.approx(np.ones_like(layer), abs=0.05)


@pytest.mark.parametrize("truth_seed", [1, 2, 3])
def test_the_transfer_predicts_sums_that_nominal_weights_miss(small_bench_file: Path, truth_seed: int):
    rng = np.random.default_rng(truth_seed)
    weights = [rng.uniform(-0.4, 0.4, layer).astype(np.float32) for layer in SHAPE.layers]
    inputs = rng.uniform(0, 1, (40, 16)).astype(np.float32)
    aligned = {f"light.{panel}.multiply.registration.sd": 0.0 for panel in (1, 6)}  # a shift mixes columns instead
    with Bench(load_bench(small_bench_file, {**FAR_OFF, **aligned}), True, truth_seed=truth_seed) as bench:
        network = network_on(bench, quadratures=2)
        network.write_masks(weights)
        network.measure_background()
        read = network.read_forward(0, inputs)["camera_z1"].data
        shown = network.patterns.shown_weights(weights)[0].numpy()
        nominal, measured = (inputs @ one.T for one in (shown, shown * network.transfer[0]))
    # what neighbouring rows add depends on the mask that is shown, and stays
    assert np.std(read - measured) < 0.85 * np.std(read - nominal)


def test_a_table_three_times_as_bad_is_learned_on_in_two_quadratures():
    settings = {"data": "sample", "hidden": [32], "train_samples": 1500, "test_samples": 300, "epochs": 2}
    asked = parse_settings(train_in_situ, {**settings, "quadratures": 2})

    with Bench(load_bench("vapour_cell", FAR_OFF), True, truth_seed=3) as bench:
        records = train_in_situ(bench, asked, np.random.default_rng(0))
        accuracies = [record.values["test_accuracy"] for record in records if record.kind == "epoch"]
    assert accuracies[-1] > 0.4  # chance is 0.1; an ideal table reaches 0.68 in these 48 steps
