"""Plan `train_masks`: phase masks of a diffractive network, trained from fields measured on the bench."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.bench import Bench
from labctl.errors import RunAborted
from labctl.experiments.diffractive.detectors import (
    PUBLISHED,
    DetectorLayout,
    detector_masks,
    detector_powers,
    detector_squares,
)
from labctl.experiments.diffractive.geometry import Geometry
from labctl.experiments.diffractive.in_situ.fields import BenchFields
from labctl.experiments.diffractive.in_situ.gradient import MaskGradient, MethodName, mask_gradient
from labctl.experiments.diffractive.in_situ.settings import (
    MaskSettings,
    checked_steps,
    first_phases,
    load_objects,
    mask_budget,
)
from labctl.experiments.diffractive.losses import normalised_cross_entropy
from labctl.experiments.diffractive.objects import object_fields
from labctl.plan import Steps, plan
from labctl.records import Record, Summary, join_tree
from labctl.training.logbook import Logbook, Records
from labctl.training.progress import Progress, optimiser_state, restore_optimiser
from labctl.training.tasks import Samples
from labctl.training.threads import one_thread

PLATE_WAVELENGTHS = 80e-3 / 0.75e-3
"""Side of the published plate in wavelengths; its detectors keep their share of it (published-systems 3.3)."""


@plan(MaskSettings, budget=mask_budget, resumable=True)
def train_masks(
    bench: Bench, settings: MaskSettings, rng: np.random.Generator, checkpoint: Record | None = None
) -> Steps:
    """Train the phase masks of a diffractive classifier on the bench, from fields measured on both ways."""
    train, test, source = load_objects(settings)
    summary = yield from MaskTraining(bench, settings, train, test, rng).run(checkpoint)
    return {"data": source, "method": settings.method, **summary}


class MaskTraining:
    """One training of the masks of one bench.

    Args:
        bench: Open bench in free space.
        settings: Settings of the plan.
        train: Training images.
        test: Test images.
        rng: Draws the order of the samples.
    """

    def __init__(
        self, bench: Bench, settings: MaskSettings, train: Samples, test: Samples, rng: np.random.Generator
    ) -> None:
        self.fields = BenchFields(bench)
        self._bench, self._train, self._test, self._rng = bench, train, test, rng
        self._lit = settings.method != "in_silico"
        self._detectors = plane_detectors(self.fields)
        self._phases = first_phases(bench.file.path, settings.start)
        self._optimiser = torch.optim.Adam(self._phases, lr=settings.learning_rate)
        self._progress = Progress()
        self._logbook = Logbook(bench, settings)

    @property
    def settings(self) -> MaskSettings:
        """Settings of the plan, with all changes made since it began."""
        return self._logbook.settings

    def run(self, checkpoint: Record | None = None) -> Steps:
        """Train for all epochs, or for those left after `checkpoint`, and return the summary."""
        with one_thread():
            if checkpoint:
                self._restore(join_tree(checkpoint.values, checkpoint.arrays))
            else:
                yield from self._logbook.note("setup", {"message": self._opening()})
            if not self.settings.epochs:
                yield from self._test_masks(0)
            while self._progress.epoch <= self.settings.epochs:
                yield from self._train_epoch()
            yield self._masks_record()
            return self._summary()

    def _opening(self) -> str:
        where = "on the bench" if self._lit else "in the calibrated model"
        return (
            f"{len(self._train)} training and {len(self._test)} test images; {where}, method {self.settings.method}; "
            f"{len(self._phases)} masks of {self.fields.grid.shape[0]} x {self.fields.grid.shape[1]}; "
            f"{self._bench.belief.describe()}"
        )

    # ---- one epoch

    def _train_epoch(self) -> Records:
        progress = self._progress
        if not len(progress.order):
            progress.order = self._rng.permutation(len(self._train))
        parts = list(self._train.in_order(self.settings.batch_size))
        checked = set(checked_steps(len(self._train), self.settings))
        while progress.batches < len(parts):
            yield from self._step(progress.order[parts[progress.batches]], checked)
            progress.batches += 1
            due = self._logbook.count("step") % self.settings.checkpoint_every == 0
            yield from self._safe_point(save=due and progress.batches < len(parts))
        yield from self._test_masks(progress.epoch)
        progress.next_epoch()
        yield from self._safe_point(save=True)

    def _step(self, chosen: NDArray[np.integer], checked: set[int]) -> Records:
        """Make one step with the chosen samples."""
        step = self._logbook.count("step")
        objects, labels = self._objects(self._train, chosen)
        self._show()
        self.fields.tally.heading = "training"
        gradient = self._gradient(self.settings.method, objects, labels)
        if not math.isfinite(gradient.loss):
            raise RunAborted(f"step {step}: the loss is {gradient.loss}; lower learning_rate")
        if step in checked:
            yield from self._logbook.tell(self._agreement(objects, labels, gradient))
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate
        for phase, measured in zip(self._phases, gradient.masks, strict=True):
            phase.grad = measured
        self._optimiser.step()
        self._progress.losses.append(gradient.loss)
        powers = detector_powers(gradient.intensity, self._detectors)
        values = {"epoch": self._progress.epoch, "loss": gradient.loss, "accuracy": _share_right(powers, labels)}
        if self._lit:
            tally = self.fields.tally
            values |= {"exposures": sum(tally.exposures.values()), "imbalance": list(gradient.imbalance)}
            values |= {"saturated_pixels": tally.clipped_modes, **tally.frame_counts}
        yield from self._logbook.note("step", values)

    def _gradient(self, method: MethodName, objects: Tensor, labels: Tensor) -> MaskGradient:
        def loss(intensity: Tensor) -> Tensor:
            return normalised_cross_entropy(detector_powers(intensity, self._detectors), labels)

        return mask_gradient(self.fields, method, objects, loss)

    def _agreement(self, objects: Tensor, labels: Tensor, first: MaskGradient) -> Record:
        """Measure the same batch again, and compare both with each other and with the calibrated model."""
        self.fields.tally.heading = "agreement"
        again = self._gradient(self.settings.method, objects, labels)
        model = self._gradient("in_silico", objects, labels)
        rows = [
            {
                "epoch": self._progress.epoch,
                "layer": k + 1,
                "cosine": _cosine(one, modelled),
                "norm_ratio": float(one.norm() / modelled.norm()),
                "noise_floor": math.sqrt(max(0.0, _cosine(one, other))),
            }
            for k, (one, other, modelled) in enumerate(zip(first.masks, again.masks, model.masks, strict=True))
        ]
        self._progress.agreements += rows
        return self._logbook.record("agreement", {"epoch": self._progress.epoch, "layers": rows})

    def _test_masks(self, epoch: int) -> Records:
        """Test the masks where they were trained: on the bench, or in the model."""
        self._show()
        self.fields.tally.heading = "evaluation"
        confusion = np.zeros((self._test.classes, self._test.classes), np.int64)
        for part in self._test.in_order(max(self.settings.batch_size, 16)):
            objects, labels = self._objects(self._test, part)
            found = self._output(objects).argmax(dim=1)
            np.add.at(confusion, (labels.numpy(), found.numpy()), 1)
        accuracy = float(np.trace(confusion) / confusion.sum())
        self._progress.test_accuracies.append(accuracy)
        values = {"epoch": epoch, "test_accuracy": accuracy, "confusion": confusion.tolist()}
        values |= {"loss": float(np.mean(self._progress.losses))} if self._progress.losses else {}
        if self._lit:
            values["exposures"] = sum(self.fields.tally.exposures.values())
        yield from self._logbook.note("epoch", values)

    def _output(self, objects: Tensor) -> Tensor:
        """Return the powers on the detectors."""
        if self._lit:
            return detector_powers(self.fields.powers(objects), self._detectors)
        output = self.fields.modelled_forward(objects).output
        return detector_powers(output.real**2 + output.imag**2, self._detectors)

    def _show(self) -> None:
        if self._lit:
            self.fields.write_masks(self._phases)
        else:
            self.fields.model_masks(self._phases)

    def _objects(self, samples: Samples, chosen: NDArray[np.integer] | slice) -> tuple[Tensor, Tensor]:
        """Return chosen samples as fields at the first plane, and their classes."""
        inputs, _ = samples.batch(chosen)
        side = math.isqrt(inputs.shape[1])
        images, shape = torch.from_numpy(inputs).reshape(-1, side, side), self.fields.grid.shape
        fields = object_fields(images, round(self.settings.object_share * min(shape)), shape)
        return fields, torch.from_numpy(samples.labels[chosen])

    # ---- records and checkpoints

    def _safe_point(self, *, save: bool) -> Records:
        """Save where the training is, if asked or after a change; end it here if it was stopped.

        Raises:
            RunStopped: The operator asked for it; checkpoint and masks were yielded.
        """
        logbook = self._logbook
        if save or logbook.changed or logbook.stop:
            logbook.changed = False
            number = logbook.number("checkpoint")
            yield from logbook.tell(logbook.checkpoint(number, self._state()))
        if logbook.stop:
            yield self._masks_record()
            raise logbook.stop

    def _masks_record(self) -> Record:
        return self._logbook.record(
            "weights", {}, {name: phase.numpy().copy() for name, phase in self._named().items()}
        )

    def _named(self) -> dict[str, Tensor]:
        """Return the phases by the panel that shows them."""
        devices = [mask.device for mask in self.fields.path.masks]
        return {f"phase.{device}": phase for device, phase in zip(devices, self._phases, strict=True)}

    def _state(self) -> dict[str, Any]:
        return {
            **{name: phase.numpy().copy() for name, phase in self._named().items()},
            "adam": optimiser_state(self._optimiser, self._named()),
            "generator": self._rng.bit_generator.state,
            "progress": asdict(self._progress),
            "tally": asdict(self.fields.tally),
            **self._logbook.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        for name, phase in self._named().items():
            phase.copy_(torch.from_numpy(state[name]))
        restore_optimiser(self._optimiser, self._named(), state["adam"])
        self._rng.bit_generator.state = state["generator"]
        self._progress = Progress(**state["progress"])
        self.fields.tally.restore(state["tally"])
        self._logbook.restore(state)

    def _summary(self) -> Summary:
        seconds = self._logbook.seconds if self._lit else 0.0
        result = {
            "test_accuracy": self._progress.test_accuracies[-1],
            "test_accuracies": self._progress.test_accuracies,
            "gradient_agreement": self._progress.agreements,
            "saturated_pixels": self.fields.tally.clipped_modes,
            **self.fields.tally.spent(seconds),
        }
        score = (
            f"{result['test_accuracy']:.2%} of {len(self._test)} test images right after {self.settings.epochs} epochs"
        )
        if not self._lit:
            return {**result, "message": f"{score}, computed in the calibrated model; no light was used"}
        last = self._progress.agreements[-len(self._phases) :]
        cosines = ", ".join(f"{row['cosine']:.3f}" for row in last) or "not measured"
        how = "simulated" if self._bench.simulated else "real"
        closing = (
            f"{score}; {result['exposures']:,} exposures of the {how} bench ({seconds / 60:.0f} min of bench time), "
            f"gradient agreement by mask {cosines}"
        )
        return {**result, "message": closing}


def plane_detectors(fields: BenchFields) -> Tensor:
    """Return the masks (10, rows, cols) of the published detectors, at their share of the bench's planes."""
    grid, wavelength_m = fields.grid, fields.bench.file.laser.wavelength_m
    scale = grid.size_m[0] / wavelength_m / PLATE_WAVELENGTHS
    sizes = {name: size * scale for name, size in asdict(PUBLISHED).items()}
    hops = [hop.distance.value for hop in fields.path.hops]
    geometry = Geometry(grid, wavelength_m, len(fields.path.masks), hops[0], hops[0], hops[-1])
    return detector_masks(detector_squares(DetectorLayout(**sizes), geometry, grid.shape[0]), grid.shape)


def _share_right(powers: Tensor, labels: Tensor) -> float:
    return float((powers.argmax(dim=1) == labels).float().mean())


def _cosine(one: Tensor, other: Tensor) -> float:
    return float((one * other).sum() / (one.norm() * other.norm()))
