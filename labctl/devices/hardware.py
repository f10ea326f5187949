"""What only a driver is told of its device: serial number, port, library; checked when the driver is made."""

from collections.abc import Mapping
from typing import Any, TypeVar

from labctl.documents import Document, StrictModel

H = TypeVar("H", bound="Hardware")


class Hardware(StrictModel):
    """What every driver takes from its device's `hardware:`; each driver adds its own keys.

    Args:
        serial: Serial number, to which calibrations are bound.
    """

    serial: str | None = None


def read_hardware(model: type[H], name: str, hardware: Mapping[str, Any]) -> H:
    """Return the `hardware:` of device or connection `name` as its driver's `model`.

    Raises:
        ConfigError: A key is unknown, missing or wrong; names it, and the nearest or all that there are.
    """
    return Document.of(f"hardware of {name}", hardware).validate(model)
