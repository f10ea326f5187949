"""What a watchdog is told when it starts: whom it watches, for how long, and how beams are reached without them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Self

from labctl.devices import BeamSettings
from labctl.devices.building import ConnectionSpec, DriverSpec


class ExitCode(IntEnum):
    """How a watchdog's process ends: not needed any more, or what it has come to."""

    ENDED = 0
    NOT_DARK = 1
    NOT_STARTED = 2
    ALL_DARK = 3


@dataclass(frozen=True)
class Charge:
    """What one watchdog watches over.

    Args:
        owner: Process id of the one that has the bench.
        deadline_s: Longest time without a wait of the bench clock while there is light.
        beams: Drivers of all beams.
        instruments_inside: Whether the instruments are simulated inside the owner, and so end with it.
    """

    owner: int
    deadline_s: float
    beams: tuple[DriverSpec, ...]
    instruments_inside: bool = False

    def to_json(self) -> str:
        """Return it as one line of text."""
        beams = [{**_plain(beam), "settings": beam.settings.model_dump(mode="json")} for beam in self.beams]
        return json.dumps({**_plain(self), "beams": beams}, default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` gave, its settings taken as checked."""
        values = json.loads(text)
        return cls(**{**values, "beams": tuple(map(_driver_spec, values["beams"]))})


def _plain(one: Charge | DriverSpec) -> dict[str, Any]:
    return {key: asdict(value) if isinstance(value, ConnectionSpec) else value for key, value in vars(one).items()}


def _driver_spec(values: Mapping[str, Any]) -> DriverSpec:
    settings = BeamSettings.model_construct(**values["settings"])
    connection = ConnectionSpec(**values["connection"]) if values["connection"] else None
    return DriverSpec(**{**values, "settings": settings, "connection": connection})
