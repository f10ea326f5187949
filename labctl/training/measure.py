"""Measuring a network on a bench: masks written, fields sent and read, in network quantities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from labctl.bench import Bench
from labctl.errors import ConfigError
from labctl.optics.multiplier.absorber import depth_at, exact_factor, temperature_for
from labctl.training.homodyne import PILOT_SHOTS, REFERENCE_FRAMES, HomodyneReader, Reading, SteppedShots
from labctl.training.network import Absorption, NetworkShape, require_fit
from labctl.training.patterns import Floats, NetworkPatterns
from labctl.training.tally import Tally

BACKGROUND_SHOTS = 32
"""Readings averaged for the background: a sixth of one reading's noise."""

EVEN_WEIGHT = 0.8
"""Weight shown while the transfer is measured, over the largest."""

TRANSFER_BATCH = 100
"""Inputs between two looks at the reference phase while the transfer is measured."""


class BenchNetwork:
    """A network as an open bench carries it.

    Args:
        bench: Open bench.
        shape: Neurons per layer.
        optical_depth: Requested depth; sets the cell's temperature by the calibrated curve.
        quadratures: 1 reads the quadrature in phase with the pilots; 2 reads both, with twice the exposures, and turns
            every reading by its own pilots' phase: for a reference that moves fast, or light far out of phase.
        error_exposures: 2 steps the probe's phase; 4 steps the reference as well, which removes leaked pump light.

    Raises:
        ConfigError: The network or the depth does not fit the bench.
    """

    def __init__(
        self, bench: Bench, shape: NetworkShape, optical_depth: float, error_exposures: int = 2, quadratures: int = 1
    ) -> None:
        require_fit(bench.file, shape)
        self.bench = bench
        self.shape = shape
        self.tally = Tally()
        self.patterns = NetworkPatterns(bench.file, shape)
        self.reader = HomodyneReader(bench, shape, self.patterns.scales, self.tally, quadratures)
        self._error_exposures = error_exposures
        self._spill: dict[int, Floats] = {}
        self.transfer: list[Floats] = [np.ones(layer, np.float32) for layer in shape.layers]
        self.temperatures_c = depth_settings(bench, optical_depth)
        self.absorption = Absorption(bench.file.absorber_law, optical_depth if self.temperatures_c else 0.0)

    @property
    def warnings(self) -> list[str]:
        """What the operator should know; who passes a message on may take it out."""
        return self.reader.warnings

    def warn(self, message: str) -> None:
        """Note something the operator should know, once."""
        self.reader.warn(message)

    # ---- going on

    def state(self) -> dict[str, Any]:
        """Return what was spent, told and measured so far, for `restore`: plain values and arrays."""
        transfer = {f"layer_{k + 1}": layer for k, layer in enumerate(self.transfer)}
        return {"tally": asdict(self.tally), "transfer": transfer, **self.reader.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, on a network of the same shape."""
        self.tally.restore(state["tally"])
        self.transfer = [state["transfer"][f"layer_{k + 1}"] for k in range(len(self.shape.layers))]
        self.reader.restore(state)

    # ---- setting up

    def prepare(self) -> None:
        """Bring the cells to temperature and measure the reference's brightness on every camera."""
        self.warm_cells()
        stages = self.bench.file.stages
        self.reader.measure_reference({stage.source.device: self.patterns.dark(k) for k, stage in enumerate(stages)})

    def warm_cells(self) -> None:
        """Bring the cells to temperature, side by side."""
        for cell, temperature_c in self.temperatures_c.items():
            self.bench.cell(cell).set_temperature(temperature_c)
        for cell, temperature_c in self.temperatures_c.items():
            self.bench.cell(cell).wait_for_temperature(temperature_c)

    def measure_background(self) -> None:
        """Measure what forward cameras read with no data sent, under the masks shown now.

        It is subtracted from decoded fields until the next call; light from mirrors that are off is most of it.
        """
        self.tally.heading = "background"
        self.reader.subtract({})
        means: dict[str, Floats] = {}
        for layer, (_, columns) in enumerate(self.shape.layers):
            nothing = np.zeros((BACKGROUND_SHOTS, columns), np.float32)
            for camera, reading in self.read_forward(layer, nothing).items():
                means[camera] = reading.data.mean(axis=0)
        self.reader.subtract(means)

    def measure_transfer(self) -> None:
        """Measure how much of every weight its panel passes on: one input at a time through an even mask.

        A block's light may be weak or turned in phase (aberration, dust, uneven illumination); turned by more than a
        quarter period it acts with the opposite sign, and so must its gradient. Shows masks of its own.
        """
        limits = [stage.multiply.weight_range for stage in self.bench.file.stages]
        even = [
            np.full(shape, EVEN_WEIGHT * limit, np.float32)
            for shape, limit in zip(self.shape.layers, limits, strict=True)
        ]
        for layer, weight in enumerate(even):
            self._show_mask(layer, weight)
        shown = [weight.numpy() for weight in self.patterns.shown_weights(even)]
        self.measure_background()
        self.tally.heading = "transfer"
        for layer, (_, columns) in enumerate(self.shape.layers):
            stage = self.bench.file.stages[layer]
            size = 1.0 if layer == 0 else self._full_scale(layer - 1)
            for start in range(0, columns, TRANSFER_BATCH):
                one = size * np.eye(columns, dtype=np.float32)[start : start + TRANSFER_BATCH]
                read = self.read_forward(layer, one)
                tap = stage.activation_tap
                sent = np.diagonal(read[tap.camera].data, start) if tap else np.full(len(one), size)
                sums = read[stage.end.camera].data.T
                part = slice(start, start + len(one))
                self.transfer[layer][:, part] = sums / (shown[layer][:, part] * sent)

    def _full_scale(self, layer: int) -> float:
        """Return the largest sum that is read at the end of a layer."""
        return self.patterns.scales[layer].readouts[self.bench.file.stages[layer].end.camera].full_scale

    # ---- masks

    def write_masks(self, weights: Sequence[Floats]) -> None:
        """Write every layer's weights to its panel; those beyond the bench's range are clipped and counted."""
        for layer, weight in enumerate(weights):
            limit = self.bench.file.stages[layer].multiply.weight_range
            self.tally.clipped_weights += int((np.abs(weight) > limit).sum())
            self._show_mask(layer, weight)

    def _show_mask(self, layer: int, weight: Floats) -> None:
        panel = self.bench.slm(self.bench.file.stages[layer].multiply.device)
        pattern = self.patterns.mask(layer, weight)
        panel.show(pattern)
        self._spill[layer] = self.patterns.pilot_spill(layer, pattern.indices)
        self.tally.mask_writes += 1

    # ---- fields

    def read_forward(self, layer: int, values: Floats) -> dict[str, Reading]:
        """Send `values` into a layer and return what its forward cameras read.

        Args:
            layer: Layer number.
            values: Inputs 0..1 for layer 0, sums to re-send for later ones, shape (n, columns).

        Raises:
            RunAborted: The reference cannot be held, or the pilots are lost.
        """
        stage = self.bench.file.stages[layer]
        cameras = tuple(
            port for port in (stage.activation_tap and stage.activation_tap.camera, stage.end.camera) if port
        )
        return self.reader.read(self._forward_shots(layer, values, cameras))

    def read_backward(self, layer: int, values: Floats, errors: Floats) -> Reading:
        """Send errors backwards through a layer and return what leaves its cell towards the layer before.

        Each sample's forward field stays on in the cell meanwhile. Errors are scaled per sample to the modulator's
        range and unscaled after reading.

        Args:
            layer: Layer number; a cell must stand in it.
            values: What `read_forward` sent, shape (n, columns).
            errors: Errors of the layer's sums, shape (n, rows): those of the outputs, or what was read behind it.
        """
        stage = self.bench.file.stages[layer]
        if stage.error_tap is None or stage.injector is None:
            raise ConfigError(f"layer {layer} of bench {self.bench.file.name} reads no errors back")
        scale = np.maximum(np.abs(errors).max(axis=1, keepdims=True), 1e-12)
        sent = self.patterns.errors(layer, errors / scale)
        stacks = {stage.source.device: self.patterns.inputs(layer, values), stage.injector.device: sent}
        reference, probe, camera = self.bench.file.reference.beam, stage.injector.beam, stage.error_tap.camera
        beams = frozenset({stage.source.beam, probe, reference})
        half = np.array([0.0, math.pi])
        if self._error_exposures == 2:
            steps = {probe: half, reference: np.zeros(2)}
        else:
            steps = {probe: np.tile(half, 2), reference: np.repeat(half, 2)}
        reading = self.reader.read(SteppedShots(layer, (camera,), beams, stacks, reference, steps))[camera]
        # pilots leave light in the data columns, and like the error itself it has passed the pumped cell
        passed = self.absorption.probe(torch.from_numpy(self.patterns.sent_sums(layer, values))).numpy()
        return Reading((reading.data - self._spill[layer] * passed) * scale, reading.clipped)

    def exact_factor(self, sums: Floats, activations: Floats) -> Floats:
        """Return what turns the probe's transmission into the exact derivative, from measured fields."""
        law, depth = self.absorption.law, self.absorption.depth
        before, after = torch.from_numpy(sums) ** 2, torch.from_numpy(activations) ** 2
        return exact_factor(before, after, depth, law).numpy()

    def wrong_way_pump(self, layer: int, values: Floats) -> float:
        """Return the pump light on the error camera as a share of the reference field there, rms over modes."""
        stage = self.bench.file.stages[layer]
        if stage.error_tap is None:
            return 0.0
        return self.reader.share_of_reference(self._forward_shots(layer, values, (stage.error_tap.camera,)))

    def _forward_shots(self, layer: int, values: Floats, cameras: tuple[str, ...]) -> SteppedShots:
        """Return shots of `values` sent into a layer, the reference in two opposite phases."""
        source, reference = self.bench.file.stages[layer].source, self.bench.file.reference.beam
        stacks = {source.device: self.patterns.inputs(layer, values)}
        steps = {reference: np.array([0.0, math.pi])}
        return SteppedShots(layer, cameras, frozenset({source.beam, reference}), stacks, reference, steps)


def setup_exposures(layers: int, error_batches: Sequence[int] = (), error_exposures: int = 0) -> int:
    """Return the exposures that setting up takes: reference brightness, and the pilots of every camera.

    Args:
        layers: Layers of the network.
        error_batches: Samples of the first reading of every error camera that is read.
        error_exposures: Exposures of one error reading in one quadrature.
    """
    forward = 2 * 2 * layers * min(PILOT_SHOTS, BACKGROUND_SHOTS)
    return REFERENCE_FRAMES + forward + 2 * error_exposures * sum(min(PILOT_SHOTS, one) for one in error_batches)


def depth_settings(bench: Bench, optical_depth: float) -> dict[str, float]:
    """Return the reservoir temperature of every cell that gives a requested depth by its calibrated curve.

    Raises:
        ConfigError: A cell cannot reach it; names what it can.
    """
    temperatures = {}
    for cell in [stage.absorb for stage in bench.file.stages if stage.absorb]:
        limits, at_70c = bench.file.settings(cell.device), cell.depth_at_70c.value
        low, high = limits.min_temperature_c, limits.max_temperature_c
        temperature = temperature_for(optical_depth, at_70c, low, high)
        if temperature is None:
            raise ConfigError(
                f"optical_depth {optical_depth:g}: cell {cell.device} reaches {depth_at(low, at_70c):.2g} to "
                f"{depth_at(high, at_70c):.3g} between {low:g} and {high:g} degC"
            )
        temperatures[cell.device] = temperature
    return temperatures
