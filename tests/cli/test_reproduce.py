"""`labctl reproduce`: rows beside published numbers, a folder that can be taken up, refusals in one line."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import LabError
from labctl.experiments import table as tables
from labctl.experiments.table import Cell, Results, Table
from labctl.report.comparison import Row, row_of, rows_figure
from tests.cli.conftest import Labctl

failing: list[str] = []
"""Names of cells that fail now."""


@dataclass(frozen=True)
class Number:
    value: int


def _square(settings: Number, folder: Path) -> Mapping[str, Any]:
    if folder.name in failing:
        raise KeyboardInterrupt if folder.name == "stopped" else LabError("the light went out")
    return {"square": float(settings.value**2)}


def _cells(settings: Number, seed: int, results: Results) -> Sequence[Cell]:
    return [Cell(name, _square, Number(settings.value + seed), 3600.0) for name in ("first", "second", "stopped")]


def _rows(settings: Number, results: Results) -> list[Row]:
    return [row_of("square", [result["square"] for result in results.values()], 9.0, 0.5)]


SQUARES = Table(
    "squares",
    {"quick": Number(2), "paper": Number(3)},
    _cells,
    _rows,
    lambda settings, results, rows: rows_figure("squares", rows),
    "Squared by hand.",
    workers=1,
)


@pytest.fixture(autouse=True)
def _squares(monkeypatch: pytest.MonkeyPatch) -> None:
    failing.clear()
    load: Callable[[str], Table] = tables.load_table
    monkeypatch.setattr(tables, "load_table", lambda name: SQUARES if name == "squares" else load(name))


def test_rows_stand_beside_published_numbers(labctl: Labctl) -> None:
    ended = labctl("reproduce", "squares", "--scale", "paper", "--seed", "1", "--json")
    (row,) = ended.answer["rows"]
    assert ended.code == 0
    assert (row["name"], row["published"], row["ours"], row["n"]) == ("square", 9.0, 16.0, 3)
    assert ended.answer["scale"] == "paper"
    assert ended.answer["settings"] == {"value": 3}
    assert ended.answer["wall_seconds"] > 0
    assert "predicted 3.0 h" in "\n".join(ended.errors)


def test_the_folder_holds_rows_figure_and_page(labctl: Labctl) -> None:
    folder = Path(labctl("reproduce", "squares", "--json").answer["folder"])
    assert json.loads((folder / "table.json").read_text())["rows"][0]["ours"] == 4.0
    assert (folder / "table.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert "Squared by hand." in page
    assert "data:image/png" in page
    assert "http" not in page


def test_an_interrupted_table_is_taken_up_with_its_scale_and_seed(labctl: Labctl) -> None:
    failing.append("stopped")
    broken = labctl("reproduce", "squares", "--scale", "paper", "--seed", "2", "--json")
    assert broken.code == 130
    assert broken.answer["status"] == "interrupted"
    folder = broken.answer["folder"]
    assert f"--resume {folder}" in broken.answer["error"]
    failing.clear()
    ended = labctl("reproduce", "squares", "--resume", folder, "--json")
    assert ended.code == 0
    assert ended.answer["rows"][0]["ours"] == 25.0
    assert sum("taken up" in line for line in ended.errors) == 2


def test_a_cell_that_fails_is_one_line(labctl: Labctl) -> None:
    failing.append("second")
    ended = labctl("reproduce", "squares", "--json")
    assert ended.code == 1
    assert ended.answer["error"] == "the light went out"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["sa_cn"], "unknown table 'sa_cn' (nearest: 'sa_cnn')"),
        (["squares", "--resume", "nowhere"], "holds no readable table.json"),
        (["squares", "--scale", "huge"], "'huge' is not one of"),
    ],
)
def test_refusals_are_one_line(labctl: Labctl, args: list[str], message: str) -> None:
    ended = labctl("reproduce", *args, "--json")
    assert ended.code == 2
    assert message in ended.answer["error"]


def test_the_folder_of_another_table_is_refused(labctl: Labctl) -> None:
    folder = labctl("reproduce", "squares", "--json").answer["folder"]
    ended = labctl("reproduce", "sa_cnn", "--resume", folder, "--json")
    assert ended.code == 2
    assert "is a reproduction of squares, not of sa_cnn" in ended.answer["error"]


def test_tables_are_listed_with_what_they_show(labctl: Labctl) -> None:
    listed = {entry["name"]: entry["description"] for entry in labctl("list", "tables", "--json").answer["tables"]}
    assert listed["sa_depth_sweep"].startswith("Accuracy of 784-128-128-10 against optical depth")
