"""The ways in which the owner of a bench can end, and what is asked of an owner that is to end so."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

BAR_S = 0.5
"""Within this the light must be off, after the end of its owner or after the deadline that a hang is noticed by."""

LOW = 0.01
"""Power at which beams are lit, as a fraction of their ceiling."""


class Way(StrEnum):
    """How the owner ends."""

    RETURN = "return"
    EXCEPTION = "exception"
    INTERRUPT = "Ctrl-C"
    TERMINATE = "SIGTERM"
    KILL = "kill -9"
    HANG = "hang"
    FREEZE = "freeze"

    @property
    def needs_watchdog(self) -> bool:
        """Whether the owner cannot switch its beams off itself."""
        return self in (Way.KILL, Way.HANG, Way.FREEZE)

    @property
    def waits(self) -> bool:
        """Whether the end comes from outside: the owner goes on until then."""
        return self in (Way.KILL, Way.FREEZE)


@dataclass(frozen=True)
class Request:
    """What an owner is to do: open a bench, light all its beams, and end.

    Args:
        bench: Shipped name or path of a bench file.
        way: How to end.
        overrides: Changes to the bench file, by dotted path.
        simulate: As `Bench` takes it.
        restless: Whether beams are switched and set at random until the end, not left on.
        seed: Of that.
    """

    bench: str
    way: Way
    overrides: Mapping[str, Any] = field(default_factory=dict)
    simulate: bool | str | tuple[str, ...] = False
    restless: bool = False
    seed: int = 0

    def to_json(self) -> str:
        """Return it as one line of text."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` gave."""
        values = json.loads(text)
        names = values["simulate"]
        return cls(**{
            **values, "way": Way(values["way"]), "simulate": tuple(names) if isinstance(names, list) else names
        })  # fmt: skip
