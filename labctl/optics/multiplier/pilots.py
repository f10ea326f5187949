"""Pilots on a multiplier's panel: the last two rows, whose light says where the reference stands.

One pilot reads the cosine of the common phase and the other, written a quarter period late, its sine. In the first
stage both rows sum the same columns behind the data; later stages are sent pilots and pass each on by one weight.
"""

import numpy as np
from numpy.typing import NDArray

from labctl.optics.multiplier.crosstalk import ROW_REACH
from labctl.optics.multiplier.elements import PILOTS, Encode
from labctl.optics.multiplier.network import StageOptics
from labctl.optics.multiplier.slit_multiplier import SlitMultiplier

PILOT_SHARE = 0.75
"""Field of the pilots in the first stage, as a share of the full scale of the camera that reads them."""


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
    multiplier, source = optics.multiplier, optics.stage.source
    if isinstance(source, Encode):
        lit = slice(source.modes, source.modes + columns)
        blocks[-PILOTS, lit] = multiplier.full_index
        blocks[-PILOTS + 1, lit] = multiplier.quarter_index
        # a pilot's blurred phase must not send the light of the last data column into its row
        border = source.modes - 1
        for row in range(-PILOTS, 0):
            left, right = int(blocks[row, border - 1]), int(blocks[row, border + 1])
            blocks[row, border] = multiplier.silent_index(left, right)
    else:
        for pilot in range(-PILOTS, 0):
            blocks[pilot, pilot] = multiplier.full_index
    _silence_around(multiplier, blocks, optics.stage.end.modes, source.modes)


def _silence_around(multiplier: SlitMultiplier, blocks: NDArray[np.uint16], rows: int, columns: int) -> None:
    """Let blocks that belong to no weight and no pilot cancel what the order stop spreads onto them.

    Args:
        multiplier: The panel.
        blocks: Indices of all its blocks, changed in place.
        rows: Data rows; pilots are below them.
        columns: Data columns; pilots are beside them.
    """
    near = blocks[max(0, rows - ROW_REACH) :]
    silent = near == multiplier.zero_index
    silent[: rows - len(blocks), :columns] = False
    stray = multiplier.modulation(near).real.numpy() / multiplier.slit
    near[silent] = multiplier.inverse(-stray)[silent]


def pilot_spill(multiplier: SlitMultiplier, blocks: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the modulation by which pilots sent in at the output come back in every column, shape (columns,).

    The order stop spreads the data rows onto the pilots' rows; what blocks there cannot cancel, for want of levels, is
    known from the model. The in-phase pilot comes back by the real part, the shifted one by the imaginary.

    Args:
        multiplier: The panel.
        blocks: Indices of all its blocks.
    """
    found = multiplier.modulation(blocks[-(PILOTS + ROW_REACH) :]).numpy()[-PILOTS:]
    return np.asarray(found[0].real - found[1].imag, np.float32)
