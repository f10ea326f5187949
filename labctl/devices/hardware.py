"""What only a driver is told of its device: serial number, port, library; checked when the driver is made."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from labctl.documents import StrictModel
from labctl.errors import ConfigError

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
        ConfigError: A key is unknown, missing or wrong; names them, and the keys there are.
    """
    try:
        return model.model_validate(dict(hardware))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        keys = ", ".join(field.alias or key for key, field in model.model_fields.items())
        raise ConfigError(f"{name}: hardware: {wrong}; its driver takes: {keys}") from None
