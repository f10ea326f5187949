"""What is estimated once from every set of random masks: the mean, and how far it may be off."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from labctl.errors import FitRejected
from labctl.ledger import NORMAL_95


def mean_and_sd(each: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of estimates (sets, ...), and its standard deviation from their scatter.

    Few sets show their scatter badly: the deviation is so wide that 1.96 of it hold 95 %, as Student's t has it.
    """
    values = np.asarray(each, float)
    wide = student.ppf(0.975, len(values) - 1) / NORMAL_95
    return values.mean(axis=0), wide * values.std(axis=0, ddof=1) / math.sqrt(len(values))


def require_unsaturated(saturated: Mapping[str, int]) -> None:
    """Refuse what cameras have read beyond their range.

    Args:
        saturated: Readings that were, by camera.

    Raises:
        FitRejected: There are some.
    """
    for camera, lost in saturated.items():
        if lost:
            raise FitRejected(f"{camera}: {lost} readings are saturated; lower the beam's power, or its exposure")
