"""Five phase plates that sort handwritten digits, trained on the published loss and on normalised cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from labctl.experiments.diffractive.cells import (
    LOSS_NAMES,
    OURS,
    PLAIN,
    QUOTED,
    Recipes,
    Shown,
    accuracy_of,
    classifier_cell,
    classifiers_figure,
)
from labctl.experiments.diffractive.classifier import ClassifierTraining, Loss, Optics
from labctl.experiments.diffractive.data import Data
from labctl.experiments.diffractive.geometry import CLASSIFIER
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Row, row_of
from labctl.training.model_training import Recipe

PUBLISHED: dict[Loss, float] = {"mse": 91.75, "log_mse": 91.75, "cross_entropy": 97.18}
"""Lin et al. 2018; with cross-entropy, as quoted of later work of the same laboratory."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        optics: Geometry, detectors, encoding.
        recipes: Of every training.
        data: What is trained on.
        quoted: Recipes that are tried beside them, those that are quoted of the original and of reproductions.
    """

    optics: Optics = field(default_factory=Optics)
    recipes: Recipes = field(default_factory=lambda: OURS)
    data: Data = field(default_factory=Data)
    quoted: Recipes = field(default_factory=dict)


@dataclass(frozen=True)
class _Trained:
    """A cell: its name, its loss, how the table calls it, and its recipe."""

    cell: str
    loss: Loss
    name: str
    recipe: Recipe


def _trained(settings: Settings) -> list[_Trained]:
    ours = [_Trained(loss, loss, LOSS_NAMES[loss], recipe) for loss, recipe in settings.recipes.items()]
    return ours + [
        _Trained(f"{loss}_quoted", loss, f"{LOSS_NAMES[loss]}, quoted recipe", recipe)
        for loss, recipe in settings.quoted.items()
    ]


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    optics, data = settings.optics, settings.data
    return [
        classifier_cell(one.cell, ClassifierTraining(optics, data, PLAIN[one.loss], one.loss, one.recipe, seed))
        for one in _trained(settings)
    ]


def _rows(settings: Settings, results: Results) -> list[Row]:
    trained = _trained(settings)
    rows = [row_of(one.name, accuracy_of(results, one.cell), PUBLISHED[one.loss]) for one in trained]
    return rows + [
        Row(f"light on the right detector, {one.name}", None, results[one.cell]["own_energy"]) for one in trained
    ]


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    return classifiers_figure([Shown(one.name, results[one.cell]) for one in _trained(settings)])


d2nn_mnist = Table(
    "d2nn_mnist",
    {"quick": Settings(Optics(CLASSIFIER.reduced(64))), "paper": Settings(quoted=QUOTED)},
    _cells,
    _rows,
    _figure,
    "Amplitude objects; the epoch is chosen on the last 5,000 training digits, accuracy is that of the 10,000 test "
    "digits. Quick: 64 x 64 neurons of the same 0.4 mm, object, detectors and distances (30 mm to 9.6 mm) reduced "
    "alike, so that every neuron still reaches the whole next plate. Paper scale has the quoted recipes (Adam at 1e-3, "
    "10 epochs) beside ours (3 epochs, batches of 16, steps that fall to nothing). Plates are in the cells.",
)
