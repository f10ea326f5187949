"""A diffractive classifier: objects through plates onto ten detectors; its training, and a table's cell of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.experiments.diffractive.data import Data, Images, load_splits
from labctl.experiments.diffractive.detectors import (
    PUBLISHED,
    DetectorLayout,
    detector_masks,
    detector_powers,
    detector_squares,
)
from labctl.experiments.diffractive.evaluation import Evaluation, evaluate
from labctl.experiments.diffractive.figures import plates_figure
from labctl.experiments.diffractive.geometry import CLASSIFIER, Geometry
from labctl.experiments.diffractive.losses import (
    intensity_of,
    log_plane_error,
    normalised_cross_entropy,
    plane_error,
    wanted_plane,
)
from labctl.experiments.diffractive.network import (
    Latent,
    Modulation,
    Transmission,
    field_after,
    initial_latent,
    output_field,
    plates_of,
    transmission,
    transmission_of,
)
from labctl.experiments.diffractive.objects import OBJECT_SHARE, Encoding, object_fields
from labctl.experiments.diffractive.plates import PLATES_FILE, Plates, write_plates
from labctl.experiments.diffractive.training import Objective, Training, device, train_kept
from labctl.report.figures import png
from labctl.training.model_training import Recipe

Loss = Literal["mse", "log_mse", "cross_entropy"]

TESTED_AT_ONCE = 64
"""Objects whose light is computed together where no gradient is needed."""


@dataclass(frozen=True)
class Optics:
    """What stands between the light source and the detectors, but for the plates.

    Args:
        geometry: Where the planes lie.
        encoding: How images become light.
        detectors: Layout of the detectors on the published plate.
        object_share: Side of the object over that of the plate.
    """

    geometry: Geometry = CLASSIFIER
    encoding: Encoding = "amplitude"
    detectors: DetectorLayout = PUBLISHED
    object_share: float = OBJECT_SHARE

    @property
    def object_pixels(self) -> int:
        """Pixels along each side of the object."""
        return round(self.object_share * min(self.geometry.grid.shape))


class Classifier:
    """Optics made ready on a device; plates are given to its methods.

    Args:
        optics: What to make ready.
        device: `cpu` or `cuda`.
    """

    def __init__(self, optics: Optics, device: str = "cpu") -> None:
        self.optics, self.device = optics, device
        shape = optics.geometry.grid.shape
        self.masks = detector_masks(detector_squares(optics.detectors, optics.geometry), shape, device)
        self.transfers = optics.geometry.transfers(device)

    def fields(self, images: NDArray[np.uint8]) -> Tensor:
        """Return the fields (n, rows, cols) of images (n, height, width) in the object plane."""
        grey = torch.from_numpy(images).to(self.device).float() / 255
        optics = self.optics
        return object_fields(grey, optics.object_pixels, optics.geometry.grid.shape, optics.encoding)

    def intensity(self, fields: Tensor, plates: Transmission) -> Tensor:
        """Return the intensity (n, rows, cols) in the output plane."""
        return intensity_of(output_field(fields, plates, self.transfers))

    def powers(
        self, images: NDArray[np.uint8], plates: Transmission, transfers: Sequence[Tensor] | None = None
    ) -> NDArray[np.float32]:
        """Return the detector powers (n, detectors) of images, without gradient.

        Args:
            images: Grey values, shape (n, height, width).
            plates: What light passes.
            transfers: Other hops than those of the geometry.
        """
        read = []
        with torch.no_grad():
            for start in range(0, len(images), TESTED_AT_ONCE):
                fields = self.fields(images[start : start + TESTED_AT_ONCE])
                field = output_field(fields, plates, self.transfers if transfers is None else transfers)
                read.append(detector_powers(intensity_of(field), self.masks).cpu().numpy())
        return np.concatenate(read)

    def evaluate(self, tested: Images, plates: Transmission) -> Evaluation:
        """Return how well images are sorted."""
        return evaluate(self.powers(tested.images, plates), tested.labels)


@dataclass(frozen=True)
class ClassifierTraining:
    """One training of a classifier.

    Args:
        optics: Everything but the plates; its geometry counts those that are frozen, too.
        data: What it is trained on.
        modulation: What the neurons may do.
        loss: `mse`: of the output plane against one with light on the right detector only. `log_mse`: the same with
            its brightness fitted, as a logarithm. `cross_entropy`: of normalised powers.
        recipe: Epochs, batches, learning rate.
        seed: Draws the order of the samples.
    """

    optics: Optics
    data: Data
    modulation: Modulation
    loss: Loss
    recipe: Recipe
    seed: int


@dataclass(frozen=True, eq=False)
class Learner:
    """A classifier of which some plates are frozen and the others are trained.

    Args:
        classifier: The optics.
        training: What is asked.
        frozen: Plates that stand first; None where there are none.
        latent: Latent values of the others.
    """

    classifier: Classifier
    training: ClassifierTraining
    frozen: Transmission | None
    latent: Latent

    def trained(self) -> Transmission:
        """Return the plates that are trained."""
        return transmission(self.latent, self.training.modulation)

    def plates(self) -> Transmission:
        """Return all plates."""
        return self.trained() if self.frozen is None else joined(self.frozen, self.trained())

    def loss(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Tensor:
        """Return the mean loss of a batch."""
        classifier = self.classifier
        fields, classes = classifier.fields(images), torch.from_numpy(labels).to(classifier.device)
        energy = intensity_of(fields).sum(dim=(1, 2))
        first = 0 if self.frozen is None else len(self.frozen.phase)
        if self.frozen is not None:
            fields = field_after(fields, self.frozen, classifier.transfers[:first])
        field = output_field(fields, self.trained(), classifier.transfers[first:])
        intensity = intensity_of(field)
        if self.training.loss == "cross_entropy":
            return normalised_cross_entropy(detector_powers(intensity, classifier.masks), classes)
        if self.training.loss == "log_mse":
            return log_plane_error(intensity, classifier.masks[classes])
        return plane_error(intensity, wanted_plane(classes, classifier.masks, energy))


def joined(first: Transmission, second: Transmission) -> Transmission:
    """Return plates with others behind them."""
    phase = torch.cat((first.phase, second.phase))
    if first.amplitude is None and second.amplitude is None:
        return Transmission(phase, None)
    amplitudes = [torch.ones_like(one.phase) if one.amplitude is None else one.amplitude for one in (first, second)]
    return Transmission(phase, torch.cat(amplitudes))


def train_plates(training: ClassifierTraining, frozen: Plates | None, folder: Path) -> tuple[Plates, Training]:
    """Train a classifier, keeping every epoch in `folder`; return the best plates, and what the training went through.

    Args:
        training: What is asked.
        frozen: Plates that stand first and stay as they are.
        folder: Where its checkpoint lies, and where it is taken up.
    """
    optics, where = training.optics, device()
    train, validation, _ = load_splits(training.data)
    own = optics.geometry.plates - (len(frozen) if frozen else 0)
    latent = initial_latent(own, optics.geometry.grid.shape, training.modulation, where)
    first = None if frozen is None else transmission_of(frozen, where)
    learner = Learner(Classifier(optics, where), training, first, latent)
    objective = Objective(
        len(train),
        lambda chosen: learner.loss(train.images[chosen], train.labels[chosen]),
        lambda: learner.classifier.evaluate(validation, learner.plates()).accuracy,
    )
    run = Training(latent, training.recipe, objective, training.seed)
    train_kept(run, folder, repr(training))
    best = Learner(learner.classifier, training, first, run.best)
    return plates_of(best.plates(), optics.geometry), run


def train_classifier(
    training: ClassifierTraining, folder: Path, frozen: Plates | None = None
) -> tuple[Plates, dict[str, Any]]:
    """Train a classifier; return its plates, and accuracy and matrices on the test images.

    Args:
        training: What is asked.
        folder: Where checkpoint, plates and a picture of them are left.
        frozen: Plates that stand first and stay as they are.
    """
    folder.mkdir(exist_ok=True)
    plates, run = train_plates(training, frozen, folder)
    write_plates(plates, folder / PLATES_FILE)
    (folder / "plates.png").write_bytes(png(plates_figure(plates)))
    return plates, {**on_test_images(training, plates), "losses": run.losses, "validation": run.scores}


def on_test_images(training: ClassifierTraining, plates: Plates) -> dict[str, Any]:
    """Return what plates do with the test images of a training."""
    classifier = Classifier(training.optics, device())
    evaluation = classifier.evaluate(load_splits(training.data)[2], transmission_of(plates, device()))
    return {
        "accuracy": evaluation.accuracy,
        "own_energy": evaluation.own_energy,
        "confusion": evaluation.confusion.tolist(),
        "energy": evaluation.energy.tolist(),
    }
