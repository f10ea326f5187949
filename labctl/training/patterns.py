"""What modulators show for a network: masks, inputs, re-sent sums and errors as patterns, pilots included."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.bench import BenchFile
from labctl.devices import Codebook, Pattern, PatternStack
from labctl.errors import ConfigError
from labctl.optics.elements import centred_origin
from labctl.optics.network import Source, StageOptics, build_stages
from labctl.optics.parameters import believed
from labctl.optics.scales import stage_scales
from labctl.training.network import NetworkShape

Floats = NDArray[np.float32]

PILOT_SHARE = 0.75
"""Field of the pilots in the first layer, as a share of the full scale of the camera that reads them."""

PASSED_PILOT = 0.8
"""Modulation that passes a pilot on through later layers: uneven light may make it half as strong again, and its
camera must not saturate then."""


class NetworkPatterns:
    """Patterns of a network on a bench, made with what its file believes.

    Args:
        file: Bench file.
        shape: Neurons per layer.
    """

    def __init__(self, file: BenchFile, shape: NetworkShape) -> None:
        values = believed(file.parameters())
        self.optics = build_stages(file, values, file.panel_bits)
        self.scales = stage_scales(file, self.optics, file.all_settings, values)
        self._file, self._shape = file, shape
        self._panel_codes = [
            Codebook("blazed carrier", one.multiplier.tiles, one.stage.multiply.block, one.multiplier.rest)
            for one in self.optics
        ]
        self._mirror_codes: dict[str, Codebook] = {}

    # ---- masks

    def mask(self, layer: int, weight: Floats) -> Pattern:
        """Return the panel pattern of one layer's weights (rows, columns).

        Raises:
            ConfigError: The weights have another shape than the layer, or are not finite numbers.
        """
        _require_numbers(f"weights of layer {layer + 1}", weight, self._shape.layers[layer])
        multiply, grid = self.optics[layer].stage.multiply, self.optics[layer].multiplier.shape
        origin = centred_origin(self._file.settings(multiply.device).shape, multiply.block, grid)
        return Pattern(self.mask_indices(layer, weight), self._panel_codes[layer], origin)

    def mask_indices(self, layer: int, weight: Floats) -> NDArray[np.uint16]:
        """Return the panel's block indices for one layer's weights, pilots included."""
        optics, scales = self.optics[layer], self.scales[layer]
        multiplier, limit = optics.multiplier, optics.stage.multiply.weight_range
        blocks = np.full(multiplier.shape, multiplier.zero_index, np.uint16)
        rows, columns = weight.shape
        modulation = np.clip(weight, -limit, limit) / scales.weight_per_modulation
        blocks[:rows, :columns] = multiplier.inverse(modulation / multiplier.slit[:columns])
        first = optics.stage.end.modes
        if layer == 0:  # the pilot columns are all alike: one row sums them, the other a quarter period shifted
            lit = slice(optics.stage.source.modes, optics.stage.source.modes + self._pilot_columns(optics))
            blocks[first, lit] = multiplier.full_index
            blocks[first + 1, lit] = multiplier.quarter_index
        else:  # pilots come in as such and are passed on
            for pilot in range(2):
                blocks[first + pilot, optics.stage.source.modes + pilot] = multiplier.inverse(np.array(PASSED_PILOT))
        # a pilot's blurred phase must not send its light into the last data column
        border = optics.stage.source.modes - 1
        for row in (first, first + 1):
            left, right = int(blocks[row, border - 1]), int(blocks[row, border + 1])
            blocks[row, border] = multiplier.silent_index(left, right)
        return blocks

    def _pilot_columns(self, optics: StageOptics) -> int:
        full = self.scales[0].weight_per_modulation * optics.multiplier.reach
        wanted = round(PILOT_SHARE * optics.stage.end.full_scale / full)
        return max(1, min(wanted, optics.stage.columns - optics.stage.source.modes))

    def shown_weights(self, weights: Sequence[Floats]) -> list[torch.Tensor]:
        """Return the weights the calibrated model says the panels show: levels, clipping and crosstalk included."""
        shown = []
        for layer, weight in enumerate(weights):
            rows, columns = weight.shape
            modulation = self.optics[layer].multiplier.modulation(self.mask_indices(layer, weight))
            shown.append(modulation.real[:rows, :columns] * self.scales[layer].weight_per_modulation)
        return shown

    # ---- fields

    def inputs(self, layer: int, values: Floats) -> PatternStack:
        """Return the frames that send `values` (n, columns) into a layer: inputs 0..1, or sums to re-send."""
        _require_numbers(f"inputs of layer {layer + 1}", values, (len(values), self._shape.layers[layer][1]))
        source = self.optics[layer].source
        scale = 1.0 if layer == 0 else self.scales[layer].source_field
        return self._stack(source, self._data_indices(source, values / scale))

    def errors(self, layer: int, errors: Floats) -> PatternStack:
        """Return the frames that inject `errors` (n, rows), -1..1, at the end of a layer.

        Raises:
            ConfigError: No device injects errors there.
        """
        injector = self.optics[layer].injector
        if injector is None:
            raise ConfigError(f"layer {layer} of bench {self._file.name} has no device that injects errors")
        return self._stack(injector, self._data_indices(injector, errors))

    def dark(self, layer: int) -> PatternStack:
        """Return one frame of a layer's source without any light, pilots included."""
        source = self.optics[layer].source
        return self._stack(source, np.full((1, source.modes), source.zero_index, np.uint16))

    def _data_indices(self, source: Source, amplitude: Floats) -> NDArray[np.uint16]:
        """Return code indices (n, modes) of data amplitudes, with pilots behind them."""
        indices = np.full((len(amplitude), source.modes), source.zero_index, np.uint16)
        indices[:, : amplitude.shape[1]] = source.indices(amplitude)
        first = source.element.modes
        if not source.signed:
            indices[:, first:] = source.full_index
        else:
            indices[:, first] = source.full_index
            indices[:, first + 1] = source.quarter_index
        return indices

    def sent_sums(self, layer: int, values: Floats) -> Floats:
        """Return the sums a layer's source really sends for `values`: the nearest levels of its code."""
        source, scale = self.optics[layer].source, self.scales[layer].source_field
        return source.amplitude(source.indices(values / scale)) * np.float32(scale)

    def _stack(self, source: Source, indices: NDArray[np.uint16]) -> PatternStack:
        device, element = source.device, source.element
        if device not in self._mirror_codes:
            self._mirror_codes[device] = Codebook(f"code of {device}", source.tiles, element.block)
        origin = centred_origin(self._file.settings(device).shape, element.block, (1, source.modes))
        return PatternStack(indices[:, None, :], self._mirror_codes[device], origin)


def _require_numbers(what: str, array: Floats, shape: tuple[int, int]) -> None:
    if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
        raise ConfigError(f"{what}: floats of shape {shape} are needed, got {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ConfigError(f"{what}: {int((~np.isfinite(array)).sum())} value(s) are not finite")
