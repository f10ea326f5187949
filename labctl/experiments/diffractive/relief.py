"""Plates as printed bodies: phase to height, heights to a closed surface, the surface to a binary STL file."""

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labctl.errors import ConfigError

Floats = NDArray[np.floating]

VERO_BLACK_PLUS = 1.7227
"""Refractive index of the published plates' material, VeroBlackPlus RGD875, at 0.4 THz (published-systems 3.3)."""

WALL = 0.01
"""Width of the wall between neighbouring columns over the pitch: walls lean by so much that no edge is met by more
than two faces, which plumb walls around a corner of four heights would do."""

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])


def heights_m(phase: Floats, wavelength_m: float, index: float) -> NDArray[np.float64]:
    """Return the height lambda phi / (2 pi dn) of every neuron over the lowest one, 0 to lambda / dn.

    Args:
        phase: In rad, any shape; whole turns are dropped.
        wavelength_m: In air.
        index: Refractive index of the material.

    Raises:
        ConfigError: The index is not above 1, that of air.
    """
    if not 1 < index < math.inf:
        raise ConfigError(f"index {index:g} of the plates' material: give a finite number above 1, that of air")
    turns = np.mod(np.asarray(phase, np.float64) / (2 * math.pi), 1)
    return wavelength_m / (index - 1) * turns


def relief(heights: Floats, pitch: float, base: float) -> NDArray[np.float64]:
    """Return the closed surface of a plate as triangles (n, 3 corners, 3 coordinates), outer sides anticlockwise.

    Every neuron is a column with a flat top. x runs along a row of neurons, y from the last row to the first, so that
    the plate seen from above is the picture of `heights`; its flat side lies at z = 0.

    Args:
        heights: Of every neuron over the base, shape (rows, cols), >= 0.
        pitch: Distance of neurons, in the unit of the heights.
        base: Thickness under the lowest neuron, > 0.

    Raises:
        ConfigError: The base is not above 0.
    """
    if not 0 < base < math.inf:
        raise ConfigError(f"base of {base:g} under the plates: give a finite thickness above 0, or they fall apart")
    top = _top(heights, pitch, base)
    corner = np.arange(top[..., 0].size).reshape(top.shape[:2])
    up_left, up_right, low_left, low_right = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    upper = np.concatenate([_faces(up_left, low_left, low_right), _faces(up_left, low_right, up_right)])
    around = np.concatenate([corner[:-1, 0], corner[-1, :-1], corner[:0:-1, -1], corner[0, :0:-1]])
    points = top.reshape(-1, 3)
    edge, following = points[around], points[np.roll(around, -1)]
    foot, following_foot = edge * (1, 1, 0), following * (1, 1, 0)
    middle = np.broadcast_to(np.append(points[[0, -1], :2].mean(axis=0), 0.0), foot.shape)
    sides = [(foot, following_foot, following), (foot, following, edge), (middle, following_foot, foot)]
    return np.concatenate([points[upper], *(np.stack(corners, axis=1) for corners in sides)])


def _top(heights: Floats, pitch: float, base: float) -> NDArray[np.float64]:
    """Return the corners of all column tops, shape (2 rows, 2 cols, 3)."""
    rows, cols = heights.shape
    top = np.empty((2 * rows, 2 * cols, 3))
    top[..., 0] = _borders(cols, pitch)
    top[..., 1] = _borders(rows, pitch)[::-1, None]
    top[..., 2] = base + np.repeat(np.repeat(heights, 2, axis=0), 2, axis=1)
    return top


def _borders(count: int, pitch: float) -> NDArray[np.float64]:
    """Return where the tops of a line of columns begin and end, walls between them."""
    edges = np.arange(count)[:, None] * pitch + np.array([WALL / 2, 1 - WALL / 2]) * pitch
    edges[0, 0], edges[-1, 1] = 0, count * pitch
    return edges.ravel()


def _faces(first: NDArray[np.integer], second: NDArray[np.integer], third: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.stack([first.ravel(), second.ravel(), third.ravel()], axis=1)


def write_stl(triangles: Floats, path: Path, title: str) -> None:
    """Write triangles (n, 3, 3) as binary STL; the format knows no unit, printers take millimetres.

    Args:
        triangles: Corners, outer sides anticlockwise.
        path: The file.
        title: What it is, at most 80 ASCII characters.
    """
    facets = np.zeros(len(triangles), _FACET)
    facets["corners"] = triangles
    corners = facets["corners"].astype(np.float64)  # as they are written, so that normals fit them
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facets["normal"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(float).tiny)
    path.write_bytes(struct.pack("<80sI", title.encode("ascii"), len(facets)) + facets.tobytes())
