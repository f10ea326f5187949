"""Bars to tell resolution by: three parallel lines as wide as their gaps, and random ones to train on."""

import math

import numpy as np
from numpy.typing import NDArray

BARS = 3
LENGTH = 5
"""Length of a bar over its width, as on the chart of the US Air Force of 1951."""

RAYLEIGH_DIP = 0.735
"""Brightness between two points over theirs at which Rayleigh called them resolved (slit aperture: 8 / pi^2 = 0.81,
circular aperture: 0.735, which is the stricter)."""


def bars(
    side: int, width: float, angle_rad: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.uint8]:
    """Return an image (side, side) of three bright bars, edges hard.

    Args:
        side: Pixels along each side.
        width: Width of bars and gaps in pixels.
        angle_rad: 0 for upright bars, pi / 2 for lying ones.
        centre: Row and column of their middle, from that of the image.
    """
    row, col = (np.arange(side) - (side - 1) / 2)[:, None] - centre[0], (np.arange(side) - (side - 1) / 2) - centre[1]
    across = col * math.cos(angle_rad) + row * math.sin(angle_rad)
    along = row * math.cos(angle_rad) - col * math.sin(angle_rad)
    place = np.floor((across + BARS * width - width / 2 + 1e-9) / width)
    inside = (place >= 0) & (place < 2 * BARS - 1) & (np.abs(along) < LENGTH * width / 2 - 1e-9)
    return np.where(inside & (place % 2 == 0), 255, 0).astype(np.uint8)


def random_bars(count: int, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return images (count, side, side) of bars 1.5 to 8 pixels wide, anywhere near the middle, at any angle."""
    images = []
    for _ in range(count):
        width, angle_rad = rng.uniform(1.5, 8), rng.uniform(0, math.pi)
        row, col = rng.uniform(-0.3, 0.3, 2) * side
        images.append(bars(side, width, angle_rad, (row, col)))
    return np.stack(images)


def dip(image: NDArray[np.floating], width: float) -> float:
    """Return the brightness of the brighter gap over that of the darkest bar; below `RAYLEIGH_DIP` they are resolved.

    Args:
        image: Image of upright bars in its middle, shape (rows, cols).
        width: Their width in pixels.
    """
    rows, cols = image.shape
    half = max(1, round(LENGTH * width / 4))  # the middle half of the bars' length
    profile = image[rows // 2 - half : rows // 2 + half].mean(axis=0)
    places = (cols - 1) / 2 + width * np.arange(-(BARS - 1), BARS)  # bar, gap, bar, gap, bar
    brightness = np.interp(places, np.arange(cols), profile)
    return float(brightness[1::2].max() / brightness[::2].min())


def contrast(depth: float) -> float:
    """Return (bar - gap) / (bar + gap) where `dip` is `depth`: 1 for dark gaps, below 0 where gaps are brighter."""
    return (1 - depth) / (1 + depth)
