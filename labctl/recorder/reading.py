"""Reads the folder of a run."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from labctl.documents import Document
from labctl.errors import ConfigError
from labctl.recorder.encoding import restored, unsealed

CHECKPOINT = "checkpoint.safetensors"
"""File of the last checkpoint; its metadata hold the record and what was committed before it."""


def read_run(run: Path) -> dict[str, Any]:
    """Return the contents of `run.yaml`.

    Raises:
        ConfigError: `run` is no run folder, or the file cannot be read.
    """
    path = run / "run.yaml"
    return Document(str(path), _contents(path).decode(errors="replace")).data


def read_summary(run: Path) -> dict[str, Any]:
    """Return how a run ended (status, summary, error, wall_s); empty when it has not ended properly.

    Raises:
        ConfigError: The file is damaged.
    """
    path = run / "summary.json"
    try:
        return restored(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; restore the file from a copy") from error


def read_records(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the committed records: kind, index, bench_time_s, values, arrays (name to row), wall_time.

    A damaged last line is what a killed run leaves behind, and ends the records silently.

    Raises:
        ConfigError: There is no such file, or a line before the last is damaged.
    """
    path = run / "steps.jsonl"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; give the folder of a run")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = unsealed(line)
            if record is None and file.read(1):
                raise ConfigError(f"{path}, line {number}: damaged, and more lines follow; restore it from a copy")
            if record is None:
                return
            yield record


def read_weights(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the last `weights` record.

    Raises:
        ConfigError: The run has no weights, or the file is damaged.
    """
    return _tensors(run / "weights.safetensors", _contents(run / "weights.safetensors"))


def read_checkpoint(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the last checkpoint and its arrays.

    The checkpoint is kind, index, bench_time_s and values of its record, `lines` (committed before it), their `bytes`
    in steps.jsonl, the `rows` of every array and the number of `changes` among them.

    Raises:
        ConfigError: The run has no checkpoint, or the file is damaged.
    """
    path = run / CHECKPOINT
    data = _contents(path)
    arrays = _tensors(path, data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # the layout of a safetensors file
    about = header.get("__metadata__", {})
    text = about.get("checkpoint", "").encode()
    if about.get("sha256") != digest(text, arrays):
        raise ConfigError(f"{path}: damaged: its checksum is not that of its contents; start a new run")
    return restored(json.loads(text)), arrays


def digest(text: bytes, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the checksum of a checkpoint: its text, and its arrays in the order of their names."""
    total = hashlib.sha256(text)
    for name in sorted(arrays):
        total.update(arrays[name].tobytes())
    return total.hexdigest()


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path}: there is no such file; give the folder of a run") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}; give a run that has one") from error


def _tensors(path: Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        return {name: array.copy() for name, array in safetensors.numpy.load(data).items()}
    except SafetensorError as error:
        raise ConfigError(f"{path}: damaged: {error}; restore the file from a copy") from error
