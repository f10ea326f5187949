"""Trained plates as bricks: two more appended while the five stay as they are, and plates peeled off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from labctl.experiments.diffractive.cells import (
    LOSS_NAMES,
    OURS,
    PLAIN,
    QUICK_TRAIN,
    Recipes,
    Shown,
    classifiers_figure,
    training_seconds,
)
from labctl.experiments.diffractive.classifier import (
    ClassifierTraining,
    Loss,
    Optics,
    on_test_images,
    train_classifier,
)
from labctl.experiments.diffractive.data import Data
from labctl.experiments.diffractive.geometry import CLASSIFIER, Geometry
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Row

PUBLISHED: dict[Loss, tuple[float | None, float | None]] = {
    "log_mse": (91.75, 93.39),
    "cross_entropy": (97.18, None),
}
"""Accuracy of five plates and of five frozen with two appended (Lin et al. 2018)."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        optics: Geometry of the plates before any is appended, detectors, encoding.
        recipes: Of every training.
        appended: Plates appended.
        peeled: Numbers of plates that are left when plates are peeled off from the output's side.
        data: What is trained on.
    """

    optics: Optics = field(default_factory=Optics)
    recipes: Recipes = field(default_factory=lambda: OURS)
    appended: int = 2
    peeled: tuple[int, ...] = (4, 3)
    data: Data = field(default_factory=Data)

    def first(self, loss: Loss, seed: int) -> ClassifierTraining:
        """Return the training of the first plates."""
        return ClassifierTraining(self.optics, self.data, PLAIN[loss], loss, self.recipes[loss], seed)


@dataclass(frozen=True)
class Bricks:
    """Plates trained, then appended to and peeled.

    Args:
        first: Training of the first plates.
        appended: Plates appended.
        peeled: Numbers of plates left after peeling.
    """

    first: ClassifierTraining
    appended: int
    peeled: tuple[int, ...]

    def more(self) -> ClassifierTraining:
        """Return the training of the appended plates."""
        return on_geometry(self.first, self.first.optics.geometry.with_inserted(self.appended))


def on_geometry(training: ClassifierTraining, geometry: Geometry) -> ClassifierTraining:
    """Return a training on another geometry."""
    return replace(training, optics=replace(training.optics, geometry=geometry))


def play(bricks: Bricks, folder: Path) -> Mapping[str, Any]:
    """Return what the first plates, those with others appended, and what is left of them do with the test images."""
    first, alone = train_classifier(bricks.first, folder / "first")
    more = train_classifier(bricks.more(), folder / "more", frozen=first)[1]
    geometry = bricks.first.optics.geometry
    peeled = {
        str(kept): on_test_images(on_geometry(bricks.first, geometry.with_plates(kept)), first.peeled(kept))["accuracy"]
        for kept in bricks.peeled
    }
    return {"first": alone, "more": more, "peeled": peeled}


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    def cell(loss: Loss) -> Cell:
        bricks = Bricks(settings.first(loss, seed), settings.appended, settings.peeled)
        # The light's way back ends at the first appended plate, so the frozen ones cost a third.
        cost = training_seconds(bricks.first) + 0.6 * training_seconds(bricks.more())
        return Cell(loss, play, bricks, cost)

    return [cell(loss) for loss in settings.recipes]


def _rows(settings: Settings, results: Results) -> list[Row]:
    plates, added, rows = settings.optics.geometry.plates, settings.appended, []
    for loss in settings.recipes:
        (alone, with_more), result, name = PUBLISHED[loss], results[loss], LOSS_NAMES[loss]
        rows.append(Row(f"{plates} plates, {name}", alone, result["first"]["accuracy"]))
        rows.append(Row(f"{plates} frozen + {added}, {name}", with_more, result["more"]["accuracy"]))
        rows += [Row(f"peeled to {kept}, {name}", None, accuracy) for kept, accuracy in result["peeled"].items()]
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    titles = {"first": "first plates", "more": f"{settings.appended} appended"}
    return classifiers_figure(
        [
            Shown(f"{loss.replace('_', '-')}, {title}", results[loss][part])
            for loss in settings.recipes
            for part, title in titles.items()
        ]
    )


d2nn_lego = Table(
    "d2nn_lego",
    {"quick": Settings(Optics(CLASSIFIER.reduced(64)), data=Data("mnist", QUICK_TRAIN)), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    "Appended plates stand evenly between the fifth and the detectors, which stay where they are; only they are "
    "trained. Peeled: the last plates are taken away and the detectors moved up, nothing is trained again. Quick: "
    "64 x 64 neurons of the same pitch, everything else reduced alike, and 20,000 training digits.",
)
