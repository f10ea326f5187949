"""A recorder that keeps everything, records for it, and what then lies in its arrays."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from labctl.recorder import Recorder
from labctl.records import Record


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, "train", {}, "all")


def step(index: int, **arrays: np.ndarray) -> Record:
    return Record("step", index, index / 10, {"loss": 1 / (index + 1)}, arrays)


def stored(recorder: Recorder, path: str) -> np.ndarray:
    group = zarr.open_group(recorder.folder / "arrays.zarr", mode="r")
    return np.asarray(group[path][...])  # type: ignore[index]
