"""How a driver is made from what a bench file says of it."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labctl.clock import Clock
from labctl.devices.base import Device, DeviceSettings
from labctl.errors import ConfigError


@dataclass(frozen=True)
class ConnectionSpec:
    """What drivers of several devices share.

    Args:
        name: Its name in the bench file.
        driver: Its class, as `package.module.Class`.
        hardware: What only that class sees.
    """

    name: str
    driver: str
    hardware: Mapping[str, Any]


@dataclass(frozen=True)
class DriverSpec:
    """One device's driver.

    Args:
        device: Name of the device.
        driver: Its class, as `package.module.Class`.
        settings: Settings of its kind.
        hardware: What only the driver sees.
        connection: What it shares with other devices.
    """

    device: str
    driver: str
    settings: DeviceSettings
    hardware: Mapping[str, Any]
    connection: ConnectionSpec | None = None


def build_driver(spec: DriverSpec, clock: Clock, connections: dict[str, Any]) -> Device:
    """Return the driver, closed; a connection that is not among `connections` yet is made and added.

    Raises:
        ConfigError: There is no such class, or its `hardware` is not as it should be.
    """
    built, extra = import_class(spec.driver, f"device {spec.device}"), {}
    if spec.connection:
        name = spec.connection.name
        if name not in connections:
            shared = import_class(spec.connection.driver, f"connection {name}")
            connections[name] = shared(name, spec.connection.hardware)
        extra["connection"] = connections[name]
    return built(spec.device, clock, spec.settings, hardware=spec.hardware, **extra)


def import_class(path: str, what: str) -> type:
    """Return the class at `package.module.Class`.

    Raises:
        ConfigError: No such module or class.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{what}: no class '{path}' can be imported ({error}); write package.module.Class") from error
    if not isinstance(found, type):
        raise ConfigError(f"{what}: '{path}' is no class; write package.module.Class")
    return found


def import_device(path: str, name: str, kind: str) -> type[Device]:
    """Return the class of a device of some kind (`Device.kind`).

    Raises:
        ConfigError: No such class, or one of something else.
    """
    found = import_class(path, f"device {name}")
    if not (issubclass(found, Device) and found.kind == kind):
        raise ConfigError(f"device {name}: '{path}' is no {kind}; name a twin or driver of that kind")
    return found
