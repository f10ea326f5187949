"""Writes a run to its folder, and reads it back.

A run is `runs/<date>/<time>_<plan>_<id>/`. `run.yaml` is there before the first record. Then, for every record, its
arrays go to `arrays.zarr` (array `<kind>/<name>`, one row each) and its line to `steps.jsonl`. The line names the rows
and carries a checksum: it is the commit, so rows without one do not count. A killed process loses nothing committed;
a power failure may take the last second.

Numbers that JSON does not know are written as the texts "NaN", "Infinity" and "-Infinity", which the functions here
turn back into numbers, so the files stay strict JSON and a diverged loss stays visible. Those texts are refused.
"""

import hashlib
import json
import math
import os
import platform
import re
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from enum import Enum
from importlib import metadata
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import safetensors.numpy
import yaml
from pydantic import BaseModel
from safetensors import SafetensorError

import labctl
from labctl.errors import ConfigError, LabError
from labctl.records import Record

if TYPE_CHECKING:
    import zarr

Keep = Literal["summary", "sampled", "all"]
"""Which arrays are stored: none, those of all records but `step`, or all. Checkpoints and weights always are."""

SYNC_S = 1.0
"""Shortest time between two forced writes of `steps.jsonl` to the disk."""

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SPELLED = {str(number): text for text, number in _NOT_FINITE.items()}
_TENSOR_KINDS = ("checkpoint", "weights")
_ARRAY_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


class Recorder:
    """A listener that stores every record of a run; memory does not grow with the run.

    Args:
        root: Folder of all runs.
        plan_name: Name of the plan, part of the folder's name.
        header: What `run.yaml` shall hold beyond plan, start, versions, platform and commit: resolved settings and
            bench, seeds, calibration ids, device states. It has the last word where both name a key.
        keep: Which arrays to store.

    Raises:
        ConfigError: `keep` is none of the choices.
        LabError: The folder cannot be made, or the header holds what YAML cannot.
    """

    def __init__(self, root: Path, plan_name: str, header: Mapping[str, Any], keep: Keep = "summary") -> None:
        if keep not in get_args(Keep):
            raise ConfigError(f"keep: asked for {keep!r}; allowed: one of {', '.join(get_args(Keep))}")
        begun = datetime.now().astimezone()
        name = re.sub(r"[^\w.-]", "-", plan_name)
        self.folder = Path(root) / f"{begun:%Y-%m-%d}" / f"{begun:%H%M%S}_{name}_{secrets.token_hex(3)}"
        self.keep = keep
        self._began_s = self._synced_s = time.monotonic()
        self._arrays: dict[str, zarr.Array] = {}
        self._rows: Counter[str] = Counter()  # committed rows of each array; never the array's own length
        self._lines = 0
        self._failure: str | None = None
        self._finished = False
        about = {"plan": plan_name, "started": begun.isoformat(timespec="seconds"), "keep": keep, **_software()}
        text = yaml.safe_dump(_plain({**about, **header}, "header"), sort_keys=False, allow_unicode=True)
        with self._promise():
            self.folder.mkdir(parents=True)
            _replace(self.folder / "run.yaml", text.encode())
            self._steps = (self.folder / "steps.jsonl").open("ab")

    def __call__(self, record: Record) -> None:
        """Store a record; when this returns, it is committed.

        Raises:
            LabError: It could not be written, or holds what the files cannot; the run has failed then.
        """
        if self._failure or self._finished:
            raise LabError(self._failure or f"{self.folder}: the run is finished, nothing can be added")
        with self._promise():
            kind, rows = record.kind, dict[str, int]()
            line = {"kind": kind, "index": record.index, "bench_time_s": record.bench_time_s, "values": record.values}
            line = _plain(line, kind, strict=True)
            if kind in _TENSOR_KINDS:
                self._sync()
                self._replace_tensors(kind, line, record.arrays)
            elif self.keep == "all" or (self.keep == "sampled" and kind != "step"):
                rows = {name: self._append_row(f"{kind}/{name}", array) for name, array in record.arrays.items()}
            self._append_line({**line, "arrays": rows, "wall_time": time.time()})
            self._rows.update(f"{kind}/{name}" for name in rows)
            if kind in _TENSOR_KINDS or time.monotonic() - self._synced_s >= SYNC_S:
                self._sync()

    def finish(self, status: str, summary: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Close the run and write `summary.json`: status, summary, error and wall seconds.

        Args:
            status: How the run ended; `failed` is written instead when data could not be stored.
            summary: What the plan returned.
            error: Why it failed.

        Raises:
            LabError: The run did not fail before, but its data are not all on disk; or it was finished before.
        """
        if self._finished:
            raise LabError(f"{self.folder}: the run is finished already")
        self._finished = True
        with suppress(LabError), self._promise(), self._steps:  # the promise remembers a failure
            self._sync()
        body = {"status": "failed" if self._failure else status, "error": error or self._failure}
        body |= {"summary": summary or {}, "wall_s": time.monotonic() - self._began_s}
        with self._promise():
            _replace(self.folder / "summary.json", _json(_plain(body, "summary", strict=True)))
        if self._failure and status != "failed":
            raise LabError(self._failure)

    @contextmanager
    def _promise(self) -> Iterator[None]:
        """Turn a failed write into a LabError with its cure, and remember that the run has failed."""
        try:
            yield
        except OSError as error:
            where, why = error.filename or self.folder, error.strerror or error
            self._failure = f"{where}: not written: {why}; free disk space or give another folder, then run again"
            raise LabError(self._failure) from error
        except LabError as error:
            self._failure = str(error)
            raise

    def _append_row(self, path: str, array: np.ndarray) -> int:
        array, row = _tidy(path, array), self._rows[path]
        if path not in self._arrays:
            self._arrays[path] = self._open_array(path, array)
        stored = self._arrays[path]
        if stored.shape[1:] != array.shape or stored.dtype != array.dtype:
            was, now = f"{stored.dtype}{list(stored.shape[1:])}", f"{array.dtype}{list(array.shape)}"
            raise LabError(f"array {path}: was {was}, is now {now}; give arrays of another form another name")
        if stored.shape[0] <= row:
            stored.resize((row + 1, *array.shape))
        stored[row] = array
        return row

    def _open_array(self, path: str, like: np.ndarray) -> "zarr.Array":
        """Return the array at `path`; if it is not there, make it with one row like `like`."""
        import zarr  # only here: many runs store no arrays, and it is slow to import

        group = zarr.open_group(self.folder / "arrays.zarr", mode="a", zarr_format=3)
        if path in group:
            return cast("zarr.Array", group[path])
        chunks = (1, *(max(length, 1) for length in like.shape))
        return group.create_array(path, shape=(1, *like.shape), chunks=chunks, dtype=like.dtype)

    def _replace_tensors(self, kind: str, line: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in line["values"].items()}
        tidy = {name: _tidy(f"{kind}/{name}", array) for name, array in arrays.items()}
        try:
            data = safetensors.numpy.save(tidy, metadata=texts if kind == "weights" else None)
        except SafetensorError as error:
            raise LabError(f"{kind}.safetensors: {error}; convert the array, for example to complex64") from error
        _replace(self.folder / f"{kind}.safetensors", data)
        if kind == "checkpoint":
            about = {**line, "records_before": self._lines, "sha256": hashlib.sha256(data).hexdigest()}
            _replace(self.folder / "checkpoint.json", _json(about))

    def _append_line(self, line: dict[str, Any]) -> None:
        text = _json(line)
        self._steps.write(b'%b,"crc":%d}\n' % (text[:-1], zlib.crc32(text)))
        self._steps.flush()
        self._lines += 1

    def _sync(self) -> None:
        self._steps.flush()
        os.fsync(self._steps.fileno())
        self._synced_s = time.monotonic()


def read_run(run: Path) -> dict[str, Any]:
    """Return the contents of `run.yaml`.

    Raises:
        LabError: It cannot be read: `run` is no run folder.
    """
    return yaml.safe_load(_contents(run / "run.yaml"))


def read_records(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the committed records: kind, index, bench_time_s, values, arrays (name to row), wall_time.

    A damaged last line is what a killed run leaves behind, and ends the records silently.

    Raises:
        LabError: There is no such file, or a line before the last is damaged.
    """
    path = run / "steps.jsonl"
    if not path.is_file():
        raise LabError(f"{path}: there is no such file; give the folder of a run")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = _parsed(line)
            if record is None and file.read(1):
                raise LabError(f"{path}, line {number}: damaged, and more lines follow; restore the file from a copy")
            if record is None:
                return
            yield record


def read_weights(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the last `weights` record.

    Raises:
        LabError: The run has no weights, or the file is damaged.
    """
    return _tensors(run / "weights.safetensors", _contents(run / "weights.safetensors"))


def read_checkpoint(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the last checkpoint: index, bench_time_s, values, records_before (lines before its own), and its arrays.

    Raises:
        LabError: The run has no checkpoint, or its two files do not belong together.
    """
    about, data = json.loads(_contents(run / "checkpoint.json")), _contents(run / "checkpoint.safetensors")
    if about.pop("sha256") != hashlib.sha256(data).hexdigest():
        raise LabError(f"{run}: checkpoint.json and checkpoint.safetensors do not belong together; start a new run")
    return _restored(about), _tensors(run / "checkpoint.safetensors", data)


def _software() -> dict[str, Any]:
    versions = {"python": platform.python_version(), "labctl": labctl.__version__}
    for name in ("numpy", "torch", "zarr", "safetensors", "pydantic"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    commit = _commit(Path(__file__).resolve().parents[1])
    return {"versions": versions, "platform": platform.platform(), "commit": commit}


def _commit(checkout: Path) -> str | None:
    """Return the commit a checkout stands at, read from its files; None when it is no checkout."""
    git = checkout / ".git"
    with suppress(OSError):
        if git.is_file():  # a linked worktree
            git = checkout / _text(git).removeprefix("gitdir:").strip()
        shared = git / _text(git / "commondir") if (git / "commondir").is_file() else git
        head = _text(git / "HEAD")
        name = head.removeprefix("ref: ")
        if name == head:
            return head
        if (shared / name).is_file():
            return _text(shared / name)
        packed = _text(shared / "packed-refs").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _parsed(line: bytes) -> dict[str, Any] | None:
    text, _, crc = line.rpartition(b',"crc":')
    return _restored(json.loads(text + b"}")) if crc == b"%d}\n" % zlib.crc32(text + b"}") else None


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabError(f"{path}: cannot be read: {error.strerror or error}; give a run that has one") from error


def _tensors(path: Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        return {name: array.copy() for name, array in safetensors.numpy.load(data).items()}
    except SafetensorError as error:
        raise LabError(f"{path}: damaged: {error}; restore the file from a copy") from error


def _tidy(path: str, array: np.ndarray) -> np.ndarray:
    """Return the array in native byte order and row-major, as the file formats need it."""
    if not _ARRAY_NAME.fullmatch(path):
        raise LabError(f"array {path!r}: a name is made of letters, digits, '_', '-', '.' and parts set off by '/'")
    if array.dtype.kind not in "biufc":
        raise LabError(f"array {path}: {array.dtype} cannot be stored; give booleans or numbers")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _replace(path: Path, data: bytes) -> None:
    """Write a whole file so that under its name there is always the old or the new one."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any, where: str, *, strict: bool = False) -> Any:
    """Return `value` made of what YAML holds, or JSON where `strict`; `where` names it in messages."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return _SPELLED[str(value)] if strict and not math.isfinite(value) else float(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str | PurePath | date) and not (strict and value in _NOT_FINITE):
        return str(value)
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(entry, f"{where}.{key}", strict=strict) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{where}.{place}", strict=strict) for place, entry in enumerate(value)]
    raise LabError(f"{where}: {value!r:.60} cannot be stored; give numbers, text, lists, or mappings with text keys")


def _restored(value: Any) -> Any:
    """Return JSON data with the spelled numbers turned back."""
    if isinstance(value, dict):
        return {key: _restored(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_restored(entry) for entry in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
