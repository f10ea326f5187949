"""The optical network of a bench, built from its layout and one set of parameter values."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.layout import Layout
from labctl.optics.multiplier import absorber
from labctl.optics.multiplier.elements import Encode, Inject, Regenerate
from labctl.optics.multiplier.modulator import (
    binary_carrier_tiles,
    carrier_response,
    mirror_fraction_response,
    mirror_fraction_tiles,
)
from labctl.optics.multiplier.slit import slit_columns
from labctl.optics.multiplier.slit_multiplier import SlitMultiplier, slit_half_width
from labctl.optics.multiplier.stages import Stage
from labctl.optics.parameters import Values

CARRIER_TILE_MIRRORS = 8_000
"""Mirrors in the tile of a carrier code; more would give finer levels than a mode's shot noise can tell."""

TILE_COLUMNS = 32
"""Widest tile of a carrier code; it repeats over wider blocks."""


class Source:
    """A micromirror device that writes the fields of a row of modes.

    Args:
        element: What the layout says of it.
        efficiency: Power in the used order over power on the device, at full amplitude.
        unit_power_w: Power of a mode of field 1.
    """

    def __init__(self, element: Encode | Regenerate | Inject, efficiency: float, unit_power_w: float) -> None:
        self.element = element
        self.signed = not isinstance(element, Encode)
        self.modes = element.modes + element.behind_data
        if isinstance(element, Encode):
            self.tiles = mirror_fraction_tiles()
            self.levels, self.zero_index = len(self.tiles) - 1, 0
        else:
            rows, columns = _tile_shape(element.block, element.carrier)
            self.tiles = binary_carrier_tiles(rows, columns, element.carrier)
            self.levels = self.zero_index = (len(self.tiles) - 2) // 2
        self.full_index = self.zero_index + self.levels
        self.quarter_index = self.full_index + 1
        self.profile: Tensor | None = None
        self.offset: Tensor | None = None
        self._per_watt = efficiency / (self.modes * unit_power_w)
        self.use_tiles(self.tiles)

    def response(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Return the complex amplitude of every tile, shape (indices,)."""
        element = self.element
        code = mirror_fraction_response if isinstance(element, Encode) else carrier_response(element.carrier)
        return torch.from_numpy(code(tiles).astype(np.complex64))

    def use_response(self, response: Tensor) -> None:
        """Let indices stand for the amplitudes `response` from now on."""
        self._amplitude = response

    def use_tiles(self, tiles: NDArray[np.uint8]) -> None:
        """Take `tiles` as the code of the indices from now on."""
        self.use_response(self.response(tiles))

    @property
    def device(self) -> str:
        """Name of the micromirror device."""
        return self.element.device

    def full_field(self, power_w: float) -> float:
        """Return the field of one mode at full amplitude with `power_w` on the device."""
        return math.sqrt(self._per_watt * power_w)

    def indices(self, amplitude: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Return the nearest codebook index of amplitudes -1 to 1 (0 to 1 unsigned); beyond the ends, the end."""
        low = -1 if self.signed else 0
        return np.rint(np.clip(amplitude, low, 1) * self.levels + self.zero_index).astype(np.uint16)

    def amplitude(self, indices: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return the signed real amplitude that data indices stand for."""
        return ((indices.astype(np.float32) - self.zero_index) / self.levels).astype(np.float32)

    def fields(self, indices: NDArray[np.uint16], power_w: float) -> Tensor:
        """Return the complex fields (n, modes) that `indices` (n, modes) write with `power_w` on the device."""
        field = torch.from_numpy(self._amplitude.numpy().take(indices))  # torch's own look-up takes three times as long
        if self.offset is not None:
            field += self.offset
        full = self.full_field(power_w)
        return field.mul_(full if self.profile is None else self.profile * full)


def _tile_shape(block: tuple[int, int], carrier: int) -> tuple[int, int]:
    """Return the largest tile of whole carrier periods that fills the block by repetition and stays small."""
    periods = block[0] // carrier
    rows = [carrier * n for n in range(1, periods + 1) if periods % n == 0]
    columns = [n for n in range(1, min(block[1], TILE_COLUMNS) + 1) if block[1] % n == 0]
    fitting = [(high, wide) for high in rows for wide in columns if high * wide <= CARRIER_TILE_MIRRORS]
    return max(fitting, key=lambda tile: tile[0] * tile[1], default=(carrier, 1))


class Absorber:
    """The vapour cell acting on a row of modes.

    Args:
        law: Absorber law.
        depth_at_70c: Optical depth at 70 degrees Celsius.
        saturation_ratio: Saturation power over the power of field 1.
        kappa: Depth of the pump-probe population grating.
        crosstalk: Share of a neighbour's intensity that saturates a mode (atoms fly between beams).
        profile: Profile of the beams.
    """

    def __init__(
        self,
        law: absorber.Law,
        depth_at_70c: float,
        saturation_ratio: float = 1.0,
        kappa: float = 0.0,
        crosstalk: float = 0.0,
        profile: absorber.Profile = "uniform",
    ) -> None:
        self.law: absorber.Law = law
        self.depth_at_70c = depth_at_70c
        self.saturation_ratio = saturation_ratio
        self.kappa = kappa
        self.crosstalk = crosstalk
        self._points, self._weights = absorber.profile_points(profile)

    def pump_transmission(
        self, pump: Tensor, temperature_c: float, detuning_hz: Tensor | float = 0.0, depth_scale: float = 1.0
    ) -> Tensor:
        """Return the field transmission of pump fields (n, modes), averaged over the beams, in the same shape.

        Args:
            pump: Pump fields at their entrance.
            temperature_c: Reservoir temperature.
            detuning_hz: Laser detuning, scalar or (n, 1).
            depth_scale: Momentary factor on the depth.
        """
        local = self._local(pump, temperature_c, detuning_hz, depth_scale)
        return _mean((absorber.transmission(at, depth, self.law), weight) for at, depth, _, weight in local)

    def probe_transmission(
        self, pump: Tensor, temperature_c: float, detuning_hz: Tensor | float = 0.0, depth_scale: float = 1.0
    ) -> Tensor:
        """Return the field transmission of the probe through what pump fields saturate, as `pump_transmission`."""
        local = self._local(pump, temperature_c, detuning_hz, depth_scale)
        return _mean(
            (absorber.probe_transmission(at, depth, self.law, self.kappa, overlap), weight)
            for at, depth, overlap, weight in local
        )

    def _local(
        self, pump: Tensor, temperature_c: float, detuning_hz: Tensor | float, depth_scale: float
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | float, Tensor]]:
        """Yield saturation, depth and overlap (as `absorber.detuned`) at every point of the profile, and its weight."""
        saturation = (pump.real**2 + pump.imag**2) / self.saturation_ratio
        if self.crosstalk:
            beside = torch.nn.functional.pad(saturation, (1, 1))
            saturation = saturation + self.crosstalk * (beside[:, :-2] + beside[:, 2:])
        on_line = absorber.depth_at(temperature_c, self.depth_at_70c) * depth_scale
        for point, weight in zip(self._points, self._weights, strict=True):
            yield *absorber.detuned(saturation * point, on_line, detuning_hz, self.law), weight


def _mean(parts: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the sum of values times their weights."""
    return sum((weight * value for value, weight in parts), torch.zeros(()))


class StageOptics:
    """One stage as optics; fields are complex, in units of the saturation field the bench file believes in.

    Args:
        stage: The layout's stage.
        layout: The whole layout.
        values: Parameter values.
        panel_bits: Bit depth of each panel by device name.
        kappa: See `Absorber`.
        crosstalk: See `Absorber`.
    """

    def __init__(
        self,
        stage: Stage,
        layout: Layout,
        values: Values,
        panel_bits: Mapping[str, int],
        kappa: float = 0.0,
        crosstalk: float = 0.0,
    ) -> None:
        unit = layout.unit_power_w
        multiply, source, inject = stage.multiply, stage.source, stage.injector
        of = multiply.device
        self.stage = stage
        self.source = Source(source, values[f"{source.device}.efficiency"], unit)
        self.multiplier = SlitMultiplier(
            stage.rows,
            stage.columns,
            block=multiply.block,
            period=multiply.period,
            bit_depth=panel_bits[of],
            efficiency=values[f"{of}.reflectivity"] * values[f"{of}.slit_efficiency"] * values[f"{of}.path_efficiency"],
            fringing_px=values[f"{of}.fringing"],
            registration_px=values[f"{of}.registration"],
            order_stop=True,
            slit=slit_columns(stage.columns, slit_half_width(values[f"{of}.slit_efficiency"])),
        )
        self.injector = Source(inject, values[f"{inject.prefix}.efficiency"], unit) if inject else None
        self.absorber: Absorber | None = None
        if stage.absorb is not None:
            cell = stage.absorb.device
            ratio = values[f"{cell}.saturation_power"] / unit
            depth = values[f"{cell}.depth_at_70c"]
            self.absorber = Absorber(layout.absorber_law, depth, ratio, kappa, crosstalk, stage.absorb.profile)


def build_stages(
    layout: Layout, values: Values, panel_bits: Mapping[str, int], kappa: float = 0.0, crosstalk: float = 0.0
) -> tuple[StageOptics, ...]:
    """Return the optics of every stage of `layout`; arguments as for `StageOptics`."""
    return tuple(StageOptics(stage, layout, values, panel_bits, kappa, crosstalk) for stage in layout.stages)
