"""A run that is gone on with stands as it was at its checkpoint, and nothing is lost until it does."""

import json

import numpy as np
import pytest

from labctl.errors import ConfigError, LabError
from labctl.recorder import Recorder, ResumedRecorder, read_records
from labctl.records import Record
from tests.recorder.conftest import step, stored


def test_what_came_after_the_checkpoint_is_forgotten(recorder: Recorder) -> None:
    recorder(step(0, x=np.array([0.0])))
    recorder(Record("change", 0, 0.0, {"rate": 0.5}))
    recorder(Record("checkpoint", 4, 1.5, {"n": {"deep": 1}}, {"n/mask": np.arange(3)}))
    for index in range(1, 4):
        recorder(step(index, x=np.array([-1.0]), late=np.zeros(2)))
    recorder.close()
    with ResumedRecorder(recorder.folder) as again:
        assert again.changes == [{"rate": 0.5}]
        assert again.checkpoint is not None
        assert (again.checkpoint.index, again.checkpoint.values) == (4, {"n": {"deep": 1}})
        assert again.checkpoint.arrays["n/mask"].tolist() == [0, 1, 2]
        again(step(1, x=np.array([1.0]), late=np.zeros(5)))
        again.finish("completed")
    assert [record["arrays"] for record in read_records(recorder.folder)] == [{"x": 0}, {}, {"x": 1, "late": 0}]
    assert stored(recorder, "step/x")[:2].tolist() == [[0.0], [1.0]]
    assert stored(recorder, "step/late").shape == (1, 5)


def test_without_a_checkpoint_it_begins_anew(recorder: Recorder) -> None:
    recorder(step(0, x=np.zeros(2)))
    recorder.finish("failed", error="no light")
    with ResumedRecorder(recorder.folder) as again:
        assert again.checkpoint is None
        again(step(0, y=np.ones(1)))
        assert [record["arrays"] for record in read_records(recorder.folder)] == [{"y": 0}]
        assert not (recorder.folder / "summary.json").exists()
    (note,) = (recorder.folder / "resumes.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(note)["ended"], json.loads(note)["lines"]) == ("failed", 0)


def test_nothing_is_lost_where_a_resumed_run_does_not_go_on(recorder: Recorder) -> None:
    recorder(step(0))
    recorder(Record("checkpoint", 0, 0.0, {}, {"x": np.zeros(2)}))
    recorder(step(1))
    recorder.finish("failed", error="no light")
    before = {path.name: path.read_bytes() for path in recorder.folder.iterdir() if path.is_file()}
    with ResumedRecorder(recorder.folder):
        pass  # refused: the bench could not be opened
    assert before == {path.name: path.read_bytes() for path in recorder.folder.iterdir() if path.is_file()}


def test_a_checkpoint_as_the_first_record_can_be_resumed_again(recorder: Recorder) -> None:
    recorder(step(0))
    recorder(Record("checkpoint", 0, 0.0, {}, {"x": np.zeros(2)}))
    recorder(step(1))
    recorder.close()
    with ResumedRecorder(recorder.folder) as again:
        again(Record("checkpoint", 1, 0.0, {}, {"x": np.zeros(2)}))
    with ResumedRecorder(recorder.folder) as again:
        assert again.checkpoint is not None
        assert again.checkpoint.index == 1


def test_two_cannot_record_the_same_run(recorder: Recorder) -> None:
    with pytest.raises(ConfigError, match="another process still runs it"):
        ResumedRecorder(recorder.folder)
    recorder.finish("stopped")
    ResumedRecorder(recorder.folder).close()


def test_lines_that_were_lost_are_noticed(recorder: Recorder) -> None:
    recorder(step(0))
    recorder(Record("checkpoint", 0, 0.0, {}, {"x": np.zeros(2)}))
    recorder.close()
    (recorder.folder / "steps.jsonl").write_bytes(b"")
    with pytest.raises(LabError, match="shorter than at the checkpoint"):
        ResumedRecorder(recorder.folder)
