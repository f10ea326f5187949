"""How much of the loss between a model and the bench it is deployed on training in situ wins back: rows of a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.experiments.table import Cell, Results
from labctl.report.comparison import Row, row_of

SMALL_GAP = 3.0
"""Mean gap in points below which the comparison says little and is repeated with larger imperfections."""


@dataclass(frozen=True)
class Comparison:
    """One truth: a training in silico, its deployment and a training in situ.

    Args:
        settings: Settings of the table; they have `truths`, `larger` (imperfections of a repetition) and `seconds`.
        imperfections: Factor on the bench's imperfections.
        truth_seed: Draws the twins' truth.
        seed: Draws weights, data order and measurement noise.
    """

    settings: Any
    imperfections: float
    truth_seed: int
    seed: int


def deployment_cells(
    compare: Callable[[Comparison, Path], Mapping[str, Any]], settings: Any, seed: int, results: Results
) -> list[Cell]:
    """Return a cell for every truth, at imperfections x 1, and larger ones where the mean gap at 1 is small."""
    small = results and mean_gap(results, 1.0) < SMALL_GAP
    return [
        Cell(
            f"imperfections{scale:g}_truth{truth}",
            compare,
            Comparison(settings, scale, truth, seed + truth),
            settings.seconds,
        )
        for scale in ([1.0, settings.larger] if small else [1.0])
        for truth in settings.truths
    ]


def mean_gap(results: Results, scale: float) -> float:
    """Return the mean loss by deployment in points, over all truths: `ideal` less `deployed`."""
    return _mean(results, scale, "ideal") - _mean(results, scale, "deployed")


def deployment_rows(parts: Mapping[str, str], settings: Any, results: Results) -> list[Row]:
    """Return accuracies, mean gap and closure, (in situ - deployed) / (ideal - deployed) of the means.

    Args:
        parts: What `ideal`, `deployed`, `in_situ` and others stand for, in the table's order.
        settings: Settings of the table; where its `larger` imperfections have no results, they are left out.
        results: Of `deployment_cells`, each with the accuracies in percent of all `parts`.
    """
    rows = []
    for scale in (1.0, settings.larger):
        if not _of(results, scale, "ideal"):
            continue
        at = f"imperfections x {scale:g}"
        rows += [row_of(f"{at}: {text}", _of(results, scale, part)) for part, text in parts.items()]
        gap = mean_gap(results, scale)
        won = _mean(results, scale, "in_situ") - _mean(results, scale, "deployed")
        rows.append(row_of(f"{at}: mean gap", [gap], unit="points"))
        if gap > 0:
            rows.append(row_of(f"{at}: closure by training in situ", [100 * won / gap], unit="% of the gap"))
    return rows


def _of(results: Results, scale: float, part: str) -> list[float]:
    return [float(result[part]) for name, result in results.items() if name.startswith(f"imperfections{scale:g}_")]


def _mean(results: Results, scale: float, part: str) -> float:
    values = _of(results, scale, part)
    return sum(values) / len(values)
