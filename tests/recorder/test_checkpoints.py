"""Checkpoints and weights are whole files: the new one, or the one before, and damage is noticed."""

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest

from labctl.errors import LabError
from labctl.recorder import Recorder, read_checkpoint, read_records, read_weights
from labctl.records import Record, join_tree, split_tree
from tests.recorder.conftest import step


def test_a_checkpoint_holds_everything_and_counts_what_is_committed_before_it(recorder: Recorder) -> None:
    state = {"generator": {"state": 2**127}, "best": math.inf}
    arrays = {"mask": np.arange(6, dtype=np.complex64).reshape(2, 3).T, "moment": np.array(0.5)}
    recorder(step(0, x=np.zeros(2)))
    recorder(Record("change", 0, 0.0, {"learning_rate": 0.1}))
    for index in range(2):
        recorder(Record("checkpoint", index, 1.5, state, arrays))
    about, found = read_checkpoint(recorder.folder)
    committed = {"lines": 2, "bytes": (recorder.folder / "steps.jsonl").stat().st_size, "changes": 1}
    assert about == {
        **{"kind": "checkpoint", "index": 1, "bench_time_s": 1.5, "values": state},
        **{**committed, "rows": {"step/x": 1}},
    }
    assert all((found[name] == array).all() and found[name].shape == array.shape for name, array in arrays.items())
    assert [record["kind"] for record in read_records(recorder.folder)] == ["step", "change"]
    recorder.finish("completed")


def test_a_damaged_checkpoint_is_noticed(recorder: Recorder) -> None:
    recorder(Record("checkpoint", 0, 0.0, {}, {"x": np.zeros(2)}))
    path = recorder.folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(LabError, match="damaged: its checksum"):
        read_checkpoint(recorder.folder)
    recorder.finish("completed")


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_a_replacement_that_fails_leaves_the_old_files(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    recorder(Record(kind, 0, 0.0, {"n": 0}, {"x": np.zeros(2)}))
    before = {path.name: path.read_bytes() for path in recorder.folder.glob(f"{kind}.*")}

    def fail(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "in use", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(LabError, match=rf"{kind}\.safetensors: not written: in use"):
            recorder(Record(kind, 1, 0.0, {"n": 1}, {"x": np.ones(2)}))
    assert {path.name: path.read_bytes() for path in recorder.folder.glob(f"{kind}.*")} == before
    recorder.finish("failed")


def test_weights_can_be_loaded_and_trained_on(recorder: Recorder) -> None:
    weights = {"layer.1": np.arange(6, dtype=np.float32).reshape(2, 3).T, "gain": np.array(2.0)}
    recorder(Record("weights", 0, 0.0, {"accuracy": 0.5, "method": "optical"}, weights))
    recorder.finish("completed")
    found = read_weights(recorder.folder)
    assert found.keys() == weights.keys()
    assert all((found[name] == array).all() and found[name].flags.writeable for name, array in weights.items())
    data = (recorder.folder / "weights.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"accuracy": "0.5", "method": "optical"}


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_arrays_no_tensor_file_can_hold_are_refused(recorder: Recorder, kind: str) -> None:
    with pytest.raises(LabError, match=r"complex128.*convert the array"):
        recorder(Record(kind, 0, 0.0, {}, {"x": np.zeros(2, np.complex128)}))
    recorder.finish("failed")


def test_damaged_weights_are_noticed(recorder: Recorder) -> None:
    recorder.finish("completed")
    (recorder.folder / "weights.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(LabError, match="damaged"):
        read_weights(recorder.folder)


def test_tensors_are_found_again_in_the_tree_they_came_from() -> None:
    tree = {"a": {"b": {"c": np.arange(3), "d": 1}, "e": {}}, "f.g": np.ones(2), "h": [1, 2]}
    values, arrays = split_tree(tree)
    assert values == {"a": {"b": {"d": 1}, "e": {}}, "h": [1, 2]}
    assert arrays.keys() == {"a/b/c", "f.g"}
    assert join_tree(values, arrays)["a"]["b"]["c"].tolist() == [0, 1, 2]
    assert json.loads(json.dumps(values)) == values
