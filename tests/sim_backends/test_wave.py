"""Wave and matrix fidelity are one bench: fields, noise, errors, training on 32 inputs, 16 hidden, 10 outputs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labctl.bench import Bench, load_bench
from labctl.optics.multiplier.absorber import temperature_for
from labctl.optics.multiplier.scales import stage_scales
from labctl.plan import parse_settings
from labctl.training.in_situ import train_in_situ
from tests.conftest import CAMERAS, SMALL_BENCH

if TYPE_CHECKING:
    from tests.conftest import OpenTable, Table

BENCH = SMALL_BENCH.with_name("cell_32x16.yaml")
STANDING = {"reference_phase_walk": {"value": "0 rad", "source": "a walk is drawn by the seed of noise, not of truth"}}
NO_NOISE = {"simulation.noise_scale": 0, **{f"devices.{camera}.settings.bit_depth": 16 for camera in CAMERAS}}


def warm(table: "Table") -> None:
    """Bring the cell to optical depth 10."""
    celsius = temperature_for(10.0, 12.5, 20, 90)
    assert celsius is not None
    table.bench.cell("cell").set_temperature(celsius)
    table.bench.cell("cell").wait_for_temperature(celsius)


def fields(table: "Table", seed: int) -> dict[str, NDArray[np.complex128]]:
    """Return the fields at every camera over its full scale, for random data and weights."""
    warm(table)
    rng = np.random.default_rng(seed)
    for panel, one in table.multipliers.items():
        table.write(panel, rng.normal(0, 0.25, one.shape))
    inputs = table.stack("dmd_input", rng.uniform(0, 1, (6, 38)))
    hidden = {"dmd_hidden": table.stack("dmd_hidden", rng.normal(0, 0.25, (6, 19)).clip(-1, 1))}
    errors = {**hidden, "dmd_error": table.stack("dmd_error", rng.normal(0, 0.3, (6, 12)).clip(-1, 1))}
    read = {
        "camera_z1": table.fields("camera_z1", ["pump"], {"dmd_input": inputs}),
        "camera_hidden_1": table.fields("camera_hidden_1", ["pump_hidden"], hidden),
        "camera_output": table.fields("camera_output", ["pump_hidden"], hidden),
        "camera_error_1": table.fields("camera_error_1", ["pump_hidden", "probe"], errors),
    }
    scales = stage_scales(table.file, table.stages, table.file.all_settings, table.values)
    full = {name: one.full_scale / one.per_field for stage in scales for name, one in stage.readouts.items()}
    return {camera: field / full[camera] for camera, field in read.items()}


def both(open_table: "OpenTable", overrides: Mapping[str, Any], seed: int, **options: Any) -> list[Any]:
    tables = (
        open_table({**overrides, "simulation.fidelity": fidelity}, bench=BENCH, **options)
        for fidelity in ("matrix", "wave")
    )
    return [fields(table, seed) for table in tables]


def assert_same(matrix: dict[str, NDArray[np.complex128]], wave: dict[str, NDArray[np.complex128]]) -> None:
    for camera in CAMERAS:
        assert np.abs(matrix[camera]).max() > 0.2, camera
        assert np.abs(wave[camera] - matrix[camera]).max() < 0.01, camera


@pytest.mark.parametrize("seed", [1, 2])
def test_fields_agree_within_one_percent_of_full_scale(open_table: "OpenTable", seed: int):
    assert_same(*both(open_table, {**NO_NOISE, "simulation.imperfections": False}, seed))


@pytest.mark.parametrize("truth_seed", [1, 2, 3])
def test_they_agree_on_tables_with_the_reference_imperfections(open_table: "OpenTable", truth_seed: int):
    assert_same(*both(open_table, {**NO_NOISE, "simulation.terms": STANDING}, 1, truth_seed=truth_seed))


def test_they_agree_on_beams_with_a_gaussian_profile(open_table: "OpenTable"):
    overrides = {**NO_NOISE, "simulation.imperfections": False, "light.absorb.profile": "gaussian"}
    assert_same(*both(open_table, overrides, 1))


def test_readings_scatter_alike(open_table: "OpenTable"):
    variances = []
    for fidelity in ("matrix", "wave"):
        table = open_table({"simulation.fidelity": fidelity, "simulation.imperfections": False}, bench=BENCH)
        shown = np.tile(np.random.default_rng(1).uniform(-1, 1, 19), (2000, 1))
        stack = {"dmd_hidden": table.stack("dmd_hidden", shown)}
        spread = []
        for _ in range(3):
            steps = [
                table.counts("camera_hidden_1", ["pump_hidden", "reference"], stack, {"reference": phase})
                for phase in (0.0, np.pi)
            ]
            spread.append((steps[0] - steps[1]).var(axis=0).mean())
        variances.append(np.mean(spread))
    assert variances[1] == pytest.approx(variances[0], rel=0.05)


def test_a_camera_delivers_the_pixels_of_its_modes(open_table: "OpenTable"):
    table = open_table({"simulation.fidelity": "wave"}, bench=BENCH)
    assert table.bench.camera("camera_z1").shape == (19, 15)
    assert table.bench.camera("camera_hidden_1").shape == (19, 15)
    assert table.bench.camera("camera_output").shape == (12, 15)
    assert table.bench.camera("camera_z1").top_count == 2**12 - 1


def test_weights_of_zero_send_nothing_through_the_stop(open_table: "OpenTable"):
    """A flat panel sends everything into order 0, which the stop takes."""
    table = open_table({**NO_NOISE, "simulation.imperfections": False, "simulation.fidelity": "wave"}, bench=BENCH)
    for panel, one in table.multipliers.items():
        table.write(panel, np.zeros(one.shape))
    dark = table.fields("camera_z1", ["pump"], {"dmd_input": table.stack("dmd_input", np.ones((1, 38)))})
    table.write("slm_1", np.ones(table.multipliers["slm_1"].shape))
    lit = table.fields("camera_z1", ["pump"], {"dmd_input": table.stack("dmd_input", np.ones((1, 38)))})
    assert np.abs(dark).max() < 0.01 * np.abs(lit).max()


def test_a_wave_fidelity_training_learns():
    settings = parse_settings(
        train_in_situ,
        {
            "data": "sample",
            "hidden": [16],
            "epochs": 1,
            "agreement_every": 5,
            "train_samples": 640,
            "test_samples": 20,
            "initial_sd": 0.35,
            "optical_depth": 4,
            "learning_rate": 0.02,
        },
    )
    for truth_seed in (1, 2, 3):
        file = load_bench(BENCH, {"simulation.fidelity": "wave"})
        with Bench(file, True, seed=0, truth_seed=truth_seed) as bench:
            records = list(train_in_situ(bench, settings, np.random.default_rng(0)))
        losses = [record.values["loss"] for record in records if record.kind == "step"]
        assert np.mean(losses[-3:]) < 0.9 * losses[0]
        rows = [row for record in records if record.kind == "agreement" for row in record.values["layers"]]
        cosines = [np.mean([row["cosine"] for row in rows if row["layer"] == layer]) for layer in layers_of(rows)]
        assert min(cosines) > 0.9, truth_seed


def layers_of(rows: list[Any]) -> list[int]:
    """Return the layers that rows of agreement name."""
    layers = sorted({row["layer"] for row in rows})
    assert len(layers) == 2
    return layers
