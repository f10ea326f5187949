"""The owner's side of the watchdog: started before there is light, armed while there is, beaten by every wait."""

import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from labctl.devices import Beam
from labctl.errors import StateError
from labctl.watchdog.charge import Charge, ExitCode

logger = logging.getLogger(__name__)

START_S = 30.0
"""Longest a watchdog may take to become ready: it imports drivers on a machine that may be busy."""

LEAVE_S = 15.0
"""Longest a watchdog may take to end, longer than it may try to switch a beam off."""

BEATS_PER_DEADLINE = 10
"""So many beats, and no more, are sent within a deadline."""

UNANSWERED = 15 * BEATS_PER_DEADLINE
"""After so many beats without an answer the watchdog is taken to be stuck: 30 s at the usual deadline."""

_NAME = "watchdog"
_LIVING: "weakref.WeakSet[Watchdog]" = weakref.WeakSet()


def _forget_in_child() -> None:
    """Close the pipes in a forked process, or the watchdogs would not notice the end of their owner."""
    for watchdog in _LIVING:
        watchdog.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


class Watchdog:
    """A watchdog process and the pipe to it; its end of file tells it that the owner has died.

    Args:
        charge: What it watches over.
    """

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._lit: set[str] = set()
        self._ready = self._lost = False
        self._beat_s = charge.deadline_s / BEATS_PER_DEADLINE
        self._next_s = 0.0
        self._unanswered = 0
        # neither Ctrl-C nor a closed terminal may reach it: it outlives its owner
        apart: dict[str, Any] = (
            {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "labctl.watchdog"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            **apart,
        )
        assert process.stdin  # both were asked for
        assert process.stdout
        self._pipe, self._answers = process.stdin, process.stdout
        _LIVING.add(self)
        with suppress(OSError):  # one that has ended already says so when it is to be ready
            self._write(charge.to_json())

    def require_ready(self) -> None:
        """Wait until the watchdog has imported and built every beam's driver.

        Raises:
            StateError: It cannot, or has ended.
        """
        if self._ready:
            return
        too_late = threading.Timer(START_S, self._process.kill)
        too_late.start()
        try:
            answer = self._answers.readline().strip()
        finally:
            too_late.cancel()
        if answer != "ready":
            reason = answer or f"it ended, or was not ready within {START_S:g} s; its own words are on stderr"
            raise StateError(_NAME, f"no beam is lit without one, and it did not start: {reason}")
        self._ready = True
        threading.Thread(target=self._hear, name="hears watchdog", daemon=True).start()

    def before_light(self, beam: Beam, power_w: float) -> None:
        """Arm it, because a beam is about to be lit.

        Raises:
            StateError: There is no watchdog to arm; the beam must stay dark.
        """
        self.require_ready()
        self._lit.add(beam.name)
        try:
            self._write("lit")
        except OSError as error:
            self._lit.discard(beam.name)
            raise StateError(
                _NAME, f"its process has ended, so {beam.name} stays dark; open the bench again"
            ) from error

    def after_dark(self, beam: Beam) -> None:
        """Note that a beam is dark; the watchdog rests when all are."""
        self._lit.discard(beam.name)
        if not self._lit:
            with suppress(OSError):  # one that has ended is noticed when it is needed
                self._write("dark")

    def beat(self) -> None:
        """Tell it that the owner lives, if there is light and the last time was long enough ago.

        Raises:
            StateError: Its process has ended, or does not answer, while there is light; raised once, to end the run.
        """
        if self._lit and time.monotonic() >= self._next_s:
            self._tell("beat")
            self._unanswered += 1
            if self._unanswered > UNANSWERED and not self._lost:
                self._lose(f"has not answered {UNANSWERED} times")

    @contextmanager
    def patience(self, longest_s: float) -> Iterator[None]:
        """Let the block last up to `longest_s` seconds beyond the deadline without a beat.

        Raises:
            StateError: As `beat`.
        """
        if self._lit:
            self._tell(f"busy {longest_s}")
        try:
            yield
        finally:
            if self._lit:
                self._tell("beat")

    def _tell(self, line: str) -> None:
        if self._lost:  # what makes the beams dark now waits on the clock as well
            return
        self._next_s = time.monotonic() + self._beat_s
        try:
            self._write(line)
        except OSError as error:
            self._lose("has ended", error)

    def _lose(self, what: str, error: OSError | None = None) -> NoReturn:
        self._lost = True
        lit = ", ".join(sorted(self._lit))
        raise StateError(_NAME, f"its process {what} with {lit} on; the run ends, open the bench again") from error

    def _hear(self) -> None:
        with suppress(OSError, ValueError):  # closed when the watchdog has ended
            for _ in self._answers:
                self._unanswered = 0

    def end(self) -> None:
        """Let the process go and wait for it.

        Where a beam could not be made safe by its owner, who must have closed its port by now, the watchdog tries by
        its own path first, and the log says what came of it.
        """
        lit = ", ".join(sorted(self._lit))
        if not lit:
            with suppress(OSError):
                self._write("end")
        self.let_go()
        try:
            code = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        _LIVING.discard(self)
        self._answers.close()
        if lit and code == ExitCode.ALL_DARK:
            logger.warning("%s: switched off by the watchdog, by its own path", lit)
        elif lit:
            logger.error("%s: not known to be dark, nor could the watchdog switch it off; block it by hand", lit)

    def let_go(self) -> None:
        """Close the pipe."""
        with suppress(OSError):
            self._pipe.close()

    def _write(self, line: str) -> None:
        self._pipe.write(f"{line}\n")
        self._pipe.flush()
