"""Five phase plates that sort handwritten digits, trained on the published loss and on normalised cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from labctl.experiments.diffractive.cells import (
    LOSS_NAMES,
    PAPER,
    PLAIN,
    QUICK,
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

PUBLISHED: dict[Loss, float] = {"mse": 91.75, "cross_entropy": 97.18}
"""Lin et al. 2018; with cross-entropy, as quoted of later work of the same laboratory."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        optics: Geometry, detectors, encoding.
        recipes: Of every training.
        data: What is trained on.
    """

    optics: Optics = field(default_factory=Optics)
    recipes: Recipes = PAPER
    data: Data = field(default_factory=Data)


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    return [
        classifier_cell(
            loss,
            ClassifierTraining(settings.optics, settings.data, PLAIN[loss], loss, settings.recipes.of(loss), seed),
        )
        for loss in PUBLISHED
    ]


def _rows(settings: Settings, results: Results) -> list[Row]:
    rows = [row_of(LOSS_NAMES[loss], accuracy_of(results, loss), PUBLISHED[loss]) for loss in PUBLISHED]
    energies = [
        Row(f"light on the right detector, {LOSS_NAMES[loss]}", None, results[loss]["own_energy"]) for loss in PUBLISHED
    ]
    return rows + energies


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    return classifiers_figure([Shown(LOSS_NAMES[loss], results[loss]) for loss in PUBLISHED])


d2nn_mnist = Table(
    "d2nn_mnist",
    {"quick": Settings(Optics(CLASSIFIER.reduced(64)), QUICK), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    "Amplitude objects; the epoch is chosen on the last 5,000 training digits, accuracy is that of the 10,000 test "
    "digits. Quick: 64 x 64 neurons of the same 0.4 mm, object, detectors and distances (30 mm to 9.6 mm) reduced "
    "alike, so that every neuron still reaches the whole next plate. Plates and their pictures are in the cells.",
)
