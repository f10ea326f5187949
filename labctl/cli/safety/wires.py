"""Beams' instrument simulators in a process of their own that watches their light, started by `labctl safety-test`.

`python -m labctl.cli.safety.wires ENTRIES` takes as JSON the `connections` and `devices` of a bench file that have a
`wire:` and are of beams. Its first line is the `hardware` that leads to them; every change of a beam's light follows,
seen within about a millisecond.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from labctl.clock import WallClock
from labctl.devices import BeamSettings
from labctl.devices.building import import_class

_LOOK_S = 0.001


def main(entries: Mapping[str, Any]) -> None:
    """Serve the instruments and tell of their light until standard input ends."""
    clock, light = WallClock(), SimpleNamespace(beams={})
    shared: dict[str, Any] = {}
    with ExitStack() as served:
        hardware: dict[str, dict[str, Any]] = {"connections": {}, "devices": {}}
        for name, entry in entries["connections"].items():
            shared[name] = import_class(entry["wire"], f"connection {name}")(name, clock, entry.get("hardware", {}))
            hardware["connections"][name] = served.enter_context(shared[name])
        for name, entry in entries["devices"].items():
            made = import_class(entry["wire"], f"device {name}")
            extra = {"connection": shared[entry["connection"]]} if entry.get("connection") else {}
            settings = BeamSettings.model_validate(entry["settings"])
            wire = made(name, clock, settings, entry.get("hardware", {}), light_path=light, **extra)
            hardware["devices"][name] = served.enter_context(wire)
        _tell(hardware)
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
    main(json.loads(sys.argv[1]))
