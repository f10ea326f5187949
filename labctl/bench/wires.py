"""Instrument simulators that answer a bench's drivers in the place of its instruments."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from labctl.bench.schema import BenchFile
from labctl.clock import Clock
from labctl.devices.building import import_class
from labctl.errors import ConfigError


@contextmanager
def served_wires(file: BenchFile, wired: Collection[str], clock: Clock, light_path: Any) -> Iterator[BenchFile]:
    """Serve the simulators of some devices, and yield the file with a `hardware:` that leads to them.

    A `wire:` of a connection is made from `(name, clock, hardware)`, one of a device from `(name, clock, settings,
    hardware, light_path)` and, where it has a connection, that connection's. Entered, each gives its new `hardware`.

    Args:
        file: The bench.
        wired: Devices whose drivers are to be answered.
        clock: Bench time.
        light_path: The simulated light that the instruments move and see.

    Raises:
        ConfigError: No such class, or its `hardware` is not as it should be.
    """
    shared: dict[str, Any] = {}
    devices, connections = dict(file.devices), dict(file.connections)
    with ExitStack() as served:
        for name in {entry.connection for one, entry in devices.items() if one in wired and entry.connection}:
            entry = connections[name]
            shared[name] = import_class(entry.wire or "", f"connection {name}")(name, clock, entry.hardware)
            connections[name] = entry.model_copy(update={"hardware": served.enter_context(shared[name])})
        for name in (name for name in file.devices if name in wired):
            entry = devices[name]
            extra: Mapping[str, Any] = {"connection": shared[entry.connection]} if entry.connection else {}
            made = import_class(entry.wire or "", f"device {name}")
            try:
                wire = made(name, clock, entry.settings, entry.hardware, light_path=light_path, **extra)
            except (AttributeError, TypeError) as error:
                reason = f"{entry.wire} is none for a {entry.kind} like this ({error})"
                raise ConfigError(f"device {name}: wire: {reason}; name the one that answers its driver") from error
            devices[name] = entry.model_copy(update={"hardware": served.enter_context(wire)})
        yield file.model_copy(update={"devices": devices, "connections": connections})
