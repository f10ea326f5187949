"""Light of optical tags: spare mirrors, lit by a lamp of their own, imaged on spare pixels of a camera."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labctl.devices.tag import TAG_BLOCKS, tag_blocks


def tag_light(numbers: Sequence[NDArray[np.integer] | None], n: int) -> NDArray[np.float32]:
    """Return the brightness of the blocks of several tags in `n` frames, lit blocks 1, shape (n, 14 per tag).

    Args:
        numbers: For every DMD the number it shows in each frame, or one for all of them; None while it is dark.
        n: Frames.
    """
    tags = np.zeros((n, len(numbers), TAG_BLOCKS), np.float32)
    for k, shown in enumerate(numbers):
        if shown is not None:
            tags[:, k] = tag_blocks(shown if len(shown) == n else shown[-1:])
    return tags.reshape(n, -1)
