"""Light through plates in free space: hop, mask, hop, mask, ..., hop."""

from collections.abc import Sequence

import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.optics.propagation import propagate


def diffract(field: Tensor, masks: Tensor, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field at the output plane; differentiable in field and masks.

    Args:
        field: Complex field at the first plane, (n, rows, cols).
        masks: Complex transmission of the plates, (plates, rows, cols).
        transfers: Transfer functions of the plates + 1 hops, from `labctl.optics.propagation.transfer_function`.

    Raises:
        ConfigError: Shapes do not fit, or a mask holds a value that is no number.
    """
    _check(field, masks, transfers)
    for mask, transfer in zip(masks, transfers[:-1], strict=True):
        field = propagate(field, transfer) * mask
    return propagate(field, transfers[-1])


def diffract_phase(field: Tensor, phases: Tensor, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field behind plates that only delay; `phases` in rad, (plates, rows, cols), else as `diffract`."""
    return diffract(field, torch.complex(torch.cos(phases), torch.sin(phases)), transfers)


def _check(field: Tensor, masks: Tensor, transfers: Sequence[Tensor]) -> None:
    """Refuse what does not fit together, naming the cure."""
    if field.ndim != 3 or masks.ndim != 3 or masks.shape[1:] != field.shape[1:]:
        raise ConfigError(
            f"masks: shape {tuple(masks.shape)} for a field of shape {tuple(field.shape)}; "
            "give (plates, rows, cols) for (n, rows, cols), both of the same rows and cols"
        )
    if len(transfers) != len(masks) + 1:
        raise ConfigError(f"transfers: {len(transfers)} hops for {len(masks)} masks; give one more hop than masks")
    for number, mask in enumerate(masks):
        wrong = int(torch.count_nonzero(~torch.isfinite(mask)))
        if wrong:
            raise ConfigError(f"masks: plate {number} holds {wrong} values that are not finite; set or restart them")
