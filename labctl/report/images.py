"""Images of a report: samples on their way through the network, masks as they are sent, the confusion of classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from labctl.report.figures import blank, plain_axes

Array = NDArray[Any]
FEW = 16
"""Values that are shown as one column instead of an image."""


def samples(stored: Mapping[str, Array]) -> Figure:
    """Return what a few samples were at every place of the network: one row each, one column for each place.

    Args:
        stored: Arrays of one `agreement` record, shape (n, values): `inputs`, `sums`, `outputs`, and numbered
            `activations_k` and `errors_k` of the hidden layers.
    """
    shown = len(stored["inputs"])
    places = [name for name in _places(stored) if stored[name].ndim == 2 and stored[name].size]
    widths = [0.6 if stored[name].shape[1] <= FEW else 1.0 for name in places]
    figure = blank(2.0 * sum(widths) + 1.2, 1.9 * shown + 0.6)
    grid = figure.subplots(shown, len(places), squeeze=False, width_ratios=widths)
    for column, name in enumerate(places):
        values = stored[name][:shown]
        signed = bool(values.min() < 0)
        top = float(np.abs(values).max()) or 1.0
        look = {"cmap": "RdBu_r" if signed else "gray", "vmin": -top if signed else 0, "vmax": top}
        image = None
        for row, one in enumerate(values):
            axes = grid[row, column]
            image = axes.imshow(as_image(one), interpolation="nearest", aspect="auto", **look)
            axes.set(xticks=[], yticks=[])
        grid[0, column].set_title(name.replace("_", " "), fontsize=10)
        if image is not None:
            figure.colorbar(image, ax=list(grid[:, column]), location="bottom", shrink=0.9, pad=0.02, format="%.2g")
    return figure


def _places(stored: Mapping[str, Array]) -> list[str]:
    """Return the names of what a sample is on its way, in the order of the light, errors last."""
    activations = sorted(name for name in stored if name.startswith("activations_"))
    errors = sorted(name for name in stored if name.startswith("errors_"))
    return [name for name in ("inputs", "sums", *activations, "outputs", *errors) if name in stored]


def as_image(values: Array) -> Array:
    """Return a vector as an image that is as square as its length allows; few values stay one column."""
    count = len(values)
    if count <= FEW:
        return values[:, None]
    rows = next(one for one in range(round(count**0.5), 0, -1) if count % one == 0)
    if rows * 6 < count // rows:  # a length without good factors: the last row is not full
        rows = round(count**0.5)
        columns = -(-count // rows)
        return np.append(values.astype(float), [np.nan] * (rows * columns - count)).reshape(rows, columns)
    return values.reshape(rows, -1)


def sent_mask(panel: str, indices: Array) -> Figure:
    """Return a mask as it is sent: the index of every block in the panel's code, pilots included."""
    rows, columns = indices.shape
    figure = blank(8.8, min(max(8 * rows / columns + 1.2, 2.2), 7))
    axes = figure.subplots()
    image = axes.imshow(indices, aspect="auto", cmap="gray", interpolation="nearest")
    axes.set(title=f"{panel}: {rows} x {columns} blocks", xlabel="block column", ylabel="block row")
    figure.colorbar(image, ax=axes, label="index in the code")
    return figure


def phase_mask(panel: str, phase: Array) -> Figure:
    """Return the phases of a mask in the light, within a turn."""
    rows, columns = phase.shape
    figure = blank(5.6, 4.6)
    axes = figure.subplots()
    image = axes.imshow(phase % (2 * np.pi), cmap="twilight", vmin=0, vmax=2 * np.pi, interpolation="nearest")
    axes.set(title=f"{panel}: {rows} x {columns} samples", xlabel="column", ylabel="row")
    figure.colorbar(image, ax=axes, label="phase (rad)")
    return figure


def confusion(counts: Array) -> Figure:
    """Return how often each class was read as which, every row as shares of its class."""
    classes = len(counts)
    figure = blank(0.55 * classes + 2.2, 0.5 * classes + 1.3)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "#333333"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="class read", ylabel="true class", xticks=range(classes), yticks=range(classes))
    plain_axes(axes)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label="share of the class")
    return figure
