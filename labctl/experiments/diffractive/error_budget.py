"""What printing and mounting may cost a classifier: shift, rotation, spacing, height steps and absorption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from labctl.experiments.diffractive.cells import LOSS_NAMES, OURS, PLAIN, QUICK_TRAIN, Recipes, training_seconds
from labctl.experiments.diffractive.classifier import Classifier, ClassifierTraining, Loss, Optics, train_classifier
from labctl.experiments.diffractive.data import Data, Images, load_splits
from labctl.experiments.diffractive.evaluation import evaluate
from labctl.experiments.diffractive.geometry import CLASSIFIER, transfers_over
from labctl.experiments.diffractive.imperfections import absorbing, displaced, stepped
from labctl.experiments.diffractive.network import Transmission, transmission_of
from labctl.experiments.diffractive.training import device
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Row
from labctl.report.figures import blank, plain_axes

INDEX_STEP = 0.7227
"""Index of the printed material less that of air (published-systems 3.3)."""

TOLERATED = 1.0
"""Points of accuracy whose loss the table names the error of."""


@dataclass(frozen=True)
class Errors:
    """Sizes of the errors tried.

    Args:
        shift_um: Lateral shift of each plate, standard deviation along each axis.
        rotation_deg: Rotation of each plate about its centre, standard deviation.
        spacing_um: Error of each distance, standard deviation.
        levels: Steps of height per wavelength of phase, fewest last.
        extinction: Extinction coefficient k of the material.
    """

    shift_um: tuple[float, ...] = (25, 50, 100, 200, 400, 800)
    rotation_deg: tuple[float, ...] = (0.1, 0.2, 0.5, 1, 2, 5)
    spacing_um: tuple[float, ...] = (50, 100, 200, 500, 1000, 2000)
    levels: tuple[float, ...] = (64, 16, 8, 4, 3, 2)
    extinction: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5)


AXES = {
    "shift_um": "shift of each plate, rms (um)",
    "rotation_deg": "rotation of each plate, rms (deg)",
    "spacing_um": "error of each distance, rms (um)",
    "levels": "steps of height per wavelength",
    "extinction": "extinction coefficient k",
}
"""Errors as figure and table name them."""

DRAWN = ("shift_um", "rotation_deg", "spacing_um")
"""Errors that differ from plate to plate by chance."""


@dataclass(frozen=True)
class Settings:
    """Settings of the table.

    Args:
        optics: Geometry, detectors, encoding.
        recipes: Of the trainings.
        errors: Sizes tried.
        draws: Chances each size is tried with, where there is chance.
        tested: Test images of each try.
        data: What is trained on.
    """

    optics: Optics = field(default_factory=Optics)
    recipes: Recipes = field(default_factory=lambda: OURS)
    errors: Errors = field(default_factory=Errors)
    draws: int = 5
    tested: int = 2_000
    data: Data = field(default_factory=Data)


@dataclass(frozen=True)
class Budget:
    """A classifier that is trained, and the errors it is then tried with.

    Args:
        training: Of the classifier.
        errors: Sizes tried.
        draws: Chances each size is tried with.
        tested: Test images of each try.
    """

    training: ClassifierTraining
    errors: Errors
    draws: int
    tested: int

    @property
    def tries(self) -> int:
        """Number of accuracies measured."""
        return sum(len(getattr(self.errors, kind)) * (self.draws if kind in DRAWN else 1) for kind in AXES)


def spend(budget: Budget, folder: Path) -> Mapping[str, Any]:
    """Return the accuracy in percent without error, and with each size of each error, one per draw."""
    plates, tested = train_classifier(budget.training, folder)
    classifier = Classifier(budget.training.optics, device())
    test = load_splits(budget.training.data)[2]
    test = Images(
        test.images[:: max(1, len(test) // budget.tested)], test.labels[:: max(1, len(test) // budget.tested)]
    )
    passed = transmission_of(plates, device())

    def accuracies(kind: str, size: float) -> list[float]:
        draws = range(budget.draws if kind in DRAWN else 1)
        return [_accuracy(classifier, passed, test, kind, size, np.random.default_rng(draw)) for draw in draws]

    clean = classifier.evaluate(test, passed).accuracy
    tried = {kind: [accuracies(kind, size) for size in getattr(budget.errors, kind)] for kind in AXES}
    return {"accuracy": tested["accuracy"], "clean": clean, "tried": tried}


def _accuracy(
    classifier: Classifier, plates: Transmission, test: Images, kind: str, size: float, rng: np.random.Generator
) -> float:
    """Return the accuracy with one error; the generator's first numbers are its direction, `size` its length."""
    count = len(plates.phase)
    transfers, still = None, torch.zeros(count)
    if kind == "shift_um":
        pitch_um = 1e6 * classifier.optics.geometry.grid.pitch_m
        shift_px = torch.from_numpy(size / pitch_um * rng.standard_normal((count, 2))).float()
        plates = displaced(plates, shift_px, still)
    elif kind == "rotation_deg":
        angles_rad = torch.from_numpy(np.radians(size) * rng.standard_normal(count)).float()
        plates = displaced(plates, torch.zeros(count, 2), angles_rad)
    elif kind == "spacing_um":
        geometry = classifier.optics.geometry
        errors_m = 1e-6 * size * rng.standard_normal(count + 1)
        distances_m = tuple(float(d + e) for d, e in zip(geometry.distances_m, errors_m, strict=True))
        transfers = transfers_over(geometry, distances_m, classifier.device)
    elif kind == "levels":
        plates = stepped(plates, round(size))
    else:
        plates = absorbing(plates, size / INDEX_STEP)
    return evaluate(classifier.powers(test.images, plates, transfers), test.labels).accuracy


def tolerated(clean: float, sizes: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Return the size of an error that costs `TOLERATED` points, between the sizes tried; None where none does.

    Args:
        clean: Accuracy without error.
        sizes: Sizes tried, from harmless to harmful.
        accuracies: Mean accuracy with each.
    """
    limit = clean - TOLERATED
    harmful = next((place for place, accuracy in enumerate(accuracies) if accuracy < limit), None)
    if harmful is None:
        return None
    if harmful == 0:
        return float(sizes[0])
    x, y = np.log(sizes[harmful - 1 : harmful + 1]), accuracies[harmful - 1 : harmful + 1]
    return float(np.exp(np.interp(-limit, (-y[0], -y[1]), x)))


def _cells(settings: Settings, seed: int, results: Results) -> Sequence[Cell]:
    def cell(loss: Loss) -> Cell:
        recipe = settings.recipes[loss]
        training = ClassifierTraining(settings.optics, settings.data, PLAIN[loss], loss, recipe, seed)
        budget = Budget(training, settings.errors, settings.draws, settings.tested)
        own_s = training_seconds(training)
        samples = recipe.epochs * (settings.data.train or 60_000 - settings.data.validation)
        return Cell(loss, spend, budget, own_s * (1 + budget.tries * settings.tested / 3 / samples))

    return [cell(loss) for loss in settings.recipes]


def _rows(settings: Settings, results: Results) -> list[Row]:
    rows = []
    for loss in settings.recipes:
        result, name = results[loss], LOSS_NAMES[loss]
        rows.append(Row(f"accuracy without errors, {name}", None, result["accuracy"]))
        for kind, label in AXES.items():
            means = [float(np.mean(one)) for one in result["tried"][kind]]
            size = tolerated(result["clean"], getattr(settings.errors, kind), means)
            quantity, _, unit = label.removesuffix(")").partition(" (")
            rows.append(Row(f"costs 1 point: {quantity}, {name}", None, size, unit))
    return rows


def _figure(settings: Settings, results: Results, rows: Sequence[Row]) -> Figure:
    figure = blank(15, 3.6)
    panels = figure.subplots(1, len(AXES), sharey=True)
    for axes, (kind, label) in zip(panels, AXES.items(), strict=True):
        sizes = getattr(settings.errors, kind)
        for colour, loss in zip(("#0072B2", "#D55E00"), settings.recipes, strict=False):
            tried = np.array(results[loss]["tried"][kind])
            spread = np.abs([tried.min(axis=1), tried.max(axis=1)] - tried.mean(axis=1))
            look = {"color": colour, "ms": 4, "lw": 1.2, "capsize": 2}
            axes.errorbar(sizes, tried.mean(axis=1), spread, fmt="o-", label=LOSS_NAMES[loss], **look)
            axes.axhline(results[loss]["clean"], color=colour, lw=0.8, ls=":")
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel(label)
        plain_axes(axes)
    panels[0].set_ylabel("accuracy (%)")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return figure


d2nn_error_budget = Table(
    "d2nn_error_budget",
    {"quick": Settings(Optics(CLASSIFIER.reduced(64)), data=Data("mnist", QUICK_TRAIN)), "paper": Settings()},
    _cells,
    _rows,
    _figure,
    "One error at a time on trained plates, nothing trained again; bars span the draws. Shift, rotation and distance "
    "are drawn anew for every plate or hop from a normal distribution; heights are rounded to equal steps; absorption "
    "is exp(-phi k / dn) in amplitude with dn = 0.7227. Quick: 64 x 64 neurons of the same 0.4 mm, distances 9.6 mm, "
    "so that the same turn moves the edge of a plate less, and the same length is a larger share of a distance.",
)
