"""A committed record is read back exactly, whatever happens to the file afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import LabError
from labctl.recorder import Recorder, read_checkpoint, read_records, read_run, read_weights
from labctl.records import Record


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[dict[str, Any]]]:
    """A scratch run folder, the bytes of a whole steps.jsonl, and its records."""
    recorder = Recorder(tmp_path_factory.mktemp("runs"), "train", {})
    for index in range(5):
        recorder(Record("step", index, index / 3, {"loss": 1 / (index + 1), "note": 'a "crc":1}\n'}))
    recorder.finish("completed")
    lines = (recorder.folder / "steps.jsonl").read_bytes()
    return recorder.folder, lines, list(read_records(recorder.folder))


@settings(deadline=None)
@given(st.data())
def test_any_truncation_reads_as_a_prefix(
    written: tuple[Path, bytes, list[dict[str, Any]]], data: st.DataObject
) -> None:
    run, lines, records = written
    length = data.draw(st.integers(0, len(lines)))
    (run / "steps.jsonl").write_bytes(lines[:length])
    assert list(read_records(run)) == records[: lines[:length].count(b"\n")]


@settings(deadline=None)
@given(st.data())
def test_any_damaged_byte_is_noticed_unless_it_is_in_the_last_line(
    written: tuple[Path, bytes, list[dict[str, Any]]], data: st.DataObject
) -> None:
    run, lines, records = written
    place = data.draw(st.integers(0, len(lines) - 1))
    flipped = lines[place] ^ data.draw(st.integers(1, 255))
    (run / "steps.jsonl").write_bytes(lines[:place] + bytes([flipped]) + lines[place + 1 :])
    intact = lines[:place].count(b"\n")
    found = []
    try:
        found.extend(read_records(run))
    except LabError as error:
        assert f"line {intact + 1}: damaged" in str(error)  # noqa: PT017
    else:
        assert intact >= 3
        assert found == records[:intact]


@pytest.mark.parametrize("tail", [b"\0" * 64, b"{", b'{"kind":"step","crc":1}\n', b"\n"])
def test_a_torn_tail_is_ignored(written: tuple[Path, bytes, list[dict[str, Any]]], tail: bytes) -> None:
    run, lines, records = written
    (run / "steps.jsonl").write_bytes(lines + tail)
    assert list(read_records(run)) == records


@pytest.mark.parametrize("read", [read_run, lambda run: list(read_records(run)), read_weights, read_checkpoint])
def test_reading_what_is_not_there_names_the_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(LabError, match="give"):
        read(tmp_path / "nothing")
