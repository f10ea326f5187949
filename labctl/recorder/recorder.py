"""The recorder: a listener that stores every record of a run."""

import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args

import numpy as np
import safetensors.numpy
import yaml
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from labctl.errors import ConfigError, LabError
from labctl.files import replace_file
from labctl.recorder.encoding import plain, sealed, tidy, to_json
from labctl.recorder.reading import CHECKPOINT, digest
from labctl.recorder.software import software
from labctl.recorder.stack import ImageStack
from labctl.records import Record

if TYPE_CHECKING:
    import zarr

Keep = Literal["summary", "sampled", "all"]
"""Which arrays are stored: none, those of all records but `step`, or all.

Checkpoints, weights and the frames of an image stack always are.
"""

SYNC_S = 1.0
"""Shortest time between two forced writes of `steps.jsonl` to the disk."""


class Recorder:
    """A listener that stores every record of a run; memory does not grow with the run.

    As long as it is neither finished nor closed it holds the folder's lock, so that no other process records there.
    Left as a context manager it closes its files; only `finish` ends the run.

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
        self._prepare(Path(root) / f"{begun:%Y-%m-%d}" / f"{begun:%H%M%S}_{name}_{secrets.token_hex(3)}", keep)
        about = {"plan": plan_name, "started": begun.isoformat(timespec="seconds"), "keep": keep, **software()}
        text = yaml.safe_dump(plain({**about, **header}, "header"), sort_keys=False, allow_unicode=True)
        with self._promise():
            self.folder.mkdir(parents=True)
            self._acquire()
            replace_file(self.folder / "run.yaml", text.encode())
            self._steps = (self.folder / "steps.jsonl").open("ab")

    def _prepare(self, folder: Path, keep: Keep) -> None:
        """Take nothing as committed yet."""
        self.folder = folder
        self.keep = keep
        self._began_s = self._synced_s = time.monotonic()
        self._arrays: dict[str, zarr.Array] = {}
        self._stack: ImageStack | None = None
        self._rows: Counter[str] = Counter()  # committed rows of each array; never the array's own length
        self._lines = 0
        self._changes = 0
        self._failure: str | None = None
        self._finished = False
        self._lock = FileLock(folder / "run.lock")

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{self.folder}: another process still runs it; wait for its end, or stop that one with Ctrl-C"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
            line = plain(line, kind, strict=True)
            if kind == "checkpoint":
                self._replace_checkpoint(line, record.arrays)
                return
            arrays = record.arrays
            if kind == "stack":
                self._stack = ImageStack(self.folder, line["values"])
            if self._stack:
                arrays = self._stacked(self._stack, record)
            if kind == "weights":
                self._replace_weights(line["values"], arrays)
            elif self.keep == "all" or (self.keep == "sampled" and kind != "step"):
                rows = {name: self._append_row(f"{kind}/{name}", array) for name, array in arrays.items()}
            self._steps.write(sealed({**line, "arrays": rows, "wall_time": time.time()}))
            self._steps.flush()
            self._lines += 1
            self._changes += kind == "change"
            self._rows.update(f"{kind}/{name}" for name in rows)
            if kind == "weights" or time.monotonic() - self._synced_s >= SYNC_S:
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
            replace_file(self.folder / "summary.json", to_json(plain(body, "summary", strict=True)))
        self.close()
        if self._failure and status != "failed":
            raise LabError(self._failure)

    def close(self) -> None:
        """Let go of the files and the lock; a run that is not finished can be resumed then."""
        try:
            self._steps.close()
        finally:
            self._lock.release()

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

    @staticmethod
    def _stacked(stack: ImageStack, record: Record) -> dict[str, np.ndarray]:
        """Write the frame that belongs into the stack, and return the other arrays."""
        others = dict(record.arrays)
        for name in record.arrays:
            if f"{record.kind}/{name}" == stack.path:
                frame = tidy(stack.path, others.pop(name))
                stack.write(record.values["image"], record.values["place"], frame)
        return others

    def _append_row(self, path: str, array: np.ndarray) -> int:
        array, row = tidy(path, array), self._rows[path]
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
        """Return the array at `path`; one without committed rows is made anew, with one row like `like`."""
        import zarr  # only here: many runs store no arrays, and it is slow to import

        group = zarr.open_group(self.folder / "arrays.zarr", mode="a", zarr_format=3)
        if self._rows[path]:
            return cast("zarr.Array", group[path])
        chunks = (1, *(max(length, 1) for length in like.shape))
        return group.create_array(path, shape=(1, *like.shape), chunks=chunks, dtype=like.dtype, overwrite=True)

    def _replace_checkpoint(self, line: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._sync()
        committed = {"lines": self._lines, "bytes": self._steps.tell(), "changes": self._changes}
        text = to_json({**line, **committed, "rows": self._rows})
        ready = {name: tidy(f"checkpoint/{name}", array) for name, array in arrays.items()}
        about = {"checkpoint": text.decode(), "sha256": digest(text, ready)}
        self._replace_tensors(self.folder / CHECKPOINT, ready, about)

    def _replace_weights(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._sync()
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
        ready = {name: tidy(f"weights/{name}", array) for name, array in arrays.items()}
        self._replace_tensors(self.folder / "weights.safetensors", ready, texts)

    @staticmethod
    def _replace_tensors(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
        try:
            data = safetensors.numpy.save(dict(arrays), metadata=dict(about))
        except SafetensorError as error:
            raise LabError(f"{path.name}: {error}; convert the array, for example to complex64") from error
        replace_file(path, data)

    def _sync(self) -> None:
        self._steps.flush()
        os.fsync(self._steps.fileno())
        self._synced_s = time.monotonic()
