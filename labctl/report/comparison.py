"""Published numbers beside our own: the rows of a table, drawn, and as one page that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from labctl.report.figures import png

OURS, PUBLISHED = "#0072B2", "#D55E00"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 960px; margin: 2em auto;
  padding: 0 1em } table { border-collapse: collapse } img { max-width: 100% } .note { color: #5b6673 }
td, th { text-align: right; padding: 0.2em 1.2em 0.2em 0; border-bottom: 1px solid #eef1f4 }
td:first-child, th:first-child { text-align: left }
"""


@dataclass(frozen=True)
class Row:
    """One number of a table.

    Args:
        name: What it is.
        published: The published value; None where there is none.
        ours: Our value; None while it has not been computed.
        unit: Of both, for example `%`.
        published_sd: Published standard deviation.
        sd: Our standard deviation over `n` repeats; None for one.
        n: Repeats.
    """

    name: str
    published: float | None
    ours: float | None
    unit: str = "%"
    published_sd: float | None = None
    sd: float | None = None
    n: int = 1


def row_of(
    name: str, values: Sequence[float], published: float | None = None, sd: float | None = None, unit: str = "%"
) -> Row:
    """Return the row whose own value is the mean of `values`, with their standard deviation where there are several.

    Args:
        name: What it is.
        values: One value per repeat, one or more.
        published: The published value.
        sd: Published standard deviation.
        unit: Unit of all of them.
    """
    own_sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Row(name, published, float(np.mean(values)), unit, sd, own_sd, len(values))


def texts(row: Row) -> tuple[str, str, str, str]:
    """Return name, published and own value, and unit of a row as a table shows them."""
    ours = _spread(row.ours, row.sd) + (f" ({row.n})" if row.n > 1 else "")
    return row.name, _spread(row.published, row.published_sd), ours, row.unit


def _spread(value: float | None, sd: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if sd is None else f"{value:.2f} +- {sd:.2f}"


@dataclass(frozen=True)
class Curve:
    """One curve of a figure.

    Args:
        label: Its legend.
        x: Places, shape (n,).
        y: Values, shape (n,).
        published: Whether it was published; else it is our own.
        line: Whether its points are joined.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    published: bool = False
    line: bool = True


def rows_figure(title: str, rows: Sequence[Row]) -> Figure:
    """Return every row as a published and an own point on one line, with their standard deviations."""
    figure = _figure(0.34 * len(rows) + 1.5)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        if row.published is not None:
            axes.errorbar(row.published, place - 0.12, xerr=row.published_sd, fmt="D", color=PUBLISHED, ms=5, capsize=3)
        if row.ours is not None:
            axes.errorbar(row.ours, place + 0.12, xerr=row.sd, fmt="o", color=OURS, ms=5, capsize=3)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(title=title, xlabel=", ".join(dict.fromkeys(row.unit for row in rows)))
    axes.plot([], [], "D", color=PUBLISHED, label="published")
    axes.plot([], [], "o", color=OURS, label="ours")
    _finish(axes)
    return figure


def curves_figure(title: str, xlabel: str, ylabel: str, curves: Sequence[Curve], *, log: bool = False) -> Figure:
    """Return curves in one panel, published ones as diamonds; `log` takes 0 along at the left end."""
    figure = _figure(4.2)
    axes = figure.subplots()
    own = iter((OURS, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"))
    for curve in curves:
        colour = PUBLISHED if curve.published else next(own)
        marker, joint = "D" if curve.published else "o", "-" if curve.line else "none"
        axes.plot(curve.x, curve.y, color=colour, marker=marker, ms=4, ls=joint, lw=1.2, label=curve.label)
    if log:
        smallest = min(x for curve in curves for x in curve.x if x > 0)
        axes.set_xscale("symlog", linthresh=smallest)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    _finish(axes)
    return figure


def comparison_page(title: str, about: Mapping[str, str], rows: Sequence[Row], figure: Figure) -> str:
    """Return one HTML page: what was computed, rows, figure.

    Args:
        title: Heading.
        about: What was computed and how, by name.
        rows: The table.
        figure: Its plot.
    """
    facts = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in about.items())
    cells = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in texts(row))}</tr>" for row in rows)
    picture = base64.b64encode(png(figure)).decode("ascii")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>\n"
        f"<table><tr><th></th><th>published</th><th>ours (repeats)</th><th>unit</th></tr>{cells}</table>\n"
        f'<p><img alt="{escape(title)}" src="data:image/png;base64,{picture}"></p>\n'
        f'<h2>How</h2><table class="note">{facts}</table></body></html>\n'
    )


def _figure(height_in: float) -> Figure:
    figure = Figure((8.8, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)  # where it hides no data
