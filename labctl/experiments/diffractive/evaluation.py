"""How well a classifier sorts: accuracy, confusion matrix, and where the light of every class goes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier did with labelled objects (Lin et al. 2018, figures 3 and 4).

    Args:
        confusion: Objects by true class (row) and brightest detector (column), shape (classes, classes).
        energy: Mean share in percent of the detected power by true class (row) and detector (column), same shape.
    """

    confusion: NDArray[np.int64]
    energy: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Percent of the objects whose own detector is the brightest."""
        return 100 * float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def own_energy(self) -> float:
        """Mean share in percent of the detected power that falls on the detector of the own class."""
        return float(np.trace(self.energy) / len(self.energy))


def evaluate(powers: NDArray[np.floating], labels: NDArray[np.integer]) -> Evaluation:
    """Return what detectors tell of objects; classes without objects have rows of zeros.

    Args:
        powers: Detector powers, shape (n, classes).
        labels: True classes, shape (n,).
    """
    classes = powers.shape[1]
    confusion, energy = np.zeros((classes, classes), np.int64), np.zeros((classes, classes))
    np.add.at(confusion, (labels, powers.argmax(axis=1)), 1)
    np.add.at(energy, labels, 100 * powers / powers.sum(axis=1, keepdims=True))
    return Evaluation(confusion, energy / np.maximum(confusion.sum(axis=1, keepdims=True), 1))
