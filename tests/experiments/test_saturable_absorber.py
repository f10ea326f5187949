"""The saturable-absorber tables, each at toy scale: cells run, rows and figure are made, numbers mean something."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from labctl.experiments.bench_cell import BenchRun
from labctl.experiments.saturable_absorber.amplifier_bounds import Settings as BoundsSettings
from labctl.experiments.saturable_absorber.amplifier_bounds import gain_bounds_db
from labctl.experiments.saturable_absorber.convolutional import (
    ConvolutionalCell,
    train_convolutional,
)
from labctl.experiments.saturable_absorber.convolutional import Settings as ConvolutionalSettings
from labctl.experiments.saturable_absorber.deployment_gap import Settings as GapSettings
from labctl.experiments.saturable_absorber.depth_sweep import Settings as SweepSettings
from labctl.experiments.saturable_absorber.gain_saturation import Settings as GainSettings
from labctl.experiments.saturable_absorber.model_cell import Data, chosen
from labctl.experiments.saturable_absorber.one_hidden import Settings as OneHiddenSettings
from labctl.experiments.saturable_absorber.random_derivative import Settings as RandomSettings
from labctl.experiments.saturable_absorber.random_derivative import spread_functions
from labctl.experiments.saturable_absorber.two_hidden import Settings as TwoHiddenSettings
from labctl.experiments.table import compute_table, load_table
from labctl.report.comparison import Row
from labctl.report.figures import png
from labctl.training.convolution import ConvolutionalTraining
from labctl.training.model_training import Recipe

DATA = Data("sample", 300, 100)
RECIPE = Recipe(epochs=2, batch_size=20, learning_rate=2e-3, schedule="cosine")
SMALL_BENCH = str(Path(__file__).parents[1] / "benches" / "small_cell.yaml")
BENCH = {"data": "sample", "train_samples": 60, "test_samples": 40, "bench": SMALL_BENCH, "hidden": 8}
IN_MODEL: dict[str, Any] = {"hidden": (8, 8), "recipe": RECIPE, "data": DATA}

TOYS = {
    "sa_depth_sweep": SweepSettings(depths=(0.0, 10.0), seeds=1, **IN_MODEL),
    "sa_gain_saturation": GainSettings(gains=(0.0, 3.0), seeds=2, **IN_MODEL),
    "sa_random_derivative": RandomSettings(functions=3, drawn=40, references=2, **IN_MODEL),
    "sa_amplifier_bounds": BoundsSettings(**IN_MODEL),
    "sa_two_hidden": TwoHiddenSettings(seeds=1, **IN_MODEL),
    "sa_cnn": ConvolutionalSettings(RECIPE, channels=(2, 3), hidden=8, data=DATA),
    "sa_one_hidden": OneHiddenSettings(epochs=2, seeds=1, **BENCH),
}


def reproduce(name: str, folder: Path, settings: Any = None) -> list[Row]:
    """Return the rows of a table at toy scale; its figure is drawn, too."""
    table, settings = load_table(name), settings or TOYS[name]
    table = replace(table, workers=1)
    results = {done.cell: done.result for done in compute_table(table, settings, 0, folder)}
    rows = table.rows(settings, results)
    assert png(table.figure(settings, results, rows)).startswith(b"\x89PNG")
    return rows


@pytest.mark.parametrize("name", TOYS)
def test_a_table_is_computed_from_its_cells(name: str, tmp_path: Path):
    rows = reproduce(name, tmp_path)
    assert rows
    assert all(row.ours is not None for row in rows)
    assert all(0 <= (row.ours or 0) <= 100 for row in rows if row.unit == "%")
    assert len({row.name for row in rows}) == len(rows)


def test_cells_in_situ_keep_the_folders_of_their_runs(tmp_path: Path):
    reproduce("sa_one_hidden", tmp_path)
    runs = list(tmp_path.glob("cells/*/*/*/run.yaml"))
    assert len(runs) == 4  # two recipes, in situ and in silico
    assert all((run.parent / "weights.safetensors").exists() for run in runs)


def test_two_hidden_layers_are_trained_in_situ_too(tmp_path: Path):
    """One hidden layer on the small bench stands in for the deep one."""
    short = {"data": "sample", "train_samples": 60, "test_samples": 40, "hidden": [8], "epochs": 1}
    settings = replace(TOYS["sa_two_hidden"], in_situ=BenchRun("train_in_situ", SMALL_BENCH, short))
    rows = {row.name: row for row in reproduce("sa_two_hidden", tmp_path, settings)}
    assert rows["in situ, short, embedded sample"].ours is not None
    assert rows["its gradient agreement, layer 1"].unit == "cosine"


def test_the_gap_is_measured_again_with_larger_imperfections_where_it_is_small(tmp_path: Path):
    settings = GapSettings(epochs=1, truths=(1,), larger=1.5, **BENCH)
    rows = {row.name: row.ours or 0 for row in reproduce("sa_deployment_gap", tmp_path, settings)}
    again = any(name.startswith("imperfections x 1.5") for name in rows)
    assert again == (rows["imperfections x 1: mean gap"] < 3)


def test_the_epoch_is_chosen_on_one_half_and_reported_on_the_other():
    result = chosen([(0.9, 0.99), (0.95, 0.91), (0.93, 0.97)])
    assert (result["best_epoch"], result["accuracy"]) == (2, 91.0)


def test_random_functions_are_spread_over_their_errors_before_any_training():
    functions = spread_functions(RandomSettings(functions=8, drawn=200), 0)
    errors = [function.error for function in functions]
    assert len(set(functions)) == 8
    assert errors == sorted(errors)
    assert errors[0] < 0.05
    assert errors[-1] > 0.5


def test_the_bounds_of_a_unitary_matrix_are_0_db_and_those_of_a_constant_one_differ():
    unitary = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    assert gain_bounds_db(unitary) == pytest.approx((0, 0), abs=1e-4)
    assert gain_bounds_db(torch.ones(4, 4)) == pytest.approx((6.0206, 12.0412), abs=1e-3)


def test_a_convolutional_training_that_was_killed_goes_on_from_its_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cell = ConvolutionalCell(TOYS["sa_cnn"], "approximate", 0)
    (tmp_path / "whole").mkdir()
    expected = train_convolutional(cell, tmp_path / "whole")

    own, trained = ConvolutionalTraining._epoch, list[int]()  # noqa: SLF001 - where a kill is put in

    def killed_in_the_second(self: ConvolutionalTraining, number: int) -> float:
        trained.append(number)
        if trained == [1, 2]:
            raise KeyboardInterrupt
        return own(self, number)

    monkeypatch.setattr(ConvolutionalTraining, "_epoch", killed_in_the_second)
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train_convolutional(cell, tmp_path / "killed")
    assert train_convolutional(cell, tmp_path / "killed") == expected
    assert trained == [1, 2, 2]
