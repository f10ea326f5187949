"""Image stacks of runs: every frame at its place, valid OME-Zarr however few came, and gone on with after a stop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr

from labctl.errors import LabError
from labctl.recorder import Recorder, ResumedRecorder, read_records
from labctl.recorder.stack import STACK, describe_stack
from labctl.records import Record

LEFT: dict[str, Any] = {
    "name": "left",
    "shape": [2, 1, 3],
    "channels": ["pump"],
    "scale": [0.5, 2.0, 0.1, 0.1],
    "first_um": 7.0,
}
UNEVEN: dict[str, Any] = {**LEFT, "name": "uneven", "scale": [None, None, 0.1, 0.1], "channels": [], "first_um": None}


def announced(*images: dict[str, Any]) -> Record:
    return Record("stack", 0, 0.0, describe_stack("frame/counts", images, (4, 5), "uint16", 1023))


def frame(index: int, image: str, place: list[int], value: int, **arrays: np.ndarray) -> Record:
    counts = np.full((4, 5), value, np.uint16)
    return Record("frame", index, 0.0, {"image": image, "place": place}, {"counts": counts, **arrays})


@pytest.mark.parametrize("images", [(LEFT,), (LEFT, UNEVEN)])
def test_a_stack_is_valid_from_its_first_frame_on(tmp_path: Path, images: tuple[dict[str, Any], ...]):
    with Recorder(tmp_path, "mda", {}, "summary") as recorder:
        recorder(announced(*images))
        recorder(frame(0, "left", [1, 0, 2], 9))
        yaozarrs.validate_zarr_store(str(recorder.folder / STACK))
        array: Any = zarr.open_array(recorder.folder / STACK / ("0" if len(images) == 1 else "0/0"), mode="r")
        assert np.array_equal(array[1, 0, 2], np.full((4, 5), 9))
        assert array[...].sum() == 9 * 20
        assert not (recorder.folder / "arrays.zarr").exists()


def test_distances_that_are_not_known_have_no_unit(tmp_path: Path):
    with Recorder(tmp_path, "mda", {}) as recorder:
        recorder(announced(LEFT, UNEVEN))
        root: Any = zarr.open_group(recorder.folder / STACK, mode="r")
    for name, units, scale in (
        ("0", ["second", None, "micrometer"], [0.5, 1, 2, 0.1, 0.1]),
        ("1", [None, None, None], [1, 1, 1, 0.1, 0.1]),
    ):
        (multiscale,) = root[name].attrs["ome"]["multiscales"]
        assert [axis.get("unit") for axis in multiscale["axes"][:3]] == units
        assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == scale


def test_other_arrays_of_a_frame_go_where_they_always_went(tmp_path: Path):
    with Recorder(tmp_path, "mda", {}, "all") as recorder:
        recorder(announced(LEFT))
        recorder(frame(0, "left", [0, 0, 0], 9, spectrum=np.arange(3.0)))
        (line,) = (record for record in read_records(recorder.folder) if record["kind"] == "frame")
        assert line["arrays"] == {"spectrum": 0}


def test_a_frame_of_another_form_fails_the_run(tmp_path: Path):
    with Recorder(tmp_path, "mda", {}) as recorder:
        recorder(announced(LEFT))
        wrong = Record("frame", 0, 0.0, {"image": "left", "place": [0, 0, 0]}, {"counts": np.zeros((4, 6), np.uint16)})
        with pytest.raises(LabError, match=r"frames were uint16\[4, 5\], one is uint16\[4, 6\]"):
            recorder(wrong)
        with pytest.raises(LabError, match="frames were"):
            recorder(frame(1, "left", [0, 0, 0], 1))


def test_a_resumed_run_writes_on_into_its_stack(tmp_path: Path):
    with Recorder(tmp_path, "mda", {}) as recorder:
        recorder(announced(LEFT))
        recorder(frame(0, "left", [0, 0, 0], 1))
        recorder(Record("checkpoint", 0, 0.0))
        recorder(frame(1, "left", [0, 0, 1], 2))
    with ResumedRecorder(recorder.folder) as resumed:
        resumed(frame(1, "left", [0, 0, 1], 3))
    array: Any = zarr.open_array(recorder.folder / STACK / "0", mode="r")
    assert array[0, 0, :2, 0, 0].tolist() == [1, 3]
    assert [one["index"] for one in read_records(recorder.folder) if one["kind"] == "frame"] == [0, 1]


def test_a_stack_that_was_damaged_meanwhile_is_not_gone_on_with(tmp_path: Path):
    with Recorder(tmp_path, "mda", {}) as recorder:
        recorder(announced(LEFT))
        recorder(Record("checkpoint", 0, 0.0))
    zarr.open_group(recorder.folder / STACK, mode="w")
    with pytest.raises(LabError, match="not the stack of this run"):
        ResumedRecorder(recorder.folder)
