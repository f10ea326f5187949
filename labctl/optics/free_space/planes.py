"""Light through the planes of a free-space bench, forwards and backwards, for one set of parameter values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labctl.optics.free_space.elements import FreeSpacePath, Mask, Propagate
from labctl.optics.free_space.phase_panel import PhasePanel
from labctl.optics.free_space.propagation import Hop, propagate, transfer_function
from labctl.optics.free_space.shift import shift_ramp
from labctl.optics.grid import Grid
from labctl.optics.parameters import Values

PADDING = 8
"""Window that stands for the open space around the planes (see `labctl.optics.free_space.propagation`)."""


def plane_grid(path: FreeSpacePath, settings: Mapping[str, Any]) -> Grid:
    """Return the grid of the planes: the samples of the path at the pitch of its panels."""
    return Grid(path.samples, settings[path.masks[0].device].pitch_m)


class Planes:
    """Panels with free space between them; light that returns meets them in reverse order.

    Args:
        path: The light list.
        grid: Grid of its planes.
        wavelength_m: Wavelength.
        values: Parameter values.
        surfaces: Complex factor of every pixel of a panel, by device (see `PhasePanel`).
    """

    def __init__(
        self,
        path: FreeSpacePath,
        grid: Grid,
        wavelength_m: float,
        values: Values,
        surfaces: Mapping[str, Tensor] | None = None,
    ) -> None:
        surfaces = surfaces or {}
        self.panels = [
            PhasePanel(
                values[f"{mask.device}.reflectivity"],
                values[f"{mask.device}.unmodulated"],
                values[f"{mask.device}.response"],
                values[f"{mask.device}.fringing"],
                surfaces.get(mask.device),
            )
            for mask in path.masks
        ]
        # per plane, source first: the ways from it to the next, forwards and backwards
        self._ways: list[list[tuple[Tensor, Tensor]]] = [[]]
        for step in path.steps:
            if isinstance(step, Mask):
                self._ways.append([])
            elif isinstance(step, Propagate):
                transfer = transfer_function(Hop(grid, values[f"{step.name}.distance"], wavelength_m, padding=PADDING))
                shift = values[f"{step.name}.shift_y"], values[f"{step.name}.shift_x"]
                ramp = shift_ramp((2 * grid.shape[0], 2 * grid.shape[1]), shift)
                self._ways[-1].append((transfer * ramp.conj(), transfer * ramp))

    def forward(self, field: Tensor, transmissions: Sequence[Tensor]) -> list[Tensor]:
        """Return the field just after every mask, and last at the output.

        Args:
            field: Field at the source, (n, rows, cols).
            transmissions: Of every mask, (rows, cols).
        """
        fields = []
        for ways, transmission in zip(self._ways, [*transmissions, None], strict=True):
            for there, _ in ways:
                field = propagate(field, there)
            field = field if transmission is None else field * transmission
            fields.append(field)
        return fields

    def to_output(self, field: Tensor) -> Tensor:
        """Return at the output what is `field` just after the last mask, both (n, rows, cols)."""
        for there, _ in self._ways[-1]:
            field = propagate(field, there)
        return field

    def backward(self, field: Tensor, transmissions: Sequence[Tensor]) -> list[Tensor]:
        """Return the field that comes back just behind every mask, in the forward light's order.

        Args:
            field: Field sent back from the output, (n, rows, cols).
            transmissions: Of every mask, (rows, cols).
        """
        fields = []
        for ways, transmission in zip(reversed(self._ways[1:]), reversed(transmissions), strict=True):
            for _, back in reversed(ways):
                field = propagate(field, back)
            fields.append(field)
            field = field * transmission
        return fields[::-1]


def levels_of(phase: Tensor, bit_depth: int) -> np.ndarray:
    """Return the nearest panel levels of phases in rad, uint16; one turn is 2^bit_depth levels."""
    turn = 2**bit_depth
    return torch.remainder(torch.round(phase * (turn / (2 * torch.pi))), turn).to(torch.int32).numpy().astype(np.uint16)


def phase_of(levels: np.ndarray, bit_depth: int) -> Tensor:
    """Return the phase in rad that panel levels are asked to reach, float32."""
    return torch.from_numpy(levels.astype(np.float32)) * (2 * torch.pi / 2**bit_depth)
