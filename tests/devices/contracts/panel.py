"""Patterns for every panel, phase or micromirror: a plain one, and all that do not fit."""

import numpy as np

from labctl.devices import DMD, SLM, Codebook, Pattern, identity_codebook


def patterns_that_do_not_fit(shape: tuple[int, int], bit_depth: int) -> dict[str, Pattern]:
    """Return what no panel of `shape` (rows, cols) and `bit_depth` can show, by what is wrong with it."""
    plain = identity_codebook(bit_depth)
    rows, cols = shape
    full = np.zeros(shape, np.uint16)
    two = Codebook("pairs of pixels", plain.tiles, (1, 2))
    return {
        "one row too many": Pattern(np.zeros((rows + 1, cols), np.uint16), plain),
        "one column too many": Pattern(np.zeros((rows, cols + 1), np.uint16), plain),
        "pushed out below": Pattern(full, plain, (1, 0)),
        "pushed out right": Pattern(full, plain, (0, 1)),
        "begins above": Pattern(full[:1, :1], plain, (-1, 0)),
        "begins left": Pattern(full[:1, :1], plain, (0, -1)),
        "blocks too wide": Pattern(np.zeros((1, cols // 2 + 1), np.uint16), two),
        "unknown index": Pattern(np.full((1, 1), len(plain), np.uint16), plain),
        "level too high": Pattern(full[:1, :1], identity_codebook(bit_depth + 1)),
        "not uint16": Pattern(full.astype(np.int32), plain),  # type: ignore[arg-type]
        "not a grid": Pattern(full[0], plain),
        "a stack": Pattern(full[None], plain),
        "nothing": Pattern(full[:0], plain),
    }


def plain_pattern(device: SLM | DMD, level: int = 1) -> Pattern:
    """Return a pattern of one pixel that every panel can show."""
    return Pattern(np.full((1, 1), level, np.uint16), identity_codebook(device.bit_depth))
