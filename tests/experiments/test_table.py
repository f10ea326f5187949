"""Tables: cells computed once, stored as they end, taken up again, in one process or two; found by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from labctl.announced import announced, describe
from labctl.errors import ConfigError, LabError
from labctl.experiments.table import (
    Cell,
    Finished,
    Results,
    Table,
    compute_table,
    load_table,
    predicted_seconds,
)
from labctl.report.comparison import Row, row_of, rows_figure

TABLES = (
    "d2nn_deployment_gap",
    "d2nn_error_budget",
    "d2nn_fashion",
    "d2nn_imager",
    "d2nn_lego",
    "d2nn_mnist",
    "sa_amplifier_bounds",
    "sa_cnn",
    "sa_deployment_gap",
    "sa_depth_sweep",
    "sa_gain_saturation",
    "sa_one_hidden",
    "sa_random_derivative",
    "sa_two_hidden",
)


@dataclass(frozen=True)
class Square:
    """What one cell squares, and whether it fails."""

    number: int
    fails: bool = False


def square(settings: Square, folder: Path) -> Mapping[str, Any]:
    if settings.fails:
        raise LabError("this cell fails")
    with (folder / "computed").open("a", encoding="utf-8") as file:
        file.write("x")
    return {"square": settings.number**2}


def _cells(settings: tuple[int, ...], seed: int, results: Results) -> Sequence[Cell]:
    first = [Cell(f"of{number}", square, Square(number), 10.0) for number in settings]
    return [*first, Cell("of99", square, Square(99), 10.0)] if results else first


def _rows(settings: Any, results: Results) -> list[Row]:
    return [row_of(name, [result["square"]]) for name, result in results.items()]


def _figure(settings: Any, results: Results, rows: Sequence[Row]) -> Figure:
    return rows_figure("squares", rows)


SQUARES = Table("squares", {"quick": (1, 2, 3)}, _cells, _rows, _figure, "counted", workers=1)


def finish(table: Table, folder: Path, settings: Any = (1, 2, 3)) -> tuple[list[Finished], dict[str, Any]]:
    """Return what a table yields and what it returns."""
    cells, seen = compute_table(table, settings, 0, folder), list[Finished]()
    while True:
        try:
            seen.append(next(cells))
        except StopIteration as end:
            return seen, end.value


def test_every_cell_is_computed_once_and_later_ones_may_follow_from_their_results(tmp_path: Path):
    seen, results = finish(SQUARES, tmp_path)
    assert [one.cell for one in seen] == ["of1", "of2", "of3", "of99"]
    assert results["of99"] == {"square": 9801}
    assert {path.read_text() for path in tmp_path.glob("cells/*/computed")} == {"x"}


def test_finished_cells_are_taken_up_and_not_computed_again(tmp_path: Path):
    cells = compute_table(SQUARES, (1, 2, 3), 0, tmp_path)
    next(cells)
    cells.close()
    assert predicted_seconds(SQUARES, (1, 2, 3), 0, tmp_path) == 20.0
    seen, results = finish(SQUARES, tmp_path)
    assert [one.stored for one in seen] == [True, False, False, False]
    assert results["of1"] == {"square": 1}
    assert (tmp_path / "cells" / "of1" / "computed").read_text() == "x"


def test_a_cell_of_other_settings_is_computed_anew(tmp_path: Path):
    finish(SQUARES, tmp_path)
    path = tmp_path / "cells" / "of2.json"
    stored = json.loads(path.read_text())
    stored["settings"]["number"] = 7
    path.write_text(json.dumps(stored))
    seen, _ = finish(SQUARES, tmp_path)
    assert [one.cell for one in seen if not one.stored] == ["of2"]


def test_two_processes_give_the_same(tmp_path: Path):
    two = Table("squares", SQUARES.scales, _cells, _rows, _figure, "counted", workers=2)
    _, results = finish(two, tmp_path)
    assert {name: result["square"] for name, result in results.items()} == {"of1": 1, "of2": 4, "of3": 9, "of99": 9801}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_cell_ends_the_table_and_the_others_stay(tmp_path: Path, workers: int):
    def cells(settings: Any, seed: int, results: Results) -> Sequence[Cell]:
        return [Cell("good", square, Square(2), 1.0), Cell("bad", square, Square(3, fails=True), 1.0)]

    table = Table("squares", {}, cells, _rows, _figure, "counted", workers)
    with pytest.raises(LabError, match="this cell fails"):
        finish(table, tmp_path, ())
    assert (tmp_path / "cells" / "good.json").exists() or workers == 2  # two processes: whichever ends first
    assert not (tmp_path / "cells" / "bad.json").exists()


# ---- by name


def test_the_tables_are_announced_with_one_line_each():
    found = announced("tables")
    assert set(TABLES) <= set(found)
    for name in TABLES:
        line = describe(found[name])
        assert line.endswith(".")
        assert len(line) <= 120


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_two_scales_and_cells_of_different_names(name: str):
    table = load_table(name)
    assert table.name == name
    assert set(table.scales) == {"quick", "paper"}
    quick, paper = (table.cells(settings, 0, {}) for settings in (table.scales["quick"], table.scales["paper"]))
    assert len({cell.name for cell in paper}) == len(paper)
    assert sum(cell.seconds for cell in quick) < min(900, sum(cell.seconds for cell in paper))


def test_an_unknown_table_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown table 'sa_cn' \(nearest: 'sa_cnn'\)"):
        load_table("sa_cn")
