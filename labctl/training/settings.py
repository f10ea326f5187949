"""Settings and budgets that training plans share."""

import math
from pathlib import Path
from typing import Literal

from pydantic import Field

from labctl.bench import Bench, BenchFile
from labctl.plan import Settings, live
from labctl.records import Budget
from labctl.training.datasets import load_dataset
from labctl.training.measure import BACKGROUND_SHOTS, depth_setting, setup_exposures
from labctl.training.network import NetworkShape, require_fit
from labctl.training.sentinel import SAMPLES, sentinel_exposures
from labctl.training.tasks import Samples, classification

AGREEMENT_REPEATS = 3
"""Repeats of a batch for each gradient agreement: their mean has a third of the noise variance of the one used."""

DataName = Literal["sample", "mnist", "fashion-mnist"]


class DataSettings(Settings):
    """Which data a plan uses.

    Args:
        data: Data set; `sample` comes with labctl.
        data_dir: Folder with the four IDX files, or its parent; LABCTL_DATA by default.
        train_samples: Training samples used, all by default.
        test_samples: Test samples used, all by default.
    """

    data: DataName = Field(default="mnist", description="data set; `sample` comes with labctl")
    data_dir: Path | None = Field(default=None, description="folder with the four IDX files, or its parent")
    train_samples: int | None = Field(default=None, ge=1, description="training samples used, all by default")
    test_samples: int | None = Field(default=None, ge=1, description="test samples used, all by default")


class ReadingSettings(DataSettings):
    """Which data a plan uses, and how it reads fields."""

    quadratures: Literal[1, 2] = Field(
        default=1, description="2 reads both, with twice the exposures: for a fast reference or strong aberrations"
    )


class TrainSettings(ReadingSettings):
    """What every training is told."""

    hidden: tuple[int, ...] = Field(default=(128,), description="neurons of each hidden layer")
    optical_depth: float = Field(default=10.0, ge=0, le=200, description="requested optical depth of the cell")
    epochs: int = Field(default=5, ge=1, description="passes over the training samples")
    batch_size: int = Field(default=64, ge=1, le=1000, description="samples per weight update")
    learning_rate: float = live(default=2e-3, gt=0, description="Adam's step; 5e-4 is the published one")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="course of the learning rate")
    initial_sd: float = Field(default=0.1, gt=0, description="standard deviation of the initial weights")
    agreement_every: int = Field(default=50, ge=1, description="steps between gradient agreements")
    checkpoint_every: int = Field(default=500, ge=1, description="steps between checkpoints; epochs end with one too")
    error_exposures: Literal[2, 4] = Field(default=2, description="4 also steps the reference: removes leaked pump")
    keep: Literal["summary", "sampled", "all"] = Field(default="summary", description="arrays that are stored")


def load_samples(file: BenchFile, settings: DataSettings) -> tuple[Samples, Samples, str]:
    """Return training and test samples that fit the bench, and where they come from.

    Raises:
        ConfigError: The files are not there, or damaged.
    """
    data = load_dataset(settings.data, settings.data_dir)
    modes, classes = file.stages[0].source.modes, file.stages[-1].end.modes
    train, test = classification(data, modes, classes)
    return _first(train, settings.train_samples), _first(test, settings.test_samples), data.source


def _first(samples: Samples, count: int | None) -> Samples:
    return Samples(samples.inputs[:count], samples.labels[:count], samples.classes)


def training_budget(bench: Bench, settings: TrainSettings) -> Budget:
    """Return what a training in situ will cost; a relock of the reference comes on top.

    Raises:
        ConfigError: The network, depth or data do not fit the bench.
    """
    train, test, _ = load_samples(bench.file, settings)
    shape = NetworkShape(train.inputs.shape[1], settings.hidden, train.classes)
    require_fit(bench.file, shape)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    checked = _agreement_batches(len(train), settings)
    sentinels = _checkpoints(len(train), settings)
    forward = 2 * settings.quadratures * len(shape.layers)
    backward = settings.error_exposures * settings.quadratures
    backgrounds = len(_checked_steps(len(train), settings)) + settings.epochs + 1
    exposures = {
        "setup": setup_exposures(len(shape.layers), min(len(test), SAMPLES), settings.error_exposures),
        "transfer": 2 * settings.quadratures * sum(columns for _, columns in shape.layers),
        "background": backgrounds * forward * BACKGROUND_SHOTS,
        "sentinel": sentinels * sentinel_exposures(min(len(test), SAMPLES), forward + backward),
        "training": settings.epochs * len(train) * (forward + backward),
        "agreement": checked * (AGREEMENT_REPEATS * (forward + backward) + 2),
        "evaluation": settings.epochs * len(test) * forward,
    }
    writes = len(shape.layers) * (steps + settings.epochs + 1 + sentinels)
    return Budget(
        exposures=exposures,
        photons=photons(bench.file, exposures),
        mask_writes=writes,
        bench_seconds=bench_seconds(bench, exposures, writes, settings.optical_depth),
        steps=steps,
        disk_bytes=_disk_bytes(shape, steps, settings),
    )


def model_budget(bench: Bench, settings: TrainSettings) -> Budget:
    """Return what a training in the model will cost: no light at all.

    Raises:
        ConfigError: The network, depth or data do not fit the bench.
    """
    train, _, _ = load_samples(bench.file, settings)
    shape = NetworkShape(train.inputs.shape[1], settings.hidden, train.classes)
    require_fit(bench.file, shape)
    depth_setting(bench, settings.optical_depth)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    return Budget(steps=steps, disk_bytes=_disk_bytes(shape, steps, settings))


def _agreement_batches(samples: int, settings: TrainSettings) -> int:
    """Return how many samples all agreement batches hold together; only whole batches are checked."""
    whole = min(settings.batch_size, samples)
    return whole * len(_checked_steps(samples, settings))


def _checkpoints(samples: int, settings: TrainSettings) -> int:
    """Return how many checkpoints are made: after setting up, in the middle of epochs, and at their ends."""
    per_epoch = math.ceil(samples / settings.batch_size)
    steps = range(settings.checkpoint_every, settings.epochs * per_epoch, settings.checkpoint_every)
    return 1 + sum(step % per_epoch != 0 for step in steps) + settings.epochs


def _checked_steps(samples: int, settings: TrainSettings) -> list[int]:
    """Return the steps after which gradient agreement is measured."""
    per_epoch = math.ceil(samples / settings.batch_size)
    short = samples > settings.batch_size and samples % settings.batch_size != 0
    steps = range(0, settings.epochs * per_epoch, settings.agreement_every)
    return [step for step in steps if not (short and step % per_epoch == per_epoch - 1)]


def photons(file: BenchFile, exposures: dict[str, int]) -> float:
    """Return the photons on all cameras, taken as the reference's alone: they outshine the signals ten to one."""
    modes = [stage.rows + (stage.columns if stage.activation_tap else 0) for stage in file.stages]
    back = sum(stage.columns for stage in file.stages if stage.error_tap)
    per_exposure = (sum(modes) + back) / (len(modes) + sum(1 for stage in file.stages if stage.error_tap))
    efficiency = file.settings(file.stages[0].end.camera).quantum_efficiency
    return sum(exposures.values()) * per_exposure * file.reference.electrons.value / efficiency


def bench_seconds(bench: Bench, exposures: dict[str, int], writes: int, optical_depth: float) -> float:
    """Return how long the table is busy: warming the cell, exposures at the cameras' pace, panel writes."""
    file = bench.file
    period = file.settings(file.stages[0].end.camera).period_s
    panel = file.settings(file.stages[0].multiply.device)
    warm = 0.0
    for stage in file.stages:
        if stage.absorb:
            cell = file.settings(stage.absorb.device)
            target, _ = depth_setting(bench, optical_depth)
            warm = (target - cell.min_temperature_c) / cell.ramp_k_per_s
    return warm + sum(exposures.values()) * period + writes * (panel.latency_s + panel.settle_s)


def _disk_bytes(shape: NetworkShape, steps: int, settings: TrainSettings) -> int:
    weights = 4 * sum(rows * columns for rows, columns in shape.layers)
    sampled = 0 if settings.keep == "summary" else steps // settings.agreement_every + 1
    line = 400  # a committed record with its values
    # weights with their masks, and a checkpoint (weights, two moments, masks, transfer) beside the one it replaces
    return (
        12 * weights
        + steps * line
        + sampled * (weights + 4 * settings.batch_size * (sum(shape.hidden) + shape.outputs))
    )
