"""Light through plates in free space: hop, plate, hop, plate, ..., hop.

Written for speed where autograd would keep and move too much: samples run in chunks that fit the cache, transforms skip
rows of padding, and the gradient of a plate is summed over the samples as it is found. What is sent backwards is
the conjugate of autograd's gradient: that is light, which crosses plates and free space as on its way forward, so that
the gradient of a plate is the product of the two fields that meet there.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from labctl.errors import ConfigError
from labctl.optics.propagation import check_grid
from labctl.optics.threads import share_out

CPU_CHUNK_BYTES = 2**19
"""What the padded spectra of the samples at work may take: half a megabyte leaves room in a core's cache."""

ACCELERATOR_CHUNK_BYTES = 2**28
"""The same where work should come in large pieces; untested."""


def diffract(field: Tensor, masks: Tensor, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field at the output plane, (n, rows, cols); differentiable once, in field and masks.

    Computed in the precision of the transfer functions. Samples are shared out among as many threads as
    torch.get_num_threads() allows.

    Args:
        field: Field at the first plane, (n, rows, cols).
        masks: Transmission of the plates, complex or real, (plates, rows, cols).
        transfers: Transfer functions of the plates + 1 hops, from `labctl.optics.propagation.transfer_function`.

    Raises:
        ConfigError: Shapes do not fit, or a mask holds a value that is no number.
    """
    _check(field, masks, transfers)
    dtype = transfers[0].dtype
    output: Any = _Diffract.apply(field.to(dtype), masks.to(dtype), *transfers)
    return output


def diffract_phase(field: Tensor, phases: Tensor, transfers: Sequence[Tensor]) -> Tensor:
    """Return the field behind plates that only delay; `phases` in rad, (plates, rows, cols), else as `diffract`."""
    return diffract(field, torch.complex(torch.cos(phases), torch.sin(phases)), transfers)


class _Diffract(torch.autograd.Function):
    """The light path and its way back; planes are transposed inside, so that no transfer function has to be."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, masks: Tensor, *transfers: Tensor) -> Tensor:
        plates = masks.mT.contiguous()
        output = torch.empty_like(field, memory_format=torch.contiguous_format)
        arriving = field.new_empty(len(field) if ctx.needs_input_grad[1] else 0, *plates.shape)

        def run(chunks: Sequence[slice]) -> None:
            window = _Window(chunks[0], field)
            for chunk in chunks:
                light, plate = field[chunk].mT, None
                for number, transfer in enumerate(transfers[:-1]):
                    light, plate = window.cross(light, plate, transfer), plates[number]
                    if len(arriving):
                        arriving[chunk, number] = light
                output[chunk] = window.cross(light, plate, transfers[-1]).mT

        _share_out(run, field)
        ctx.save_for_backward(plates, arriving, *transfers)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        plates, arriving, *transfers = ctx.saved_tensors
        wants_field, wants_masks = ctx.needs_input_grad[:2]
        field_grad = torch.empty_like(grad, memory_format=torch.contiguous_format) if wants_field else None

        def run(chunks: Sequence[slice]) -> Tensor:
            window = _Window(chunks[0], grad)
            meeting = torch.zeros_like(plates)
            for chunk in chunks:
                light, plate = grad[chunk].mT.conj(), None
                for number in reversed(range(len(plates))):
                    light, plate = window.cross(light, plate, transfers[number + 1]), plates[number]
                    if wants_masks:
                        for forwards, backwards in zip(arriving[chunk, number], light, strict=True):
                            meeting[number].addcmul_(forwards, backwards)
                if field_grad is not None:
                    field_grad[chunk] = window.cross(light, plate, transfers[0]).mT.conj()
            return meeting

        meetings = _share_out(run, grad)
        masks_grad = torch.stack(meetings).sum(0).mT.conj() if wants_masks else None
        return field_grad, masks_grad, *(None for _ in transfers)


class _Window:
    """Buffers in which a chunk of samples crosses free space; their padding stays zero from hop to hop.

    Args:
        chunk: The largest of the chunks.
        field: All samples, (n, rows, cols).
    """

    def __init__(self, chunk: slice, field: Tensor) -> None:
        samples, (rows, cols) = chunk.stop - chunk.start, field.shape[1:]
        strips = math.ceil(samples * _spectrum_bytes(field) / _chunk_bytes(field))
        self.height = math.ceil(2 * rows / strips)
        self.entrance = field.new_zeros(samples, cols, 2 * rows)
        self.strip = field.new_zeros(samples, self.height, 2 * cols)
        self.exit = field.new_empty(samples, cols, 2 * rows)

    def cross(self, light: Tensor, plate: Tensor | None, transfer: Tensor) -> Tensor:
        """Return planes (samples, cols, rows) behind a plate and a hop, in memory of their own.

        The spectrum along the second axis is made, filtered and undone strip by strip: it never exists as a whole.
        """
        samples, cols, rows = light.shape
        entrance, exit_ = self.entrance[:samples], self.exit[:samples]
        if plate is None:
            entrance[..., :rows] = light
        else:
            torch.mul(light, plate, out=entrance[..., :rows])
        spectrum = torch.fft.fft(entrance)
        for start in range(0, 2 * rows, self.height):
            part = slice(start, min(start + self.height, 2 * rows))
            strip = self.strip[:samples, : part.stop - start]
            strip[..., :cols] = spectrum[..., part].mT
            filtered = torch.fft.fft(strip).mul_(transfer[part])
            exit_[..., part] = torch.fft.ifft(filtered)[..., :cols].mT
        return torch.fft.ifft(exit_)[..., :rows]


def _share_out(work: Any, field: Tensor) -> list[Any]:
    """Run chunks of samples on the threads there are; work on an accelerator is issued by one."""
    size = max(1, _chunk_bytes(field) // _spectrum_bytes(field))
    chunks = [slice(start, min(start + size, len(field))) for start in range(0, max(1, len(field)), size)]
    return share_out(work, chunks, torch.get_num_threads() if field.is_cpu else 1)


def _spectrum_bytes(field: Tensor) -> int:
    """Return the memory of one sample's padded spectrum."""
    return 4 * math.prod(field.shape[1:]) * field.element_size()


def _chunk_bytes(field: Tensor) -> int:
    return CPU_CHUNK_BYTES if field.is_cpu else ACCELERATOR_CHUNK_BYTES


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
