"""Light through plates in free space: hop, plate, hop, plate, ..., hop.

Written for speed where autograd would keep and move too much: samples run in chunks that fit the cache, transforms skip
padding, and the gradient of a plate is summed over the samples as it is found. What is sent backwards is the conjugate
of autograd's gradient: that is light, which crosses plates and free space as on its way forward, so that the gradient
of a plate is the product of the two fields that meet there.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from labctl.errors import ConfigError
from labctl.optics.free_space.propagation import check_grid
from labctl.optics.free_space.threads import share_out, sharing_threads
from labctl.optics.free_space.window import Window, chunks

Loss = Callable[[Tensor, slice], Tensor]
"""Loss of some samples, to be summed over all, from their fields at the output (k, rows, cols) and which they are."""


CHUNKS_AT_ONCE = 3
"""Chunks per thread that `backpropagate` takes at once: one costs 20 % more time, each takes 4 MiB at 200 x 200."""


def diffract(field: Tensor, masks: Tensor, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field at the output plane, (n, rows, cols); differentiable once, in field and masks.

    Computed in the precision of the transfer functions. Samples are shared out among as many threads as
    `threads.sharing` says, else as torch may use.

    Args:
        field: Field at the first plane, complex or real, (n, rows, cols).
        masks: Transmission of the plates, complex or real, (plates, rows, cols).
        transfers: Transfer functions of the plates + 1 hops, from `propagation.transfer_function`.

    Raises:
        ConfigError: Shapes do not fit, or a mask holds a value that is no number.
    """
    _check(field, masks, transfers)
    dtype = transfers[0].dtype
    keep = torch.is_grad_enabled() and masks.requires_grad
    output: Any = _Diffract.apply(keep, field.to(dtype), masks.to(dtype), *transfers)
    return output


def diffract_phase(field: Tensor, phases: Tensor, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field behind plates that only delay; `phases` in rad, (plates, rows, cols), else as `diffract`."""
    return diffract(field, phase_only(phases), transfers)


def phase_only(phases: Tensor) -> Tensor:
    """Return the transmission of plates that only delay; `phases` in rad."""
    return torch.complex(torch.cos(phases), torch.sin(phases))


def backpropagate(field: Tensor, masks: Tensor, transfers: Sequence[Tensor], loss: Loss) -> Tensor:
    """Return the loss of a batch and add its gradient to that of what `masks` were computed from.

    Equal to `loss(diffract(field, masks, transfers), slice(n)).backward()`, but a few samples at a time: the fields at
    the plates of no more are kept.

    Args:
        field: As for `diffract`; no gradient is found for it.
        masks: As for `diffract`.
        transfers: As for `diffract`.
        loss: Sum over samples; a mean divides by the number of all samples. Threads that share samples call it at once.

    Raises:
        ConfigError: As `diffract`.
    """
    samples = chunks(field[:1].to(transfers[0].dtype).expand(len(field), -1, -1))

    def run(share: Sequence[slice]) -> tuple[Tensor, Tensor]:
        own, gradient = masks.detach().requires_grad_(), torch.zeros_like(masks)
        total = torch.zeros((), dtype=transfers[0].dtype.to_real(), device=field.device)
        for first in range(0, len(share), CHUNKS_AT_ONCE):
            together = share[first : first + CHUNKS_AT_ONCE]
            part = slice(together[0].start, together[-1].stop)
            value = loss(diffract(field[part], own, transfers), part)
            gradient += torch.autograd.grad(value, own)[0]
            total += value.detach()
        return total, gradient

    totals, gradients = zip(*share_out(run, samples, _threads(field)), strict=True)
    masks.backward(reduce(torch.add, gradients))
    return reduce(torch.add, totals)


class _Diffract(torch.autograd.Function):
    """The light path and its way back; planes are transposed inside, as `Window` asks."""

    @staticmethod
    def forward(ctx: Any, keep: bool, field: Tensor, masks: Tensor, *transfers: Tensor) -> Tensor:
        plates = masks.mT.contiguous()
        output = torch.empty_like(field, memory_format=torch.contiguous_format)
        arriving = field.new_empty(len(field), *plates.shape) if keep else None

        def run(share: Sequence[slice]) -> None:
            window = Window(share[0].stop - share[0].start, field)
            for chunk in share:
                kept = None if arriving is None else arriving[chunk]
                light, plate = _last_plate(window, field[chunk].mT, plates, transfers, kept)
                output[chunk] = window.cross(light, plate, transfers[-1]).mT

        share_out(run, chunks(field), _threads(field))
        ctx.save_for_backward(arriving, plates, *transfers)
        return output

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # the decorator hides the name of ctx
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        arriving, plates, *transfers = ctx.saved_tensors
        _, wants_field, wants_masks, *_ = ctx.needs_input_grad
        field_grad = torch.empty_like(grad, memory_format=torch.contiguous_format) if wants_field else None

        def run(share: Sequence[slice]) -> Tensor:
            window = Window(share[0].stop - share[0].start, grad)
            meeting = torch.zeros_like(plates)
            for chunk in share:
                kept = None if arriving is None else arriving[chunk]
                light, plate = grad[chunk].mT.conj(), None
                for number in reversed(range(len(plates))):
                    light, plate = window.cross(light, plate, transfers[number + 1]), plates[number]
                    if kept is not None:
                        for forwards, backwards in zip(kept[:, number], light, strict=True):
                            meeting[number].addcmul_(forwards, backwards)
                if field_grad is not None:
                    field_grad[chunk] = window.cross(light, plate, transfers[0]).mT.conj()
            return meeting

        meetings = share_out(run, chunks(grad), _threads(grad))
        masks_grad = torch.stack(meetings).sum(0).mT.conj_physical() if wants_masks else None
        return None, field_grad, masks_grad, *(None for _ in transfers)


def _last_plate(
    window: Window, light: Tensor, plates: Tensor, transfers: Sequence[Tensor], kept: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the light that meets the last plate, and that plate.

    Args:
        window: Where the light crosses free space.
        light: At the first plane, (samples, cols, rows).
        plates: Transmissions (plates, cols, rows).
        transfers: One more than plates.
        kept: Where to write the fields that meet the plates, (samples, plates, cols, rows); None for nowhere.
    """
    plate = None
    for number, transfer in enumerate(transfers[:-1]):
        light, plate = window.cross(light, plate, transfer), plates[number]
        if kept is not None:
            kept[:, number] = light
    return light, plate


def _threads(field: Tensor) -> int:
    """Return how many threads share the samples; work on an accelerator is issued by one."""
    return sharing_threads() if field.is_cpu else 1


def _check(field: Tensor, masks: Tensor, transfers: Sequence[Tensor]) -> None:
    """Refuse what does not fit together, naming the cure."""
    if field.ndim != 3 or masks.ndim != 3 or masks.shape[1:] != field.shape[1:]:
        raise ConfigError(
            f"masks: shape {tuple(masks.shape)} for a field of shape {tuple(field.shape)}; "
            "give (plates, rows, cols) for (n, rows, cols), both of the same rows and cols"
        )
    if len(transfers) != len(masks) + 1:
        raise ConfigError(f"transfers: {len(transfers)} hops for {len(masks)} masks; give one more hop than masks")
    for transfer in transfers:
        check_grid(field, transfer)
    for number, mask in enumerate(masks):
        wrong = int(torch.count_nonzero(~torch.isfinite(mask)))
        if wrong:
            raise ConfigError(f"masks: plate {number} holds {wrong} values that are not finite; set or restart them")
