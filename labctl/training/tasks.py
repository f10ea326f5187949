"""Tasks: a data set as input amplitudes and one-hot targets that fit a bench."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.errors import ConfigError
from labctl.training.datasets import Dataset

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one split.

    Args:
        inputs: Input amplitudes 0..1, shape (n, inputs), in 255ths.
        labels: Class of each sample, shape (n,).
        classes: Number of classes.
    """

    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: NDArray[np.integer] | slice) -> tuple[Floats, Floats]:
        """Return inputs (n, inputs) in 0..1 and one-hot targets (n, classes) of the chosen samples."""
        inputs = self.inputs[chosen].astype(np.float32) / np.float32(255)
        return inputs, np.eye(self.classes, dtype=np.float32)[self.labels[chosen]]

    def shuffled(self, batch_size: int, rng: np.random.Generator) -> Iterator[NDArray[np.integer]]:
        """Yield the sample numbers of each batch of one epoch, the last one possibly smaller."""
        order = rng.permutation(len(self))
        for part in self.in_order(batch_size):
            yield order[part]

    def in_order(self, batch_size: int) -> Iterator[slice]:
        """Yield slices that cover every sample once."""
        for start in range(0, len(self), batch_size):
            yield slice(start, min(start + batch_size, len(self)))


def classification(data: Dataset, modes: int, classes: int) -> tuple[Samples, Samples]:
    """Return training and test samples of `data` for a bench with `modes` input modes and `classes` outputs.

    Images larger than the bench are averaged down to the largest square that fits; classes beyond the bench's
    outputs are left out.

    Args:
        data: Data set.
        modes: Input modes of the bench.
        classes: Output modes of the bench.
    """
    classes = min(classes, data.classes)
    train = _samples(data.train_images, data.train_labels, modes, classes)
    return train, _samples(data.test_images, data.test_labels, modes, classes)


def first_of(samples: Samples, count: int | None, asked_by: str) -> Samples:
    """Return the first `count` samples, or all.

    Args:
        samples: Samples of one split.
        count: How many; None for all.
        asked_by: Setting that says how many, for the message.

    Raises:
        ConfigError: There are not as many.
    """
    if count is not None and count > len(samples):
        raise ConfigError(
            f"{asked_by}: asked for {count}; allowed: 1 to {len(samples)}, as many as the data have of the "
            f"{samples.classes} classes used here, or null for all"
        )
    return Samples(samples.inputs[:count], samples.labels[:count], samples.classes)


def _samples(images: NDArray[np.uint8], labels: NDArray[np.uint8], modes: int, classes: int) -> Samples:
    kept = labels < classes
    side = min(math.isqrt(modes), images.shape[1])
    images = images[kept]
    if side < images.shape[1]:
        planes = torch.from_numpy(images).unsqueeze(1).float()
        small = torch.nn.functional.adaptive_avg_pool2d(planes, side)
        images = small.round().to(torch.uint8).squeeze(1).numpy()
    return Samples(images.reshape(len(images), -1), labels[kept].astype(np.int64), classes)
