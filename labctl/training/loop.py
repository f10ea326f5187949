"""The training loop that every training plan shares: epochs of steps, agreement, evaluation, records."""

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from labctl.bench import Bench
from labctl.errors import RunAborted
from labctl.plan import apply_changes
from labctl.records import Changes, Record, Summary
from labctl.training.gradient import Floats, MethodName, StepGradient, agreement, cost_of, gradient_method
from labctl.training.measure import BenchNetwork
from labctl.training.network import NetworkShape, accuracy, forward
from labctl.training.settings import AGREEMENT_REPEATS, TrainSettings, initial_sds, total_epochs, total_steps
from labctl.training.tasks import Samples

PAST_LEAK = 0.05
"""Wrong-way pump over reference field above which error readings suffer visibly (reference-benches section 1)."""

EVALUATION_BATCH = 100
"""Samples between two looks at the reference phase while testing: 0.2 s of bench time."""

Records = Generator[Record, Changes | None, None]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch on one thread: a batch of modes is too small to share, and sharing it waits for busy neighbours.

    Measured on two cores, 784-128-10, batch 64: 9.5 ms a step on one thread, 16 ms on two idle cores, 240 ms on two
    threads beside another job.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Progress:
    """What a training has reached; the summary is made from it."""

    test_accuracies: list[float] = field(default_factory=list)
    agreements: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """One training on one bench.

    Args:
        bench: Open bench.
        settings: Settings of the plan.
        method: How a batch becomes a gradient.
        train: Training samples.
        test: Test samples.
        rng: Draws weights and data order; a child of it draws the directions of finite differences.
    """

    def __init__(
        self,
        bench: Bench,
        settings: TrainSettings,
        method: MethodName,
        train: Samples,
        test: Samples,
        rng: np.random.Generator,
    ) -> None:
        shape = NetworkShape(train.inputs.shape[1], settings.hidden, train.classes)
        self.network = BenchNetwork(
            bench, shape, settings.optical_depth, settings.error_exposures, settings.quadratures
        )
        self.settings = settings
        self.method: MethodName = method
        self.on_bench = method != "in_silico"
        self.progress = Progress()
        self._bench, self._train, self._test, self._rng = bench, train, test, rng
        # a child, so that every method sees the same weights and data order
        self._gradient = gradient_method(method, settings.directions, settings.difference, rng.spawn(1)[0])
        self._cost = cost_of(
            method, len(shape.layers), settings.error_exposures, settings.quadratures, settings.directions
        )
        self._steps = total_steps(len(train), settings)
        sds = initial_sds(settings)
        draws = [rng.standard_normal(layer) * sd for layer, sd in zip(shape.layers, sds, strict=True)]
        self._weights = [torch.from_numpy(draw.astype(np.float32)) for draw in draws]
        self._optimiser = torch.optim.Adam(self._weights, lr=settings.learning_rate)
        self._counts: dict[str, int] = {}
        self._started_s = bench.clock.now_s()

    @property
    def weights(self) -> list[Floats]:
        """Weights of every layer as floats; the panels show the nearest levels."""
        return [weight.numpy() for weight in self._weights]

    def run(self) -> Generator[Record, Changes | None, Summary]:
        """Train for all epochs and return the summary."""
        with one_thread():
            if self.on_bench:
                self.network.prepare()
                self.network.measure_transfer()
            setup = {"message": self._opening(), "temperatures_c": dict(self.network.temperatures_c)}
            yield from self._tell(self._record("setup", setup))
            for epoch in range(1, total_epochs(len(self._train), self.settings) + 1):
                yield from self._epoch(epoch)
            yield self._record("weights", {"hidden": list(self.settings.hidden)}, self._named_weights())
            return self._summary()

    def _opening(self) -> str:
        absorption, where = self.network.absorption, "on the bench" if self.on_bench else "in the calibrated model"
        cells = "".join(f"{cell} at {at_c:.1f} degC, " for cell, at_c in self.network.temperatures_c.items())
        return (
            f"{len(self._train)} training and {len(self._test)} test samples; {where}, method {self.method}; "
            f"{cells}optical depth {absorption.depth:.3g}, {absorption.law} law"
        )

    # ---- one epoch

    def _epoch(self, epoch: int) -> Records:
        losses: list[float] = []
        agreements: list[dict[str, Any]] = []
        for chosen in self._train.shuffled(self.settings.batch_size, self._rng):
            inputs, targets = self._train.batch(chosen)
            step = self._counts.get("step", 0)
            if step == self._steps:
                break
            self._set_learning_rate(step)
            whole = len(chosen) == min(self.settings.batch_size, len(self._train))
            checked = self.on_bench and whole and step % self.settings.agreement_every == 0
            gradient = self._step(inputs, targets, fresh_background=checked)
            losses.append(gradient.loss)
            if not math.isfinite(gradient.loss):
                raise RunAborted(f"step {step}: the loss is {gradient.loss}; lower learning_rate or initial_sd")
            if checked:
                record = self._agreement(epoch, inputs, targets, gradient)
                agreements += record.values["layers"]
                yield from self._tell(record)
            yield from self._warnings()
            self._update(gradient)
            yield from self._tell(self._step_record(epoch, gradient, targets))
        yield from self._end_epoch(epoch, losses, agreements)

    def _step(self, inputs: Floats, targets: Floats, *, fresh_background: bool) -> StepGradient:
        """Show the weights and take the batch's gradient."""
        if self.on_bench:
            self.network.write_masks(self.weights)
        if fresh_background:
            self.network.measure_background()
        self.network.tally.heading = "training"
        return self._gradient(self.network, self.weights, inputs, targets)

    def _update(self, gradient: StepGradient) -> None:
        for weight, measured in zip(self._weights, gradient.layers, strict=True):
            weight.grad = torch.from_numpy(measured)
        self._optimiser.step()

    def _set_learning_rate(self, step: int) -> None:
        rate = self.settings.learning_rate
        if self.settings.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self._steps))
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _agreement(self, epoch: int, inputs: Floats, targets: Floats, first: StepGradient) -> Record:
        """Measure the same batch again, a few times, and compare with the calibrated model."""
        network = self.network
        network.tally.heading = "agreement"
        repeats = [self._gradient(network, self.weights, inputs, targets) for _ in range(AGREEMENT_REPEATS)]
        rows = agreement(network, self.method, self.weights, inputs, targets, first, repeats)
        leaks = [network.wrong_way_pump(layer, sums) for layer, sums in enumerate(first.sums, 1) if self._cost.backward]
        leak = max(leaks, default=0.0)
        if leak > PAST_LEAK and self.settings.error_exposures == 2:
            more = 20 * math.log10(leak / PAST_LEAK)
            network.warn(
                f"gradient agreement suffers: pump light sent the wrong way is {leak:.0%} of the reference on the "
                f"error camera; raise the leak rejection by {more:.0f} dB or more, or take error_exposures=4"
            )
        layers = [{"epoch": epoch, **asdict(row)} for row in rows]
        arrays = {"sums": first.sums[-1], "outputs": first.outputs}
        arrays |= {f"gradient_{k + 1}": layer for k, layer in enumerate(first.layers)}
        return self._record("agreement", {"epoch": epoch, "layers": layers, "wrong_way_pump": leak}, arrays)

    def _step_record(self, epoch: int, gradient: StepGradient, targets: Floats) -> Record:
        tally = self.network.tally
        right = gradient.outputs.argmax(axis=1) == targets.argmax(axis=1)
        values = {"epoch": epoch, "loss": gradient.loss, "accuracy": float(right.mean())}
        if self.on_bench:
            values |= {
                "exposures": sum(tally.exposures.values()),
                "reference_rad": self.network.reference.common_rad,
                "phase_error_rad": self.network.phase_error_rad,
                "clipped_modes": tally.clipped_modes,
                "clipped_weights": tally.clipped_weights,
                **tally.frame_counts,
            }
        return self._record("step", values)

    def _warnings(self) -> Records:
        while self.network.warnings:
            yield from self._tell(self._record("warning", {"message": self.network.warnings.pop(0)}))

    def _tell(self, record: Record) -> Records:
        """Yield a record and apply the changes that come back for it."""
        changes = yield record
        if changes is not None:
            self.settings = apply_changes(self.settings, changes)

    def _end_epoch(self, epoch: int, losses: list[float], agreements: list[dict[str, Any]]) -> Records:
        test_accuracy = self._evaluate()
        self.progress.test_accuracies.append(test_accuracy)
        self.progress.agreements += _epoch_means(epoch, agreements)
        loss = float(np.mean(losses))
        values = {"epoch": epoch, "loss": loss, "test_accuracy": test_accuracy}
        if self.on_bench:
            values["exposures"] = sum(self.network.tally.exposures.values())
        yield from self._tell(self._record("epoch", {**values, "gradient_agreement": _epoch_means(epoch, agreements)}))
        yield from self._warnings()
        arrays = {**self._named_weights(), **self._optimiser_state()}
        yield from self._tell(self._record("checkpoint", {"epoch": epoch}, arrays))

    def _evaluate(self) -> float:
        if not self.on_bench:
            return model_accuracy(self.network, self.weights, self._test)
        self.network.write_masks(self.weights)
        self.network.measure_background()
        return bench_accuracy(self.network, self._test)

    # ---- records

    def _record(self, kind: str, values: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> Record:
        index = self._counts.get(kind, 0)
        self._counts[kind] = index + 1
        return Record(kind, index, self._bench.clock.now_s(), values, arrays or {})

    def _named_weights(self) -> dict[str, np.ndarray]:
        return name_weights(self._bench, self.weights)

    def _optimiser_state(self) -> dict[str, np.ndarray]:
        names = self._named_weights()
        moments = {}
        for name, weight in zip(names, self._weights, strict=True):
            state = self._optimiser.state[weight]
            moments |= {f"adam.{key}.{name}": value.numpy().copy() for key, value in state.items()}
        return moments

    def _summary(self) -> Summary:
        tally, accuracies = self.network.tally, self.progress.test_accuracies
        seconds = self._bench.clock.now_s() - self._started_s if self.on_bench else 0.0
        result = {
            "test_accuracy": accuracies[-1],
            "best_test_accuracy": max(accuracies),
            "test_accuracies": accuracies,
            "gradient_agreement": self.progress.agreements,
            "clipped_modes": tally.clipped_modes,
            "clipped_weights": tally.clipped_weights,
            "relocks": tally.relocks,
            **spent(self.network, seconds),
        }
        return {**result, "message": self._closing(result)}

    def _closing(self, result: dict[str, Any]) -> str:
        count = len(self.progress.test_accuracies)
        epochs = f"{self._steps:,} steps" if self.settings.steps else f"{count} epoch" + "s" * (count > 1)
        score = f"{result['test_accuracy']:.2%} of {len(self._test)} test samples right after {epochs}"
        if not self.on_bench:
            return f"{score}, computed in the calibrated model; no light was used"
        means = ", ".join(f"{row['cosine']:.3f}" for row in self.progress.agreements[-len(self.weights) :])
        measured = "activations and back-propagated errors" if self._cost.backward else "forward passes"
        how = "simulated" if self._bench.simulated else "real"
        return (
            f"{score}; {measured} measured in {result['exposures']:,} exposures of the "
            f"{how} bench ({result['bench_seconds'] / 60:.0f} min of bench time), gradient agreement by layer {means}"
        )


def _epoch_means(epoch: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean agreement of every layer over one epoch."""
    keys = ("cosine", "cosine_exact", "norm_ratio", "noise_floor")
    layers = sorted({row["layer"] for row in rows})
    of = {layer: [row for row in rows if row["layer"] == layer] for layer in layers}
    return [
        {"epoch": epoch, "layer": layer, **{key: float(np.mean([row[key] for row in of[layer]])) for key in keys}}
        for layer in layers
    ]


def spent(network: BenchNetwork, bench_seconds: float) -> dict[str, Any]:
    """Return what a network's measurements cost, for summaries."""
    tally = network.tally
    return {
        "exposures": sum(tally.exposures.values()),
        "exposures_by_heading": dict(tally.exposures),
        **tally.frame_counts,
        "photons": tally.photons,
        "mask_writes": tally.mask_writes,
        "bench_seconds": bench_seconds,
    }


def name_weights(bench: Bench, weights: list[Floats]) -> dict[str, np.ndarray]:
    """Return weights by the panel that shows them."""
    panels = [stage.multiply.device for stage in bench.file.stages]
    return {f"weights.{panel}": weight.copy() for panel, weight in zip(panels, weights, strict=True)}


def bench_accuracy(network: BenchNetwork, samples: Samples, batch_size: int = EVALUATION_BATCH) -> float:
    """Return the measured accuracy of what the panels show now."""
    network.tally.heading = "evaluation"
    right = 0
    for part in samples.in_order(batch_size):
        inputs, targets = samples.batch(part)
        values = inputs
        for layer, stage in enumerate(network.bench.file.stages):
            values = network.read_forward(layer, values)[stage.end.camera].data
        right += int((values.argmax(axis=1) == targets.argmax(axis=1)).sum())
    return right / len(samples)


def model_accuracy(network: BenchNetwork, weights: list[Floats], samples: Samples) -> float:
    """Return the accuracy of `weights` in the calibrated model."""
    inputs, _ = samples.batch(slice(None))
    tensors = [torch.from_numpy(weight) for weight in weights]
    _, activations = forward(tensors, torch.from_numpy(inputs), network.absorption)
    return accuracy(activations[-1], torch.from_numpy(samples.labels))
