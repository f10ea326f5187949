"""The padded window in which samples cross free space, in pieces that fit the cache of a processor."""

import math

import torch
from torch import Tensor

CPU_CHUNK_BYTES = 2**19
"""What the padded spectra of the samples at work may take: half a megabyte leaves room in a core's cache."""

ACCELERATOR_CHUNK_BYTES = 2**28
"""The same where work should come in large pieces; untested."""


class Window:
    """Buffers for a chunk of samples; their padding stays zero from hop to hop.

    Planes are (samples, cols, rows) inside, transposed, so that no transfer function has to be.

    Args:
        samples: The most that cross at a time.
        like: Field (..., rows, cols) of the samples' grid, precision and device.
    """

    def __init__(self, samples: int, like: Tensor) -> None:
        rows, cols = like.shape[-2:]
        strips = math.ceil(samples * _spectrum_bytes(like) / _chunk_bytes(like))
        self._height = math.ceil(2 * rows / strips)
        self._entrance = like.new_zeros(samples, cols, 2 * rows)
        self._strip = like.new_zeros(samples, self._height, 2 * cols)

    def cross(self, light: Tensor, plate: Tensor | None, transfer: Tensor) -> Tensor:
        """Return planes (samples, cols, rows) behind a plate and a hop, in memory of their own.

        The spectrum along the second axis is made, filtered and undone strip by strip, in place of what it was made of:
        it never exists as a whole. Transforms along the first axis skip the columns that are padding.

        Args:
            light: Planes before the plate, (samples, cols, rows).
            plate: Its transmission, (cols, rows); None for no plate.
            transfer: Transfer function of the hop, (2 rows, 2 cols).
        """
        samples, cols, rows = light.shape
        entrance = self._entrance[:samples]
        if plate is None:
            entrance[..., :rows] = light
        else:
            torch.mul(light, plate, out=entrance[..., :rows])
        spectrum = torch.fft.fft(entrance)
        for start in range(0, 2 * rows, self._height):
            part = slice(start, min(start + self._height, 2 * rows))
            strip = self._strip[:samples, : part.stop - start]
            strip[..., :cols] = spectrum[..., part].mT
            filtered = torch.fft.fft(strip).mul_(transfer[part])
            spectrum[..., part] = torch.fft.ifft(filtered)[..., :cols].mT
        return torch.fft.ifft(spectrum)[..., :rows]


def chunks(field: Tensor) -> list[slice]:
    """Return the samples of a field (n, rows, cols) in chunks, all but the last of one size; at least one chunk."""
    size = max(1, _chunk_bytes(field) // _spectrum_bytes(field))
    return [slice(start, min(start + size, len(field))) for start in range(0, max(1, len(field)), size)]


def _spectrum_bytes(field: Tensor) -> int:
    """Return the memory of one sample's padded spectrum."""
    return 4 * math.prod(field.shape[-2:]) * field.element_size()


def _chunk_bytes(field: Tensor) -> int:
    return CPU_CHUNK_BYTES if field.is_cpu else ACCELERATOR_CHUNK_BYTES
