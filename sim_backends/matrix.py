"""Fidelity `matrix`: the fields of whole modes, never expanded to pixels.

Errors travel backwards through the elements themselves, never by automatic differentiation: that is the tests'
oracle, and the twin must not be its own judge.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.devices import Codebook, Pattern
from labctl.optics.layout import Layout
from labctl.optics.multiplier.crosstalk import ROW_REACH, order_fields
from labctl.optics.multiplier.elements import centred_origin
from labctl.optics.multiplier.network import Source, StageOptics
from labctl.optics.multiplier.slit_multiplier import SlitMultiplier, slit_ramp
from labctl.optics.multiplier.stages import Stage
from sim_backends.disturbance import Disturbance, ShotNoise
from sim_backends.states import Emission, MirrorState, TableState
from sim_backends.truth import Truth


class MatrixLight:
    """What the light is, in front of every camera, for what the devices show and do.

    Args:
        layout: Optical content of the bench file.
        stages: Its optics, with the truth's values and distortions.
        settings: Settings of every device, by name.
        truth: Hidden truth.
        disturbance: What the noise set does to light.
        state: What the devices do now; twins write it.
    """

    def __init__(
        self,
        layout: Layout,
        stages: Sequence[StageOptics],
        settings: Mapping[str, Any],
        truth: Truth,
        disturbance: Disturbance,
        state: TableState,
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._truth = truth
        self._disturbance = disturbance
        self._state = state
        self._panels = {one.stage.multiply.device: one.multiplier for one in stages}
        self._codes: dict[str, Codebook] = {}
        self._responses: WeakKeyDictionary[Codebook, Tensor] = WeakKeyDictionary()

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Set the multiplier of panel `name` to what `pattern` shows; a panel outside the light path is ignored."""
        multiplier = self._panels.get(name)
        if multiplier is None:
            return
        rows, columns = multiplier.shape
        origin = centred_origin(self._settings[name].shape, multiplier.block, (rows, columns))
        in_blocks = pattern.codebook.block == multiplier.block and pattern.indices.shape == multiplier.shape
        if in_blocks and pattern.origin == origin and pattern.codebook.tiles.shape[2] == 1:
            if self._codes.get(name) is not pattern.codebook:
                multiplier.use_tiles(np.asarray(pattern.codebook.tiles, np.uint16), pattern.codebook.rest)
                self._codes[name] = pattern.codebook
            multiplier.show(pattern.indices)
        else:
            multiplier.show_fields(self._plain_panel(multiplier, name, pattern, origin))

    def _plain_panel(
        self, multiplier: SlitMultiplier, name: str, pattern: Pattern, origin: tuple[int, int]
    ) -> NDArray[np.complex64]:
        """Return what the order stop passes of the blocks of any other frame, without fringing."""
        frame, (rows, columns), block = pattern.expand(self._settings[name].shape), multiplier.shape, multiplier.block
        # beyond the panel all counts as its first pixel does, and a flat panel sends nothing into the order
        around, first = ROW_REACH * block[0], frame[0, 0]
        taller = np.pad(frame, ((around, around), (0, 0)), constant_values=first)
        blocks = cut_blocks(taller, block, (rows + 2 * ROW_REACH, columns), origin)
        sent = order_fields(
            np.append(blocks, np.full_like(blocks[:1], first), axis=0),
            multiplier.bit_depth,
            multiplier.period,
            ROW_REACH,
        )
        received = sent[:-1].reshape(rows + 2 * ROW_REACH, columns, -1)
        fields = sum(received[k : k + rows, :, k] for k in range(2 * ROW_REACH + 1)) - sent[-1].sum()
        return np.asarray(fields, np.complex64)

    def pixels(self, camera: str) -> int:
        """Return how many values a camera reads for one mode."""
        return 1

    def frame_shape(self, camera: str, modes: int) -> tuple[int, int]:
        """Return rows and columns of a camera's frames: one value a mode, in one row."""
        return 1, modes

    def ports(self, optics: StageOptics, noise: ShotNoise, now_s: float, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Return the complex fields (n, modes, pixels) at the stage's cameras, by camera name.

        Args:
            optics: The stage.
            noise: Momentary state of the table in each of the n shots.
            now_s: Bench time.
            wanted: Cameras that are read; fields at others may be missing.
        """
        found = self._fields(optics, noise, now_s, wanted)
        return {camera: self._on_pixels(optics, camera, field) for camera, field in found.items()}

    def _on_pixels(self, optics: StageOptics, camera: str, field: Tensor) -> Tensor:
        """Return the fields (n, modes, pixels) that a camera reads."""
        return field[..., None]

    def _fields(self, optics: StageOptics, noise: ShotNoise, now_s: float, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Return the light at the cameras; behind the slit as `_forward` gives it, elsewhere by mode."""
        stage = optics.stage
        ramp = self._slit_ramp(optics, now_s)
        pump = self._emit(stage.source.device, optics.source, stage.source.beam, noise)
        found: dict[str, Tensor] = {}
        if optics.absorber is None or stage.absorb is None:
            sums = pump.shots(self._forward(optics, pump.fields * ramp))
            return {stage.end.camera: sums * noise.flicker}
        incident = pump.shots()
        detuning = noise.detuning_hz + self._state.beams[stage.source.beam].detuning_hz
        vapour = self._state.temperatures_c[stage.absorb.device](), detuning, noise.depth
        tap = stage.activation_tap
        if stage.end.camera in wanted or (tap and tap.camera in wanted):
            inner = incident * optics.absorber.pump_transmission(incident, *vapour)
            found[stage.end.camera] = self._forward(optics, inner * ramp) * noise.flicker
            found |= {tap.camera: inner} if tap else {}
        if stage.error_tap and stage.error_tap.camera in wanted and optics.injector and stage.injector:
            probe = self._emit(stage.injector.device, optics.injector, stage.injector.beam, noise)
            back = probe.shots(self._backward(optics, probe.fields) * ramp) * noise.flicker
            passed = back * optics.absorber.probe_transmission(incident, *vapour)
            found[stage.error_tap.camera] = passed + self._leak(stage, incident)
        return found

    def _forward(self, optics: StageOptics, fields: Tensor) -> Tensor:
        """Return what a stage's multiplier makes of input fields (n, columns)."""
        return optics.multiplier.forward(fields)

    def _backward(self, optics: StageOptics, fields: Tensor) -> Tensor:
        """Return the input-side fields (n, columns) of fields (n, rows) sent in at the output."""
        return optics.multiplier.backward(fields)

    def pump_power(self, optics: StageOptics, noise: ShotNoise) -> Tensor:
        """Return the pump power (n, modes) that enters the stage, in units of field squared."""
        stage = optics.stage
        pump = self._emit(stage.source.device, optics.source, stage.source.beam, noise).shots()
        return pump.real**2 + pump.imag**2

    def _emit(self, device: str, source: Source, beam_name: str, noise: ShotNoise) -> Emission:
        """Return the light that leaves a DMD in every shot."""
        n = len(noise.reference_rad)
        beam, mirrors = self._state.beams[beam_name], self._state.mirrors[device]
        fields = self._written(device, source, mirrors, beam.power_w if beam.on else 0.0)
        order = mirrors.order if len(mirrors.order) == n else np.full(n, mirrors.order[-1])
        phase = self._state.phases_rad[beam_name]
        factor = np.broadcast_to(np.sqrt(noise.power[beam_name]) * np.exp(1j * phase), (n,))
        return Emission(fields, torch.from_numpy(order), torch.from_numpy(factor.astype(np.complex64))[:, None])

    def _written(self, device: str, source: Source, mirrors: MirrorState, power_w: float) -> Tensor:
        """Return the fields (patterns, modes) of a DMD's patterns."""
        if self._codes.get(device) is not mirrors.codebook:
            # each codebook becomes complex amplitudes once, through the true response
            if mirrors.codebook not in self._responses:
                self._responses[mirrors.codebook] = source.response(np.asarray(mirrors.codebook.tiles, np.uint8))
            source.use_response(self._responses[mirrors.codebook])
            self._codes[device] = mirrors.codebook
        return source.fields(mirrors.indices, power_w)

    def _leak(self, stage: Stage, pump: Tensor) -> Tensor:
        """Return the pump light that the entrance window reflects towards the probe's camera."""
        if stage.absorb is None:
            return torch.zeros(1)
        rejection = 10 ** (-self._truth.values[f"{stage.absorb.device}.leak_rejection"] / 20)
        return pump * (rejection * self._disturbance.leak(stage.absorb.device, pump.shape[1]))

    def slit_offset_m(self, optics: StageOptics, now_s: float) -> float:
        """Return how far the beam lies off the slit: drift and stage."""
        position = self._state.positions_m.get(optics.stage.multiply.slit_stage or "", {})
        return self._disturbance.slit_offset_m(now_s) + position.get("x", 0.0)

    def _slit_ramp(self, optics: StageOptics, now_s: float) -> Tensor:
        multiply, columns = optics.stage.multiply, optics.stage.columns
        width = columns * multiply.block[1] * self._settings[multiply.device].pitch_m
        offset = self.slit_offset_m(optics, now_s)
        return slit_ramp(columns, width, offset, self._layout.laser.wavelength_m, multiply.focal_length_m)


def cut_blocks(
    frame: NDArray[Any], block: tuple[int, int], blocks: tuple[int, int], origin: tuple[int, int]
) -> NDArray[Any]:
    """Return a grid of blocks of a frame as (rows * cols of blocks, block rows, block cols).

    Args:
        frame: Panel frame.
        block: Rows and columns of one block.
        blocks: Rows and columns of blocks.
        origin: Row and column where the first block begins.
    """
    (high, wide), (rows, cols), (top, left) = block, blocks, origin
    part = frame[top : top + rows * high, left : left + cols * wide].reshape(rows, high, cols, wide)
    return np.ascontiguousarray(part.transpose(0, 2, 1, 3)).reshape(rows * cols, high, wide)
