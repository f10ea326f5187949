"""What a report needs of a run, read in one pass; memory does not grow with the run."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import LabError
from labctl.recorder import read_checkpoint, read_records, read_run, read_summary, read_weights

MOST_POINTS = 2_000
"""Most points that are kept of one series."""

MOST_MESSAGES = 200
"""Most messages that are kept; the rest is counted."""

MOST_FRAMES = 6
"""Most stored frames that are shown."""

MESSAGE_KINDS = ("setup", "warning", "change")


class Series:
    """Points of a stream, evenly thinned: every n-th one, n doubling whenever there are too many.

    Args:
        most: Most points to keep.
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self.every, self.seen = 1, 0
        self.last: dict[str, float] = {}
        self._most = most
        self._points: list[dict[str, float]] = []

    def __len__(self) -> int:
        return len(self._points)

    def add(self, values: Mapping[str, Any], **more: float) -> None:
        """Take one point; of its values those that are numbers."""
        self.last = numbers({**values, **more})
        if self.seen % self.every == 0:
            self._points.append(self.last)
        self.seen += 1
        if len(self._points) >= self._most:
            self.every *= 2
            self._points = self._points[::2]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one value of every kept point; NaN where it is missing or not finite."""
        points = [*self._points, self.last] if (self.seen - 1) % self.every else self._points
        values = np.array([point.get(name, math.nan) for point in points], dtype=float)
        return np.where(np.isfinite(values), values, math.nan)

    def has(self, name: str) -> bool:
        """Return whether any kept point has a finite value of that name."""
        return bool(np.isfinite(self.column(name)).any())


@dataclass
class Kind:
    """All records of one kind.

    Args:
        first_s: Bench time of the first.
        count: How many there are.
        last_s: Bench time of the last.
        values: Values of the last.
    """

    first_s: float
    count: int = 0
    last_s: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Readings:
    """What was read of a run.

    Args:
        folder: Folder of the run.
        header: Contents of `run.yaml`.
        ended: Contents of `summary.json`; empty when the run has not ended properly.
        spent: Totals and amounts by heading: those of the summary, else of the last checkpoint.
        weights: Weights by panel.
        masks: Block indices as sent, by panel.
        phases: Phases of masks in the light, rad, by panel.
        samples: Arrays of the last `agreement` record, by name.
        frames: Title and counts of a few stored frames.
    """

    folder: Path
    header: dict[str, Any]
    ended: dict[str, Any]
    steps: Series = field(default_factory=Series)
    epochs: Series = field(default_factory=Series)
    agreements: dict[int, Series] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    messages: list[tuple[str, float, str]] = field(default_factory=list)
    unshown_messages: int = 0
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    weights_source: str | None = None
    masks: dict[str, NDArray[Any]] = field(default_factory=dict)
    phases: dict[str, NDArray[Any]] = field(default_factory=dict)
    samples: dict[str, NDArray[Any]] = field(default_factory=dict)
    frames: list[tuple[str, NDArray[Any]]] = field(default_factory=list)
    spent: dict[str, Any] = field(default_factory=dict)
    wall_times: tuple[float, float] | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """What the plan returned; empty unless it came to its end."""
        return self.ended.get("summary") or {}

    @property
    def wall_s(self) -> float | None:
        """Wall time from start to end, or between the first and last record; None when neither is known."""
        if self.ended.get("wall_s") is not None:
            return float(self.ended["wall_s"])
        return self.wall_times[1] - self.wall_times[0] if self.wall_times else None


def read_readings(run: Path) -> Readings:
    """Read a run.

    Raises:
        LabError: It is no run folder, or its records are damaged.
    """
    read = Readings(run, read_run(run), read_summary(run))
    rows: dict[str, dict[str, int]] = {"frame": {}, "agreement": {}}
    for record in read_records(run):
        _take(read, record)
        if record["kind"] in rows:
            rows[record["kind"]] |= record["arrays"]
    arrays, read.weights_source = _last_arrays(run)
    read.weights, read.masks, read.phases = (_named(arrays, prefix) for prefix in ("weights.", "mask.", "phase."))
    read.spent = read.summary or _saved_tally(run)
    read.frames = list(_frames(run, rows["frame"]))
    read.samples = {name: _row(run, f"agreement/{name}", row) for name, row in rows["agreement"].items()}
    return read


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return those values that are numbers."""
    return {name: float(one) for name, one in values.items() if isinstance(one, int | float)}


def _take(read: Readings, record: dict[str, Any]) -> None:
    kind, values, now_s = record["kind"], record["values"], float(record["bench_time_s"])
    of_kind = read.kinds.setdefault(kind, Kind(now_s))
    of_kind.count, of_kind.last_s, of_kind.values = of_kind.count + 1, now_s, values
    wall = float(record["wall_time"])
    read.wall_times = ((read.wall_times or (wall,))[0], wall)
    if kind == "step":
        read.steps.add(values, step=record["index"] + 1, bench_s=now_s)
    elif kind == "epoch":
        middle = (read.epochs.last.get("step", 0) + read.steps.seen) / 2
        read.epochs.add(values, step=read.steps.seen, middle=middle)
    elif kind == "agreement":
        for layer in values.get("layers", ()):
            series = read.agreements.setdefault(int(layer.get("layer", 0)), Series())
            series.add(layer, step=read.steps.seen + 1)
    elif kind in MESSAGE_KINDS:
        _take_message(read, kind, now_s, values)


def _take_message(read: Readings, kind: str, now_s: float, values: Mapping[str, Any]) -> None:
    if len(read.messages) >= MOST_MESSAGES:
        read.unshown_messages += 1
        return
    text = values.get("message") or ", ".join(f"{name} = {value}" for name, value in values.items())
    read.messages.append((kind, now_s, str(text)))


def _last_arrays(run: Path) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Return the arrays of the final weights, else of the last checkpoint, and which of the two it was."""
    for source, name in (("the end", "weights"), ("the last checkpoint", "checkpoint")):
        with suppress(LabError):
            found = read_weights(run) if name == "weights" else read_checkpoint(run)[1]
            if _named(found, "weights.") or _named(found, "phase."):
                return found, source
    return {}, None


def _saved_tally(run: Path) -> dict[str, Any]:
    """Return what had been spent at the last checkpoint, under the names a summary has."""
    with suppress(LabError, KeyError):
        tally = read_checkpoint(run)[0]["values"]["network"]["tally"]
        return {**tally, "exposures_by_heading": tally["exposures"]}
    return {}


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the images among `arrays` whose names begin with `prefix`, by the rest of their names."""
    images = {name: array for name, array in sorted(arrays.items()) if array.ndim == 2 and array.size}
    return {name.removeprefix(prefix): array for name, array in images.items() if name.startswith(prefix)}


def _frames(run: Path, rows: Mapping[str, int]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield title and array of a few stored frames, evenly chosen; `rows` is the last committed row of each."""
    for name, last in sorted(rows.items()):
        for row in np.unique(np.linspace(0, last, MOST_FRAMES).round().astype(int)):
            yield f"{name}, frame {row + 1} of {last + 1}", _row(run, f"frame/{name}", int(row))


def _row(run: Path, path: str, row: int) -> NDArray[Any]:
    """Return one stored row.

    Raises:
        LabError: It cannot be read.
    """
    import zarr  # only here: many runs store no arrays, and it is slow to import

    try:
        stored: Any = zarr.open_array(run / "arrays.zarr" / path, mode="r")
        return np.asarray(stored[row])
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise LabError(f"{run}: {path} cannot be read: {error}; restore arrays.zarr from a copy") from error
