"""What `labctl reproduce` does: the folder of a table, its cells one by one, and what is left in it at the end."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

import labctl
from labctl.cli import show
from labctl.cli.answer import Answer
from labctl.cli.signals import Interruptions
from labctl.errors import ConfigError, LabError
from labctl.experiments.table import Finished, Table, compute_table, predicted_seconds
from labctl.files import replace_file
from labctl.report.comparison import Row, comparison_page, texts
from labctl.report.figures import png

HEADER = "table.json"


@dataclass(frozen=True)
class Reproduction:
    """A table under way.

    Args:
        table: The table.
        scale: `quick` or `paper`.
        seed: Drives everything that is drawn.
        folder: Where its cells are kept.
    """

    table: Table
    scale: str
    seed: int
    folder: Path

    @property
    def settings(self) -> Any:
        """Settings of its scale."""
        return self.table.scales[self.scale]

    def about(self) -> dict[str, Any]:
        """Return what was asked for."""
        settings = asdict(self.settings)
        return {"table": self.table.name, "scale": self.scale, "seed": self.seed, "settings": settings}


def begin(table: Table, scale: str, seed: int, out: Path) -> Reproduction:
    """Return a reproduction with a new folder below `out`."""
    now = datetime.now().astimezone()
    folder = out / f"{now:%Y-%m-%d}" / f"{now:%H%M%S}_{table.name}_{secrets.token_hex(3)}"
    return Reproduction(table, scale, seed, folder)


def take_up(table: Table, folder: Path) -> Reproduction:
    """Return the reproduction whose folder is given.

    Raises:
        ConfigError: It is no folder of this table.
    """
    try:
        found = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        name, scale, seed = found["table"], found["scale"], int(found["seed"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{folder}: holds no readable {HEADER} (table, scale, seed); give the folder that labctl reproduce wrote"
        ) from error
    if name != table.name:
        raise ConfigError(f"{folder}: is a reproduction of {name}, not of {table.name}; name that table")
    if scale not in table.scales:
        raise ConfigError(f"{folder / HEADER}: scale '{scale}' is none of {table.name}: {', '.join(table.scales)}")
    return Reproduction(table, scale, seed, folder)


def carry_out(order: Reproduction, answer: Answer) -> None:
    """Compute what is missing, and leave rows, figure and page in the folder.

    Raises:
        LabError: A cell failed, or the folder cannot be written.
    """
    console, began_s = show.console(stderr=answer.as_json), time.monotonic()
    answer.values |= {**order.about(), "folder": str(order.folder)}
    try:
        order.folder.mkdir(parents=True, exist_ok=True)
        header = {**order.about(), "labctl": labctl.__version__, "protocol": order.table.protocol}
        replace_file(order.folder / HEADER, show.json_line(header).encode())
        with Interruptions().handled():
            rows = _compute(order, console)
    except KeyboardInterrupt:
        again = f"labctl reproduce {order.table.name} --resume {order.folder}"
        answer.end("interrupted", f"interrupted; finished cells are kept, go on with: {again}")
        return
    except OSError as error:
        raise LabError(f"{order.folder}: not written: {error.strerror or error}; give another --out") from error
    wall_s = time.monotonic() - began_s
    own = {"rows": [asdict(row) for row in rows], "wall_seconds": wall_s}
    answer.values |= own
    replace_file(order.folder / HEADER, show.json_line({**header, **own}).encode())
    console.print(row_table(order.table.name, rows))
    console.print(
        f"{order.table.protocol}\ncompleted after {show.duration(wall_s)}; folder: {order.folder}", soft_wrap=True
    )


def _compute(order: Reproduction, console: Console) -> list[Row]:
    table, settings, folder = order.table, order.settings, order.folder
    seconds = predicted_seconds(table, settings, order.seed, folder)
    console.print(
        f"{table.name}, scale {order.scale}: predicted {_hours(seconds)} on idle cores; folder {folder}", soft_wrap=True
    )
    cells, began_s = compute_table(table, settings, order.seed, folder), time.monotonic()
    while True:
        try:
            finished = next(cells)
        except StopIteration as end:
            results = end.value
            break
        console.print(f"{show.duration(time.monotonic() - began_s)}: {_line(finished)}", soft_wrap=True)
    rows = table.rows(settings, results)
    figure = table.figure(settings, results, rows)
    replace_file(folder / "table.png", png(figure))
    about = {"scale": order.scale, "seed": str(order.seed), "protocol": table.protocol, "settings": str(settings)}
    replace_file(folder / "report.html", comparison_page(table.name, about, rows, figure).encode())
    return rows


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h ({show.duration(seconds)})"


def _line(finished: Finished) -> str:
    took = "taken up" if finished.stored else f"took {show.duration(finished.seconds)}"
    numbers = {
        name: value for name, value in finished.result.items() if isinstance(value, float) and name != "bench_seconds"
    }
    return ", ".join([f"{finished.cell} {took}", *(f"{name} {value:.4g}" for name, value in numbers.items())])


def row_table(title: str, rows: Sequence[Row]) -> Any:
    """Return the rows as a table for a console."""
    return show.table(title, ("", "published", "ours (repeats)", "unit"), [texts(row) for row in rows])
