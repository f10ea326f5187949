"""Beams switched off by a path of the watchdog's own, all at once, so that one that hangs holds up no other."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.clock import WallClock
from labctl.devices import Device
from labctl.devices.building import DriverSpec, build_driver
from labctl.errors import DeviceTimeout

RETRY_S = 2.0
"""How long a beam that cannot be reached is tried again: the dying owner may still hold its port."""

GIVE_UP_S = 10.0
"""After this a beam whose driver has not come back is given up."""

_PAUSE_S = 0.02


@dataclass(frozen=True)
class Rescued:
    """What became of one beam.

    Args:
        beam: Its name.
        after_s: Seconds from the beginning until that was known.
        error: Why it is not known to be dark; None where its hardware says that it is.
        at_first: What went wrong before it could be reached, if anything did.
    """

    beam: str
    after_s: float
    error: Exception | None = None
    at_first: Exception | None = None


def switch_off(beams: Sequence[DriverSpec], begin_s: float) -> Iterator[Rescued]:
    """Open every beam at once, bring it to its safe state, confirm that by reading; return what becomes of each.

    Each has a thread; those that share a connection take turns on it.

    Args:
        beams: How to reach them.
        begin_s: When the owner had gone, on `time.monotonic`.
    """
    results: queue.SimpleQueue[Rescued] = queue.SimpleQueue()
    connections: dict[str, Any] = {}
    for beam in [build_driver(spec, WallClock(), connections) for spec in beams]:
        threading.Thread(target=lambda one: results.put(_made_dark(one, begin_s)), args=(beam,), daemon=True).start()
    return _gather(beams, begin_s, results)


def _gather(beams: Sequence[DriverSpec], begin_s: float, results: "queue.SimpleQueue[Rescued]") -> Iterator[Rescued]:
    missing = [beam.device for beam in beams]
    while missing:
        try:
            rescued = results.get(timeout=max(begin_s + GIVE_UP_S - time.monotonic(), 0.0))
        except queue.Empty:
            break
        missing.remove(rescued.beam)
        yield rescued
    for name in missing:
        hung = DeviceTimeout(name, f"its driver did not come back within {GIVE_UP_S:g} s; check its power and cable")
        yield Rescued(name, GIVE_UP_S, hung)


def _made_dark(beam: Device, begin_s: float) -> Rescued:
    """Make one beam dark, trying until it is or that takes too long; it is left open, as closing may take its time."""
    at_first = None
    while True:
        try:
            if not beam.is_open:
                beam.open()
            beam.make_safe()
        except Exception as error:  # whatever a vendor's code raises, it is tried again
            now_s = time.monotonic()
            if now_s - begin_s > RETRY_S:
                return Rescued(beam.name, now_s - begin_s, error)
            at_first = at_first or error
        else:
            return Rescued(beam.name, time.monotonic() - begin_s, at_first=at_first)
        beam.clock.wait(_PAUSE_S)
