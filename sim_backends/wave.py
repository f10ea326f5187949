"""Fidelity `wave`: pixel fields on panels and mirrors, through lenses, slit and order stop, onto camera pixels.

Between a panel and a camera everything is linear. So the light of every input column is propagated once per mask,
from the panel's sub-pixels through the order stop and the slit onto the camera's pixels, and samples combine the
columns' fields: the same as propagating every sample, without its cost. Only the cell is not linear; it acts on the
columns' beams before they are combined.
"""

import cmath
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labctl.devices import Codebook, Pattern
from labctl.optics.layout import Layout
from labctl.optics.multiplier.elements import centred_origin
from labctl.optics.multiplier.fringing import SUBPIXELS, blur_reach, blurred_phase
from labctl.optics.multiplier.network import Source, StageOptics
from labctl.optics.multiplier.slit import column_centres_m, order_kernels, slit_field
from labctl.optics.multiplier.slit_multiplier import SlitMultiplier
from sim_backends.disturbance import Disturbance
from sim_backends.matrix import MatrixLight
from sim_backends.states import MirrorState, TableState
from sim_backends.truth import Truth

ROW_REACH = 8
"""Blocks to each side whose light the order stop spreads onto a row; further ones send less than 0.1 % of theirs."""

CHUNK_SAMPLES = 4_000_000
"""Sub-pixels propagated at a time: 32 MB of field, and a few times that while they are made."""


class WavePanel:
    """A phase panel of blocks, pixel by pixel, between its input columns and the pixels of the camera behind the slit.

    Args:
        multiplier: The same panel as whole modes; its distortion and unmodulated light are this one's.
        slit: Field of every column in every part of the slit, shape (parts, columns), of mean 1.
        across: Field of a column's sub-pixels in every part of the slit against its centre, (SUBPIXELS cols, parts).
        fringing_px: Blur of the panel's phase, in pixels.
        registration_px: Shift of the input columns against the panel's, in pixels.
    """

    def __init__(
        self,
        multiplier: SlitMultiplier,
        slit: NDArray[Any],
        across: NDArray[Any],
        fringing_px: float,
        registration_px: float,
    ) -> None:
        self._multiplier = multiplier
        self._kernels = torch.from_numpy(
            order_kernels(multiplier.block[0], multiplier.period, ROW_REACH).astype(np.complex64)
        )
        self._slit = torch.from_numpy(slit.astype(np.complex64))
        self._across = torch.from_numpy(across.astype(np.complex64))
        self._fringing_px = fringing_px
        self._shift = registration_px * SUBPIXELS
        rows, columns = multiplier.shape
        self._forward = torch.zeros(columns, rows * len(slit), dtype=torch.complex64)
        self._backward = torch.zeros(rows, columns, dtype=torch.complex64)

    @property
    def border(self) -> tuple[int, int]:
        """Pixels (rows, cols) around the blocks whose light reaches the camera as well."""
        reach = blur_reach(self._fringing_px)
        return ROW_REACH * self._multiplier.block[0] + reach, math.ceil(abs(self._shift) / SUBPIXELS) + 1 + reach

    def show(self, frame: NDArray[np.unsignedinteger], origin: tuple[int, int]) -> None:
        """Propagate every column's light through what the panel shows.

        Args:
            frame: Panel levels, shape (rows, cols) of pixels; what lies beyond counts as its first pixel does.
            origin: Row and column of the pixel where the first block begins.
        """
        (rows, columns), (high, wide) = self._multiplier.shape, self._multiplier.block
        levels = _window(frame, origin, (rows * high, columns * wide), self.border)
        step = max(1, CHUNK_SAMPLES // (len(levels) * wide * SUBPIXELS**2))
        parts = []
        for first in range(0, columns, step):
            count = min(step, columns - first)
            part = levels[:, first * wide : (first + count) * wide + 2 * self.border[1]]
            parts.append(self._columns(part, first, count, int(frame[0, 0])))
        pixels = len(self._slit)
        field = torch.cat(parts, dim=2) * self._slit  # (rows, parts of the slit, columns)
        field *= self._multiplier.amplitude / math.sqrt(pixels)
        self._forward = field.reshape(rows * pixels, columns).T.contiguous()
        # a probe that fills the slit evenly: reciprocity makes its field in a column the mean over the slit
        self._backward = field.sum(dim=1) / math.sqrt(pixels)

    def _columns(self, levels: NDArray[np.unsignedinteger], first: int, count: int, rest: int) -> Tensor:
        """Return the fields (rows, parts of the slit, count) of columns from `first` on; `levels` has its border."""
        (rows, columns), (high, wide) = self._multiplier.shape, self._multiplier.block
        per_level = 2 * math.pi / 2**self._multiplier.bit_depth
        phase = torch.from_numpy(levels.astype(np.float32)) * per_level
        blurred = blurred_phase(phase, self._fringing_px)
        field = torch.polar(torch.ones_like(blurred), blurred) + self._multiplier.unmodulated
        field = field.unflatten(0, (-1, high * SUBPIXELS))
        received = self._kernels @ field  # (rows with border, reach, sub-pixels along the row)
        guard = (self.border[1] - blur_reach(self._fringing_px)) * SUBPIXELS
        if self._multiplier.distortion is not None:
            # blocks are distorted as a whole, and what lies around them as the outermost ones
            column = (
                torch.arange(-guard, received.shape[2] - guard).div(wide * SUBPIXELS, rounding_mode="floor") + first
            )
            row = torch.arange(-ROW_REACH, rows + ROW_REACH)
            distortion = self._multiplier.distortion[row.clamp(0, rows - 1)][:, column.clamp(0, columns - 1)]
            received *= distortion[:, None]
        # beyond the reach all is flat, and a flat panel sends nothing into the order: its light is what lacks of 0 here
        further = -complex(self._kernels.sum()) * (cmath.rect(1, rest * per_level) + self._multiplier.unmodulated)
        arriving = torch.full((rows, received.shape[2]), further)
        for k in range(2 * ROW_REACH + 1):
            arriving += received[k : k + rows, k]
        lit = arriving[:, guard + math.floor(self._shift) :]
        part = self._shift - math.floor(self._shift)
        size = count * wide * SUBPIXELS
        lit = torch.lerp(lit[:, :size], lit[:, 1 : size + 1], torch.tensor(part, dtype=lit.dtype))
        return (lit.reshape(rows, count, -1) @ self._across).transpose(1, 2)

    def forward(self, field: Tensor) -> Tensor:
        """Return the fields (n, rows * parts of the slit) on camera pixels of input fields (n, columns)."""
        return field @ self._forward

    def backward(self, field: Tensor) -> Tensor:
        """Return the input-side fields (n, columns) of fields (n, rows) that fill the slit from the camera's side."""
        return field @ self._backward


def _window(
    frame: NDArray[np.unsignedinteger],
    origin: tuple[int, int],
    shape: tuple[int, int],
    border: tuple[int, int],
) -> NDArray[np.unsignedinteger]:
    """Return the part of a frame at `origin` with a border around it; pixels that are not there are like the first."""
    window = np.full((shape[0] + 2 * border[0], shape[1] + 2 * border[1]), frame[0, 0], frame.dtype)
    starts = [o - b for o, b in zip(origin, border, strict=True)]
    here = tuple(
        slice(max(0, -start), min(size, have - start))
        for start, size, have in zip(starts, window.shape, frame.shape, strict=True)
    )
    there = tuple(slice(part.start + start, part.stop + start) for part, start in zip(here, starts, strict=True))
    window[here] = frame[there]
    return window


class WaveLight(MatrixLight):
    """The same light path as `MatrixLight`, its panels and mirrors pixel by pixel, its cameras' modes as pixels.

    The cell acts on one beam per mode in both fidelities, averaged over its profile by the same quadrature. The slit's
    offset is a phase ramp over columns: within a column it turns the phase by less than 0.02 rad at 0.1 mm.
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
        super().__init__(layout, stages, settings, truth, disturbance, state)
        self._waves = {one.stage.multiply.device: self._wave_panel(one) for one in stages}
        self._amplitudes: dict[str, tuple[Codebook, Tensor]] = {}

    def pixels(self, camera: str) -> int:
        """Return how many pixels a camera has for one mode."""
        rows, columns = self._settings[camera].roi_per_mode
        return rows * columns

    def frame_shape(self, camera: str, modes: int) -> tuple[int, int]:
        """Return rows and columns of a camera's frames: the pixels of its modes, one mode below the other."""
        rows, columns = self._settings[camera].roi_per_mode
        return modes * rows, columns

    def _wave_panel(self, optics: StageOptics) -> WavePanel:
        multiply, of = optics.stage.multiply, optics.stage.multiply.device
        pitch, columns = self._settings[of].pitch_m, optics.stage.columns
        lens = (self._layout.laser.wavelength_m, multiply.focal_length_m)
        width = columns * multiply.block[1] * pitch
        pixels = self._settings[optics.stage.end.camera].roi_per_mode[1]
        centres = column_centres_m(columns, width)
        slit = slit_field(centres, multiply.slit_m, pixels, *lens)
        inside = column_centres_m(multiply.block[1] * SUBPIXELS, multiply.block[1] * pitch)
        across = slit_field(inside, multiply.slit_m, pixels, *lens).T / len(inside)
        # the true slit passes what its efficiency says of a uniform sum, whatever its edges are
        return WavePanel(
            optics.multiplier,
            slit / slit.mean().real,
            across,
            self._truth.values[f"{of}.fringing"],
            self._truth.values[f"{of}.registration"],
        )

    def show_panel(self, name: str, pattern: Pattern) -> None:
        """Propagate the light of every column of panel `name`; a panel outside the light path is ignored."""
        panel, multiplier = self._waves.get(name), self._panels.get(name)
        if panel is not None and multiplier is not None:
            shape = self._settings[name].shape
            origin = centred_origin(shape, multiplier.block, multiplier.shape)
            panel.show(pattern.expand(shape), origin)

    def _on_pixels(self, optics: StageOptics, camera: str, field: Tensor) -> Tensor:
        """Return the fields (n, modes, pixels) that a camera reads; all but the slit's image fill a mode's pixels."""
        rows, columns = self._settings[camera].roi_per_mode
        modes = field.reshape(len(field), -1, 1, columns if camera == optics.stage.end.camera else 1)
        spread = modes.shape[3] / (rows * columns)
        return (modes * math.sqrt(spread)).expand(-1, -1, rows, columns).reshape(len(field), -1, rows * columns)

    def _forward(self, optics: StageOptics, fields: Tensor) -> Tensor:
        return self._waves[optics.stage.multiply.device].forward(fields)

    def _backward(self, optics: StageOptics, fields: Tensor) -> Tensor:
        return self._waves[optics.stage.multiply.device].backward(fields)

    def _written(self, device: str, source: Source, mirrors: MirrorState, power_w: float) -> Tensor:
        known = self._amplitudes.get(device)
        if known is None or known[0] is not mirrors.codebook:
            known = self._amplitudes[device] = mirrors.codebook, self._mirror_fields(device, source, mirrors.codebook)
        fields = known[1][torch.from_numpy(mirrors.indices.astype(np.int64)), torch.arange(source.modes)]
        return fields * source.full_field(power_w)

    def _mirror_fields(self, device: str, source: Source, codebook: Codebook) -> Tensor:
        """Return the field (indices, modes) of every block in every mode: each mirror on, off or stuck."""
        blocks = codebook.blocks.astype(np.uint8)
        every = source.response(np.ones_like(blocks[:1]))
        field = source.response(blocks)[:, None].repeat(1, source.modes)
        for mode, (rows, columns) in self._disturbance.dead_mirrors(device, source).items():
            stuck = blocks.copy()
            stuck[:, rows, columns] = 1
            field[:, mode] = source.response(stuck)
        off = self._disturbance.off_mirrors(device, source.modes)
        return (field + (every - field) * off) * self._disturbance.illumination(device, source.modes)
