"""What the noise set does to light: static distortions of the truth, and what changes from shot to shot."""

import cmath
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.optics.layout import Layout
from labctl.optics.multiplier.elements import PILOTS, Encode
from labctl.optics.multiplier.network import Source, StageOptics
from labctl.optics.multiplier.stages import Stage
from sim_backends.truth import Truth, stream

DEPTH_PER_KELVIN = 0.076
"""Relative change of optical depth per kelvin near 70 degrees Celsius (reference-benches section 1)."""

PHASE_JUMP_RAD = 1.0
"""Injected jump of the reference phase: three times what one batch may be read under."""

SLIT_JUMP_M = 20e-6
"""Injected jump of the beam against the slit: more than the 14.4 um slit of the vapour-cell bench is wide."""


@dataclass(frozen=True)
class ShotNoise:
    """The momentary state of the table for n shots.

    Args:
        power: Power of each beam over its set value, by beam, shape (n,).
        reference_rad: Phase of the reference against its set value, shape (n,).
        flicker: Phase factor of the panels, shape (n, 1).
        detuning_hz: Laser detuning, shape (n, 1).
        depth: Factor on the optical depth.
    """

    power: Mapping[str, NDArray[np.float64]]
    reference_rad: NDArray[np.float64]
    flicker: Tensor
    detuning_hz: Tensor
    depth: float


class Disturbance:
    """Draws every disturbance of one bench.

    Args:
        layout: Optical content of the bench file.
        truth: Hidden truth; its scale is the imperfections'.
        terms: Size of every term, scaled.
        noise_scale: Factor on photon and read noise.
        seed: Draws what changes from shot to shot.
    """

    def __init__(self, layout: Layout, truth: Truth, terms: Mapping[str, float], noise_scale: float, seed: int) -> None:
        self.noise_scale = noise_scale
        self.row_noise = terms["row_noise"]
        self.off_line_share = terms["off_line_light"]
        self.rng = stream(seed, "measurement noise")
        self._parameters = layout.parameters()
        self._truth = truth
        self._terms = terms
        self._beams = layout.beams
        self._walk_rad = 0.0
        self._walked_until_s = 0.0
        self._slit_jumps_m = 0.0
        self._static: dict[str, Tensor] = {}
        self._trims: dict[str, NDArray[np.float64]] = {}

    def state(self) -> dict[str, Any]:
        """Return the generator, the walk and the jumps, for `restore`."""
        walk = {"walk_rad": self._walk_rad, "walked_until_s": self._walked_until_s, "slit_jumps_m": self._slit_jumps_m}
        return {"generator": self.rng.bit_generator.state, **walk}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.rng.bit_generator.state = state["generator"]
        self._walk_rad, self._walked_until_s = state["walk_rad"], state["walked_until_s"]
        self._slit_jumps_m = state["slit_jumps_m"]

    # ---- static

    def distort(self, optics: StageOptics, panel_shape: tuple[int, int]) -> None:
        """Put the truth's static errors on one stage's source and multiplier, whose panel has `panel_shape` pixels."""
        truth, terms, panel = self._truth, self._terms, optics.stage.multiply.device
        shape = optics.multiplier.shape
        error = self._parameters[f"{panel}.weight_error"].sd * truth.scale
        relative = 1 + error * truth.modes(f"{panel}.weight_error", shape)
        speckle = truth.modes(f"{panel}.speckle", (2, *shape)) * (terms["speckle"] / math.sqrt(2))
        field = torch.from_numpy((relative + speckle[0] + 1j * speckle[1]).astype(np.complex64))
        block = optics.multiplier.block
        used = (block[0] * shape[0] / panel_shape[0], block[1] * shape[1] / panel_shape[1])
        waves = self._parameters[f"{panel}.aberration"].sd * truth.scale
        wavefront = 2 * math.pi * waves * truth.aberration(f"{panel}.aberration", shape, used)
        self._trim(optics.stage, wavefront)
        phase = torch.from_numpy(wavefront.astype(np.float32))
        kept = math.sqrt(max(0.0, 1 - terms["unmodulated_light"]))
        optics.multiplier.distortion = field * torch.complex(torch.cos(phase), torch.sin(phase)) * kept
        optics.multiplier.unmodulated = self._unmodulated(panel)
        for source in filter(None, (optics.source, optics.injector)):
            self._distort_source(source)

    def _trim(self, stage: Stage, wavefront: NDArray[np.float64]) -> None:
        """Note the phase each camera mode sees on average: its own light trimmed its reference to that."""
        data_columns = stage.source.modes
        rows, pilots = wavefront[:-PILOTS], wavefront[-PILOTS:]
        # in the first stage both pilots sum the same columns; later ones pass pilot k on from column k
        first = isinstance(stage.source, Encode)
        own = pilots[:, data_columns:].mean(axis=1) if first else np.diag(pilots[:, -PILOTS:])
        self._trims[stage.end.camera] = np.concatenate([rows[:, :data_columns].mean(axis=1), own])
        if stage.error_tap:
            # one trim for all modes: what a column's weights lose forwards, the way back must lose as well
            common = wavefront[: stage.end.modes, :data_columns].mean()
            back = np.full(wavefront.shape[1] - PILOTS, common)
            self._trims[stage.error_tap.camera] = np.concatenate([back, own])

    def _distort_source(self, source: Source) -> None:
        name, mirrors = source.device, source.element.block[0] * source.element.block[1]
        stuck = torch.from_numpy((self._stuck(name, source) / mirrors).astype(np.float32))
        off = self.off_mirrors(name, source.modes)
        source.profile = self.illumination(name, source.modes) * (1 - off)
        # off mirrors send their own light into the zero order; in a carrier they only take from the contrast
        source.offset = stuck + off / (1 - off) if isinstance(source.element, Encode) else stuck.to(torch.complex64)

    def _stuck(self, name: str, source: Source) -> NDArray[np.int64]:
        """Return how many mirrors of each mode are stuck on."""
        expected = self._terms["dead_mirrors"] * source.element.block[0] * source.element.block[1]
        return stream(self._truth.seed, f"{name}.dead_mirrors").poisson(expected, source.modes)

    def dead_mirrors(self, name: str, source: Source) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return the rows and columns of the stuck mirrors in the block of every mode that has any."""
        places, block = stream(self._truth.seed, f"{name}.dead_places"), source.element.block
        counts = enumerate(self._stuck(name, source))
        return {
            mode: (places.integers(0, block[0], count), places.integers(0, block[1], count))
            for mode, count in counts
            if count
        }

    def illumination(self, name: str, modes: int) -> Tensor:
        """Return the field over its mean that lights each mode of a DMD, shape (modes,)."""
        power = 1 + self._terms["illumination"] * self._truth.smooth_profile(f"{name}.illumination", modes)
        return torch.from_numpy(np.sqrt(np.clip(power, 0.05, None)).astype(np.float32))

    def off_mirrors(self, name: str, modes: int) -> Tensor:
        """Return the complex field of a mirror that is off over that of one that is on, for every mode."""
        turn = self._truth.modes(f"{name}.mirror_contrast", (modes,))
        field = math.sqrt(self._terms["mirror_contrast"]) * np.exp(2j * np.pi * turn)
        return torch.from_numpy(field.astype(np.complex64))

    def _unmodulated(self, panel: str) -> complex:
        """Return the field that a panel's pixels reflect whatever they show, over that which they modulate."""
        turn = float(self._truth.modes(f"{panel}.unmodulated_light", (1,))[0])
        share = self._terms["unmodulated_light"]
        return cmath.rect(math.sqrt(share / (1 - share)), 2 * math.pi * turn)

    def mode_phases(self, camera: str, modes: int) -> Tensor:
        """Return the factors exp(-i phase) of each mode's residual reference phase, shape (modes,)."""

        def draw() -> NDArray[Any]:
            phase = self._parameters["reference.phase"].sd * self._truth.scale
            residual = phase * self._truth.modes(f"{camera}.reference_phase", (modes,))
            residual[-PILOTS:] = 0  # modes are calibrated against the pilots
            return np.exp(-1j * (residual + self._trims.get(camera, 0.0)))

        return self._keep(f"{camera}.phase", draw)

    def leak(self, cell: str, modes: int) -> Tensor:
        """Return the field of wrong-way pump over pump of every mode, before rejection, shape (modes,)."""

        def draw() -> NDArray[Any]:
            turn = self._truth.modes(f"{cell}.leak_phase", (modes,))
            return math.sqrt(self._terms["wrong_way_pump"]) * np.exp(2j * np.pi * turn)

        return self._keep(f"{cell}.leak", draw)

    def with_ghost(self, camera: str, fields: Tensor) -> Tensor:
        """Return `fields` (n, modes, pixels) with a coherent copy of themselves, displaced by one mode."""
        if not self._terms["ghost"]:
            return fields

        def draw() -> NDArray[Any]:
            turn = self._truth.modes(f"{camera}.ghost", (1,))
            return math.sqrt(self._terms["ghost"]) * np.exp(2j * np.pi * turn)

        seen = fields.clone()
        seen[:, 1:] += self._keep(f"{camera}.ghost", draw) * fields[:, :-1]
        return seen

    def pixel_response(self, camera: str, modes: int, pixels: int, summed: int) -> Tensor:
        """Return the relative response of `pixels` values a mode, each of `summed` pixels, shape (modes, pixels).

        A mode's mean over its pixels is the same draw, however many are read on their own.
        """

        def draw() -> NDArray[Any]:
            spread = math.hypot(self._terms["pixel_gain"], self._terms["photo_response"])
            mean = self._truth.modes(f"{camera}.pixel_response", (modes, 1)) / math.sqrt(pixels * summed)
            own = self._truth.modes(f"{camera}.pixels", (modes, pixels)) / math.sqrt(summed)
            return 1 + spread * (mean + own - own.mean(axis=1, keepdims=True))

        return self._keep(f"{camera}.response", draw)

    def _keep(self, name: str, draw: Callable[[], NDArray[Any]]) -> Tensor:
        if name not in self._static:
            drawn = draw()
            dtype = np.complex64 if np.iscomplexobj(drawn) else np.float32
            self._static[name] = torch.from_numpy(drawn.astype(dtype))
        return self._static[name]

    # ---- drifting

    def power_at(self, time_s: Any) -> Any:
        """Return the common power over its set value after `time_s`, a float or an array."""
        return 1 + self._terms["power_drift"] * time_s / 3600

    def slit_offset_m(self, time_s: float) -> float:
        """Return how far the beam has drifted off the slit after `time_s`."""
        return self._terms["slit_drift"] * time_s / 3600 + self._slit_jumps_m

    def jump_phase(self, _: str) -> None:
        """Let the reference's phase jump, as when somebody touches the table."""
        self._walk_rad += PHASE_JUMP_RAD

    def jump_slit(self, _: str) -> None:
        """Let the beam jump off the slit."""
        self._slit_jumps_m += SLIT_JUMP_M

    def shots(self, times_s: NDArray[np.float64]) -> ShotNoise:
        """Return the state of the table at each of `times_s`, which must not go back."""
        terms, rng, n = self._terms, self.rng, len(times_s)
        common = self.power_at(times_s)
        # a step pair's difference has the stated rms, so each step has it over sqrt 2
        step = terms["power_step"] / math.sqrt(2)
        powers = np.maximum(common + step * rng.standard_normal((len(self._beams), n)), 0)
        detuning = terms["detuning_drift"] * times_s / 3600 + terms["detuning_jitter"] * rng.standard_normal(n)
        flicker = np.exp(1j * terms["flicker"] * rng.standard_normal(n)).astype(np.complex64)
        return ShotNoise(
            power=dict(zip(sorted(self._beams), powers, strict=True)),
            reference_rad=self._reference_phase(times_s),
            flicker=torch.from_numpy(flicker)[:, None],
            detuning_hz=torch.from_numpy(detuning.astype(np.float32))[:, None],
            depth=1 + DEPTH_PER_KELVIN * terms["temperature_jitter"] * float(rng.standard_normal()),
        )

    def _reference_phase(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        elapsed = np.diff(times_s, prepend=self._walked_until_s)
        steps = self._terms["reference_phase_walk"] * np.sqrt(np.clip(elapsed, 0, None) / 60)
        walk = self._walk_rad + np.cumsum(steps * self.rng.standard_normal(len(times_s)))
        self._walk_rad, self._walked_until_s = float(walk[-1]), float(times_s[-1])
        jitter = self._terms["reference_phase_step"] / math.sqrt(2) * self.rng.standard_normal(len(times_s))
        return walk + jitter + self._terms["reference_phase_drift"] * times_s / 60
