"""Optical elements as modules of torch, to be chained in a Sequential; for speed see `diffraction`.

Both are reciprocal: light sent backwards crosses them by the same call.
"""

import torch
from torch import Tensor, nn

from labctl.optics.free_space.propagation import Hop, propagate, transfer_function


class FreeSpace(nn.Module):
    """Free space as one hop; fields (..., rows, cols).

    Args:
        hop: Space to cross.
        dtype: Precision of the transfer function, torch.complex64 or torch.complex128.
    """

    transfer: Tensor

    def __init__(self, hop: Hop, dtype: torch.dtype = torch.complex64) -> None:
        super().__init__()
        self.hop = hop
        self.register_buffer("transfer", transfer_function(hop, dtype=dtype), persistent=False)

    def forward(self, field: Tensor) -> Tensor:
        """Return the field after the hop."""
        return propagate(field, self.transfer)


class Mask(nn.Module):
    """A plane that multiplies the field by a transmission; fixed where that is a tensor, trained where a Parameter.

    Args:
        transmission: Complex or real, (rows, cols): an aperture, an amplitude mask, a lens.
    """

    transmission: Tensor

    def __init__(self, transmission: Tensor) -> None:
        super().__init__()
        _keep(self, "transmission", transmission)

    def forward(self, field: Tensor) -> Tensor:
        """Return the field behind the mask."""
        return field * self.transmission


class PhaseMask(nn.Module):
    """A plane that only delays; fixed where its phases are a tensor, trained where they are a Parameter.

    Args:
        phases: In rad, (rows, cols).
    """

    phases: Tensor

    def __init__(self, phases: Tensor) -> None:
        super().__init__()
        _keep(self, "phases", phases)

    def forward(self, field: Tensor) -> Tensor:
        """Return the field behind the mask."""
        return field * torch.complex(torch.cos(self.phases), torch.sin(self.phases))


def _keep(module: nn.Module, name: str, value: Tensor) -> None:
    """Register a tensor as what it is."""
    if isinstance(value, nn.Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)
