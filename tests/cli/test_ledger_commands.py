import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from labctl.cli.main import app

TRAINING = ("data=sample", "hidden=[8]", "epochs=1", "train_samples=64", "test_samples=10")


def answer(*args: object) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [str(arg) for arg in args] + ["--json"])
    return result.exit_code, json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ledger and the runs of both calibrations of the small bench, truth 1."""
    folder = tmp_path_factory.mktemp("calibrated")
    bench = Path(__file__).parents[1] / "benches" / "small_cell.yaml"
    code, values = answer("calibrate", "all", "--bench", bench, "--simulate", *places(folder))
    assert (code, values["status"]) == (0, "completed")
    assert [one["calibration"] for one in values["calibrations"]] == ["absorber", "reference_phase"]
    return folder


def places(folder: Path) -> Sequence[object]:
    return ("--ledger", folder / "ledger", "--out", folder / "runs")


def train(bench: Path, folder: Path, *more: object) -> tuple[int, dict]:
    settings = [part for setting in TRAINING for part in ("--set", setting)]
    return answer("run", "train_in_situ", "--bench", bench, "--simulate", *settings, *places(folder), *more)


def test_a_run_believes_the_ledger_and_records_what_it_used(calibrated: Path, small_bench_file: Path) -> None:
    code, values = train(small_bench_file, calibrated)
    assert code == 0
    header = yaml.safe_load((Path(values["run"]) / "run.yaml").read_text(encoding="utf-8"))
    _, listed = answer("calibrations", small_bench_file, "--ledger", calibrated / "ledger")
    assert sorted(header["calibrations"]) == sorted(one["id"] for one in listed["calibrations"])
    assert header["believed"]["cell.depth_at_70c"] == pytest.approx(14.19, rel=0.03)
    assert len(header["believed"]["camera_z1.reference_phase"]) == 8
    first = json.loads((Path(values["run"]) / "steps.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert "calibrated by absorber of" in first["values"]["message"]


def test_a_ledger_of_another_truth_is_refused(calibrated: Path, small_bench_file: Path) -> None:
    code, values = train(small_bench_file, calibrated, "--truth-seed", 2)
    assert (code, values["status"]) == (2, "refused")
    assert "foreign" in values["error"]
    assert "\n" not in values["error"]
    code, values = train(small_bench_file, calibrated, "--truth-seed", 2, "--ledger", "none")
    assert code == 0


def test_calibrations_say_whether_they_may_be_believed(calibrated: Path, small_bench_file: Path) -> None:
    ledger = calibrated / "ledger"
    for truth, standing in ((1, "valid"), (2, "foreign")):
        _, values = answer("calibrations", small_bench_file, "--truth-seed", truth, "--ledger", ledger)
        assert {one["standing"] for one in values["calibrations"]} == {standing}


def test_a_dry_run_says_what_a_calibration_costs_and_leaves_no_trace(tmp_path: Path, small_bench_file: Path) -> None:
    code, values = answer(
        "calibrate", "absorber", "--bench", small_bench_file, "--simulate", "--dry-run", *places(tmp_path)
    )
    assert code == 0
    assert values["calibrations"][0]["budget"]["exposures"]["calibration"] > 0
    assert not list(tmp_path.iterdir())


def test_an_unknown_calibration_names_the_nearest(tmp_path: Path, small_bench_file: Path) -> None:
    code, values = answer("calibrate", "absorbr", "--bench", small_bench_file, "--simulate", *places(tmp_path))
    assert code == 2
    assert "unknown calibration 'absorbr' (nearest: 'absorber')" in values["error"]


@pytest.mark.parametrize("command", ["run", "calibrations"])
def test_a_ledger_that_is_not_there_is_refused(command: str, small_bench_file: Path, tmp_path: Path) -> None:
    given = ("run", "train_in_situ", "--bench") if command == "run" else ("calibrations",)
    code, values = answer(*given, small_bench_file, "--ledger", tmp_path / "leger")
    assert (code, values["status"]) == (2, "refused")
    assert "leger: there is no such folder" in values["error"]
