"""Pictures of diffractive networks: plates, confusion and energy matrices."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from labctl.experiments.diffractive.plates import Plates
from labctl.report.figures import blank


def plates_figure(plates: Plates) -> Figure:
    """Return the phase of every plate, and below it the amplitude where plates have one."""
    rows = len(plates.values())
    figure = blank(2.3 * len(plates) + 1.2, 2.9 * rows)
    panels = figure.subplots(rows, len(plates), squeeze=False)
    side_mm = 1e3 * plates.pitch_m * np.array(plates.phase.shape[1:])
    looks = {"phase": ("twilight", 2 * np.pi, "phase (rad)"), "amplitude": ("gray", 1.0, "amplitude")}
    for line, (name, values) in zip(panels, plates.values().items(), strict=True):
        colours, top, label = looks[name]
        image = None
        for number, (axes, plate) in enumerate(zip(line, values, strict=True), 1):
            image = axes.imshow(plate, cmap=colours, vmin=0, vmax=top, extent=(0, side_mm[1], side_mm[0], 0))
            axes.set_title(f"plate {number}")
            axes.set_xlabel("mm")
        if image is not None:
            figure.colorbar(image, ax=list(line), label=label, shrink=0.8)
    return figure


def images_figure(shown: Mapping[str, NDArray[np.floating]], pitch_m: float) -> Figure:
    """Return images side by side, one line of panels for each name, each grey from 0 to its brightest pixel.

    Args:
        shown: Intensities (n, rows, cols) by name.
        pitch_m: Of their pixels.
    """
    count = len(next(iter(shown.values())))
    figure = blank(2.4 * count + 0.6, 2.5 * len(shown))
    for line, (name, images) in zip(figure.subplots(len(shown), count, squeeze=False), shown.items(), strict=True):
        high, wide = (1e3 * pitch_m * size for size in images.shape[1:])
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, extent=(0, wide, high, 0))
            axes.set_xlabel("mm")
        line[0].set_ylabel(name)
    return figure


def show_matrix(axes: Axes, title: str, matrix: ArrayLike, form: str) -> None:
    """Draw a matrix of true classes (rows) and detectors (columns) with its numbers."""
    values = np.asarray(matrix)
    axes.imshow(values, cmap="Blues")
    for (row, column), value in np.ndenumerate(values):
        dark = value > 0.6 * values.max()
        number = axes.text(column, row, form.format(value), ha="center", va="center", fontsize=6)
        number.set_color("white" if dark else "black")
        number.set_in_layout(False)  # it lies inside the panel, and the layout would take seconds over hundreds
    axes.set(title=title, xlabel="detector", ylabel="true class")
    axes.set_xticks(range(values.shape[1]))
    axes.set_yticks(range(values.shape[0]))
