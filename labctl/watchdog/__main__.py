"""The watchdog's process: `python -m labctl.watchdog`, started by the owner of a bench, who speaks on standard input.

The first line says what to watch over. Then `lit` and `beat` say that there is light and that its owner lives,
`busy 60` that its next word may take 60 s longer, `dark` that there is no light, `end` that no watchdog is needed any
more. It answers the first line with `ready`, or why not, and every `beat` with `here`.

Its exit code is 0 after `end`, 3 when it had to act and every beam is dark, 1 when one is not known to be, 2 when it
could not start.
"""

import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Literal

from labctl.clock import WallClock
from labctl.devices.building import build_driver
from labctl.errors import LabError
from labctl.watchdog.charge import Charge, ExitCode
from labctl.watchdog.rescue import switch_off

_GONE_S = 1.0
"""Longest wait for the end of an owner that was killed."""

_DYING_S, _LOOK_S = 0.1, 0.002
"""Longest wait for the ports of an owner whose pipe has been closed, and how often to look."""

_LATE_S = 0.1
"""A watchdog that wakes up later than this was itself held up, and so may its owner be: it gets as long again."""

_END_OF_FILE = ""


def main() -> ExitCode:
    """Watch until the owner takes its leave, dies or hangs; return the exit code."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # they are the owner's to obey; this process ends after it
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    charge = Charge.from_json(sys.stdin.readline())
    try:
        connections: dict[str, Any] = {}
        for beam in charge.beams:
            build_driver(beam, WallClock(), connections)
    except LabError as error:
        _answer(str(error).replace("\n", "; "))
        return ExitCode.NOT_STARTED
    _answer("ready")
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    end = _watch(lines, charge.deadline_s)
    if end == "ended":
        return ExitCode.ENDED
    if end == "hung":
        _end_owner(charge, lines)
    return _rescue(charge, end)


def _read(lines: "queue.SimpleQueue[str]") -> None:
    """Hand on what the owner says, and at last that it says no more."""
    with suppress(OSError):
        for line in sys.stdin:
            lines.put(line.strip())
    lines.put(_END_OF_FILE)


def _watch(lines: "queue.SimpleQueue[str]", deadline_s: float) -> Literal["ended", "gone", "hung"]:
    """Return how the owner ended."""
    armed, longest_s = False, deadline_s
    while True:
        since_s = time.monotonic()
        try:
            line = lines.get(timeout=longest_s if armed else None)
        except queue.Empty:
            if time.monotonic() - since_s < longest_s + _LATE_S:
                return "hung"
            try:
                line = lines.get(timeout=_LATE_S)
            except queue.Empty:
                return "hung"
        if line == _END_OF_FILE:
            return "gone"
        if line == "end":
            return "ended"
        word, _, extra_s = line.partition(" ")
        if word == "beat":
            with suppress(OSError):  # its owner has just gone, which the next line says
                _answer("here")
        armed, longest_s = word != "dark", deadline_s + float(extra_s or 0)


def _end_owner(charge: Charge, lines: "queue.SimpleQueue[str]") -> None:
    """End the owner the hard way and wait until it has gone, so that its ports are free."""
    with suppress(OSError):  # it has just ended by itself
        os.kill(charge.owner, getattr(signal, "SIGKILL", signal.SIGTERM))
    until_s = time.monotonic() + _GONE_S
    with suppress(queue.Empty):  # a child that shares its pipe must not keep the light on
        while lines.get(timeout=max(until_s - time.monotonic(), 0.0)) != _END_OF_FILE:
            pass


def _wait_until_gone(charge: Charge) -> None:
    """Wait until the ports of a dying owner are closed, as far as that can be seen: POSIX then gives its child away."""
    clock = WallClock()
    until_s = time.monotonic() + _DYING_S
    while os.name == "posix" and os.getppid() == charge.owner and time.monotonic() < until_s:
        clock.wait(_LOOK_S)


def _rescue(charge: Charge, end: Literal["gone", "hung"]) -> ExitCode:
    """Switch every beam off, say how long that took, and return the exit code."""
    begin_s = time.monotonic()
    _wait_until_gone(charge)
    what = f"its owner (process {charge.owner}) " + (
        "went without making its beams safe"
        if end == "gone"
        else f"did not wait on the bench clock for {charge.deadline_s:g} s while there was light: it was stuck and has "
        "been ended (if it was only computing, let it say so, `with bench.computing():`, or give `watchdog: {deadline: "
        "...}` of the bench file more time)"
    )
    if charge.instruments_inside:
        _log(f"{what}; its instruments were simulated inside it and went with it")
        return ExitCode.ALL_DARK
    code, rescues = ExitCode.ALL_DARK, switch_off(charge.beams, begin_s)
    _log(what)  # the beams are being switched off by now
    for rescued in rescues:
        if rescued.error:
            _log(f"{rescued.beam}: NOT KNOWN TO BE DARK, block it by hand now: {rescued.error}")
            code = ExitCode.NOT_DARK
        else:
            late = f" (it could not be reached at once: {rescued.at_first})" if rescued.at_first else ""
            _log(f"{rescued.beam}: dark, as its hardware says, {rescued.after_s * 1e3:.0f} ms after that{late}")
    return code


def _answer(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log(line: str) -> None:
    # whoever would read it may be gone as well, and pythonw has no stderr; the beams still have to go off
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"labctl watchdog: {line}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    # threads of drivers that hang are left behind
    code = main()
    os._exit(code)
