"""What the command line shows: consoles, log lines, tables, and the one line for programs."""

import copy
import io
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from labctl.errors import LabError
from labctl.records import Budget

if TYPE_CHECKING:  # these would load torch, which a list or a page of help must not wait for
    from labctl.bench import Bench, PowerRow

PIPE_WIDTH = 140
"""Columns of a table that goes into a file or a pipe, unless COLUMNS says otherwise."""


def prepare_streams() -> None:
    """Make stdout and stderr UTF-8 in files and pipes, and let no console's alphabet end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is, without markup, on stdout or stderr."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


class LogLines(logging.Handler):
    """Writes log records to stderr as it is at that moment, so that they appear above a progress bar.

    An error labctl foresaw is one line; its traceback is shown only where INFO is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_LogFormatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # logging must never end a run; handleError is its own way of saying so
            self.handleError(record)


class _LogFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        own = copy.copy(record)
        own.exc_text = None  # what another handler made of the exception
        return super().format(own)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name logging calls
        error = ei[1]
        if isinstance(error, LabError) and not logging.getLogger().isEnabledFor(logging.INFO):
            return f"{type(error).__name__}: {error}"
        return super().formatException(ei)


@contextmanager
def logging_on_stderr() -> Iterator[None]:
    """Log warnings to stderr while the block runs; `-v` lowers the level inside it."""
    root, handler = logging.getLogger(), LogLines()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def json_line(values: Mapping[str, Any]) -> str:
    """Return one line of strict JSON; what is not finite is spelled "NaN" and "Infinity", as in a run's files."""
    return json.dumps(_ready(values), allow_nan=False)


def _ready(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _ready(entry) for key, entry in value.items()}
    return [_ready(entry) for entry in value] if isinstance(value, list | tuple) else str(value)


# ---- tables


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of text without rules, which every console can show; cells are folded rather than cut."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.show_header = any(columns)
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def power_rows(bench: str, rows: Sequence["PowerRow"]) -> Table:
    """Return what the bench needs and has at every plane, shortfalls in red."""
    made = table(f"bench {bench}", ("plane", "quantity", "required", "available", "able"), ())
    for row in rows:
        able = "yes" if row.able else "NO"
        made.add_row(row.plane, row.what, row.required, row.available, able, style=None if row.able else "red")
    return made


def device_states(bench: "Bench") -> Table:
    """Return what every open device reports."""
    rows = []
    for name, state in bench.state().items():
        kind = bench.file.devices[name].kind
        readings = ", ".join(f"{key} {_short(value)}" for key, value in state.items())
        rows.append((name, kind, _opened(bench, name), readings))
    return table("devices", ("device", "kind", "opened", "state"), rows)


def _opened(bench: "Bench", name: str) -> str:
    if name in bench.wired:
        return "real driver, simulated instrument"
    return "simulated" if name in bench.simulated else "real"


def budget_rows(plan: str, budget: Budget) -> Table:
    """Return what a run will cost, exposures by heading."""
    rows = [(f"exposures, {heading}", f"{count:,}") for heading, count in budget.exposures.items()]
    rows += [
        ("exposures", f"{budget.total_exposures:,}"),
        ("photons detected", "not known" if budget.photons is None else f"{budget.photons:.3g}"),
        ("mask writes", f"{budget.mask_writes:,}"),
        ("bench time", duration(budget.bench_seconds)),
        ("disk", disk(budget.disk_bytes)),
    ]
    return table(f"{plan} would need", ("", ""), rows)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_short(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return " x ".join(_short(entry) for entry in value)
    return str(value)


def duration(seconds: float) -> str:
    """Return a time span as people say it, e.g. `2 h 05 min`."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def disk(size: float) -> str:
    """Return an amount of data with a fitting unit, e.g. `1.3 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
