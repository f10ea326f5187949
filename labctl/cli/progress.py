"""A run and the person in front of it: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from labctl.cli.show import duration
from labctl.records import Record

LINE_EVERY_S = 10.0
"""Shortest time between two plain lines about steps."""


@dataclass
class Readings:
    """The latest numbers of a run.

    Args:
        total: Steps the run will make; 0 when that is not known.
        done: Steps made.
        values: Values of the last step.
        cosine: Mean gradient agreement over the layers, when last measured.
    """

    total: int = 0
    done: int = 0
    values: Mapping[str, Any] | None = None
    cosine: float | None = None
    _first: tuple[float, int, int] | None = None
    _now_s: float = 0.0

    def take_step(self, record: Record, now_s: float) -> None:
        """Note a step that ended at wall time `now_s`; rates count from the first one."""
        self.done, self.values, self._now_s = record.index + 1, record.values, now_s
        self._first = self._first or (now_s, self.done, record.values.get("exposures", 0))

    def take_agreement(self, record: Record) -> None:
        """Note a measured gradient agreement."""
        cosines = [layer["cosine"] for layer in record.values.get("layers", ()) if layer.get("cosine") is not None]
        self.cosine = sum(cosines) / len(cosines) if cosines else self.cosine

    def text(self) -> str:
        """Return the readings that are known, as one line."""
        values = self.values or {}
        parts = [f"epoch {values['epoch']}"] if "epoch" in values else []
        parts += _scores(values)
        parts += [f"agreement {self.cosine:.3f}"] if self.cosine is not None else []
        return ", ".join([*parts, *self._rates(values)])

    def _rates(self, values: Mapping[str, Any]) -> list[str]:
        """Return exposures per second and the time to finish, both of wall time."""
        start_s, done, exposures = self._first or (self._now_s, self.done, 0)
        spent_s = self._now_s - start_s
        if spent_s <= 0 or self.done <= done:
            return []
        parts = []
        if "exposures" in values:
            parts.append(f"{(values['exposures'] - exposures) / spent_s:,.0f} exposures/s")
        if self.total > self.done:
            parts.append(f"{duration((self.total - self.done) * spent_s / (self.done - done))} left")
        return parts


def _scores(values: Mapping[str, Any]) -> list[str]:
    named = {"loss": "loss {:.4g}", "accuracy": "accuracy {:.1%}", "test_accuracy": "test accuracy {:.2%}"}
    return [form.format(values[key]) for key, form in named.items() if values.get(key) is not None]


def announcement(record: Record) -> str | None:
    """Return the line that a record deserves of its own, or None; steps and agreements are readings, not lines."""
    values = record.values
    if record.kind == "setup":
        return values.get("message")
    if record.kind == "warning":
        return f"warning: {values.get('message', 'no message')}"
    if record.kind == "change":
        return "changed: " + ", ".join(f"{name} = {value}" for name, value in values.items())
    if record.kind == "epoch":
        took = [duration(values["seconds"])] if "seconds" in values else []
        return f"epoch {values.get('epoch', record.index)}: " + ", ".join([*_scores(values), *took])
    return None


class ProgressLines:
    """A listener that prints one line per announcement, and one about the steps at most every 10 s.

    Args:
        console: Where to print.
        total: Steps the run will make; 0 when that is not known.
        now_s: Wall time in seconds.
    """

    def __init__(self, console: Console, total: int = 0, now_s: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.readings = Readings(total)
        self._now_s = now_s
        self._line_s = now_s()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display."""

    def __call__(self, record: Record) -> None:
        """Show a record."""
        if record.kind in ("step", "frame"):
            self.readings.take_step(record, self._now_s())
            self._show_step()
        elif record.kind == "agreement":
            self.readings.take_agreement(record)
        elif line := announcement(record):
            self.console.print(Text(line, "yellow" if record.kind == "warning" else ""), soft_wrap=True)

    def _show_step(self) -> None:
        now_s = self._now_s()
        if now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            of = f"/{self.readings.total}" if self.readings.total else ""
            line = ", ".join(filter(None, (f"step {self.readings.done}{of}", self.readings.text())))
            self.console.print(line, soft_wrap=True)


class ProgressBar(ProgressLines):
    """A listener that keeps a bar at the bottom of a terminal; announcements scroll past above it."""

    def __init__(self, console: Console, total: int = 0, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, total, now_s)
        text = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, overflow="fold"))
        columns = (BarColumn(bar_width=16), MofNCompleteColumn(), text)
        self._bar = Progress(*columns, console=console, expand=True, redirect_stderr=sys.stderr.isatty())
        self._task = self._bar.add_task("", total=total or None)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._bar)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it last was."""
        self._open.close()

    def _show_step(self) -> None:
        self._bar.update(self._task, completed=self.readings.done, description=self.readings.text())


def progress_on(console: Console, total: int) -> ProgressLines:
    """Return a bar where the console is a terminal, else plain lines."""
    return (ProgressBar if console.file.isatty() and not console.is_dumb_terminal else ProgressLines)(console, total)
