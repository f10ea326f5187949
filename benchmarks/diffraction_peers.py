"""The same stack of phase plates in labctl and in its peers: what `benchmarks/diffraction.py` times.

Every stack is a function of a batch of real amplitudes (n, N, N) that returns the complex field at the output, with the
phases it trains. lightridge's kernel is its own and so is not compared in numbers.
"""

import contextlib
import io
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchoptics
from torch import Tensor
from torchoptics.elements import PhaseModulator

from labctl.optics.free_space.diffraction import Loss, backpropagate, diffract_phase, phase_only
from labctl.optics.free_space.propagation import Hop, propagate, transfer_function
from labctl.optics.grid import Grid

WAVELENGTH_M = 0.75e-3
PITCH_M = 0.4e-3
DISTANCE_M = 30e-3
PLATES = 5
PADDING = 5
"""What torchoptics pads to unless told otherwise; also what labctl's transform of twice the grid stands for."""


@dataclass(frozen=True)
class Stack:
    """Plates in free space.

    Args:
        output: Field at the output of amplitudes (n, N, N).
        phases: What is trained, in rad.
        backpropagate: Finds the gradient of a loss for amplitudes; through the whole batch at once by default.
    """

    output: Callable[[Tensor], Tensor]
    phases: Sequence[Tensor]
    backpropagate: Callable[[Tensor, Loss], Any] | None = None

    def gradient_of(self, amplitudes: Tensor, loss: Loss) -> None:
        """Add the gradient of a loss to that of the phases."""
        if self.backpropagate:
            self.backpropagate(amplitudes, loss)
        else:
            loss(self.output(amplitudes), slice(None)).backward()


def start_phases(size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the phases every stack starts from, (plates, N, N)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(PLATES, size, size, dtype=torch.float64, generator=generator).mul(2 * torch.pi).to(dtype)


def labctl(size: int, dtype: torch.dtype = torch.complex64) -> Stack:
    """Return labctl's stack, one transform of twice the grid per hop."""
    transfers = [_transfer(size, dtype)] * (PLATES + 1)
    phases = start_phases(size, transfers[0].real.dtype).requires_grad_()
    return Stack(
        lambda amplitudes: diffract_phase(amplitudes, phases, transfers),
        [phases],
        lambda amplitudes, loss: backpropagate(amplitudes, phase_only(phases), transfers, loss),
    )


def labctl_autograd(size: int) -> Stack:
    """Return labctl's hops with plain autograd between them: what the hand-written backward is measured against."""
    transfer = _transfer(size, torch.complex64)
    phases = start_phases(size).requires_grad_()

    def output(amplitudes: Tensor) -> Tensor:
        field = amplitudes.to(torch.complex64)
        for phase in phases:
            field = propagate(field, transfer) * torch.complex(torch.cos(phase), torch.sin(phase))
        return propagate(field, transfer)

    return Stack(output, [phases])


def _transfer(size: int, dtype: torch.dtype) -> Tensor:
    return transfer_function(Hop(Grid((size, size), PITCH_M), DISTANCE_M, WAVELENGTH_M, padding=PADDING), dtype=dtype)


def torchoptics_stack(size: int, padding: int = PADDING) -> Stack:
    """Return torchoptics' stack; it computes in double precision whatever it is given."""
    start = start_phases(size, torch.float64)
    plates = [
        PhaseModulator(torch.nn.Parameter(phase), z=DISTANCE_M * (number + 1), spacing=PITCH_M)
        for number, phase in enumerate(start)
    ]
    system = torchoptics.System(*plates)

    def output(amplitudes: Tensor) -> Tensor:
        field = torchoptics.Field(amplitudes.to(torch.complex128), WAVELENGTH_M, z=0, spacing=PITCH_M)
        end = DISTANCE_M * (PLATES + 1)
        return system.measure_at_z(field, end, propagation_method="ASM", asm_pad=(padding - 1) * size // 2).data

    return Stack(output, list(system.parameters()))


def svetlanna_stack(size: int) -> Stack:
    """Return svetlanna's stack, on twice the grid."""
    sys.modules.setdefault("svetlanna.visualization", _Unused("svetlanna.visualization"))  # it asks for a notebook
    import svetlanna
    from svetlanna.elements import DiffractiveLayer, FreeSpace

    edge = (size - 1) / 2 * PITCH_M
    axis = torch.linspace(-edge, edge, size)
    parameters = svetlanna.SimulationParameters(x=axis, y=axis, wavelength=WAVELENGTH_M)
    phases = [svetlanna.Parameter(phase) for phase in start_phases(size)]

    def hop() -> FreeSpace:
        return FreeSpace(parameters, DISTANCE_M, "zpASM", total_paddings_x=size, total_paddings_y=size)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that padding twice the grid is not enough, which is why labctl stands for 5
        elements = [part for phase in phases for part in (hop(), DiffractiveLayer(parameters, phase, 2 * torch.pi))]
        setup = svetlanna.LinearOpticalSetup([*elements, hop()])
    return Stack(
        lambda amplitudes: setup(svetlanna.Wavefront(amplitudes.to(torch.complex64))), list(setup.net.parameters())
    )


def lightridge_stack(size: int) -> Stack:
    """Return lightridge's stack, on twice the grid and with its own Rayleigh-Sommerfeld kernel."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # it looks for pyfftw, and prints what it builds
        from lightridge.layers import DiffractLayer_Raw

        layers = [
            DiffractLayer_Raw(
                wavelength=WAVELENGTH_M,
                pixel_size=PITCH_M,
                size=size,
                pad=size // 2,
                distance=DISTANCE_M,
                amplitude_factor=1,
                approx="Sommerfeld",
                phase_mod=number < PLATES,
            )
            for number in range(PLATES + 1)
        ]
    for layer, phase in zip(layers, start_phases(size), strict=False):
        layer.phase.data = phase

    def output(amplitudes: Tensor) -> Tensor:
        field = amplitudes.to(torch.complex64)
        for layer in layers:
            field = layer(field)
        return field

    return Stack(output, [layer.phase for layer in layers[:-1]])


class _Unused(types.ModuleType):
    """A module that offers every name and does nothing."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


STACKS: dict[str, Callable[[int], Stack]] = {
    "labctl": labctl,
    "labctl, plain autograd": labctl_autograd,
    "torchoptics, its default padding": torchoptics_stack,
    "torchoptics, twice the grid": lambda size: torchoptics_stack(size, padding=2),
    "svetlanna": svetlanna_stack,
    "lightridge": lightridge_stack,
}
