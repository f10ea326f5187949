"""Images and labels that a diffractive network is trained, chosen and tested on."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from labctl.errors import ConfigError
from labctl.training.datasets import load_dataset


@dataclass(frozen=True)
class Data:
    """What a network is trained on.

    Args:
        name: Data set, as `load_dataset` knows it.
        train: Training images used, from the first; None for all that are not validation images.
        validation: Last training images, kept apart to choose the epoch by (Lin et al. 2018: 5,000 of 60,000).
        test: Test images used, from the first; None for all.
    """

    name: str = "mnist"
    train: int | None = None
    validation: int = 5_000
    test: int | None = None


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images.

    Args:
        images: Grey values, shape (n, rows, cols).
        labels: Classes, shape (n,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@cache
def load_splits(data: Data) -> tuple[Images, Images, Images]:
    """Return training, validation and test images; loaded once per process.

    Raises:
        ConfigError: The data set cannot be had, or has too few images for this split.
    """
    loaded = load_dataset(data.name)
    whole = len(loaded.train_labels)
    last = whole - data.validation
    if not 0 < data.validation < whole:
        raise ConfigError(f"{data.name}: {data.validation} validation images of {whole}; give 1 to {whole - 1}")
    labels, test_labels = loaded.train_labels.astype(np.int64), loaded.test_labels.astype(np.int64)
    first = slice(0, last if data.train is None else min(data.train, last))
    return (
        Images(loaded.train_images[first], labels[first]),
        Images(loaded.train_images[last:], labels[last:]),
        Images(loaded.test_images[: data.test], test_labels[: data.test]),
    )
