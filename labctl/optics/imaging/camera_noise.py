"""Camera noise as counts have it: true shot noise (Poisson), read noise (Gaussian), dark offset, steps of the ADC.

Where a pixel expects few electrons its counts follow no closed law, so the law itself is tabulated for a row of means
and drawn from by the alias method (Walker, ACM Trans. Math. Softw. 3:253, 1977): one look-up per pixel, and no quantile
is interpolated, so the tails are right. Between two tabulated means one of them is drawn, with the chance that keeps
the mean. Above the table electrons are normal with the skew of shot noise (Cornish and Fisher, Rev. Inst. Int. Stat.
5:307, 1937), rounded to whole ones.

The tabulated means + 1 are the numbers whose last bits are 0: adding random bits to a mean + 1 and dropping the last
ones draws a neighbour with the right chance, as floating-point numbers are evenly spaced from one power of 2 to the
next.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, xlogy

from labctl.errors import ConfigError

TABLE_TOP = 63
"""Highest tabulated mean, in electrons. Above, the normal with skew misses the quantiles of 1e-4 and 1 - 1e-4 by at
most 0.09 electrons."""

DROPPED_BITS = 17
"""Of the 23 of a float32: the means lie 1/64 electron apart below 1 and half an electron above 31, so that drawing one
of two neighbours adds at most 0.2 % to the variance."""

LEVELS = tuple(int(np.float32(mean + 1).view(np.int32)) >> DROPPED_BITS for mean in (0, TABLE_TOP))
"""What is left of the bits of the lowest and highest tabulated mean + 1."""

SURPLUS = 1 / 18 + 1 / 12
"""Variance that the skew and rounding to whole electrons add to a normal."""

REACH = 6.5
"""How far the table goes beyond the means it holds, in standard deviations; what lies further is 4e-11."""

CHUNK = 32768
"""Pixels drawn at a time, so that they and the table stay in a core's cache."""

FINEST_STEPS = 16
"""Most counts per electron: the table's width, and so its memory, grows with it."""


@dataclass(frozen=True)
class Sensor:
    """The pixels of a camera.

    Args:
        read_noise: Electrons rms of one read-out, at least 0.
        step: Electrons per count.
        full_well: Electrons a pixel holds; more read as many.
        bit_depth: Bits of the ADC, at most 16.
        offset: Counts in the dark.

    Raises:
        ConfigError: A value is outside its range.
    """

    read_noise: float
    step: float
    full_well: float
    bit_depth: int = 16
    offset: int = 0

    def __post_init__(self) -> None:
        if not (self.read_noise >= 0 and self.step >= 1 / FINEST_STEPS and self.full_well > 0):
            raise ConfigError(
                f"sensor with read noise {self.read_noise} e-, step {self.step} e-, full well {self.full_well} e-: "
                f"give a read noise of at least 0, a step of at least 1/{FINEST_STEPS} and a full well above 0"
            )
        if not (1 <= self.bit_depth <= 16 and 0 <= self.offset < 2**self.bit_depth):
            raise ConfigError(
                f"sensor of {self.bit_depth} bits with a dark offset of {self.offset} counts: give 1 to 16 bits and an "
                f"offset below the highest count"
            )

    @property
    def top(self) -> int:
        """Count of a saturated pixel: the full well's, or the ADC's highest."""
        return min(2**self.bit_depth - 1, self.offset + round(self.full_well / self.step))


def expose(electrons: NDArray[np.float32], sensor: Sensor, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the counts of one exposure, same shape.

    Args:
        electrons: Mean photo-electrons of every pixel, any shape.
        sensor: The pixels.
        rng: Noise source; SFC64 is its fastest.

    Raises:
        ConfigError: A mean is negative, infinite or not a number.
    """
    flat = electrons.reshape(-1)
    counts = np.empty(flat.shape, np.uint16)
    for start in range(0, flat.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        steps = _read(chunk, sensor, rng)
        steps += sensor.offset
        np.clip(steps, 0, sensor.top, out=counts[start : start + CHUNK], casting="unsafe")
    return counts.reshape(electrons.shape)


def _read(means: NDArray[np.float32], sensor: Sensor, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return counts above the dark."""
    lowest, highest = means.min(), means.max()
    if not (lowest >= 0 and highest < np.inf):
        raise ConfigError(f"exposure with {lowest} to {highest} mean electrons in a pixel: give 0 or more")
    if highest <= TABLE_TOP:
        return _tabulated(means, sensor, rng)
    if lowest > TABLE_TOP:
        return _bright(means, sensor, rng)
    bright = np.flatnonzero(means > TABLE_TOP)
    counts = _tabulated(np.minimum(means, np.float32(TABLE_TOP)), sensor, rng)
    counts[bright] = _bright(means[bright], sensor, rng)
    return counts


def _bright(means: NDArray[np.float32], sensor: Sensor, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return counts above the dark of pixels beyond the table."""
    z, read = rng.standard_normal((2, means.size), dtype=np.float32)
    # whole electrons: a sensor that reads them within 0.5 shows them one by one however bright it is
    electrons = np.rint(means + np.sqrt(means - np.float32(SURPLUS)) * z + (z * z - 1) / 6)
    electrons += np.float32(sensor.read_noise) * read
    return np.rint(np.minimum(electrons, sensor.full_well) / sensor.step).astype(np.int32)


def _tabulated(means: NDArray[np.float32], sensor: Sensor, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return counts above the dark where no mean is beyond the table."""
    table = _table(sensor.read_noise, sensor.step)
    n = means.size
    words = rng.integers(0, 2**64, size=-(-3 * n // 4), dtype=np.uint64).view(np.uint16)
    index = (means + np.float32(1)).view(np.int32)
    index >>= DROPPED_BITS - 16
    index += words[:n]
    index >>= 16
    index -= LEVELS[0]
    index *= table.columns
    column = words[n : 2 * n].astype(np.int32)
    column *= table.columns
    column >>= 16
    index += column
    entry = np.take(table.entries, index, mode="clip")
    kept = words[2 * n : 3 * n] < entry >> 16
    counts = (entry & 0xFFFF).view(np.int32)
    np.copyto(counts, column, where=kept)
    counts += table.first
    return counts


@dataclass(frozen=True)
class _Table:
    """The law of the counts for every tabulated mean.

    Args:
        entries: Flat, a row of columns for every mean: in the upper 16 bits the chance that a column keeps its own
            count, in the lower ones the column it yields to otherwise.
        columns: Counts in a row.
        first: Count of column 0 above the dark.
    """

    entries: NDArray[np.uint32]
    columns: int
    first: int


@cache
def _table(read_noise: float, step: float) -> _Table:
    """Return the table of a sensor, built once."""
    levels = np.arange(LEVELS[0], LEVELS[1] + 1, dtype=np.int32)
    means = (levels << DROPPED_BITS).view(np.float32).astype(np.float64)[:, None] - 1
    beyond = REACH * np.sqrt(TABLE_TOP + read_noise**2)
    electrons = np.arange(int(TABLE_TOP + beyond) + 1)
    poisson = np.exp(xlogy(electrons, means) - means - gammaln(electrons + 1))
    first = round(-REACH * read_noise / step)
    columns = round((TABLE_TOP + beyond) / step) - first + 1
    edges = (np.arange(columns + 1) + first - 0.5) * step
    below = ndtr((edges - electrons[:, None]) / max(read_noise, 1e-9))  # no read noise: a step
    chances = poisson @ np.diff(below, axis=1)
    return _Table(_alias(chances / chances.sum(axis=1, keepdims=True)).reshape(-1), columns, first)


def _alias(chances: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the alias table of laws (laws, columns), each row of which sums to 1."""
    entries = np.empty(chances.shape, np.uint32)
    for row, law in zip(entries, chances * chances.shape[1], strict=True):
        kept, other = law.copy(), np.arange(law.size)
        poor, rich = list(np.flatnonzero(law < 1)), list(np.flatnonzero(law >= 1))
        while poor and rich:
            other[poor[-1]] = rich[-1]
            kept[rich[-1]] -= 1 - kept[poor.pop()]
            if kept[rich[-1]] < 1:
                poor.append(rich.pop())
        row[:] = (np.minimum(np.round(kept * 2**16), 2**16 - 1).astype(np.uint32) << 16) | other.astype(np.uint32)
    return entries
