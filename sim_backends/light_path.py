"""The light path of a bench of slit multipliers: what its cameras read of what its devices show.

What the light is, in front of the cameras, is one fidelity's business (`sim_backends.matrix`, `sim_backends.wave`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.devices import Codebook, Pattern, PatternStack
from labctl.errors import LimitError, StateError
from labctl.optics.imaging.sensor import electrons_per_unit, homodyne_electrons
from labctl.optics.multiplier.elements import Regenerate, centred_origin
from labctl.optics.multiplier.network import StageOptics, build_stages
from labctl.optics.multiplier.stages import Stage
from sim_backends.disturbance import ShotNoise
from sim_backends.matrix import MatrixLight, cut_blocks
from sim_backends.states import MirrorState
from sim_backends.table import SimulatedTable
from sim_backends.wave import WaveLight

FIDELITIES = {"matrix": MatrixLight, "wave": WaveLight}
"""What `simulation.fidelity` may name."""


class LightPath(SimulatedTable):
    """A bench of slit multipliers as light; arguments as for `SimulatedTable`."""

    def _set_up(self) -> None:
        layout, settings = self.layout, self._settings
        bits = {stage.multiply.device: settings[stage.multiply.device].bit_depth for stage in layout.stages}
        self.stages = build_stages(
            layout, self.truth.values, bits, self._terms["probe_grating"], self._terms["neighbour_crosstalk"]
        )
        for optics in self.stages:
            self.disturbance.distort(optics, settings[optics.stage.multiply.device].shape)
        light = FIDELITIES[self._fidelity]
        self._light = light(layout, self.stages, settings, self.truth, self.disturbance, self._state)
        self._dark: dict[str, Codebook] = {}
        sources = [source for stage in self.stages for source in (stage.source, stage.injector) if source]
        self._sources = {source.device: source for source in sources}
        for name in self._sources:
            self.darken_mirrors(name)

    # ---- what twins write

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Show `pattern` on a phase panel; one outside the light path is ignored."""
        self.on_panels[name] = pattern
        self._light.show_panel(name, pattern)

    def darken_mirrors(self, name: str) -> None:
        """Turn all mirrors of a DMD off."""
        self.on_mirrors.pop(name, None)
        source = self._sources.get(name)
        if source is not None:
            if name not in self._dark:
                off = np.zeros((1, *source.tiles.shape[1:]), np.uint8)
                self._dark[name] = Codebook("all mirrors off", off, source.element.block)
            self._mirrors[name] = MirrorState(np.zeros((1, source.modes), np.uint16), self._dark[name])

    def _writes(self, dmd: str) -> bool:
        return dmd in self._sources

    def _indices(self, dmd: str, patterns: PatternStack) -> tuple[NDArray[np.uint16], Codebook]:
        """Return the stack as indices (n, modes) of a code; a stack in another geometry gets a code of its own."""
        source, codebook = self._sources[dmd], patterns.codebook
        block, shape = source.element.block, self._settings[dmd].shape
        origin = centred_origin(shape, block, (1, source.modes))
        fits = codebook.block == block and patterns.indices.shape[1:] == (1, source.modes)
        if fits and patterns.origin == origin:
            return patterns.indices[:, 0, :], codebook
        frames = (patterns[k].expand(shape) for k in range(len(patterns)))
        blocks = np.concatenate([cut_blocks(frame, block, (1, source.modes), origin) for frame in frames])
        if len(blocks) > np.iinfo(np.uint16).max:
            raise LimitError(dmd, f"{len(patterns)} plain frames are too many in `matrix` fidelity; use mode blocks")
        own = np.arange(len(blocks), dtype=np.uint16).reshape(len(patterns), source.modes)
        return own, Codebook("plain frames", blocks, block)

    # ---- what cameras take

    def sensor_pixels(self, camera: str) -> int:
        """Return how many pixels are summed in one value of a frame: all of a mode in `matrix` fidelity."""
        rows, columns = self._camera(camera).roi_per_mode
        return rows * columns // self._light.pixels(camera)

    def frame_shape(self, camera: str) -> tuple[int, int]:
        """Return rows and columns of a camera's frames, without pixels that show tags."""
        return self._light.frame_shape(camera, self._port(camera)[2])

    def _counts(
        self, cameras: Sequence[str], times: NDArray[np.float64], noise: ShotNoise
    ) -> dict[str, NDArray[np.unsignedinteger]]:
        counts = {}
        for optics in self.stages:
            wanted = [name for name in cameras if name in optics.stage.cameras]
            if wanted:
                ports = self._light.ports(optics, noise, self.clock.now_s(), wanted)
                counts |= {name: self._develop(optics, name, ports[name], noise) for name in wanted}
        return counts

    def _develop(
        self, optics: StageOptics, camera: str, fields: Tensor, noise: ShotNoise
    ) -> NDArray[np.unsignedinteger]:
        """Return the counts a camera makes of the fields on it."""
        tap, n = optics.stage.activation_tap, len(fields)
        fields = self.disturbance.with_ghost(camera, fields)
        per_unit = self.electrons_per_unit(camera)
        phase = self._state.phases_rad[self.layout.reference.beam]
        against = torch.from_numpy(np.exp(-1j * (phase + noise.reference_rad)).astype(np.complex64))
        modes, pixels = fields.shape[1:]
        quadrature = (fields * against[:, None, None] * self.disturbance.mode_phases(camera, modes)[:, None]).real
        power = fields.real**2 + fields.imag**2
        if tap and camera == tap.camera:
            power = power + self.disturbance.off_line_share / pixels * self._light.pump_power(optics, noise)[..., None]
        electrons = homodyne_electrons(quadrature, power, per_unit, self._reference_electrons(camera, noise) / pixels)
        electrons = electrons * self.disturbance.pixel_response(camera, modes, pixels, self.sensor_pixels(camera))
        frames = electrons.reshape(n, *self._light.frame_shape(camera, modes))
        row_noise = self.disturbance.row_noise
        if row_noise and pixels > 1:  # pixels of a mode read on their own share their row's noise
            rows = self.disturbance.rng.standard_normal((*frames.shape[:2], 1), dtype=np.float32)
            frames, row_noise = frames + row_noise * torch.from_numpy(rows), 0.0
        return self._read_out(camera, frames, self.disturbance.rng, row_noise)

    def _reference_electrons(self, camera: str, noise: ShotNoise) -> Tensor:
        reference = self.layout.reference
        beam = self.beams[reference.beam]
        if not beam.on or camera not in reference.cameras:
            return torch.zeros(1, 1, 1)
        nominal = self._settings[reference.beam].power_w
        exposure = self.sensors[camera].exposure_s / self._camera(camera).exposure_s
        mean = self.truth.values["reference.electrons"] * beam.power_w / nominal * exposure
        return torch.from_numpy((mean * noise.power[reference.beam]).astype(np.float32))[:, None, None]

    def electrons_per_unit(self, camera: str) -> float:
        """Return the true electrons per unit field squared and exposure of a camera."""
        settings = self._camera(camera)
        return electrons_per_unit(
            self.layout.unit_power_w,
            self.truth.values[f"{self._port(camera)[1]}.fraction"],
            settings.quantum_efficiency,
            self.sensors[camera].exposure_s,
            self.layout.laser.photon_energy_j,
        )

    def _port(self, camera: str) -> tuple[Stage, str, int]:
        """Return the stage a camera belongs to, the prefix of its parameters, and its number of modes."""
        for optics in self.stages:
            port = optics.stage.cameras.get(camera)
            if port is not None:
                prefix = port.device if isinstance(port, Regenerate) else camera
                return optics.stage, prefix, optics.stage.modes(camera)
        raise StateError(camera, "is not in the light path of this bench")
