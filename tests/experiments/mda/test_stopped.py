"""A sequence that is stopped goes on where it was, and one whose devices fail keeps the frames it has."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from labctl.bench import Bench
from labctl.cli.main import app
from labctl.clock import WallClock
from labctl.experiments.mda.plan import mda
from labctl.plan import parse_settings
from labctl.recorder import ResumedRecorder, read_records, read_summary
from labctl.runner import Runner
from tests.experiments.mda.small import FOURIER, PRESETS, SEQUENCE, STAGE, frames_of, images, run, small

if TYPE_CHECKING:
    from labctl.records import Record

# ---- stopped and resumed


def test_a_stopped_run_holds_its_frames_and_goes_on_as_if_it_had_not_been(tmp_path: Path):
    whole, whole_folder, whole_records = run(tmp_path / "whole", SEQUENCE)
    stopped, folder, first = run(tmp_path / "parts", SEQUENCE, stop_after=17)
    assert (whole.status, stopped.status) == ("completed", "stopped")
    for record in frames_of(first):
        stored = images(folder)[record.values["image"]]["0"][tuple(record.values["place"])]
        assert np.array_equal(stored, record.arrays["counts"])
    with ResumedRecorder(folder) as recorder, Bench(small(), True) as bench:
        chosen = parse_settings(mda, {"sequence": SEQUENCE})
        then: list[Record] = []
        assert recorder.checkpoint is not None
        listeners = [recorder, then.append]
        outcome = Runner(mda, bench, chosen, np.random.default_rng(0), listeners, recorder.checkpoint).run()
        recorder.finish(outcome.status, outcome.summary, outcome.error)
    assert outcome.status == "completed", outcome.error
    both = [dict(record.values) for record in (*frames_of(first), *frames_of(then))]
    assert both == [dict(record.values) for record in frames_of(whole_records)]
    assert outcome.summary == whole.summary
    for name, image in images(folder).items():
        assert np.array_equal(image["0"][...], images(whole_folder)[name]["0"][...])
    assert sum(record["kind"] == "frame" for record in read_records(folder)) == 36


def test_on_a_table_a_resumed_run_goes_on_at_its_own_pace(tmp_path: Path):
    sequence = {"time_plan": {"interval": 0.15, "loops": 6}, "channels": ["weak"]}
    chosen = parse_settings(mda, {"sequence": sequence, "presets": PRESETS, "checkpoint_every": 3})
    with Bench(small(), True, clock=WallClock()) as bench:  # a clock that is not simulated makes it a table
        begun = list(mda(bench, chosen, np.random.default_rng(0)))
    checkpoint = next(record for record in begun if record.kind == "checkpoint")
    with Bench(small(), True, clock=WallClock()) as bench:
        gone_on = list(mda(bench, chosen, np.random.default_rng(0), checkpoint))
    times_s = [
        [record.values["time_s"] for record in frames_of(part)] for part in (begun[: begun.index(checkpoint)], gone_on)
    ]
    assert [len(part) for part in times_s] == [3, 3]
    for part in times_s:
        assert np.diff(part) == pytest.approx([0.15, 0.15], abs=0.1)
        assert min(np.diff(part)) > 0.1


# ---- devices that fail


@pytest.mark.parametrize(
    ("fault", "device", "said"),
    [
        ({"device": "camera", "fault": "exception", "at": 40}, "camera", "injected exception"),
        ({"device": "camera", "fault": "dropped", "at": 7}, "camera", "0 frames came where 1 were expected"),
        ({"device": "stage", "fault": "disconnect", "at": 30}, "stage", "injected disconnect"),
        ({"device": "stage", "fault": "hang", "at": 20}, "stage", "no answer"),
        ({"device": "slm", "fault": "exception", "at": 5}, "slm", "injected exception"),
    ],
)
def test_a_device_that_fails_ends_the_command_with_code_1_and_one_line(
    tmp_path: Path, fault: dict[str, Any], device: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    presets = {name: {**one, "slm": k} for k, (name, one) in enumerate(PRESETS.items())}
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({**SEQUENCE, "metadata": {"labctl": {"presets": presets}}}))
    monkeypatch.chdir(tmp_path)
    sets = {"sequence": "plan.yaml", "bench.devices.stage": json.dumps(STAGE)}
    sets |= {"bench.simulation.faults": json.dumps([fault])}
    options = [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]
    ended = CliRunner().invoke(app, ["run", "mda", "--bench", str(FOURIER), "--simulate", "--json", *options])
    assert ended.exit_code == 1
    answer = json.loads(ended.stdout.splitlines()[-1])
    assert answer["status"] == "failed"
    assert answer["error"].startswith(f"{device}: ")
    assert said in answer["error"]
    lines = sum(line.startswith("error: ") for line in ended.stderr.splitlines())
    assert lines == 1 or fault["fault"] == "disconnect"  # which also keeps the device from being made safe
    folder = Path(answer["run"])
    assert read_summary(folder)["status"] == "failed"
    taken = [record for record in read_records(folder) if record["kind"] == "frame"]
    assert 0 < len(taken) < 36
    last = taken[-1]["values"]
    assert images(folder)[last["image"]]["0"][tuple(last["place"])].mean() == pytest.approx(last["mean_counts"])


def test_a_stage_that_stands_still_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = parse_settings(mda, {"sequence": SEQUENCE})
    with Bench(small(), True) as bench:
        monkeypatch.setattr(bench.stage("stage"), "_do_move", lambda target_m: None)
        outcome = Runner(mda, bench, chosen, np.random.default_rng(0)).run()
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("stage: a move ended")
