"""Ten detector squares in the output plane: the published layout of rows of 3, 4 and 3, and the powers they read."""

from dataclasses import dataclass

import torch
from torch import Tensor

from labctl.errors import ConfigError
from labctl.experiments.diffractive.geometry import Geometry

ROWS = (3, 4, 3)
"""Squares in each row, from the top; classes count along the rows."""


@dataclass(frozen=True)
class DetectorLayout:
    """Sizes of the layout, in wavelengths on the published plate of 200 pixels (published-systems 3.3).

    On a reduced plate all sizes shrink with it.

    Args:
        square: Side of a square.
        gap_of_three: Gap between squares of a row of three.
        gap_of_four: Gap between squares of the row of four.
        gap_of_rows: Gap between rows.
    """

    square: float = 6.4
    gap_of_three: float = 9.6
    gap_of_four: float = 6.67
    gap_of_rows: float = 9.6


PUBLISHED = DetectorLayout()
"""Of Lin et al. 2018 as later code of the same laboratory has it."""


@dataclass(frozen=True)
class Square:
    """Pixels of one detector: half-open ranges of rows and columns."""

    top: int
    bottom: int
    left: int
    right: int


def detector_squares(layout: DetectorLayout, geometry: Geometry, plate_pixels: int = 200) -> list[Square]:
    """Return the ten squares on the grid of `geometry`, all of one size, at the nearest pixels.

    Args:
        layout: Sizes in wavelengths.
        geometry: Of the network.
        plate_pixels: Pixels of the plate that `layout` is meant for.

    Raises:
        ConfigError: A square is smaller than a pixel, lies outside the plane, or overlaps another.
    """
    rows, cols = geometry.grid.shape
    scale = rows / plate_pixels * geometry.wavelength_m / geometry.grid.pitch_m
    squares = []
    for row, count in enumerate(ROWS):
        gap = layout.gap_of_four if count == 4 else layout.gap_of_three
        for place in range(count):
            top, bottom = _edges(row, len(ROWS), layout.square, layout.gap_of_rows, scale, rows)
            left, right = _edges(place, count, layout.square, gap, scale, cols)
            squares.append(Square(top, bottom, left, right))
    _require_fit(squares, rows, cols)
    return squares


def _edges(place: int, count: int, side: float, gap: float, scale: float, pixels: int) -> tuple[int, int]:
    start = round(pixels / 2 + scale * (place * (side + gap) - (count * side + (count - 1) * gap) / 2))
    return start, start + round(scale * side)


def _require_fit(squares: list[Square], rows: int, cols: int) -> None:
    where = f"detectors on a plane of {rows} x {cols} pixels"
    cure = "give the plates more pixels or choose other sizes"
    if any(one.bottom <= one.top or one.right <= one.left for one in squares):
        raise ConfigError(f"{where}: a square is smaller than a pixel; {cure}")
    if any(min(one.top, one.left) < 0 or one.bottom > rows or one.right > cols for one in squares):
        raise ConfigError(f"{where}: the layout is larger than the plane; {cure}")
    if detector_masks(squares, (rows, cols)).sum(0).max() > 1:
        raise ConfigError(f"{where}: squares overlap; {cure}")


def detector_masks(squares: list[Square], shape: tuple[int, int], device: str = "cpu") -> Tensor:
    """Return one mask per detector, 1 inside and 0 outside, shape (detectors, rows, cols) float32."""
    masks = torch.zeros((len(squares), *shape), device=device)
    for mask, square in zip(masks, squares, strict=True):
        mask[square.top : square.bottom, square.left : square.right] = 1
    return masks


def detector_powers(intensity: Tensor, masks: Tensor) -> Tensor:
    """Return the power (n, detectors) that intensities (n, rows, cols) leave on every detector."""
    return intensity.flatten(1) @ masks.flatten(1).T
