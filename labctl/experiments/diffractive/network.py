"""A diffractive network as pure functions: from trained values to plates, and light through them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from labctl.experiments.diffractive.geometry import Geometry
from labctl.experiments.diffractive.plates import Plates
from labctl.optics.free_space.diffraction import diffract, diffract_phase
from labctl.optics.free_space.propagation import propagate

Latent = Mapping[str, Tensor]
"""What an optimiser changes: `phase`, `amplitude` or both, each (plates, rows, cols) float32."""

OPEN = 2.0
"""Initial latent amplitude: plates of amplitude sigmoid(2) = 0.88 let light through from the first step on."""


@dataclass(frozen=True)
class Modulation:
    """What the neurons of a plate may do to light.

    Args:
        kind: `phase`, `amplitude` or `complex`: both.
        phase: `free`: the latent value is the phase, whole turns mean nothing. `sigmoid`: 2 pi sigmoid of it, as in
            the original.
    """

    kind: Literal["phase", "amplitude", "complex"] = "phase"
    phase: Literal["free", "sigmoid"] = "free"


@dataclass(frozen=True, eq=False)
class Transmission:
    """What plates do to light, as tensors.

    Args:
        phase: In rad, shape (plates, rows, cols).
        amplitude: Same shape; None for plates of phase only.
    """

    phase: Tensor
    amplitude: Tensor | None

    def masks(self) -> Tensor:
        """Return the complex transmission (plates, rows, cols)."""
        amplitude = torch.ones_like(self.phase) if self.amplitude is None else self.amplitude
        return torch.complex(amplitude * torch.cos(self.phase), amplitude * torch.sin(self.phase))


def initial_latent(
    plates: int, shape: tuple[int, int], modulation: Modulation, device: str = "cpu"
) -> dict[str, Tensor]:
    """Return the latent values of flat plates of `shape` neurons: one phase everywhere, nearly transparent."""
    latent = {}
    if modulation.kind != "amplitude":
        latent["phase"] = torch.zeros((plates, *shape), device=device)
    if modulation.kind != "phase":
        latent["amplitude"] = torch.full((plates, *shape), OPEN, device=device)
    return latent


def transmission(latent: Latent, modulation: Modulation) -> Transmission:
    """Return phase and amplitude of the plates, differentiable in the latent values."""
    amplitude = torch.sigmoid(latent["amplitude"]) if "amplitude" in latent else None
    if "phase" not in latent:
        return Transmission(torch.zeros_like(latent["amplitude"]), amplitude)
    phase = latent["phase"] if modulation.phase == "free" else 2 * math.pi * torch.sigmoid(latent["phase"])
    return Transmission(phase, amplitude)


def transmission_of(plates: Plates, device: str = "cpu") -> Transmission:
    """Return plates as tensors."""
    tensors = {name: torch.from_numpy(values).to(device) for name, values in plates.values().items()}
    return Transmission(tensors["phase"], tensors.get("amplitude"))


def plates_of(passed: Transmission, geometry: Geometry) -> Plates:
    """Return the plates, phases within 0..2 pi."""
    phase = torch.remainder(passed.phase.detach(), 2 * math.pi).cpu().numpy()
    amplitude = None if passed.amplitude is None else passed.amplitude.detach().cpu().numpy()
    return Plates(phase, geometry.grid.pitch_m, geometry.wavelength_m, amplitude)


def output_field(fields: Tensor, plates: Transmission, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field (n, rows, cols) in the output plane, differentiable in phase and amplitude.

    Args:
        fields: In the object plane, shape (n, rows, cols), complex64.
        plates: What light passes.
        transfers: Transfer functions of the plates + 1 hops.
    """
    if plates.amplitude is None:
        return diffract_phase(fields, plates.phase, transfers)
    return diffract(fields, plates.masks(), transfers)


def field_after(fields: Tensor, plates: Transmission, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field (n, rows, cols) just behind the last of the plates, without gradient.

    Args:
        fields: In the object plane.
        plates: Those that light has passed; they stay as they are.
        transfers: Transfer functions of the hops before each of them.
    """
    with torch.no_grad():
        for mask, transfer in zip(plates.masks(), transfers, strict=True):
            fields = propagate(fields, transfer) * mask
    return fields
