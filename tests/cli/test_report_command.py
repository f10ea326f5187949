"""`labctl report` writes the page of a run and says where."""

from pathlib import Path

from .conftest import Labctl


def test_report_writes_the_page_and_prints_its_path(labctl: Labctl):
    run = labctl("run", "count", "--bench", "vapour_cell", "--simulate", "--json").answer["run"]
    shown, told = labctl("report", run), labctl("report", run, "--json")
    assert (shown.code, told.code) == (0, 0)
    assert shown.out == [told.answer["report"]]
    assert Path(told.answer["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_report_of_what_is_no_run_is_refused(labctl: Labctl):
    ended = labctl("report", "nothing", "--json")
    assert ended.code == 2
    assert "run.yaml" in ended.answer["error"]
