"""The training loop that every training plan shares: epochs of steps, agreement, evaluation, records."""

import math
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.bench import Bench
from labctl.errors import RunAborted
from labctl.plan import Steps
from labctl.records import Record, Summary, join_tree
from labctl.training.gradient import (
    Floats,
    MethodName,
    StepGradient,
    agreement,
    cost_of,
    gradient_method,
    noise_warning,
)
from labctl.training.logbook import Logbook, Records
from labctl.training.measure import BenchNetwork
from labctl.training.network import NetworkShape
from labctl.training.progress import Progress, optimiser_state, restore_optimiser
from labctl.training.scoring import Counts, bench_confusion, confusion_accuracy, model_confusion
from labctl.training.sentinel import SAMPLES, measure_sentinel, require_same_table
from labctl.training.settings import AGREEMENT_REPEATS, TrainSettings, initial_sds, total_epochs, total_steps
from labctl.training.tasks import Samples
from labctl.training.threads import one_thread

PAST_LEAK = 0.05
"""Wrong-way pump over reference field above which error readings suffer visibly (reference-benches section 1)."""

SHOWN_SAMPLES = 4
"""Samples of an agreement batch whose inputs, activations and errors are recorded."""


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
        self.method: MethodName = method
        self.on_bench = method != "in_silico"
        self.progress = Progress()
        self._bench, self._train, self._test, self._rng = bench, train, test, rng
        # a child, so that every method sees the same weights and data order
        self._directions_rng = rng.spawn(1)[0]
        self._gradient = gradient_method(method, settings.directions, settings.difference, self._directions_rng)
        self._cost = cost_of(
            method, len(shape.layers), settings.error_exposures, settings.quadratures, settings.directions
        )
        self._steps = total_steps(len(train), settings)
        sds = initial_sds(settings)
        draws = [rng.standard_normal(layer) * sd for layer, sd in zip(shape.layers, sds, strict=True)]
        self._weights = [torch.from_numpy(draw.astype(np.float32)) for draw in draws]
        self._optimiser = torch.optim.Adam(self._weights, lr=settings.learning_rate, fused=True)
        self._logbook = Logbook(bench, settings)
        self._samples = [zlib.crc32(samples.inputs.tobytes() + samples.labels.tobytes()) for samples in (train, test)]

    @property
    def settings(self) -> TrainSettings:
        """Settings of the plan, with all changes made since it began."""
        return self._logbook.settings

    @property
    def weights(self) -> list[Floats]:
        """Weights of every layer as floats; the panels show the nearest levels."""
        return [weight.numpy() for weight in self._weights]

    def run(self, checkpoint: Record | None = None) -> Steps:
        """Train for all epochs, or for those left after `checkpoint`, and return the summary."""
        with one_thread():
            yield from self._go_on(checkpoint) if checkpoint else self._set_up()
            while self.progress.epoch <= total_epochs(len(self._train), self.settings):
                yield from self._epoch()
            yield self._weights_record()
            return self._summary()

    def _set_up(self) -> Records:
        if self.on_bench:
            self.network.prepare()
            self.network.measure_transfer()
        setup = {"message": self._opening(), "temperatures_c": dict(self.network.temperatures_c)}
        yield from self._logbook.note("setup", setup)
        yield from self._safe_point(save=True)

    def _opening(self) -> str:
        absorption, where = self.network.absorption, "on the bench" if self.on_bench else "in the calibrated model"
        cells = "".join(f"{cell} at {at_c:.1f} degC, " for cell, at_c in self.network.temperatures_c.items())
        return (
            f"{len(self._train)} training and {len(self._test)} test samples; {where}, method {self.method}; "
            f"{cells}optical depth {absorption.depth:.3g}, {absorption.law} law; {self._bench.belief.describe()}"
        )

    # ---- one epoch

    def _epoch(self) -> Records:
        progress = self.progress
        if not len(progress.order):
            progress.order = self._rng.permutation(len(self._train))
        parts = list(self._train.in_order(self.settings.batch_size))
        while progress.batches < len(parts) and self._logbook.count("step") < self._steps:
            yield from self._train_on(progress.order[parts[progress.batches]])
            progress.batches += 1
            step = self._logbook.count("step")
            due = step % self.settings.checkpoint_every == 0
            yield from self._safe_point(save=due and step < self._steps and progress.batches < len(parts))
        yield from self._end_epoch()
        yield from self._safe_point(save=True)

    def _train_on(self, chosen: NDArray[np.int64]) -> Records:
        """Make one step with the chosen samples."""
        progress = self.progress
        inputs, targets = self._train.batch(chosen)
        step = self._logbook.count("step")
        self._set_learning_rate(step)
        whole = len(chosen) == min(self.settings.batch_size, len(self._train))
        checked = self.on_bench and whole and step % self.settings.agreement_every == 0
        gradient = self._step(inputs, targets, fresh_background=checked)
        progress.losses.append(gradient.loss)
        if not math.isfinite(gradient.loss):
            raise RunAborted(f"step {step}: the loss is {gradient.loss}; lower learning_rate or initial_sd")
        if checked:
            record = self._agreement(progress.epoch, inputs, targets, gradient)
            progress.checked += record.values["layers"]
            yield from self._logbook.tell(record)
        yield from self._warnings()
        self._update(gradient)
        yield from self._logbook.tell(self._step_record(progress.epoch, gradient, targets))

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
        repeats = [self._repeat(inputs, targets) for _ in range(AGREEMENT_REPEATS)]
        rows = agreement(network, self.method, self.weights, inputs, targets, first, repeats)
        # slopes along random directions scatter whatever the light
        noisy = None if self.method == "finite_difference" else noise_warning(rows, first.sums[0], network.absorption)
        if noisy and not self._logbook.count("agreement"):
            network.warn(noisy)
        leaks = [network.wrong_way_pump(layer, sums) for layer, sums in enumerate(first.sums, 1) if self._cost.backward]
        leak = max(leaks, default=0.0)
        if leak > PAST_LEAK and self.settings.error_exposures == 2:
            more = 20 * math.log10(leak / PAST_LEAK)
            network.warn(
                f"gradient agreement suffers: pump light sent the wrong way is {leak:.0%} of the reference on the "
                f"error camera; raise the leak rejection by {more:.0f} dB or more, or take error_exposures=4"
            )
        layers = [{"epoch": epoch, **asdict(row)} for row in rows]
        arrays = {"inputs": inputs[:SHOWN_SAMPLES], "sums": first.sums[-1], "outputs": first.outputs}
        arrays |= {f"activations_{k + 1}": one[:SHOWN_SAMPLES] for k, one in enumerate(first.activations)}
        arrays |= {f"errors_{k + 1}": one[:SHOWN_SAMPLES] for k, one in enumerate(first.errors)}
        arrays |= {f"gradient_{k + 1}": layer for k, layer in enumerate(first.layers)}
        return self._logbook.record("agreement", {"epoch": epoch, "layers": layers, "wrong_way_pump": leak}, arrays)

    def _repeat(self, inputs: Floats, targets: Floats) -> StepGradient:
        """Return the gradient of a batch once more; a background of its own, whose noise the scatter is to show too."""
        self.network.measure_background()
        self.network.tally.heading = "agreement"
        return self._gradient(self.network, self.weights, inputs, targets)

    def _step_record(self, epoch: int, gradient: StepGradient, targets: Floats) -> Record:
        tally = self.network.tally
        right = gradient.outputs.argmax(axis=1) == targets.argmax(axis=1)
        values = {"epoch": epoch, "loss": gradient.loss, "accuracy": float(right.mean())}
        if self.on_bench:
            values |= {
                "exposures": sum(tally.exposures.values()),
                "reference_rad": self.network.reader.reference.common_rad,
                "phase_error_rad": self.network.reader.phase_error_rad,
                "clipped_modes": tally.clipped_modes,
                "clipped_weights": tally.clipped_weights,
                **tally.frame_counts,
            }
        return self._logbook.record("step", values)

    def _warnings(self) -> Records:
        while self.network.warnings:
            yield from self._logbook.note("warning", {"message": self.network.warnings.pop(0)})

    def _end_epoch(self) -> Records:
        progress, epoch = self.progress, self.progress.epoch
        confusion = self._evaluate()
        test_accuracy = confusion_accuracy(confusion)
        means = progress.mean_agreements()
        progress.test_accuracies.append(test_accuracy)
        progress.agreements += means
        loss = float(np.mean(progress.losses))
        values = {"epoch": epoch, "loss": loss, "test_accuracy": test_accuracy, "confusion": confusion.tolist()}
        if self.on_bench:
            values["exposures"] = sum(self.network.tally.exposures.values())
        yield from self._logbook.note("epoch", {**values, "gradient_agreement": means})
        yield from self._warnings()
        progress.next_epoch()

    def _evaluate(self) -> Counts:
        if not self.on_bench:
            return model_confusion(self.network, self.weights, self._test)
        self.network.write_masks(self.weights)
        self.network.measure_background()
        return bench_confusion(self.network, self._test)

    # ---- checkpoints

    def _safe_point(self, *, save: bool) -> Records:
        """Save where the training is, if asked or after a change; end it here if it was stopped.

        Raises:
            RunStopped: The operator asked for it; checkpoint and weights were yielded.
        """
        logbook = self._logbook
        if save or logbook.changed:
            logbook.changed = False
            sentinel = self._sentinel()
            number = logbook.number("checkpoint")
            yield from logbook.tell(logbook.checkpoint(number, {**self.state(), "sentinel": sentinel}))
        if logbook.stop:
            state = self.state()  # before the sentinel: a resumed run goes on as if it had never been stopped
            number = logbook.number("checkpoint")
            yield logbook.checkpoint(number, {**state, "sentinel": self._sentinel()})
            yield self._weights_record()
            raise logbook.stop

    def _sentinel(self) -> dict[str, Any]:
        if not self.on_bench:
            return {}
        inputs, errors = self._test.batch(slice(SAMPLES))
        return measure_sentinel(self.network, self.weights, inputs, errors)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, plain values and arrays; a simulated bench included."""
        return {
            **self._named_weights(),
            **self._named_masks(),
            "adam": optimiser_state(self._optimiser, self._tensors()),
            "samples": self._samples,
            "generators": [rng.bit_generator.state for rng in (self._rng, self._directions_rng)],
            "progress": asdict(self.progress),
            "network": self.network.state(),
            **self._logbook.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the same settings.

        Raises:
            RunAborted: The samples are others.
        """
        if state["samples"] != self._samples:
            raise RunAborted("the samples are not those the run began with; check data_dir and LABCTL_DATA")
        for name, weight in self._tensors().items():
            weight.copy_(torch.from_numpy(state[name]))
        restore_optimiser(self._optimiser, self._tensors(), state["adam"])
        for rng, at in zip((self._rng, self._directions_rng), state["generators"], strict=True):
            rng.bit_generator.state = at
        self.progress = Progress(**state["progress"])
        self.network.restore(state["network"])
        self._logbook.restore(state)

    def _go_on(self, checkpoint: Record) -> Records:
        """Restore a checkpoint; a table is looked at before anything goes on there.

        Raises:
            RunAborted: The table is not what it was.
        """
        state = join_tree(checkpoint.values, checkpoint.arrays)
        self.restore(state)
        if self.on_bench and not state["bench"]:
            self.network.prepare()
            require_same_table(state["sentinel"], self._sentinel())
        yield from self._warnings()

    # ---- records

    def _weights_record(self) -> Record:
        return self._logbook.record(
            "weights", {"hidden": list(self.settings.hidden)}, {**self._named_weights(), **self._named_masks()}
        )

    def _named_weights(self) -> dict[str, np.ndarray]:
        """Return the weights by the panel that shows them."""
        panels = [stage.multiply.device for stage in self._bench.file.stages]
        return {f"weights.{panel}": weight.copy() for panel, weight in zip(panels, self.weights, strict=True)}

    def _named_masks(self) -> dict[str, np.ndarray]:
        """Return the block indices that the panels show for the weights, by panel."""
        panels = [stage.multiply.device for stage in self._bench.file.stages]
        patterns = self.network.patterns
        return {f"mask.{panel}": patterns.mask_indices(k, self.weights[k]) for k, panel in enumerate(panels)}

    def _tensors(self) -> dict[str, torch.Tensor]:
        return dict(zip(self._named_weights(), self._weights, strict=True))

    def _summary(self) -> Summary:
        tally, accuracies = self.network.tally, self.progress.test_accuracies
        seconds = self._logbook.seconds if self.on_bench else 0.0
        result = {
            "test_accuracy": accuracies[-1],
            "best_test_accuracy": max(accuracies),
            "test_accuracies": accuracies,
            "gradient_agreement": self.progress.agreements,
            "clipped_modes": tally.clipped_modes,
            "clipped_weights": tally.clipped_weights,
            "relocks": tally.relocks,
            **tally.spent(seconds),
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
