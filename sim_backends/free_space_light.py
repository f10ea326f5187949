"""The light path of a free-space bench: fields on the samples of its planes, and what cameras read of them.

Errors travel backwards through the planes themselves, never by automatic differentiation: that is the tests' oracle.
Not in it: reflections between planes, rotation of planes and cameras, light outside the samples' band.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.devices import Codebook, Pattern, PatternStack
from labctl.errors import ConfigError
from labctl.optics.free_space.elements import Illuminate, Inject, ObjectPlane, View
from labctl.optics.free_space.planes import Planes, phase_of, plane_grid
from labctl.optics.free_space.shift import displaced
from labctl.optics.free_space.superpixel import SIDE, superpixel_response
from labctl.optics.imaging.sensor import electrons_per_unit
from labctl.optics.multiplier.elements import centred_origin
from sim_backends.disturbance import ShotNoise
from sim_backends.matrix import cut_blocks
from sim_backends.states import MirrorState
from sim_backends.table import SimulatedTable

_EVERY_TILE = Codebook(
    "every superpixel",
    ((np.arange(2**16)[:, None] >> np.arange(16)) & 1).astype(np.uint8).reshape(-1, SIDE, SIDE),
    (SIDE, SIDE),
)
"""All superpixels there are; a plain frame becomes indices of these."""

_DARK = Codebook("all mirrors off", np.zeros((1, SIDE, SIDE), np.uint8), (SIDE, SIDE))


class FreeSpaceLight(SimulatedTable):
    """A free-space bench as light; arguments as for `SimulatedTable`.

    Raises:
        ConfigError: There is a lens in the light list.
    """

    focuses = False
    """Whether it is the light of a lens."""

    def _set_up(self) -> None:
        self.path = self.layout.path
        if self.path.lens and not self.focuses:
            raise ConfigError(
                f"simulation.light_path: {type(self).__name__} has no lens ('{self.path.lens.name}'); one mask and a "
                "lens are sim_backends.focal_light.FocalLight"
            )
        self._grid = plane_grid(self.path, self._settings)
        surfaces = {mask.device: self._surface(mask.device) for mask in self.path.masks}
        self.planes = Planes(self.path, self._grid, self.layout.laser.wavelength_m, self.truth.values, surfaces)
        self._transmissions = [panel.transmission(torch.zeros(self._grid.shape)) for panel in self.planes.panels]
        self._sources: dict[str, ObjectPlane | Inject] = {}
        for element in (self.path.source, self.path.detect.inject):
            if isinstance(element, ObjectPlane | Inject):
                self._sources[element.device] = element
        self._profiles = {name: self._illumination(name) for name in self._sources}
        self._turns = {name: self._reference_turn(name) for name in self.path.views}
        for name in self._sources:
            self.darken_mirrors(name)

    # ---- what is hidden

    def _smooth(self, name: str) -> NDArray[np.float64]:
        return self.truth.aberration(name, self._grid.shape, (1.0, 1.0))

    def _surface(self, panel: str) -> Tensor:
        """Return the complex factor of every pixel of a panel: wavefront error, and dust of `speckle` rms."""
        waves = self.layout.parameters()[f"{panel}.aberration"].sd * self.truth.scale
        dust = self.truth.modes(f"{panel}.speckle", (2, *self._grid.shape)) * (self._terms["speckle"] / math.sqrt(2))
        wavefront = np.exp(2j * np.pi * waves * self._smooth(f"{panel}.aberration"))
        return torch.from_numpy((wavefront * (1 + dust[0] + 1j * dust[1])).astype(np.complex64))

    def _illumination(self, dmd: str) -> Tensor:
        power = 1 + self._terms["illumination"] * self._smooth(f"{dmd}.illumination")
        return torch.from_numpy(np.sqrt(np.clip(power, 0.05, None)).astype(np.float32))

    def _reference_turn(self, camera: str) -> Tensor:
        """Return exp(-i phase) of the reference over a camera's image, against its calibration."""
        if not self.layout.reference_beam:
            return torch.ones(1, 1)
        rms = self.layout.reference_beam.phase.sd * self.truth.scale
        smooth = self.truth.aberration(f"{camera}.reference_phase", self.path.framed, (1.0, 1.0))
        turn = np.exp(-1j * rms * smooth)
        return torch.from_numpy(turn.astype(np.complex64))

    # ---- what twins write

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Show `pattern` on a phase panel; one outside the light path is ignored."""
        self.on_panels[name] = pattern
        for k, mask in enumerate(self.path.masks):
            if mask.device == name:
                settings, (rows, columns) = self._settings[name], mask.samples
                top, left = centred_origin(settings.shape, (1, 1), mask.samples)
                levels = pattern.expand(settings.shape)[top : top + rows, left : left + columns]
                self._transmissions[k] = self.planes.panels[k].transmission(phase_of(levels, settings.bit_depth))

    def darken_mirrors(self, name: str) -> None:
        """Turn all mirrors of a DMD off."""
        self.on_mirrors.pop(name, None)
        if self._writes(name):
            self._mirrors[name] = MirrorState(np.zeros((1, *self._grid.shape), np.uint16), _DARK)

    def _writes(self, dmd: str) -> bool:
        return dmd in self._sources

    def _indices(self, dmd: str, patterns: PatternStack) -> tuple[NDArray[np.uint16], Codebook]:
        """Return the stack as indices (n, rows, cols) of superpixels; one in another geometry is cut into them."""
        block, shape, samples = (SIDE, SIDE), self._settings[dmd].shape, self._grid.shape
        origin = centred_origin(shape, block, samples)
        if patterns.codebook.block == block and patterns.indices.shape[1:] == samples and patterns.origin == origin:
            return patterns.indices, patterns.codebook
        bits = 1 << np.arange(block[0] * block[1], dtype=np.uint32)
        cut = [cut_blocks(patterns[k].expand(shape), block, samples, origin) for k in range(len(patterns))]
        codes = [(blocks.reshape(len(blocks), -1) * bits).sum(axis=1, dtype=np.uint32) for blocks in cut]
        return np.stack(codes).astype(np.uint16).reshape(len(patterns), *samples), _EVERY_TILE

    # ---- what cameras take

    def sensor_pixels(self, camera: str) -> int:
        """Return how many pixels are summed in one value of a frame: none are."""
        return 1

    def frame_shape(self, camera: str) -> tuple[int, int]:
        """Return rows and columns of a camera's frames: the pixels that its image of the plane covers, and margin."""
        rows, columns = self.path.framed
        finer = self.path.views[camera].pixels_per_sample
        return rows * finer, columns * finer

    def _counts(
        self, cameras: Sequence[str], times: NDArray[np.float64], noise: ShotNoise
    ) -> dict[str, NDArray[np.unsignedinteger]]:
        fields = self._fields(cameras)
        return {name: self._develop(self.path.views[name], *fields[name], noise, len(times)) for name in cameras}

    def _fields(self, cameras: Sequence[str]) -> dict[str, tuple[Tensor, NDArray[np.intp], str]]:
        """Return, by camera, the fields of every pattern in its plane, the pattern of each shot, and their beam."""
        masks, detect = self.path.masks, self.path.detect
        found = {}
        ahead = [mask.forward.camera if mask.forward else "" for mask in masks] + [detect.view.camera]
        if set(ahead) & set(cameras):
            sent, order = self._sent(self.path.source)
            planes = self.planes.forward(sent, self._transmissions)
            found |= {name: (plane, order, self.path.source.beam) for name, plane in zip(ahead, planes, strict=True)}
        behind = [mask.backward.camera if mask.backward else "" for mask in masks]
        if detect.inject and set(behind) & set(cameras):
            sent, order = self._sent(detect.inject)
            aside = (
                self.truth.values[f"{detect.inject.device}.shift_y"],
                self.truth.values[f"{detect.inject.device}.shift_x"],
            )
            planes = self.planes.backward(displaced(sent, aside), self._transmissions)
            found |= {name: (plane, order, detect.inject.beam) for name, plane in zip(behind, planes, strict=True)}
        return found

    def _sent(self, source: Illuminate | ObjectPlane | Inject) -> tuple[Tensor, NDArray[np.intp]]:
        """Return the fields (patterns, rows, cols) a source sends in sqrt(W), and the pattern of each shot."""
        beam = self.beams[source.beam]
        amplitude = math.sqrt(beam.power_w) if beam.on else 0.0
        if isinstance(source, Illuminate):
            return amplitude * self._gaussian(source)[None], np.zeros(1, np.intp)
        state = self._mirrors[source.device]
        shown, order = np.unique(state.order, return_inverse=True)
        response = torch.from_numpy(superpixel_response(state.codebook.blocks).astype(np.complex64))
        fields = response[torch.from_numpy(state.indices[shown].astype(np.int64))] * self._profiles[source.device]
        share = self.truth.values[f"{source.device}.efficiency"] / math.prod(self._grid.shape)
        return fields * (amplitude * math.sqrt(share)), order.reshape(-1)

    def _gaussian(self, source: Illuminate) -> Tensor:
        """Return a collimated Gaussian beam of 1 W on the samples."""
        y, x = self._grid.coordinates_m()
        field = np.exp(-(y**2 + x**2) / source.waist_m**2) * self._grid.pitch_m * math.sqrt(2 / np.pi) / source.waist_m
        return torch.from_numpy(field.astype(np.complex64))

    def _develop(
        self, view: View, fields: Tensor, order: NDArray[np.intp], beam: str, noise: ShotNoise, n: int
    ) -> NDArray[np.unsignedinteger]:
        """Return the counts (n, rows, cols) a camera reads of fields in its plane, shot by shot."""
        values, finer = self.truth.values, view.pixels_per_sample
        plane = torch.nn.functional.pad(fields, 4 * [view.margin])
        seen = displaced(plane, (values[f"{view.camera}.shift_y"], values[f"{view.camera}.shift_x"]))
        seen = seen * math.sqrt(self._electrons_per_watt(view))
        seen = seen.repeat_interleave(finer, -2).repeat_interleave(finer, -1) if finer > 1 else seen
        turn = self._turns[view.camera]
        turn = turn.repeat_interleave(finer, -2).repeat_interleave(finer, -1) if finer > 1 else turn
        against = self._reference(view.camera, noise, n)
        response = self.disturbance.pixel_response(view.camera, *self.frame_shape(view.camera), 1)
        counts = np.empty((n, *self.frame_shape(view.camera)), np.uint32)
        for shot in range(n):
            power = float(noise.power[beam][shot])
            field = seen[order[shot] if len(order) > 1 else 0] * (math.sqrt(power) * complex(noise.flicker[shot, 0]))
            total = field + against[shot] * turn.conj() if against[shot] else field
            electrons = (total.real**2 + total.imag**2) * response
            counts[shot] = self._read_out(view.camera, electrons, self.disturbance.rng, self.disturbance.row_noise)
        return counts

    def _reference(self, camera: str, noise: ShotNoise, n: int) -> NDArray[np.complex128]:
        """Return the reference's field on a camera in each shot, in square roots of electrons."""
        reference = self.layout.reference_beam
        if not reference or camera not in reference.cameras or not self.beams[reference.beam].on:
            return np.zeros(n, complex)
        beam = self.beams[reference.beam]
        phase = self._state.phases_rad[reference.beam]
        exposure = self.sensors[camera].exposure_s / self._camera(camera).exposure_s
        share = beam.power_w / self._settings[reference.beam].power_w * exposure
        electrons = self.truth.values["reference.electrons"] * share * noise.power[reference.beam]
        return np.sqrt(electrons) * np.exp(1j * (phase + noise.reference_rad))

    def _electrons_per_watt(self, view: View) -> float:
        """Return the electrons that 1 W in a sample leaves in each camera pixel of it in one exposure."""
        settings = self._camera(view.camera)
        return electrons_per_unit(
            1.0,
            self.truth.values[f"{view.camera}.fraction"] / view.pixels_per_sample**2,
            settings.quantum_efficiency,
            self.sensors[view.camera].exposure_s,
            self.layout.laser.photon_energy_j,
        )
