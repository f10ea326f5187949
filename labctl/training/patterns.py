"""What modulators show for a network: masks, inputs, re-sent sums and errors as patterns, pilots included."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from labctl.bench import BenchFile
from labctl.devices import Codebook, Pattern, PatternStack
from labctl.errors import ConfigError
from labctl.optics.multiplier.elements import PILOTS, centred_origin
from labctl.optics.multiplier.network import Source, build_stages
from labctl.optics.multiplier.pilots import pilot_columns, pilot_spill, write_pilots
from labctl.optics.multiplier.scales import stage_scales
from labctl.optics.parameters import believed
from labctl.training.network import NetworkShape

Floats = NDArray[np.float32]


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
        write_pilots(blocks, optics, pilot_columns(optics, scales.weight_per_modulation))
        return blocks

    def pilot_spill(self, layer: int, blocks: NDArray[np.uint16]) -> Floats:
        """Return what a way back through `blocks` carries of the pilots into each data column, shape (columns,)."""
        spill = pilot_spill(self.optics[layer].multiplier, blocks) * self.scales[layer].weight_per_modulation
        return spill[: self._shape.layers[layer][1]]

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

    def every_mode(self, layer: int, amplitudes: Floats) -> PatternStack:
        """Return the frames that write `amplitudes` (n, modes), -1..1, on all modes of a layer's source, pilots too."""
        source = self.optics[layer].source
        return self._stack(source, source.indices(amplitudes))

    def dark(self, layer: int) -> PatternStack:
        """Return one frame of a layer's source without any light, pilots included."""
        source = self.optics[layer].source
        return self._stack(source, np.full((1, source.modes), source.zero_index, np.uint16))

    def _data_indices(self, source: Source, amplitude: Floats) -> NDArray[np.uint16]:
        """Return code indices (n, modes) of data amplitudes, with pilots behind them."""
        indices = np.full((len(amplitude), source.modes), source.zero_index, np.uint16)
        indices[:, : amplitude.shape[1]] = source.indices(amplitude)
        if not source.signed:
            indices[:, source.element.modes :] = source.full_index
        else:
            indices[:, -PILOTS] = source.full_index
            indices[:, -PILOTS + 1] = source.quarter_index
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
