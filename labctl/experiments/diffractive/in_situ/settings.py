"""Settings and budget of a training of phase masks, and what it starts from."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from labctl.bench import Bench
from labctl.errors import ConfigError
from labctl.experiments.diffractive.in_situ.fields import STEPS_RAD
from labctl.experiments.diffractive.in_situ.gradient import MethodName
from labctl.optics.free_space.elements import FreeSpacePath
from labctl.plan import live
from labctl.recorder import read_weights
from labctl.records import Budget
from labctl.training.datasets import load_dataset
from labctl.training.settings import DataSettings
from labctl.training.tasks import Samples, classification, first_of

CLASSES = 10
"""Detectors of the published layout."""


class MaskSettings(DataSettings):
    """Settings of `train_masks`."""

    method: MethodName = Field(
        default="optical",
        description="fields measured on both ways; measured forwards and modelled backwards; or the model on both",
    )
    start: Path | None = Field(default=None, description="run folder whose masks are the first ones; flat by default")
    epochs: int = Field(default=2, ge=0, description="passes over the training samples; 0 only tests the first masks")
    batch_size: int = Field(default=16, ge=1, le=256, description="samples per mask update")
    learning_rate: float = live(default=0.05, gt=0, description="Adam's step in rad")
    object_share: float = Field(default=0.4, gt=0, le=1, description="side of an object over that of the plane")
    agreement_every: int = Field(default=50, ge=1, description="steps between gradient agreements")
    checkpoint_every: int = Field(default=50, ge=1, description="steps between checkpoints; epochs end with one too")
    keep: Literal["summary", "sampled", "all"] = Field(default="summary", description="arrays that are stored")


def load_objects(settings: MaskSettings) -> tuple[Samples, Samples, str]:
    """Return training and test images, classes 0 to 9, and where they come from.

    Raises:
        ConfigError: The files are not there, or damaged.
    """
    data = load_dataset(settings.data, settings.data_dir)
    train, test = classification(data, data.train_images[0].size, CLASSES)
    return (
        first_of(train, settings.train_samples, "train_samples"),
        first_of(test, settings.test_samples, "test_samples"),
        data.source,
    )


def first_phases(path: FreeSpacePath, start: Path | None) -> list[Tensor]:
    """Return the phases (rows, cols) in rad of every mask to begin with: flat, or those of the run `start`.

    Raises:
        ConfigError: The run has no masks of this bench, or their shape or values do not fit.
    """
    shape = path.samples
    if start is None:
        return [torch.zeros(shape) for _ in path.masks]
    named, phases = read_weights(start), []
    for mask in path.masks:
        phase = named.get(f"phase.{mask.device}")
        if phase is None:
            raise ConfigError(
                f"run {start}: holds {', '.join(named) or 'no masks'}, the bench needs one of {mask.device}"
            )
        if phase.shape != shape or not np.isfinite(phase).all():
            raise ConfigError(f"run {start}: mask of {mask.device} is {phase.shape}; finite phases {shape} are needed")
        phases.append(torch.from_numpy(phase.astype(np.float32)))
    return phases


def checked_steps(samples: int, settings: MaskSettings) -> list[int]:
    """Return the steps whose gradient is compared with the model's and measured again; none without light."""
    if settings.method == "in_silico":
        return []
    return list(range(0, settings.epochs * math.ceil(samples / settings.batch_size), settings.agreement_every))


def batch_exposures(method: MethodName, samples: int) -> int:
    """Return the exposures of one batch: four a field, and those of the pilot that is sent back beside it."""
    back = samples + 1 if method == "optical" else 0
    return 0 if method == "in_silico" else len(STEPS_RAD) * (samples + back)


def mask_budget(bench: Bench, settings: MaskSettings) -> Budget:
    """Return what a training of masks will cost.

    Raises:
        ConfigError: The bench is not in free space, the data are not there, or masks to start with do not fit.
    """
    train, test, _ = load_objects(settings)
    masks, samples = bench.file.path.masks, len(train)
    if not masks:
        raise ConfigError(f"bench {bench.file.name} has no mask to train")
    first_phases(bench.file.path, settings.start)
    per_epoch = math.ceil(samples / settings.batch_size)
    steps, rest = settings.epochs * per_epoch, samples % settings.batch_size
    sizes = [settings.batch_size] * (per_epoch - bool(rest)) + [rest] * bool(rest)
    repeats = [sizes[step % per_epoch] for step in checked_steps(samples, settings)]
    exposures = {
        "training": settings.epochs * sum(batch_exposures(settings.method, size) for size in sizes),
        "agreement": sum(batch_exposures(settings.method, size) for size in repeats),
        "evaluation": max(settings.epochs, 1) * len(test) if settings.method != "in_silico" else 0,
    }
    lit = settings.method != "in_silico"
    writes = len(masks) * (steps + max(settings.epochs, 1)) if lit else 0
    camera = bench.file.settings(bench.file.path.detect.view.camera)
    panel = bench.file.settings(masks[0].device)
    electrons = bench.file.reference.electrons.value * math.prod(bench.file.path.samples)
    cameras = 1 + len(masks)
    return Budget(
        exposures=exposures,
        photons=sum(exposures.values()) * cameras * electrons / camera.quantum_efficiency,
        mask_writes=writes,
        bench_seconds=sum(exposures.values()) * camera.period_s + writes * (panel.latency_s + panel.settle_s),
        steps=steps,
        disk_bytes=2_000 * steps + 20 * len(masks) * math.prod(bench.file.path.samples),
    )
