"""Plates on a panel: the level whose phase is nearest, through the panel's response."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labctl.errors import ConfigError

IDEAL_LEVELS = 256


def ideal_response() -> NDArray[np.float64]:
    """Return the phase in rad of every level of a panel that is linear over one turn."""
    return 2 * math.pi * np.arange(IDEAL_LEVELS) / IDEAL_LEVELS


def read_response(path: Path) -> NDArray[np.float64]:
    """Return the phase in rad of every level, one a line from level 0.

    Raises:
        ConfigError: It cannot be read, or is no response.
    """
    try:
        lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
        response = np.array([float(line) for line in lines if line])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: no panel response ({error}); give one phase in rad a line, level 0 first"
        ) from error
    if not 2 <= len(response) <= 65_536 or not np.isfinite(response).all():
        raise ConfigError(f"{path}: holds {len(response)} phases: give 2 to 65536 finite ones in rad, one a line")
    return response


def nearest_levels(phase: NDArray[np.floating], response: NDArray[np.floating]) -> NDArray[np.integer]:
    """Return the levels whose phases are nearest around the circle: uint8 where 256 are enough, else uint16.

    Args:
        phase: Wanted phase in rad, any shape.
        response: Phase in rad of every level, shape (levels,), in any order.
    """
    turn = 2 * math.pi
    wrapped = np.mod(response, turn)
    order = np.argsort(wrapped, kind="stable")
    around = np.concatenate([wrapped[order[-1:]] - turn, wrapped[order], wrapped[order[:1]] + turn])
    halfway = (around[1:] + around[:-1]) / 2  # level order[k] is nearest between halfway[k] and halfway[k + 1]
    places = np.searchsorted(halfway, np.mod(phase, turn)) - 1
    return order[places % len(order)].astype(np.uint8 if len(order) <= 256 else np.uint16)
