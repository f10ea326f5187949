"""Beams' instrument simulators in a process of their own that watches their light, started by `labctl safety-test`.

`python -m labctl.cli.safety.wires BENCH BEAMS...` serves the `wire:` of these beams of a bench file. Its first line is
the `hardware` that leads to them; every change of a beam's light follows, seen within about a millisecond.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from labctl.bench import load_bench
from labctl.bench.wires import served_wires
from labctl.clock import WallClock

_LOOK_S = 0.001


def main(bench: str, beams: Sequence[str]) -> None:
    """Serve the instruments and tell of their light until standard input ends."""
    light = SimpleNamespace(beams={})
    with served_wires(load_bench(bench), beams, WallClock(), light) as file:
        devices = {name: file.devices[name].hardware for name in beams}
        connections = {name: entry.hardware for name, entry in file.connections.items()}
        _tell({"devices": devices, "connections": connections})
        ended = threading.Event()
        threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
        was = dict.fromkeys(light.beams, False)
        while not ended.wait(_LOOK_S):
            for name, beam in light.beams.items():
                if beam.on is not was[name]:
                    was[name] = not was[name]
                    _tell({"instrument": 0, "output": name, "light": was[name], "time_ns": time.monotonic_ns()})


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _tell(values: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
