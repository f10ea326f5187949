"""Training of plates in the model: any loss over batches of samples, kept after every epoch, the best epoch chosen."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.errors import RunAborted
from labctl.experiments.checkpoint import keep, kept
from labctl.training.model_training import Recipe

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Objective:
    """What is trained for.

    Args:
        samples: Training samples.
        loss: Function from sample numbers to the mean loss of that batch, differentiable in the latent values.
        score: Function without arguments: how good the latent values are on validation samples, higher is better.
    """

    samples: int
    loss: Callable[[Indices], Tensor]
    score: Callable[[], float]


def device() -> str:
    """Return where networks are trained: `cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Training:
    """A training that can be put away between epochs and taken up again.

    Args:
        latent: Initial latent values by name, trained in place by Adam.
        recipe: Epochs, batches, learning rate.
        objective: What is trained for.
        seed: Draws the order of the samples.
    """

    def __init__(self, latent: Mapping[str, Tensor], recipe: Recipe, objective: Objective, seed: int) -> None:
        self.latent = {name: value.requires_grad_() for name, value in latent.items()}
        self.best = self._copies()
        self.losses: list[float] = []
        self.scores: list[float] = []
        self._recipe, self._objective = recipe, objective
        self._rng = np.random.default_rng(seed)
        self._optimiser = torch.optim.Adam(self.latent.values(), lr=recipe.learning_rate, fused=True)

    def run(self) -> Iterator[int]:
        """Yield the number of every epoch that was still to be done, from 1.

        Raises:
            RunAborted: The loss is not finite any more.
        """
        for number in range(len(self.losses) + 1, self._recipe.epochs + 1):
            loss = self._epoch(number)
            if not math.isfinite(loss):
                raise RunAborted(f"loss of epoch {number} is {loss}: the training diverged; lower the learning rate")
            with torch.no_grad():
                score = self._objective.score()
            if score > max(self.scores, default=-math.inf):
                self.best = self._copies()
            self.losses.append(loss)
            self.scores.append(score)
            yield number

    def _epoch(self, number: int) -> float:
        recipe, samples = self._recipe, self._objective.samples
        per_epoch = math.ceil(samples / recipe.batch_size)
        # one tensor for all: a small one kept from every step leaves no room for the next step's large ones where its
        # own were, and memory grows by gigabytes in an epoch
        losses = torch.zeros(per_epoch, device=next(iter(self.latent.values())).device)
        order = self._rng.permutation(samples)
        for batch in range(per_epoch):
            for group in self._optimiser.param_groups:
                group["lr"] = recipe.rate(((number - 1) * per_epoch + batch) / (recipe.epochs * per_epoch))
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            self._optimiser.zero_grad()
            loss = self._objective.loss(chosen)
            loss.backward()
            self._optimiser.step()
            losses[batch] = loss.detach()
        return float(losses.mean())

    def _copies(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.latent.items()}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return latent values, the best ones and moments as arrays, and what else is needed to go on."""
        arrays = {f"best.{name}": value for name, value in self.best.items()}
        for name, value in self.latent.items():
            arrays[f"latent.{name}"] = value.detach()
            arrays |= {f"{moment}.{name}": tensor for moment, tensor in self._optimiser.state[value].items()}
        generator = self._rng.bit_generator.state
        about = {"losses": self.losses, "scores": self.scores, "generator": generator}
        return {name: array.cpu().numpy() for name, array in arrays.items()}, about

    def restore(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, value in self.latent.items():
            tensors = {key: torch.from_numpy(array.copy()) for key, array in arrays.items() if key.endswith(f".{name}")}
            with torch.no_grad():
                value.copy_(tensors.pop(f"latent.{name}"))
            self.best[name] = tensors.pop(f"best.{name}").to(value.device)
            moments = {key.partition(".")[0]: tensor.to(value.device) for key, tensor in tensors.items()}
            self._optimiser.state[value] = moments
        self.losses, self.scores = list(about["losses"]), list(about["scores"])
        self._rng.bit_generator.state = about["generator"]


def train_kept(training: Training, folder: Path, asked: str) -> None:
    """Train to the end, keeping every epoch in `folder`; a training that was begun there goes on.

    Args:
        training: The training, at its beginning.
        folder: Where its checkpoint lies.
        asked: What is trained, in words: the checkpoint of another training is not taken up.
    """
    path = folder / "checkpoint.safetensors"
    if (found := kept(path)) and found[1]["asked"] == asked:
        training.restore(*found)
    for _ in training.run():
        arrays, about = training.state()
        keep(path, arrays, {**about, "asked": asked})
