"""Plates that sort fashion items shown as phase objects: five, ten, and five that change amplitude and phase."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from labctl.experiments.diffractive.cells import (
    LOSS_NAMES,
    OURS,
    PLAIN,
    QUICK_TRAIN,
    Recipes,
    Shown,
    accuracy_of,
    classifier_cell,
    classifiers_figure,
)
from labctl.experiments.diffractive.classifier import ClassifierTraining, Loss, Optics
from labctl.experiments.diffractive.data import Data
from labctl.experiments.diffractive.geometry import CLASSIFIER
from labctl.experiments.diffractive.network import Modulation
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Row, row_of

VARIANTS = {"5": "5 plates", "10": "10 plates", "complex": "5 plates, complex"}
"""Networks as the table names them."""

PUBLISHED: dict[tuple[str, Loss], float] = {
    ("5", "log_mse"): 81.13,
    ("10", "log_mse"): 86.60,
    ("complex", "log_mse"): 86.33,
    ("5", "cross_entropy"): 89.13,
    ("complex", "cross_entropy"): 89.32,
}
"""What is trained: networks and losses of which an accuracy is known. Lin et al. 2018; with cross-entropy, as quoted of
later work of the same laboratory (published-systems 3.4)."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        optics: Geometry of five plates, detectors, encoding.
        recipes: Of every training.
        data: What is trained on.
    """

    optics: Optics = field(default_factory=lambda: Optics(encoding="phase"))
    recipes: Recipes = field(default_factory=lambda: OURS)
    data: Data = field(default_factory=lambda: Data("fashion-mnist"))


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    def cell(variant: str, loss: Loss) -> Cell:
        plates = 10 if variant == "10" else settings.optics.geometry.plates
        optics = replace(settings.optics, geometry=settings.optics.geometry.with_plates(plates))
        modulation = Modulation("complex", PLAIN[loss].phase) if variant == "complex" else PLAIN[loss]
        training = ClassifierTraining(optics, settings.data, modulation, loss, settings.recipes[loss], seed)
        return classifier_cell(f"{variant}_{loss}", training)

    return [cell(variant, loss) for variant, loss in PUBLISHED]


def _rows(settings: Settings, results: Results) -> list[Row]:
    return [
        row_of(f"{VARIANTS[variant]}, {LOSS_NAMES[loss]}", accuracy_of(results, f"{variant}_{loss}"), published)
        for (variant, loss), published in PUBLISHED.items()
    ]


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    return classifiers_figure(
        [
            Shown(f"{VARIANTS[variant]}, {loss.replace('_', '-')}", results[f"{variant}_{loss}"])
            for variant, loss in PUBLISHED
        ]
    )


d2nn_fashion = Table(
    "d2nn_fashion",
    {
        "quick": Settings(Optics(CLASSIFIER.reduced(64), "phase"), data=Data("fashion-mnist", QUICK_TRAIN)),
        "paper": Settings(),
    },
    _cells,
    _rows,
    _figure,
    "Phase objects, 0 to 2 pi over the grey values, amplitude 1 inside the object's square and no light around it; the "
    "epoch is chosen on the last 5,000 training images. Quick: 64 x 64 neurons of the same pitch, everything else "
    "reduced alike, and 20,000 training images.",
)
