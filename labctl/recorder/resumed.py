"""A recorder that goes on where the last checkpoint of a run is."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from labctl.errors import ConfigError
from labctl.recorder.encoding import plain, to_json
from labctl.recorder.reading import CHECKPOINT, read_checkpoint, read_records, read_run, read_summary
from labctl.recorder.recorder import Recorder
from labctl.recorder.software import software
from labctl.recorder.stack import STACK, ImageStack
from labctl.records import Record


class ResumedRecorder(Recorder):
    """Records on into the folder of a run that was stopped, killed or failed.

    What was recorded after the last checkpoint is forgotten: lines are cut off, rows will be overwritten. Without a
    checkpoint the run starts from its beginning. `run.yaml` stays as it was; `resumes.jsonl` gets a line that says
    when, from where and with which software the run went on.

    Args:
        run: Folder of the run.

    Attributes:
        header: Contents of `run.yaml`.
        checkpoint: Where to go on, with all its arrays; None from the beginning.
        changes: Values of live settings that had been changed before the checkpoint, in order.
        other_software: What has another version than when the run began, as `name was -> is`.

    Raises:
        ConfigError: It is no folder of a run, the run has completed, its files are damaged, or another process still
            runs it.
        LabError: Its files cannot be written.
    """

    def __init__(self, run: Path) -> None:
        self.header = read_run(run)
        self._prepare(run, self.header["keep"])
        with self._promise():
            self._acquire()
        try:
            self._go_back()
        except BaseException:
            self._lock.release()
            raise

    def _go_back(self) -> None:
        ended = read_summary(self.folder)
        if ended.get("status") == "completed":
            raise ConfigError(f"{self.folder}: the run has completed; there is nothing to resume")
        about, arrays = read_checkpoint(self.folder) if (self.folder / CHECKPOINT).is_file() else ({}, {})
        self.checkpoint = (
            Record("checkpoint", about["index"], about["bench_time_s"], about["values"], arrays) if about else None
        )
        self._lines, self._changes = about.get("lines", 0), about.get("changes", 0)
        self._rows = Counter(about.get("rows", {}))
        if about and (self.folder / STACK).is_dir():
            with self._promise():
                self._stack = ImageStack(self.folder)
        self._kept, self._ended, self._begun = about.get("bytes", 0), ended, False
        steps = self.folder / "steps.jsonl"
        with self._promise():
            if (steps.stat().st_size if steps.exists() else 0) < self._kept:
                raise ConfigError(f"{steps}: is shorter than at the checkpoint; restore the file from a copy")
            self._steps = steps.open("ab")
        kept = islice(read_records(self.folder), self._lines)
        self.changes = [record["values"] for record in kept if record["kind"] == "change"]
        self.other_software = _differences(self.header, software())

    def __call__(self, record: Record) -> None:
        """Store a record, as `Recorder` does; the first one ends what came after the checkpoint."""
        self._begin()
        super().__call__(record)

    def finish(self, status: str, summary: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Close the run, as `Recorder` does."""
        self._begin()
        super().finish(status, summary, error)

    def _begin(self) -> None:
        """Forget what was recorded after the checkpoint: not before the run goes on, for it may be refused."""
        if self._begun:
            return
        self._begun = True
        with self._promise():
            self._steps.truncate(self._kept)
            self._steps.seek(self._kept)
            (self.folder / "summary.json").unlink(missing_ok=True)
            self._note(self._ended)

    def _note(self, ended: dict[str, Any]) -> None:
        about = {"resumed": datetime.now().astimezone().isoformat(timespec="seconds"), "lines": self._lines}
        about |= {"ended": ended.get("status", "killed"), **software()}
        with (self.folder / "resumes.jsonl").open("ab") as file:
            file.write(to_json(plain(about, "resume", strict=True)) + b"\n")


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    was = {**then.get("versions", {}), "commit": then.get("commit")}
    is_now = {**now["versions"], "commit": now["commit"]}
    return [f"{name} {was.get(name)} -> {one}" for name, one in is_now.items() if was.get(name) != one]
