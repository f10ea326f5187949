"""Diffractive networks at toy scale: they learn, go on after a kill, and their tables are made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labctl.errors import ConfigError, RunAborted
from labctl.experiments.diffractive.cells import Recipes
from labctl.experiments.diffractive.classifier import (
    Classifier,
    ClassifierTraining,
    Learner,
    Optics,
    on_test_images,
    train_classifier,
)
from labctl.experiments.diffractive.data import Data, load_splits
from labctl.experiments.diffractive.error_budget import Errors, tolerated
from labctl.experiments.diffractive.error_budget import Settings as BudgetSettings
from labctl.experiments.diffractive.fashion import Settings as FashionSettings
from labctl.experiments.diffractive.geometry import CLASSIFIER, IMAGER
from labctl.experiments.diffractive.imager import Settings as ImagerSettings
from labctl.experiments.diffractive.lego import Settings as LegoSettings
from labctl.experiments.diffractive.mnist import Settings as MnistSettings
from labctl.experiments.diffractive.network import (
    Modulation,
    Transmission,
    field_after,
    initial_latent,
    output_field,
    plates_of,
    transmission,
    transmission_of,
)
from labctl.experiments.diffractive.plates import read_plates
from labctl.experiments.diffractive.training import Objective, Training
from labctl.experiments.table import compute_table, load_table
from labctl.report.comparison import Row
from labctl.report.figures import png
from labctl.training.model_training import Recipe

GEOMETRY = CLASSIFIER.reduced(32).with_plates(2)
OPTICS = Optics(GEOMETRY)
DATA = Data("sample", 200, 100, 100)
RECIPE = Recipe(2, 10, 0.1, "cosine")
RECIPES: Recipes = {"log_mse": RECIPE, "cross_entropy": RECIPE}
TRAINING = ClassifierTraining(OPTICS, DATA, Modulation(), "cross_entropy", RECIPE, 0)

TOYS: dict[str, Any] = {
    "d2nn_mnist": MnistSettings(OPTICS, RECIPES, DATA, {"mse": RECIPE}),
    "d2nn_fashion": FashionSettings(Optics(GEOMETRY, "phase"), RECIPES, DATA),
    "d2nn_lego": LegoSettings(OPTICS, RECIPES, 1, (1,), DATA),
    "d2nn_error_budget": BudgetSettings(OPTICS, RECIPES, Errors((50, 800), (5,), (500,), (8, 2), (0.3,)), 2, 50, DATA),
    "d2nn_imager": ImagerSettings(Recipe(1, 5, 0.1), Data("sample", 10, 5, 5), IMAGER.cut(32), (1, 2)),
}


def reproduce(name: str, folder: Path) -> list[Row]:
    table = replace(load_table(name), workers=1)
    results = {done.cell: done.result for done in compute_table(table, TOYS[name], 0, folder)}
    rows = table.rows(TOYS[name], results)
    assert png(table.figure(TOYS[name], results, rows)).startswith(b"\x89PNG")
    return rows


@pytest.mark.parametrize("name", TOYS)
def test_a_table_is_computed_from_its_cells(name: str, tmp_path: Path):
    rows = reproduce(name, tmp_path)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.ours is None or row.ours >= 0 for row in rows)
    assert all(row.ours is not None and row.ours <= 100 for row in rows if row.unit == "%")
    kept = list(tmp_path.rglob("plates.safetensors"))
    assert kept
    assert all(path.with_name("plates.png").exists() for path in kept)


@pytest.mark.parametrize("name", TOYS)
def test_both_scales_predict_their_time(name: str):
    table = load_table(name)
    quick, paper = (sum(cell.seconds for cell in table.cells(table.scales[s], 0, {})) for s in ("quick", "paper"))
    assert 10 < quick < paper


# ---- learning


def test_a_few_hundred_digits_teach_plates_more_than_chance(tmp_path: Path):
    _, result = train_classifier(TRAINING, tmp_path)
    assert result["accuracy"] > 35
    assert result["losses"][-1] < result["losses"][0]
    assert np.sum(result["confusion"]) == 100
    assert np.allclose(np.sum(result["energy"], axis=1), 100)


@pytest.mark.parametrize("kind", ["phase", "amplitude", "complex"])
@pytest.mark.parametrize("loss", ["mse", "log_mse", "cross_entropy"])
def test_every_kind_of_plate_learns_with_every_loss(kind: Any, loss: Any):
    modulation = Modulation(kind, "free" if loss == "cross_entropy" else "sigmoid")
    train = load_splits(DATA)[0]
    latent = initial_latent(2, (32, 32), modulation)
    learner = Learner(Classifier(OPTICS), replace(TRAINING, modulation=modulation, loss=loss), None, latent)
    objective = Objective(100, lambda chosen: learner.loss(train.images[chosen], train.labels[chosen]), lambda: 0.0)
    run = Training(latent, Recipe(3, 20, 0.1), objective, 0)
    list(run.run())
    assert run.losses[-1] < run.losses[0]
    plates = plates_of(transmission(run.best, modulation), GEOMETRY)
    assert (plates.amplitude is None) == (kind == "phase")


def test_each_number_of_plates_has_its_hops():
    for plates in (1, 10):
        geometry = GEOMETRY.with_plates(plates)
        latent = initial_latent(plates, (32, 32), Modulation())
        field = torch.ones((1, 32, 32), dtype=torch.complex64)
        assert output_field(field, transmission(latent, Modulation()), geometry.transfers()).shape == (1, 32, 32)


def test_frozen_plates_stay_and_light_passes_them_first(tmp_path: Path):
    first, _ = train_classifier(TRAINING, tmp_path / "first")
    more = replace(TRAINING, optics=replace(OPTICS, geometry=GEOMETRY.with_plates(3)))
    all_plates, _ = train_classifier(more, tmp_path / "more", frozen=first)
    assert np.array_equal(all_plates.phase[:2], first.phase)
    assert float(np.ptp(all_plates.phase[2])) > 0
    kept = read_plates(tmp_path / "more" / "plates.safetensors")
    assert np.array_equal(kept.phase, all_plates.phase)


def test_flat_plates_inserted_before_the_detectors_change_nothing():
    more = GEOMETRY.with_inserted(2)
    assert sum(more.distances_m) == pytest.approx(sum(GEOMETRY.distances_m))
    field = torch.zeros((1, 32, 32), dtype=torch.complex64)
    y, x = GEOMETRY.grid.coordinates_m()
    field[0] = torch.from_numpy(np.exp(-(x**2 + y**2) / (2e-3) ** 2))  # stays far from the edges
    before = output_field(field, Transmission(torch.zeros(2, 32, 32), None), GEOMETRY.transfers())
    after = output_field(field, Transmission(torch.zeros(4, 32, 32), None), more.transfers())
    assert float((before - after).norm() / before.norm()) < 0.01


def test_light_behind_frozen_plates_is_that_of_the_whole_network():
    generator = torch.Generator().manual_seed(0)
    plates = Transmission(6 * torch.rand((3, 32, 32), generator=generator), None)
    transfers = GEOMETRY.with_plates(3).transfers()
    field = torch.rand((2, 32, 32), generator=generator).to(torch.complex64)
    whole = output_field(field, plates, transfers)
    behind = field_after(field, Transmission(plates.phase[:2], None), transfers[:2])
    rest = output_field(behind, Transmission(plates.phase[2:], None), transfers[2:])
    assert float((whole - rest).abs().max() / whole.abs().max()) < 1e-5


def test_plates_read_back_sort_as_they_did(tmp_path: Path):
    plates, result = train_classifier(TRAINING, tmp_path)
    again = read_plates(tmp_path / "plates.safetensors")
    assert on_test_images(TRAINING, again)["accuracy"] == result["accuracy"]
    assert torch.equal(transmission_of(again).phase, transmission_of(plates).phase)


# ---- interrupted


def test_a_training_that_was_killed_goes_on_from_its_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    expected = train_classifier(TRAINING, tmp_path / "whole")[1]
    own, epochs = Training._epoch, list[int]()  # noqa: SLF001 - where a kill is put in

    def killed_in_the_second(self: Training, number: int) -> float:
        epochs.append(number)
        if epochs == [1, 2]:
            raise KeyboardInterrupt
        return own(self, number)

    monkeypatch.setattr(Training, "_epoch", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(TRAINING, tmp_path / "killed")
    assert train_classifier(TRAINING, tmp_path / "killed")[1] == expected
    assert epochs == [1, 2, 2]


def test_a_training_that_diverges_says_so():
    latent = {"phase": torch.zeros(1, 2, 2)}
    objective = Objective(4, lambda chosen: latent["phase"].sum() / 0, lambda: 0.0)
    with pytest.raises(RunAborted, match="diverged; lower the learning rate"):
        list(Training(latent, RECIPE, objective, 0).run())


def test_the_plates_of_the_best_epoch_are_kept():
    latent = {"phase": torch.zeros(1, 1, 1)}
    scores = iter((1.0, 3.0, 2.0))
    objective = Objective(1, lambda chosen: latent["phase"].sum(), lambda: next(scores))
    run = Training(latent, Recipe(3, 1, 0.1), objective, 0)
    values = [float(run.latent["phase"].detach()) for _ in run.run()]
    assert float(run.best["phase"]) == values[1]


def test_too_few_images_for_the_split_are_refused():
    with pytest.raises(ConfigError, match="sample: 5000 validation images of 5000; give 1 to 4999"):
        load_splits(Data("sample", validation=5_000))


# ---- error budget


@pytest.mark.parametrize(
    ("accuracies", "size"),
    [
        ([90, 88, 80], 10**0.5),  # halfway between 90 and 88, on a logarithmic scale of sizes
        ([90, 90, 89.5], None),
        ([70, 60, 50], 1.0),
    ],
)
def test_the_error_that_costs_a_point_lies_between_those_tried(accuracies: list[float], size: float | None):
    assert tolerated(90, (1, 10, 100), accuracies) == (None if size is None else pytest.approx(size))
