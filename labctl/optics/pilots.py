"""Pilots on a multiplier's panel: two rows behind the data whose light says where the reference stands.

One pilot reads the cosine of the common phase and the other, written a quarter period late, its sine. In the first
stage both rows sum the same columns behind the data; later stages are sent pilots and pass each on by one weight.
"""

import numpy as np
from numpy.typing import NDArray

from labctl.optics.elements import Encode
from labctl.optics.network import StageOptics

PILOT_SHARE = 0.75
"""Field of the pilots in the first stage, as a share of the full scale of the camera that reads them."""

PASSED_PILOT = 0.8
"""Modulation that passes a pilot on through later layers: uneven light may make it half as strong again, and its
camera must not saturate then."""


def pilot_columns(optics: StageOptics, weight_per_modulation: float) -> int:
    """Return how many pilot columns the first stage sums: as many as bring its pilots to their share of full scale."""
    full = weight_per_modulation * optics.multiplier.reach
    wanted = round(PILOT_SHARE * optics.stage.end.full_scale / full)
    return max(1, min(wanted, optics.stage.columns - optics.stage.source.modes))


def write_pilots(blocks: NDArray[np.uint16], optics: StageOptics, columns: int) -> None:
    """Write the pilots into the block indices (rows, columns) of a panel whose data rows are written already.

    Args:
        blocks: Changed in place.
        optics: The stage.
        columns: Pilot columns that a first stage sums.
    """
    multiplier, source, first = optics.multiplier, optics.stage.source, optics.stage.end.modes
    if isinstance(source, Encode):
        lit = slice(source.modes, source.modes + columns)
        blocks[first, lit] = multiplier.full_index
        blocks[first + 1, lit] = multiplier.quarter_index
    else:
        for pilot in range(2):
            blocks[first + pilot, source.modes + pilot] = multiplier.inverse(np.array(PASSED_PILOT))
    # a pilot's blurred phase must not send its light into the last data column
    border = source.modes - 1
    for row in (first, first + 1):
        left, right = int(blocks[row, border - 1]), int(blocks[row, border + 1])
        blocks[row, border] = multiplier.silent_index(left, right)
