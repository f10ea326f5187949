"""How well a network reads the test samples: as a confusion of classes, measured on the bench or in the model."""

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.training.measure import BenchNetwork
from labctl.training.network import forward
from labctl.training.tasks import Floats, Samples

Counts = NDArray[np.int64]

EVALUATION_BATCH = 100
"""Samples between two looks at the reference phase while testing: 0.2 s of bench time."""


def bench_confusion(network: BenchNetwork, samples: Samples) -> Counts:
    """Return how often what the panels show now reads each class as which, shape (true class, read class)."""
    network.tally.heading = "evaluation"
    read: list[NDArray[np.int64]] = []
    for part in samples.in_order(EVALUATION_BATCH):
        values, _ = samples.batch(part)
        for layer, stage in enumerate(network.bench.file.stages):
            values = network.read_forward(layer, values)[stage.end.camera].data
        read.append(values.argmax(axis=1))
    return _confusion(samples, np.concatenate(read))


def model_confusion(network: BenchNetwork, weights: list[Floats], samples: Samples) -> Counts:
    """Return how often `weights` in the calibrated model read each class as which, shape (true class, read class)."""
    inputs, _ = samples.batch(slice(None))
    tensors = [torch.from_numpy(weight) for weight in weights]
    _, activations = forward(tensors, torch.from_numpy(inputs), network.absorption)
    return _confusion(samples, activations[-1].argmax(dim=1).numpy())


def _confusion(samples: Samples, read: NDArray[np.int64]) -> Counts:
    counts = np.zeros((samples.classes, samples.classes), np.int64)
    np.add.at(counts, (samples.labels, read), 1)
    return counts


def confusion_accuracy(confusion: Counts) -> float:
    """Return the share of samples on the diagonal."""
    return float(confusion.trace() / confusion.sum())
