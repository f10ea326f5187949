"""One way to end, tried on an owner in a process of its own."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from labctl.cli.safety.instruments import InstrumentProcess, Output
from labctl.cli.safety.way import BAR_S, Request, Way
from labctl.errors import LabError

START_S = 120.0
"""Longest until every beam is lit: Python, the bench, its devices."""

END_S = 30.0
"""Longest until the owner and its watchdog have ended, beyond the deadline that a hang is noticed by; and longest until
an owner has ended that is told to."""

_DARK = ": dark, "
"""What the watchdog says of a beam that is."""

Strike = Callable[["subprocess.Popen[str]"], None]


@dataclass(frozen=True)
class Trial:
    """What came of one way.

    Args:
        way: How the owner ended.
        after_s: Seconds from its end, or from its last sign of life, until all beams were dark; None where they are not
            known to be.
        bar_s: What is allowed.
        measured_by: Whose clock and eye that was.
        exit_code: Of the owner.
        words: What owner and watchdog wrote to stderr.
    """

    way: Way
    after_s: float | None
    bar_s: float
    measured_by: str
    exit_code: int
    words: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it was dark in time."""
        return self.after_s is not None and self.after_s <= self.bar_s


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process the hard way."""
    process.kill()


def try_way(
    request: Request,
    deadline_s: float,
    instruments: InstrumentProcess | None = None,
    strike: Strike = kill,
    delay_s: float = 0.0,
    outputs: Sequence[Output] = (),
) -> Trial:
    """Let an owner light its beams and end, and return when they were dark.

    Args:
        request: What the owner does.
        deadline_s: Deadline of its watchdog.
        instruments: Who sees the light; without them the owner's and the watchdog's readings are believed.
        strike: What is done to an owner that waits to be killed.
        delay_s: Seconds after which that is done.
        outputs: Which outputs of the instruments have to be dark; all by default.

    Raises:
        LabError: The owner did not get as far as lighting its beams.
    """
    with _Owner(request) as owner:
        lit = owner.hear("lit", START_S)
        if lit["dark"]:
            raise LabError(f"these beams did not report light when they were on: {', '.join(lit['dark'])}")
        if request.way.waits:
            threading.Event().wait(delay_s)
            end_ns = time.monotonic_ns()
            strike(owner.process)
        else:
            end_ns = owner.hear("ending", START_S)["time_ns"]
        exit_code, words = owner.end(END_S + deadline_s)
        if instruments:
            dark_ns, by = instruments.dark_since_ns(outputs, timeout_s=1.0), "instruments, in another process"
        elif request.way.needs_watchdog:
            dark_ns, by = owner.dark_by_watchdog_ns(lit["watched"]), "watchdog, by its own readings"
        else:
            dark_ns, by = owner.dark_ns, "owner, by its own readings"
    after_s = None if dark_ns is None else max(dark_ns - end_ns, 0) / 1e9
    bar_s = BAR_S + (deadline_s if request.way in (Way.HANG, Way.FREEZE) else 0.0)
    return Trial(request.way, after_s, bar_s, by, exit_code, words)


class _Owner:
    """The process that has the bench, and what it and its watchdog say."""

    def __init__(self, request: Request) -> None:
        command = [sys.executable, "-m", "labctl.cli.safety.owner", request.to_json()]
        path = os.pathsep.join(filter(None, sys.path))
        self.process = process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        self.dark_ns: int | None = None
        self._dark_by_watchdog: list[int] = []
        self._failed = False
        self._words: list[str] = []
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        assert process.stdout  # both were asked for
        assert process.stderr
        self._readers = [
            threading.Thread(target=self._read_events, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_words, args=(process.stderr,), daemon=True),
        ]

    def hear(self, event: str, timeout_s: float) -> dict[str, Any]:
        """Return the next event, which has to be this one."""
        try:
            heard = self._events.get(timeout=timeout_s)
        except queue.Empty:
            raise LabError(f"the owner did not come to '{event}' within {timeout_s:g} s") from None
        if heard["event"] != event:
            words = self.end(END_S)[1]  # all of them: they come by another pipe than events
            errors = [word.partition(": ")[2] for word in words if word.startswith("ERROR ")]
            reason = (errors or words or ["it said nothing"])[-1]  # what came before is why, and tracebacks
            raise LabError(f"the owner did not come to '{event}': {reason}")
        return heard

    def end(self, timeout_s: float) -> tuple[int, tuple[str, ...]]:
        """Wait until the owner and its watchdog, who share stderr, have ended; return exit code and words."""
        end_s = time.monotonic() + timeout_s
        for reader in self._readers:
            reader.join(max(end_s - time.monotonic(), 0.0))
        return self._stop(), tuple(self._words)

    def _stop(self) -> int:
        """End the process and return its exit code; one that still has beams to switch off may do so."""
        try:
            self.process.terminate()
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def dark_by_watchdog_ns(self, beams: int) -> int | None:
        """Return when the watchdog had said of the last of so many beams that it is dark; None where it has not."""
        known = not self._failed and len(self._dark_by_watchdog) >= beams
        return max(self._dark_by_watchdog, default=None) if known else None

    def _read_events(self, stream: IO[str]) -> None:
        for line in stream:
            if not line.startswith('{"event"'):  # drivers may chat
                continue
            event = json.loads(line)
            if event["event"] == "dark":
                self.dark_ns = event["time_ns"]
            self._events.put(event)
        self._readers[1].join(1.0)  # the words explain why there are no more events
        self._events.put({"event": "end"})

    def _read_words(self, stream: IO[str]) -> None:
        for line in stream:
            now_ns = time.monotonic_ns()
            self._words.append(line.rstrip())
            if line.startswith("labctl watchdog: "):
                self._failed |= "NOT KNOWN TO BE DARK" in line
                if _DARK in line:
                    self._dark_by_watchdog.append(now_ns)

    def __enter__(self) -> "_Owner":
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
