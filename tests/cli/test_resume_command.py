"""`labctl resume` goes on with what was killed, wherever that was, and says what cannot be resumed."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from labctl.files import replace_file
from labctl.recorder import Recorder, ResumedRecorder, read_records, read_run, read_weights, recorder
from labctl.recorder.encoding import sealed

from .conftest import PLANS, Labctl

SETTINGS = [
    *("data=sample", "hidden=[8]", "train_samples=64", "test_samples=16", "batch_size=16", "epochs=2"),
    *("agreement_every=3", "checkpoint_every=3", "initial_sd=0.5", "optical_depth=4", "keep=sampled"),
]
TRAIN = ["--simulate", "--json", *(part for one in SETTINGS for part in ("--set", one))]


class Killed(BaseException):
    """What stands in for the end of the process: nothing handles it."""


def contents(run: Path) -> list[Any]:
    """Return records, stored rows and weights of a run, wall times apart."""
    records = [{key: one for key, one in record.items() if key != "wall_time"} for record in read_records(run)]
    group = zarr.open_group(run / "arrays.zarr", mode="r")
    rows = [
        (record["kind"], name, np.asarray(group[f"{record['kind']}/{name}"])[row].tobytes())
        for record in records
        for name, row in record["arrays"].items()
    ]
    return [repr(records), rows, {name: array.tobytes() for name, array in read_weights(run).items()}]


@pytest.fixture
def left_alone(labctl: Labctl, small_bench_file: Path) -> Path:
    """Return the folder of a training that nothing happened to."""
    return Path(labctl("run", "train_in_situ", "--bench", str(small_bench_file), *TRAIN, "--out", "a").answer["run"])


def dying(action: Callable[..., Any], calls: int, *, after: bool) -> Callable[..., Any]:
    """Return `action` as it is in a process that is killed at a call of it: before, or after it was done."""
    left = iter(range(calls, -1, -1))

    def act(*args: Any) -> Any:
        last = next(left) == 0
        if last and not after:
            raise Killed
        done = action(*args)
        if last:
            raise Killed
        return done

    return act


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_it_ends_as_if_left_alone(
    labctl: Labctl, small_bench_file: Path, left_alone: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    draw = random.Random(seed)
    command = ["run", "train_in_situ", "--bench", str(small_bench_file), *TRAIN, "--out", "b"]
    for calls in (1, 3, 2, 4):
        with monkeypatch.context() as patch:
            where, action = draw.choice([("replace_file", replace_file), ("sealed", sealed)])
            patch.setattr(recorder, where, dying(action, calls, after=draw.random() < 0.5))
            with pytest.raises(Killed):
                labctl(*command)
        (run,) = Path("b").glob("*/*")
        command = ["resume", str(run), "--json"]
    ended = labctl(*command)
    assert (ended.code, ended.answer["status"]) == (0, "completed")
    assert contents(run) == contents(left_alone)
    assert len((run / "resumes.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_a_killed_process_is_resumed(labctl: Labctl, small_bench_file: Path, left_alone: Path, tmp_path: Path):
    command = [sys.executable, "-m", "labctl.cli.main", "run", "train_in_situ", "--bench", str(small_bench_file)]
    process = subprocess.Popen(
        [*command, *TRAIN, "--out", str(tmp_path / "c")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(Path("c").glob("*/*/checkpoint.safetensors")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    (run,) = Path("c").glob("*/*")
    assert labctl("resume", str(run), "--json").answer["status"] == "completed"
    assert contents(run) == contents(left_alone)


def test_a_completed_run_has_nothing_to_resume(labctl: Labctl, left_alone: Path):
    before = {path: path.read_bytes() for path in left_alone.rglob("*") if path.is_file()}
    ended = labctl("resume", str(left_alone))
    assert ended.code == 0
    assert "has completed: there is nothing to resume" in "".join(ended.out)
    assert {path: path.read_bytes() for path in left_alone.rglob("*") if path.is_file()} == before


def test_what_is_no_run_is_refused(labctl: Labctl, tmp_path: Path):
    ended = labctl("resume", str(tmp_path), "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert "run.yaml: there is no such file; give the folder of a run" in ended.answer["error"]


def test_a_plan_without_checkpoints_is_refused(labctl: Labctl):
    run = labctl("run", "count", "--bench", "vapour_cell", "--simulate", "--set", "event=refused", "--json").answer
    records = list(read_records(Path(run["run"])))
    assert run["status"] == "failed"
    ended = labctl("resume", run["run"], "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert "plan count keeps no checkpoints and cannot be resumed; run it again" in ended.answer["error"]
    assert list(read_records(Path(run["run"]))) == records
    assert read_run(Path(run["run"]))["plan_source"] == f"{PLANS}:count"


def test_a_run_under_way_is_refused(labctl: Labctl, left_alone: Path):
    (left_alone / "summary.json").unlink()
    records = list(read_records(left_alone))
    with ResumedRecorder(left_alone):
        ended = labctl("resume", str(left_alone), "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert "another process still runs it" in ended.answer["error"]
    assert labctl("resume", str(left_alone), "--json").answer["status"] == "completed"
    assert repr(list(read_records(left_alone))).count("'step'") == repr(records).count("'step'")


def test_another_version_is_told(labctl: Labctl, left_alone: Path, caplog: pytest.LogCaptureFixture):
    (left_alone / "summary.json").unlink()
    header = (left_alone / "run.yaml").read_text(encoding="utf-8")
    (left_alone / "run.yaml").write_text(header.replace("labctl: 0.1.0", "labctl: 0.0.9"), encoding="utf-8")
    assert labctl("resume", str(left_alone), "--json").code == 0
    assert "labctl 0.0.9 -> 0.1.0 since it began" in caplog.text


def test_a_recorder_holds_its_folder_until_it_ends(tmp_path: Path):
    one = Recorder(tmp_path, "train", {})
    one.finish("stopped")
    with ResumedRecorder(one.folder) as again:
        assert (again.checkpoint, again.changes) == (None, [])
