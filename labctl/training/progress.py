"""How far a training has come: with it, weights and generators, a training can be continued in the middle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass
class Progress:
    """What a training has reached.

    Args:
        epoch: Epoch under way, from 1; beyond the last one when all are done.
        order: Sample numbers in the order this epoch takes them; empty until it begins.
        batches: Batches of this epoch that are done.
        losses: Loss of each of them.
        checked: Gradient agreements measured in this epoch, one row for each layer.
        test_accuracies: Test accuracy after each epoch.
        agreements: Mean gradient agreement of each epoch, one row for each layer.
    """

    epoch: int = 1
    order: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    batches: int = 0
    losses: list[float] = field(default_factory=list)
    checked: list[dict[str, Any]] = field(default_factory=list)
    test_accuracies: list[float] = field(default_factory=list)
    agreements: list[dict[str, Any]] = field(default_factory=list)

    def mean_agreements(self) -> list[dict[str, Any]]:
        """Return the mean agreement of every layer over this epoch so far."""
        keys = ("cosine", "cosine_exact", "norm_ratio", "noise_floor")
        layers = sorted({row["layer"] for row in self.checked})
        of = {layer: [row for row in self.checked if row["layer"] == layer] for layer in layers}
        return [
            {
                "epoch": self.epoch,
                "layer": layer,
                **{key: float(np.mean([row[key] for row in of[layer]])) for key in keys},
            }
            for layer in layers
        ]

    def next_epoch(self) -> None:
        """Begin another epoch."""
        self.epoch, self.order, self.batches, self.losses, self.checked = (
            self.epoch + 1,
            np.zeros(0, np.int64),
            0,
            [],
            [],
        )


def optimiser_state(optimiser: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the optimiser's moments by name of weight; empty before its first step."""
    return {
        name: {key: value.numpy().copy() for key, value in optimiser.state[weight].items()}
        for name, weight in weights.items()
        if weight in optimiser.state
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor], state: Mapping[str, Any]
) -> None:
    """Give an optimiser of the same weights the moments that `optimiser_state` returned."""
    for name, moments in state.items():
        optimiser.state[weights[name]] = {key: torch.from_numpy(value) for key, value in moments.items()}
