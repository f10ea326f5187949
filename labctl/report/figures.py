"""Figures of a report: from what was read of a run to a figure, and from a figure to PNG.

Figures are made without pyplot, so that no global state is touched and no window can open.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from labctl.report.readings import Readings, Series

DPI = 110
DIGIT = 28
"""Rows and columns of an MNIST digit."""

MOST_NEURONS = 32
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by the colour-blind too
_PALE = "#B8C4CE"
Floats = NDArray[np.float64]


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def training(read: Readings) -> Figure:
    """Return loss, accuracy and gradient agreement over steps, side by side; agreement only where it was measured."""
    figure = blank(13 if read.agreements else 8.8, 4.0)
    panels = figure.subplots(1, 3 if read.agreements else 2)
    _loss(panels[0], read)
    _accuracy(panels[1], read)
    if read.agreements:
        _all_layers(panels[2], read.agreements)
    for axes in panels:
        _finish(axes, "step")
    return figure


def agreement(layers: Mapping[int, Series]) -> Figure:
    """Return the agreement of every layer in a panel of its own, against both gradients, with the noise floor."""
    figure = blank(max(4.6 * len(layers), 6), 3.9)
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, (layer, series) in zip(panels, sorted(layers.items()), strict=True):
        step = series.column("step")
        dot = "." if len(step) == 1 else None  # a single point makes no line
        axes.plot(step, series.column("cosine"), color=_COLOURS[0], label="own rule", marker=dot)
        if series.has("cosine_exact"):
            exact = series.column("cosine_exact")
            axes.plot(step, exact, color=_COLOURS[1], label="exact gradient", ls=(0, (4, 2)), marker=dot)
        axes.plot(step, series.column("noise_floor"), color="black", lw=1, ls=":", label="noise floor", marker=dot)
        axes.set_title(f"layer {layer}")
        _finish(axes, "step")
    panels[0].set_ylabel("cosine with the model's gradient")
    return figure


def reference(steps: Series) -> Figure:
    """Return the reference phase, and the error of its lock where it is known, over bench time."""
    shown = [name for name in ("reference_rad", "phase_error_rad") if steps.has(name)]
    titles = {"reference_rad": "reference phase (rad)", "phase_error_rad": "phase error (mrad)"}
    figure = blank(8.8, 2.4 * len(shown))
    minutes = steps.column("bench_s") / 60
    for axes, name in zip(figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0], shown, strict=True):
        scale = 1e3 if name == "phase_error_rad" else 1
        axes.plot(minutes, scale * steps.column(name), color=_COLOURS[0], lw=0.8)
        axes.set_ylabel(titles[name])
        plain_axes(axes)
        axes.set_xlabel("bench time (min)" if name == shown[-1] else "")
    return figure


def mask(panel: str, weights: NDArray[Any]) -> Figure:
    """Return the weights of a panel: as one digit per neuron where the inputs are digits, else as one image."""
    top = float(np.nanpercentile(np.abs(np.nan_to_num(weights)), 99.8)) or 1.0
    look = {"cmap": "RdBu_r", "vmin": -top, "vmax": top, "interpolation": "nearest"}
    if weights.shape[1] == DIGIT**2:
        return _digits(panel, weights, look)
    rows, columns = weights.shape
    figure = blank(8.8, min(max(8 * rows / columns + 1.2, 2.2), 7))
    axes = figure.subplots()
    image = axes.imshow(weights, aspect="auto", **look)
    axes.set(title=f"{panel}: {rows} outputs from {columns} inputs", xlabel="input", ylabel="output")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=axes, label="weight", extend="both")
    return figure


def breakdown(spent: Mapping[str, Mapping[str, float]]) -> Figure:
    """Return what was spent under every heading as bars, one panel for each quantity.

    Args:
        spent: Amount by heading, by name of the quantity (`exposures`, `photons`, `bench time (s)`).
    """
    headings = {heading: None for amounts in spent.values() for heading in amounts}
    first = next(iter(spent.values()))
    names = sorted(headings, key=lambda heading: first.get(heading, 0.0))
    figure = blank(max(3.6 * len(spent) + 1.2, 5), 0.42 * len(names) + 1.0)
    panels = figure.subplots(1, len(spent), sharey=True, squeeze=False)[0]
    for axes, (quantity, amounts), colour in zip(panels, spent.items(), _COLOURS, strict=False):
        counts = [float(amounts.get(name, 0.0)) for name in names]
        bars, total = axes.barh(names, counts, color=colour, height=0.7), sum(counts) or 1.0
        labels = [f"{_short(amounts[name])} ({amounts[name] / total:.1%})" if name in amounts else "" for name in names]
        axes.bar_label(bars, labels, padding=4, fontsize=8)
        axes.set_xlim(0, 1.6 * (max(counts) or 1))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(quantity)
        plain_axes(axes)
    return figure


def _short(count: float) -> str:
    if count >= 1e6:
        return f"{count:.2g}"
    return f"{count:,.0f}" if count >= 100 or count == round(count) else f"{count:.1f}"


def frames(shown: Sequence[tuple[str, NDArray[Any]]]) -> Figure:
    """Return stored frames in counts: images, or curves where a frame is a single line."""
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = blank(min(4.4 * columns + 1, 12), 3.4 * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for axes, (title, frame) in zip(places, shown, strict=False):
        axes.set_title(title)
        _frame(figure, axes, frame)
    return figure


# ---- panels


def _loss(axes: Axes, read: Readings) -> None:
    _steps_and_mean(axes, read.steps, "loss")
    if read.epochs.has("loss"):
        axes.plot(
            read.epochs.column("middle"), read.epochs.column("loss"), "o", color="black", ms=4, label="epoch mean"
        )
    values = read.steps.column("loss")
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 5 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title("loss")
    axes.set_ylabel("loss per sample")


def _accuracy(axes: Axes, read: Readings) -> None:
    _steps_and_mean(axes, read.steps, "accuracy")
    if read.epochs.has("test_accuracy"):
        x, y = read.epochs.column("step"), read.epochs.column("test_accuracy")
        axes.plot(x, y, "o-", color=_COLOURS[1], ms=4, label="test")
        axes.annotate(
            f"{y[-1]:.2%}", (x[-1], y[-1]), (0, -14), textcoords="offset points", ha="right", color=_COLOURS[1]
        )
    axes.set_title("accuracy")
    axes.set_ylabel("share of samples right")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _all_layers(axes: Axes, layers: Mapping[int, Series]) -> None:
    for colour, (layer, series) in zip(_COLOURS, sorted(layers.items()), strict=False):
        step = series.column("step")
        dot = "." if len(step) == 1 else None
        axes.plot(step, series.column("cosine"), color=colour, label=f"layer {layer}", marker=dot)
        axes.plot(step, series.column("noise_floor"), color=colour, lw=1, ls=":", label="its noise floor", marker=dot)
    axes.set_title("gradient agreement")
    axes.set_ylabel("cosine with the model's gradient")


def _steps_and_mean(axes: Axes, steps: Series, name: str) -> None:
    x, y = steps.column("step"), steps.column(name)
    axes.plot(x, y, color=_PALE, lw=0.7, label="batch")
    if len(y) >= 20:
        axes.plot(x, _running_mean(y, len(y) // 50), color=_COLOURS[0], lw=1.6, label="running mean")


def _running_mean(values: Floats, width: int) -> Floats:
    """Return the mean of the values around each, shorter at the ends; values that are NaN do not count."""
    finite, kernel = np.isfinite(values), np.ones(width | 1)
    total = np.convolve(np.where(finite, values, 0), kernel, "same")
    count = np.convolve(finite, kernel, "same")
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan)


def _digits(panel: str, weights: NDArray[Any], look: dict[str, Any]) -> Figure:
    """Return a grid of the weights of neurons chosen evenly."""
    chosen = np.unique(np.linspace(0, len(weights) - 1, MOST_NEURONS).round().astype(int))
    columns = min(len(chosen), 8)
    rows = -(-len(chosen) // columns)
    figure = blank(8.8, 1.12 * rows + 0.5)
    places = figure.subplots(rows, columns, squeeze=False)
    image = None
    for axes in places.ravel():
        axes.set_axis_off()
    for axes, neuron in zip(places.ravel(), chosen, strict=False):
        image = axes.imshow(weights[neuron].reshape(DIGIT, DIGIT), **look)
        axes.set_title(f"{neuron + 1}", fontsize=7, pad=2)
    figure.suptitle(f"{panel}: {len(chosen)} of {len(weights)} hidden neurons, weight of each pixel", fontsize=10)
    if image is not None:
        figure.colorbar(image, ax=places, label="weight", extend="both", shrink=0.8)
    return figure


def _frame(figure: Figure, axes: Axes, frame: NDArray[Any]) -> None:
    frame = np.abs(frame) if np.iscomplexobj(frame) else frame
    while frame.ndim > 2:
        frame = frame[0]
    if frame.ndim < 2 or 1 in frame.shape:
        axes.plot(frame.ravel(), color=_COLOURS[0], lw=0.8)
        axes.set(xlabel="pixel or mode", ylabel="counts")
        plain_axes(axes)
        return
    image = axes.imshow(frame, cmap="inferno", interpolation="nearest" if frame.size < 10_000 else None)
    axes.set(xlabel="column", ylabel="row")
    figure.colorbar(image, ax=axes, label="counts", shrink=0.85)


# ---- looks


def blank(width_in: float, height_in: float) -> Figure:
    """Return an empty figure of a size in inches, its panels laid out without overlap."""
    figure = Figure((width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(axes: Axes, xlabel: str) -> None:
    """Label the x axis and put the legend below the panel, where it hides no data."""
    axes.set_xlabel(xlabel)
    plain_axes(axes)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=8, frameon=False)


def plain_axes(axes: Axes) -> None:
    """Take the frame's upper and right lines away and lay a faint grid below the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
