"""Tables of published numbers beside our own: what a table is, and how its cells are computed, stored and taken up.

The work of a table is cut into cells, one training each. A finished cell is one file in the table's folder, so that
an interrupted table goes on where it stopped, and cells may run in several processes.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from labctl.announced import load_announced
from labctl.errors import LabError
from labctl.files import replace_file
from labctl.report.comparison import Row

Results = Mapping[str, Mapping[str, Any]]
"""What the finished cells gave, by cell name."""


@dataclass(frozen=True)
class Cell:
    """One piece of a table's work.

    Args:
        name: Unique in the table; the stem of its file.
        compute: Function `(settings, folder)` of a module, so that another process can import it; returns what JSON
            can hold. `folder` is its own, to keep runs and checkpoints in.
        settings: A frozen dataclass of plain values: a stored result is taken up only under equal settings.
        seconds: Predicted time on one idle core.
    """

    name: str
    compute: Callable[[Any, Path], Mapping[str, Any]]
    settings: Any
    seconds: float


@dataclass(frozen=True)
class Table:
    """A published table or figure that labctl computes anew.

    Args:
        name: Its name on the command line.
        scales: Settings by scale, `quick` and `paper`: frozen dataclasses.
        cells: Pure function `(settings, seed, results)`: the cells that are needed, knowing what others gave. It is
            asked again when all are finished, until it names no new one.
        rows: Pure function `(settings, results)`: the table.
        figure: Pure function `(settings, results, rows)`: its plot.
        protocol: How the numbers were taken, one sentence for the reader.
        workers: Processes it may use at most.
    """

    name: str
    scales: Mapping[str, Any]
    cells: Callable[[Any, int, Results], Sequence[Cell]]
    rows: Callable[[Any, Results], list[Row]]
    figure: Callable[[Any, Results, Sequence[Row]], Figure]
    protocol: str
    workers: int = 2


@dataclass(frozen=True)
class Finished:
    """A cell that is finished.

    Args:
        cell: Its name.
        result: What it gave.
        seconds: How long it took.
        stored: Whether it was finished before.
    """

    cell: str
    result: Mapping[str, Any]
    seconds: float
    stored: bool


def predicted_seconds(table: Table, settings: Any, seed: int, folder: Path) -> float:
    """Return how long the cells that are not yet stored in `folder` will take on as many idle cores as are used."""
    missing = [cell for cell in table.cells(settings, seed, {}) if _stored(cell, folder) is None]
    return sum(cell.seconds for cell in missing) / max(1, _workers(table, len(missing)))


def compute_table(table: Table, settings: Any, seed: int, folder: Path) -> Generator[Finished, None, dict[str, Any]]:
    """Compute every cell that is not yet stored, yield each as it ends, and return all results by name.

    Args:
        table: The table.
        settings: Settings of one scale.
        seed: Drives weights, data order, noise and whatever else is drawn.
        folder: Where cells are stored and taken up from.

    Raises:
        LabError: A cell failed; those that ended are stored.
    """
    results: dict[str, Any] = {}
    while new := [cell for cell in table.cells(settings, seed, results) if cell.name not in results]:
        for finished in _finish_all(new, folder, _workers(table, len(new))):
            results[finished.cell] = finished.result
            yield finished
    return results


def _workers(table: Table, cells: int) -> int:
    return min(table.workers, os.cpu_count() or 1, cells)


def _finish_all(cells: Sequence[Cell], folder: Path, workers: int) -> Iterator[Finished]:
    stored = {cell.name: _stored(cell, folder) for cell in cells}
    yield from (one for one in stored.values() if one is not None)
    missing = [cell for cell in cells if stored[cell.name] is None]
    if workers <= 1 or len(missing) <= 1:
        yield from (compute_cell(cell, folder) for cell in missing)
        return
    with _processes(min(workers, len(missing))) as pool:
        for future in as_completed([pool.submit(compute_cell, cell, folder) for cell in missing]):
            yield _result(future)


def _result(future: Future[Finished]) -> Finished:
    try:
        return future.result()
    except LabError:
        raise
    except Exception as error:
        raise LabError(
            f"a cell failed in its process: {type(error).__name__}: {error}; those that ended are stored"
        ) from error


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of fresh processes; whatever ends the block ends them too, instead of waiting for long cells."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()


def compute_cell(cell: Cell, folder: Path) -> Finished:
    """Compute one cell on one thread and store it in `folder`."""
    from labctl.training.threads import one_thread  # loads torch, which finding a table must not wait for

    began_s = time.monotonic()
    own = folder / "cells" / cell.name
    own.mkdir(parents=True, exist_ok=True)
    with one_thread():
        result = cell.compute(cell.settings, own)
    seconds = time.monotonic() - began_s
    text = json.dumps({"settings": asdict(cell.settings), "result": result, "seconds": seconds}, allow_nan=False)
    replace_file(_path(cell, folder), text.encode())
    return Finished(cell.name, json.loads(text)["result"], seconds, stored=False)


def _path(cell: Cell, folder: Path) -> Path:
    return folder / "cells" / f"{cell.name}.json"


def _stored(cell: Cell, folder: Path) -> Finished | None:
    """Return the cell as it was stored, or None where it was not, or was computed under other settings."""
    try:
        found = json.loads(_path(cell, folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if found["settings"] != json.loads(json.dumps(asdict(cell.settings))):
        return None
    return Finished(cell.name, found["result"], found["seconds"], stored=True)


# ---- found by name


def load_table(name: str) -> Table:
    """Return the table of that name.

    Raises:
        ConfigError: There is no such table, or its module cannot be imported.
    """
    return load_announced("tables", name)
