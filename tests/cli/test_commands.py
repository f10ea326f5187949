"""Commands do what they say, end with the right code, and answer programs with one JSON object."""

import subprocess
import sys
from pathlib import Path

import pytest

from labctl.documents import shipped_benches
from labctl.recorder import read_records, read_run

from .conftest import PLANS, Labctl

RUN = ("run", "count", "--bench", "vapour_cell", "--simulate")


@pytest.fixture
def weak_bench(tmp_path: Path) -> Path:
    """Return a copy of the shipped bench whose laser is too weak."""
    path = tmp_path / "weak.yaml"
    text = shipped_benches()["vapour_cell"].read_text(encoding="utf-8")
    path.write_text(text.replace("power: 2 W\n  source", "power: 0.5 W\n  source"), encoding="utf-8")
    return path


# ---- list


def test_list_names_benches_plans_drivers_and_tables(labctl: Labctl) -> None:
    ended = labctl("list")
    text = "\n".join(ended.out)
    assert ended.code == 0
    assert "vapour_cell" in text
    assert "train_in_situ" in text
    assert all(kind in text for kind in ("benches", "plans", "drivers", "tables"))


@pytest.mark.parametrize("kind", ["benches", "plans", "drivers", "tables"])
def test_list_of_one_kind_names_that_alone(labctl: Labctl, kind: str) -> None:
    ended = labctl("list", kind, "--json")
    assert ended.answer.keys() == {"status", kind}
    assert all(entry["name"] and " " in entry["description"] for entry in ended.answer[kind])
    assert len(ended.out) == 1


@pytest.mark.parametrize("args", [["list", "--json"], ["--help"], ["run", "--help"], ["check", "--help"]])
def test_lists_and_help_do_not_wait_for_torch(args: list[str]) -> None:
    command = (
        "import sys; from labctl.cli.main import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", command, *args], check=True, capture_output=True)


def test_without_arguments_help_is_shown(labctl: Labctl) -> None:
    ended = labctl()
    assert ended.code == 0
    assert "Usage" in "\n".join(ended.out)


def test_version(labctl: Labctl) -> None:
    assert labctl("--version").out == ["labctl 0.1.0"]


# ---- check


def test_check_shows_every_plane(labctl: Labctl) -> None:
    ended = labctl("check", "vapour_cell")
    text = "\n".join(ended.out)
    assert ended.code == 0
    assert "780.24 nm" in text
    assert all(camera in text for camera in ("camera_z1", "camera_hidden_1", "camera_error_1", "camera_output"))
    assert "dmd_input  dmd " not in text


def test_check_with_simulate_opens_the_bench_and_shows_its_devices(labctl: Labctl) -> None:
    shown, told = labctl("check", "vapour_cell", "--simulate"), labctl("check", "vapour_cell", "--simulate", "--json")
    assert (shown.code, told.code) == (0, 0)
    assert any(line.startswith("dmd_input") and "simulated" in line for line in shown.out)
    assert len(told.out) == 1
    assert told.answer["simulated"] is True
    assert told.answer["devices"]["pump"]["on"] is False
    assert {"plane", "what", "required", "available", "able"} == told.answer["planes"][0].keys()


def test_check_takes_overrides_of_the_bench_file(labctl: Labctl) -> None:
    stronger = labctl("check", "vapour_cell", "--set", "bench.laser.power=3 W", "--json").answer
    weaker = labctl("check", "vapour_cell", "--set", "bench.laser.power=0.5 W", "--json").answer
    assert (stronger["status"], weaker["status"]) == ("completed", "refused")
    assert (stronger["planes"][0]["available"], weaker["planes"][0]["available"]) == ("3 W", "500 mW")
    exposed = "bench.devices.camera_output.settings.exposure=100 us"
    opened = labctl("check", "vapour_cell", "--simulate", "--set", exposed, "--json").answer
    assert opened["devices"]["camera_output"]["exposure_s"] == pytest.approx(1e-4, rel=1e-9)


def test_check_refuses_a_bench_that_is_not_able(labctl: Labctl, weak_bench: Path) -> None:
    ended = labctl("check", str(weak_bench), "--simulate", "--json")
    assert ended.code == 2
    assert ended.answer["status"] == "refused"
    assert ended.errors == [f"error: {line}" for line in ended.answer["error"].splitlines()]
    assert "required" in ended.errors[0]
    assert "devices" not in ended.answer
    assert any(not row["able"] for row in ended.answer["planes"])
    assert any(" NO" in line for line in labctl("check", str(weak_bench)).out)


# ---- run


def test_a_run_completes_and_answers(labctl: Labctl, tmp_path: Path) -> None:
    ended = labctl(*RUN, "--seed", "3", "--truth-seed", "7", "--set", "steps=2", "--set", "hidden=[8]", "--json")
    answer = ended.answer
    assert ended.code == 0
    assert len(ended.out) == 1
    expected = {"status": "completed", "plan": "count", "bench": "vapour_cell", "simulated": True, "steps": 2}
    expected |= {"seed": 3, "truth_seed": 7, "hidden": [8], "folder": tmp_path.name, "lost": "NaN"}
    assert {key: answer[key] for key in expected} == expected
    assert answer["dark_after_s"] >= 0
    assert answer["wall_seconds"] > 0
    assert ended.errors[:1] == ["all is well"]
    assert ended.errors[-2] == "counted to the end"
    assert ended.errors[-1].endswith(answer["run"])


def test_a_run_leaves_a_complete_header_in_the_runs_folder(labctl: Labctl, tmp_path: Path) -> None:
    folder = Path(labctl(*RUN, "--set", "exposure=5 ms", "--set", "keep=all", "--json").answer["run"])
    assert (tmp_path / folder).parent.parent == tmp_path / "runs"
    header = read_run(folder)
    expected = {"plan": "count", "bench": "vapour_cell", "seed": 0, "truth_seed": 1, "keep": "all"}
    assert {key: header[key] for key in expected} == expected
    assert header["settings"] == {"steps": 3, "exposure_s": 0.005, "hidden": [4], "event": "none", "keep": "all"}
    assert header["bench_file"]["laser"]["power_w"] == 2.0
    assert header["simulated"] == list(header["device_states"]) == list(header["bench_file"]["devices"])
    assert [record["kind"] for record in read_records(folder)] == ["setup", "step", "step", "step", "epoch"]


def test_equal_seeds_give_equal_runs(labctl: Labctl) -> None:
    draws = [labctl(*RUN, "--seed", seed, "--json").answer["draw"] for seed in ("1", "1", "2")]
    assert draws[0] == draws[1] != draws[2]


def test_a_run_without_json_writes_plain_lines(labctl: Labctl) -> None:
    ended = labctl(*RUN, "--out", "elsewhere", "--set", "event=warning")
    *lines, last = ended.out
    assert lines == [
        "all is well",
        "warning: phase noise σ is high",
        "epoch 1: loss 0.5, test accuracy 90.00%",
        "counted to the end",
    ]
    assert last.startswith("completed after")
    assert "elsewhere" in last
    assert ended.errors == []


ENDINGS = {
    # event: exit code, status, error
    "refused": (1, "failed", "camera: no frame came"),
    "broken": (1, "failed", "ZeroDivisionError: by zero"),
    "ctrl-c": (0, "stopped", None),
    "ctrl-c twice": (130, "interrupted", None),
    "sigterm": (0, "stopped", None),
}


@pytest.mark.parametrize(("event", "ending"), ENDINGS.items(), ids=ENDINGS)
def test_a_run_that_does_not_complete(labctl: Labctl, event: str, ending: tuple[int, str, str | None]) -> None:
    ended = labctl(*RUN, "--set", f"event={event}", "--json")
    answer = ended.answer
    assert (ended.code, answer["status"], answer.get("error")) == ending
    assert answer["dark_after_s"] is not None
    assert [record["kind"] for record in read_records(Path(answer["run"]))][:2] == ["setup", "step"]
    assert (Path(answer["run"]) / "summary.json").is_file()
    assert ("Traceback (most recent call last):" in ended.errors) == (event == "broken")
    assert (f"error: {ending[2]}" in ended.errors) == (ending[1] == "failed")


def test_a_plan_that_answers_with_a_table_has_it_printed_before_its_message(labctl: Labctl) -> None:
    ended = labctl("run", f"{PLANS}:tabulate", "--bench", "vapour_cell", "--simulate")
    first, *_, last = [n for n, line in enumerate(ended.out) if "two rows" in line or "tabulated" in line]
    shown = [line.split() for line in ended.out[first + 1 : last]]
    assert shown == [["method", "right"], ["optical", "97", "%"], ["[red]", "9", "%"]]


def test_dry_run_shows_the_cost_and_touches_nothing(labctl: Labctl, tmp_path: Path) -> None:
    shown, told = labctl(*RUN, "--dry-run"), labctl(*RUN, "--dry-run", "--json")
    rows = [line.split(maxsplit=1) for line in shown.out]
    assert (shown.code, told.code, told.answer["status"]) == (0, 0, "completed")
    text = "\n".join(shown.out)
    assert all(word in text for word in ("1,200", "1,230", "1.5e+09", "1 h 02 min", "1.3 MB")), rows
    assert told.answer["budget"]["exposures"] == {"training": 1200, "setup": 30}
    assert told.answer["budget"]["total_exposures"] == 1230
    assert list(tmp_path.iterdir()) == []


def test_dry_run_needs_no_driver_and_no_twin(labctl: Labctl) -> None:
    ended = labctl("run", "count", "--bench", "vapour_cell", "--dry-run", "--json")
    assert (ended.code, ended.answer["simulated"]) == (0, False)


REFUSALS = {
    # arguments after `labctl`: a part of the error
    ("run", "nonesuch", "--bench", "vapour_cell"): "unknown plan",
    ("run", f"{PLANS}:nonesuch", "--bench", "vapour_cell"): "no 'nonesuch'",
    ("run", f"{PLANS}:not_a_plan", "--bench", "vapour_cell"): "is no plan",
    ("run", "count", "--bench", "nonesuch"): "nonesuch",
    ("run", "count"): "--bench",
    ("run",): "PLAN",
    ("nonesuch",): "nonesuch",
    ("--nonesuch",): "--nonesuch",
    ("list", "nonesuch"): "nonesuch",
    ("check", "--simulate", "vapour_cell"): "--simulate=all",
    ("check", "vapour_cell", "--set", "steps=3"): "'steps': there is no plan to set here; write bench.PATH=value",
    ("check", "vapour_cell", "--set", "bench.laser.pwoer=1 W"): "pwoer",
    (*RUN, "--set", "stpes=3"): "stpes",
    (*RUN, "--set", "steps=many"): "steps",
    (*RUN, "--set", "steps"): "write key=value",
    (*RUN, "--set", "steps=1", "--set", "steps=2"): "stands twice",
    (*RUN, "--set", "steps=[1"): "not readable as YAML",
    (*RUN, "--set", "keep=some"): "keep",
    (*RUN, "--set", "bench.laser.power=0.5 W"): "required",
    (*RUN, "--set", "bench.lasre.power=1 W"): "lasre",
    (*RUN, "nonesuch,pump"): "nonesuch",
    (*RUN, "pump"): "half a table",
    (*RUN, ","): "--simulate",
    (*RUN, "--seed", "-1"): "--seed",
}


@pytest.mark.parametrize(("args", "part"), REFUSALS.items(), ids=[" ".join(args[-2:]) for args in REFUSALS])
def test_what_cannot_be_is_refused_in_one_line(labctl: Labctl, args: tuple[str, ...], part: str) -> None:
    ended = labctl(*args, "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert part in ended.answer["error"]
    assert all(line.startswith("error: ") for line in ended.errors), ended.errors
    assert len(ended.out) == 1


def test_a_refusal_leaves_stdout_empty(labctl: Labctl) -> None:
    assert labctl("run", "nonesuch", "--bench", "vapour_cell").out == []


def test_a_device_without_driver_fails_without_a_traceback(labctl: Labctl) -> None:
    ended = labctl("run", "count", "--bench", "vapour_cell", "--json", "--set", "bench.devices.dmd_input.driver=null")
    assert (ended.code, ended.answer["status"]) == (1, "failed")
    assert "add `driver:` or use --simulate" in ended.answer["error"]
    assert len(ended.errors) == 1


def test_ctrl_c_before_the_run_starts_interrupts(labctl: Labctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("labctl.bench.Bench.__enter__", interrupted)
    ended = labctl(*RUN, "--json")
    assert (ended.code, ended.answer["status"]) == (130, "interrupted")
    assert ended.errors == ["error: interrupted"]


def test_data_that_cannot_be_stored_are_not_taken(labctl: Labctl, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder of all runs should be")
    ended = labctl(*RUN, "--out", "taken/here", "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert ended.answer["error"].startswith(f"--out {Path('taken/here')}: taken is not a folder")


def test_verbose_shows_more_of_the_log(labctl: Labctl) -> None:
    assert labctl("list", "-v", "--json").code == 0
