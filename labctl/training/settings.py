"""Settings and budgets that training plans share."""

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from labctl.bench import Bench, BenchFile
from labctl.errors import ConfigError
from labctl.plan import Settings, live
from labctl.records import Budget
from labctl.training.datasets import load_dataset
from labctl.training.gradient import BenchMethodName, MethodName, cost_of
from labctl.training.measure import BACKGROUND_SHOTS, depth_settings, setup_exposures
from labctl.training.network import NetworkShape, require_fit
from labctl.training.sentinel import SAMPLES, sentinel_exposures
from labctl.training.tasks import Samples, classification, first_of

AGREEMENT_REPEATS = 3
"""Repeats of a batch for each gradient agreement: their mean has a third of the noise variance of the one used."""

PUBLISHED_SD = 0.1
"""Standard deviation of the initial weights up to optical depth 30 (Guo et al. 2021)."""

DEEP_DEPTH = 20.0
"""Optical depth beyond which weights start larger: at 30, weights of sd 0.1 leave 1e-4 of the second cell's light."""

DEEP_SD = (0.2, 0.02)
"""Initial sd before cells and before the outputs beyond `DEEP_DEPTH`; Guo et al. take 0.21 rms beyond depth 30.

Small outputs at first keep the first steps from pulling the sums out of the cells' window. In the model, 784-128-128-10
at depth 30, 5 epochs of the 5,000 sample digits: 87 % right against 63 % from 0.1 everywhere.
"""

DataName = Literal["sample", "mnist", "fashion-mnist", "kmnist", "emnist-balanced", "folders", "npz"]


class DataSettings(Settings):
    """Which data a plan uses.

    Args:
        data: Data set; `sample` comes with labctl.
        data_dir: Folder with the four IDX files, or its parent; LABCTL_DATA, then the cache, by default. For `folders`
            the folder of the classes, for `npz` the file.
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

    hidden: tuple[PositiveInt, ...] = Field(default=(128,), description="neurons of each hidden layer")
    optical_depth: float = Field(default=10.0, ge=0, le=200, description="requested optical depth of the cell")
    epochs: int = Field(default=5, ge=1, description="passes over the training samples")
    steps: int | None = Field(default=None, ge=1, description="weight updates, in place of whole epochs")
    batch_size: int = Field(default=64, ge=1, le=1000, description="samples per weight update")
    learning_rate: float = live(default=2e-3, gt=0, description="Adam's step; 5e-4 is the published one")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="course of the learning rate")
    initial_sd: PositiveFloat | tuple[PositiveFloat, ...] | None = Field(
        default=None,
        description="standard deviation of the initial weights, one for all or one for each layer; by default 0.1, "
        "the published one, and beyond optical depth 20, where that leaves the cells dark, 0.2 and 0.02 for outputs",
    )
    agreement_every: int = Field(default=50, ge=1, description="steps between gradient agreements")
    checkpoint_every: int = Field(default=500, ge=1, description="steps between checkpoints; epochs end with one too")
    error_exposures: Literal[2, 4] = Field(default=2, description="4 also steps the reference: removes leaked pump")
    directions: int = Field(default=8, ge=1, description="finite_difference: random directions per gradient")
    difference: float = Field(default=0.02, gt=0, description="finite_difference: how far each weight is moved")
    keep: Literal["summary", "sampled", "all"] = Field(default="summary", description="arrays that are stored")


class InSituSettings(TrainSettings):
    """Settings of `train_in_situ`."""

    method: BenchMethodName = Field(
        default="optical",
        description="probe transmission as derivative; with the exact factor from measurements; measured forwards and "
        "modelled backwards; or slopes of the loss along random directions",
    )


def initial_sds(settings: TrainSettings) -> tuple[float, ...]:
    """Return the standard deviation of every layer's initial weights.

    Raises:
        ConfigError: As many were not given as there are layers.
    """
    asked, layers = settings.initial_sd, len(settings.hidden) + 1
    if asked is None:
        hidden, outputs = DEEP_SD if settings.optical_depth > DEEP_DEPTH else (PUBLISHED_SD, PUBLISHED_SD)
        return (*[hidden] * (layers - 1), outputs)
    if not isinstance(asked, tuple):
        return (asked,) * layers
    if len(asked) != layers:
        raise ConfigError(f"initial_sd {list(asked)}: {layers} layers need {layers} of them, or one for all")
    return asked


def total_steps(samples: int, settings: TrainSettings) -> int:
    """Return how many weight updates a training on `samples` samples makes."""
    return settings.steps or settings.epochs * math.ceil(samples / settings.batch_size)


def total_epochs(samples: int, settings: TrainSettings) -> int:
    """Return how many passes a training on `samples` samples begins; each ends with an evaluation."""
    return math.ceil(total_steps(samples, settings) / math.ceil(samples / settings.batch_size))


def load_samples(file: BenchFile, settings: DataSettings) -> tuple[Samples, Samples, str]:
    """Return training and test samples that fit the bench, and where they come from.

    Raises:
        ConfigError: The files are not there, damaged, or hold fewer samples than are asked for.
    """
    data = load_dataset(settings.data, settings.data_dir)
    modes, classes = file.stages[0].source.modes, file.stages[-1].end.modes
    train, test = classification(data, modes, classes)
    return (
        first_of(train, settings.train_samples, "train_samples"),
        first_of(test, settings.test_samples, "test_samples"),
        data.source,
    )


def training_budget(bench: Bench, settings: InSituSettings) -> Budget:
    """Return what a training in situ will cost; a relock of the reference comes on top.

    Raises:
        ConfigError: The network, depth or data do not fit the bench.
    """
    return method_budget(bench, settings, settings.method)


def method_budget(bench: Bench, settings: TrainSettings, method: MethodName) -> Budget:
    """Return what a training by `method` will cost; arguments and errors as for `training_budget`."""
    if method == "in_silico":
        return model_budget(bench, settings)
    train, test, _ = load_samples(bench.file, settings)
    shape = _fitting_shape(bench.file, train, settings)
    layers, samples = len(shape.layers), len(train)
    cost = cost_of(method, layers, settings.error_exposures, settings.quadratures, settings.directions)
    steps, epochs = total_steps(samples, settings), total_epochs(samples, settings)
    checks, sentinels = len(_checked_steps(samples, settings)), _checkpoints(samples, settings)
    whole, looked = min(settings.batch_size, samples), min(len(test), SAMPLES)
    leak, forward = 2 * (layers - 1) * cost.backward, 2 * settings.quadratures * layers
    backward = settings.error_exposures * settings.quadratures
    # the sentinel reads the last error camera first, a training step the others
    first = [looked, *([whole] * (layers - 2) if cost.backward else [])]
    exposures = {
        "setup": setup_exposures(layers, first, settings.error_exposures),
        "transfer": 2 * settings.quadratures * sum(columns for _, columns in shape.layers),
        "background": (checks * (1 + AGREEMENT_REPEATS) + epochs + 1) * forward * BACKGROUND_SHOTS,
        "sentinel": sentinels * sentinel_exposures(looked, forward + backward),
        "training": _trained_samples(samples, settings) * cost.exposures,
        "agreement": checks * whole * (AGREEMENT_REPEATS * cost.exposures + leak),
        "evaluation": epochs * len(test) * forward,
    }
    gradients = steps + AGREEMENT_REPEATS * checks
    writes = layers * (steps + epochs + 1 + sentinels) + gradients * cost.mask_writes
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
    shape = _fitting_shape(bench.file, train, settings)
    depth_settings(bench, settings.optical_depth)
    steps = total_steps(len(train), settings)
    return Budget(photons=0.0, steps=steps, disk_bytes=_disk_bytes(shape, steps, settings))


def _fitting_shape(file: BenchFile, train: Samples, settings: TrainSettings) -> NetworkShape:
    shape = NetworkShape(train.inputs.shape[1], settings.hidden, train.classes)
    require_fit(file, shape)
    initial_sds(settings)
    return shape


def _trained_samples(samples: int, settings: TrainSettings) -> int:
    """Return how many samples all steps together take."""
    per_epoch = math.ceil(samples / settings.batch_size)
    whole, rest = divmod(total_steps(samples, settings), per_epoch)
    return whole * samples + rest * settings.batch_size


def _checkpoints(samples: int, settings: TrainSettings) -> int:
    """Return how many checkpoints are made: after setting up, in the middle of epochs, and at their ends."""
    per_epoch = math.ceil(samples / settings.batch_size)
    steps = range(settings.checkpoint_every, total_steps(samples, settings), settings.checkpoint_every)
    return 1 + sum(step % per_epoch != 0 for step in steps) + total_epochs(samples, settings)


def _checked_steps(samples: int, settings: TrainSettings) -> list[int]:
    """Return the steps after which gradient agreement is measured; only whole batches are checked."""
    per_epoch = math.ceil(samples / settings.batch_size)
    short = samples > settings.batch_size and samples % settings.batch_size != 0
    steps = range(0, total_steps(samples, settings), settings.agreement_every)
    return [step for step in steps if not (short and step % per_epoch == per_epoch - 1)]


def photons(file: BenchFile, exposures: dict[str, int]) -> float:
    """Return the photons on all cameras, taken as the reference's alone: they outshine the signals ten to one."""
    modes = [stage.rows + (stage.columns if stage.activation_tap else 0) for stage in file.stages]
    back = sum(stage.columns for stage in file.stages if stage.error_tap)
    per_exposure = (sum(modes) + back) / (len(modes) + sum(1 for stage in file.stages if stage.error_tap))
    efficiency = file.settings(file.stages[0].end.camera).quantum_efficiency
    return sum(exposures.values()) * per_exposure * file.reference.electrons.value / efficiency


def bench_seconds(bench: Bench, exposures: dict[str, int], writes: int, optical_depth: float) -> float:
    """Return how long the table is busy: warming the cells, exposures at the cameras' pace, panel writes."""
    file = bench.file
    period = file.settings(file.stages[0].end.camera).period_s
    panel = file.settings(file.stages[0].multiply.device)
    # cells warm up side by side
    targets_c = depth_settings(bench, optical_depth)
    warm = max((file.settings(name).warming_s(target_c) for name, target_c in targets_c.items()), default=0.0)
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
