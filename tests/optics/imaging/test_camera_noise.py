"""Camera noise against its exact law: a Poisson number of electrons, Gaussian read noise, rounded to counts.

Bars are set by how often a right camera fails them (false alarms), not by what a seed gives.
"""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from labctl.errors import ConfigError
from labctl.optics.imaging.camera_noise import Sensor, expose

SCMOS = Sensor(read_noise=1.6, step=0.46, full_well=30_000, offset=100)
PHOTON_COUNTING = Sensor(read_noise=0.3, step=0.25, full_well=15_000, offset=100)
"""A sensor quiet enough to tell one electron from two, which no smooth law can stand for."""

FEW = [0.1, 0.5, 1.0, 3.0, 10.0, 30.3]
MANY = [62.9, 63.1, 300.0, 1e3, 1e4]
"""To either side of where the table ends."""

CASES = list(product([SCMOS, PHOTON_COUNTING], FEW + MANY))
BLOCK = 2_000_000


def read(mean: float, sensor: Sensor, pixels: int, seed: int = 0) -> NDArray[np.uint16]:
    return expose(np.full(pixels, mean, np.float32), sensor, np.random.Generator(np.random.SFC64(seed)))


def law(mean: float, sensor: Sensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the counts above the dark that can occur, and the exact chance of each."""
    fewest, most = stats.poisson.ppf([1e-13, 1 - 1e-13], mean)
    electrons = np.arange(fewest, most + 1)
    beyond = 8 * sensor.read_noise
    counts = np.arange(np.floor((fewest - beyond) / sensor.step), np.ceil((most + beyond) / sensor.step) + 1)
    edges = (np.append(counts, counts[-1] + 1) - 0.5) * sensor.step
    below = stats.norm.cdf((edges - electrons[:, None]) / sensor.read_noise)
    return counts.astype(np.int64), stats.poisson.pmf(electrons, mean) @ np.diff(below, axis=1)


def histogram(mean: float, sensor: Sensor, pixels: int, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many pixels read each of these counts above the dark."""
    found = np.zeros(counts.size, np.int64)
    for seed in range(pixels // BLOCK):
        seen = read(mean, sensor, BLOCK, seed).astype(np.int64) - sensor.offset - counts[0]
        found += np.bincount(seen, minlength=counts.size)
    return found


@pytest.mark.parametrize(("sensor", "mean"), [case for case in CASES if case != (SCMOS, 0.1)])
def test_neither_mean_nor_variance_is_biased_by_half_a_percent(sensor: Sensor, mean: float):
    """Half a percent is six standard errors here: a right camera fails once in 1e8.

    The noisier sensor at 0.1 electrons would need 4e8 pixels; the law itself is compared below.
    """
    variance = mean + sensor.read_noise**2 + sensor.step**2 / 12
    kurtosis = 3 + mean / variance**2
    pixels = (6 / 0.005) ** 2 * max(variance / mean**2, kurtosis - 1)
    blocks = [read(mean, sensor, BLOCK, seed) for seed in range(int(pixels / BLOCK) + 1)]
    electrons = (np.stack(blocks).astype(np.float64) - sensor.offset) * sensor.step
    assert electrons.mean() == pytest.approx(mean, rel=0.005)
    assert electrons.var() == pytest.approx(variance, rel=0.005)


@pytest.mark.parametrize(("sensor", "mean"), CASES)
def test_counts_follow_the_exact_law(sensor: Sensor, mean: float):
    """Chi-square over all counts expected 25 times and more; a right camera fails once in 1e6."""
    counts, chances = law(mean, sensor)
    found, expected = histogram(mean, sensor, BLOCK, counts), BLOCK * chances
    usual = expected >= 25
    found = np.append(found[usual], found[~usual].sum())
    expected = np.append(expected[usual], BLOCK - expected[usual].sum())
    assert stats.chisquare(found, expected).pvalue > 1e-6


@pytest.mark.parametrize(("sensor", "mean"), CASES)
def test_both_tails_are_as_heavy_as_they_should_be(sensor: Sensor, mean: float):
    """Pixels beyond the quantiles of 1e-4 and 1 - 1e-4 are counted; a right camera fails once in 1e6."""
    counts, chances = law(mean, sensor)
    found = histogram(mean, sensor, 2 * BLOCK, counts)
    for tail in (slice(None), slice(None, None, -1)):
        reaches = np.searchsorted(np.cumsum(chances[tail]), 1e-4) + 1
        expected = 2 * BLOCK * chances[tail][:reaches].sum()
        assert found[tail][:reaches].sum() == pytest.approx(expected, abs=5 * expected**0.5)


def test_a_frame_has_the_noise_of_every_pixel_of_its_own():
    """Beside a bright pixel a dark one stays dark, and the frame keeps its shape."""
    means = np.where(np.arange(60_000).reshape(200, 300) % 2, 0.5, 900.0).astype(np.float32)
    electrons = (expose(means, SCMOS, np.random.default_rng(0)) - 100.0) * SCMOS.step
    assert electrons.shape == means.shape
    for mean in (0.5, 900.0):
        noise = (mean + 1.6**2) ** 0.5
        assert electrons[means == np.float32(mean)].mean() == pytest.approx(mean, abs=5 * noise / 30_000**0.5)


def test_pixels_do_not_know_each_other():
    """The correlation of neighbours, at any of 20 distances, stays below five standard errors."""
    noise = read(3.0, SCMOS, 1_000_000).astype(np.float64)
    noise -= noise.mean()
    for distance in (*range(1, 20), 32768):
        assert abs(np.mean(noise[:-distance] * noise[distance:])) < 5 * noise.var() / 1e3


def test_equal_seeds_give_equal_frames_and_others_do_not():
    assert np.array_equal(read(5.0, SCMOS, 50_000, 1), read(5.0, SCMOS, 50_000, 1))
    assert not np.array_equal(read(5.0, SCMOS, 50_000, 1), read(5.0, SCMOS, 50_000, 2))


def test_without_read_noise_counts_are_whole_electrons():
    counts = read(3.0, Sensor(read_noise=0, step=1, full_well=1000), BLOCK)
    expected = BLOCK * stats.poisson.pmf(np.arange(5), 3.0)
    assert np.bincount(counts)[:5] == pytest.approx(expected, abs=5 * expected.max() ** 0.5)


@pytest.mark.parametrize("mean", [60.0, 1e3, 1e6])
def test_a_full_pixel_reads_its_highest_count(mean: float):
    small_well = Sensor(read_noise=1.6, step=0.5, full_well=20, offset=10)
    assert set(read(mean, small_well, 1000)) == {50}
    assert set(read(mean, Sensor(read_noise=1.6, step=0.1, full_well=3e4, bit_depth=8), 1000)) == {255}


def test_counts_do_not_fall_below_zero():
    counts = read(0.0, Sensor(read_noise=1.6, step=0.5, full_well=1000), 1000)
    assert counts.min() == 0
    assert counts.max() < 20


@pytest.mark.parametrize("mean", [-1.0, float("nan"), float("inf")])
def test_a_mean_that_is_none_is_refused(mean: float):
    with pytest.raises(ConfigError, match="give 0 or more"):
        read(mean, SCMOS, 10)


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ({"read_noise": -1.0}, "read noise of at least 0"),
        ({"step": 0.0}, "step of at least 1/16"),
        ({"full_well": float("nan")}, "full well above 0"),
        ({"bit_depth": 17}, "1 to 16 bits"),
        ({"offset": 70_000}, "offset below the highest count"),
    ],
)
def test_a_sensor_that_cannot_be_is_refused_with_the_cure(change: dict[str, float], cure: str):
    settings: dict[str, float] = {"read_noise": 1.6, "step": 0.5, "full_well": 1000.0, **change}
    with pytest.raises(ConfigError, match=cure):
        Sensor(**settings)  # pyright: ignore[reportArgumentType]
