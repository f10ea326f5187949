"""What was promised is on disk, as it was; a broken promise fails the run."""

import errno
import json
import math
import os
import time
import tracemalloc
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import labctl
from labctl.errors import ConfigError, LabError
from labctl.recorder import Keep, Recorder, read_checkpoint, read_records, read_run, read_weights
from labctl.records import Record
from tests.recorder.conftest import step, stored


class Colour(Enum):
    RED = "red"


class Optimiser(BaseModel):
    rate: float = 0.1


def test_run_folder_and_its_header_are_there_before_the_first_record(tmp_path: Path) -> None:
    header = {"settings": {"steps": 3}, "seed": 2**80, "small": 1e-6}
    recorder = Recorder(tmp_path, "my plan:1", header, "sampled")
    date, name = recorder.folder.relative_to(tmp_path).parts
    assert len(date) == len("2026-11-21")
    assert name[6:-6] == "_my-plan-1_"
    run = read_run(recorder.folder)
    assert {key: run[key] for key in header} == header
    assert (run["plan"], run["keep"]) == ("my plan:1", "sampled")
    assert run["versions"]["labctl"] == labctl.__version__
    assert {"python", "numpy", "torch"} <= set(run["versions"])
    assert {"started", "platform", "commit"} <= set(run)
    assert list(read_records(recorder.folder)) == []
    recorder.finish("completed")


def test_header_takes_what_settings_and_states_are_made_of(tmp_path: Path) -> None:
    header = {
        "optimiser": Optimiser(),
        "colour": Colour.RED,
        "path": Path("a"),
        "shape": (np.int64(2), 3),
        "mean": np.float32(0.5),
        "levels": np.arange(3),
        "nan": math.nan,
        "plan": "another",
    }
    recorder = Recorder(tmp_path, "train", header)
    recorder.finish("completed")
    run = yaml.safe_load((recorder.folder / "run.yaml").read_text(encoding="utf-8"))
    assert math.isnan(run.pop("nan"))
    assert {key: run[key] for key in header if key in run} == {
        "optimiser": {"rate": 0.1},
        "colour": "red",
        "path": "a",
        "shape": [2, 3],
        "mean": 0.5,
        "levels": [0, 1, 2],
        "plan": "another",
    }


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    recorders = [Recorder(tmp_path, "train", {}) for _ in range(3)]
    assert len({recorder.folder for recorder in recorders}) == 3
    for recorder in recorders:
        recorder.finish("completed")


TEXTS = st.text(max_size=9).filter(lambda text: text not in ("NaN", "Infinity", "-Infinity"))
PLAIN = st.integers() | st.floats() | st.booleans() | st.none() | TEXTS
VALUES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
    max_size=4,
)


@settings(max_examples=12, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=8))
def test_values_are_read_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, all_values: list[Any]) -> None:
    recorder = Recorder(tmp_path_factory.mktemp("runs"), "train", {})
    try:
        for index, values in enumerate(all_values):
            recorder(Record("step", index, math.inf, values))
    finally:
        recorder.finish("completed")
    records = list(read_records(recorder.folder))
    assert repr([record["values"] for record in records]) == repr([_sorted(values) for values in all_values])
    assert [record["index"] for record in records] == list(range(len(all_values)))
    assert all(record["bench_time_s"] == math.inf and record["wall_time"] <= time.time() for record in records)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


def test_lines_are_strict_json(recorder: Recorder) -> None:
    recorder(Record("step", 0, 0.0, {"losses": [math.nan, math.inf, -math.inf]}))
    recorder.finish("completed")

    def refuse(text: str) -> None:
        raise AssertionError(text)

    line = json.loads((recorder.folder / "steps.jsonl").read_text(encoding="utf-8"), parse_constant=refuse)
    assert line["values"] == {"losses": ["NaN", "Infinity", "-Infinity"]}
    assert set(line) == {"kind", "index", "bench_time_s", "values", "arrays", "wall_time", "crc"}


REFUSED = {
    "object": ({"x": object()}, "step.values.x: <object object"),
    "complex": ({"x": [1j]}, "step.values.x.0: 1j cannot be stored"),
    "text that means a number": ({"x": "NaN"}, "step.values.x: 'NaN' cannot be stored"),
    "keys": ({"x": {1: 2}}, "step.values.x: {1: 2} cannot be stored"),
    "set": ({"x": {1}}, "step.values.x: {1} cannot be stored"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_no_file_can_hold_are_refused_and_nothing_is_written(recorder: Recorder, case: str) -> None:
    values, message = REFUSED[case]
    with pytest.raises(LabError) as caught:
        recorder(Record("step", 0, 0.0, values))
    assert str(caught.value).startswith(message)
    recorder.finish("failed", error=str(caught.value))
    assert list(read_records(recorder.folder)) == []


def test_header_that_yaml_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"header\.bench\.camera: <object object"):
        Recorder(tmp_path, "train", {"bench": {"camera": object()}})


@pytest.mark.parametrize(("keep", "kinds"), [("summary", set()), ("sampled", {"frame"}), ("all", {"step", "frame"})])
def test_keep_says_which_arrays_are_stored(tmp_path: Path, keep: Keep, kinds: set[str]) -> None:
    recorder = Recorder(tmp_path, "train", {}, keep)
    array = np.arange(3)
    for kind in ("step", "frame", "checkpoint", "weights"):
        recorder(Record(kind, 0, 0.0, {}, {"x": array}))
    recorder.finish("completed")
    lines = {record["kind"]: record["arrays"] for record in read_records(recorder.folder)}
    assert lines == {kind: {"x": 0} if kind in kinds else {} for kind in ("step", "frame", "weights")}
    assert (recorder.folder / "arrays.zarr").exists() == bool(kinds)
    assert all((stored(recorder, f"{kind}/x") == [array]).all() for kind in kinds)
    assert (read_weights(recorder.folder)["x"] == array).all()
    assert (read_checkpoint(recorder.folder)[1]["x"] == array).all()


def test_unknown_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep: asked for 'some'; allowed: one of summary, sampled, all"):
        Recorder(tmp_path, "train", {}, "some")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", ">u2", "int64", "float16", "float32", "complex64", "complex128"])
def test_arrays_are_found_at_the_row_their_line_names(recorder: Recorder, shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, shape[::-1]).astype(dtype).T for _ in range(3)]
    for index, array in enumerate(arrays):
        recorder(step(index, **({"a/b.c": array} if index != 1 else {"other": array})))
    recorder.finish("completed")
    rows = [record["arrays"] for record in read_records(recorder.folder)]
    assert rows == [{"a/b.c": 0}, {"other": 0}, {"a/b.c": 1}]
    assert stored(recorder, "step/a/b.c").dtype == np.dtype(dtype).newbyteorder("=")
    assert (stored(recorder, "step/a/b.c") == np.array([arrays[0], arrays[2]])).all()


def test_rows_without_a_line_are_overwritten(recorder: Recorder) -> None:
    recorder(step(0, x=np.array([1.0])))
    other = zarr.open_group(recorder.folder / "arrays.zarr", mode="a")["step/x"]
    assert isinstance(other, zarr.Array)
    other.resize((4, 1))
    other[1:] = 99.0
    recorder(step(1, x=np.array([2.0])))
    recorder.finish("completed")
    assert list(read_records(recorder.folder))[1]["arrays"] == {"x": 1}
    assert stored(recorder, "step/x")[:2].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("x", np.zeros(3), r"array step/x: was float64\[2\], is now float64\[3\]"),
        ("x", np.zeros(2, np.float32), r"was float64\[2\], is now float32\[2\]"),
        ("y", np.array(["a"]), "array step/y: <U1 cannot be stored"),
        ("../y", np.zeros(2), "array 'step/../y': a name is made of"),
    ],
)
def test_an_array_that_cannot_be_stored_fails_the_run(
    recorder: Recorder, name: str, array: np.ndarray, message: str
) -> None:
    recorder(step(0, x=np.zeros(2)))
    with pytest.raises(LabError, match=message):
        recorder(step(1, **{name: array}))
    with pytest.raises(LabError, match=message):
        recorder(step(2, x=np.zeros(2)))
    with pytest.raises(LabError, match=message):
        recorder.finish("completed")
    assert [record["index"] for record in read_records(recorder.folder)] == [0]
    assert _summary(recorder)["status"] == "failed"


def _summary(recorder: Recorder) -> dict[str, Any]:
    return json.loads((recorder.folder / "summary.json").read_text(encoding="utf-8"))


def test_finish_writes_the_summary(recorder: Recorder) -> None:
    recorder.finish("completed", {"accuracy": np.float32(0.5), "loss": math.nan})
    summary = _summary(recorder)
    assert summary.pop("wall_s") >= 0
    assert summary == {"status": "completed", "summary": {"accuracy": 0.5, "loss": "NaN"}, "error": None}


def test_after_finish_nothing_is_added(recorder: Recorder) -> None:
    recorder.finish("stopped")
    with pytest.raises(LabError, match="finished"):
        recorder(step(0))
    with pytest.raises(LabError, match="finished"):
        recorder.finish("completed")


def _full_disk(_file: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_fails_the_run_and_names_the_cure(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder(step(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full_disk)
        with pytest.raises(LabError, match=r"not written: .*; free disk space"):
            recorder(Record("checkpoint", 0, 0.0, {}, {"x": np.zeros(2)}))
    with pytest.raises(LabError, match="free disk space"):
        recorder(step(1))
    with pytest.raises(LabError, match="free disk space"):
        recorder.finish("completed")
    assert _summary(recorder)["status"] == "failed"
    assert "free disk space" in _summary(recorder)["error"]


def test_data_that_cannot_be_closed_fail_the_run(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder(step(0))
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(LabError, match="free disk space"):
        recorder.finish("completed")


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file", encoding="utf-8")
    with pytest.raises(LabError, match="runs"):
        Recorder(tmp_path / "runs", "train", {})


def test_long_runs_need_no_memory(tmp_path: Path) -> None:
    values = {f"value_{place}": place / 7 for place in range(10)}
    recorder = Recorder(tmp_path, "train", {})
    recorder(Record("step", 0, 0.0, values))
    for index in range(1, 5001):
        recorder(Record("step", index, index / 10, values))
    tracemalloc.start()
    for index in range(5001, 6001):
        recorder(Record("step", index, index / 10, values))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 20_000
    recorder.finish("completed")
    assert sum(1 for _ in read_records(recorder.folder)) == 6001
