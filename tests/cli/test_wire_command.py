"""`--simulate wire` opens real drivers on instrument simulators, says which, and a run stays what it was."""

from pathlib import Path

import pytest

from labctl.bench import load_bench
from labctl.cli.options import simulated_names
from labctl.cli.resumption import read_asked
from labctl.recorder import read_run
from labctl.report.page import write_report

from .conftest import Labctl

WIRED = ["cell", "slit_stage", "meter_pump", "reference", "probe", "pump_hidden", "pump"]
TINY = ("data=sample", "hidden=[8]", "train_samples=48", "test_samples=16", "batch_size=16", "agreement_every=50")


def test_wire_is_no_name_of_a_device() -> None:
    assert simulated_names("wire") == "wire"
    assert simulated_names("wire,cell") == ["wire", "cell"]


def test_check_says_which_devices_have_their_real_driver(labctl: Labctl) -> None:
    shown = labctl("check", "vapour_cell", "--simulate", "wire")
    assert shown.code == 0
    opened = {line.split()[0]: line for line in shown.out if line.strip()}
    for name in load_bench("vapour_cell").devices:
        assert ("real driver, simulated instrument" in opened[name]) == (name in WIRED)
    told = labctl("check", "vapour_cell", "--simulate", "wire", "--json")
    assert (told.code, told.answer["simulated"], told.answer["wired"]) == (0, True, WIRED)
    assert told.answer["devices"]["cell"]["heating"] is False
    assert labctl("check", "vapour_cell", "--simulate", "--json").answer["wired"] == []


def test_a_bench_without_wires_is_refused(labctl: Labctl, small_bench_file: Path) -> None:
    ended = labctl("check", str(small_bench_file), "--simulate", "wire", "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert "names no `wire:`" in ended.answer["error"]


@pytest.fixture
def run(labctl: Labctl) -> Path:
    """Folder of a training of three steps over the wire."""
    assignments = [part for one in TINY for part in ("--set", one)]
    ended = labctl(
        *("run", "train_in_situ", "--bench", "vapour_cell", "--simulate", "wire", "--json", "--ledger", "none"),
        *assignments,
    )
    assert ended.answer["status"] == "completed"
    assert ended.answer["wired"] == WIRED
    return Path(ended.answer["run"])


def test_a_run_over_the_wire_says_so_and_is_resumed_over_the_wire(run: Path) -> None:
    header = read_run(run)
    assert header["wired"] == WIRED
    assert header["simulated"] == list(header["bench_file"]["devices"])
    assert header["device_states"]["slit_stage"]["servo"] == {"x": True}
    bench = read_asked(run).open_bench()
    assert bench.wired == set(WIRED)
    assert bench.simulated == set(bench.file.devices)
    page = write_report(run).read_text(encoding="utf-8")
    assert "simulated (all 16 devices), real drivers on simulated instruments: cell, slit_stage" in page
