"""One line of what a bench's light can do."""

from dataclasses import dataclass

HEADROOM = 0.9
"""Brightest a camera may be, as a share of its full well."""


@dataclass(frozen=True)
class PowerRow:
    """One plane of the bench.

    Args:
        plane: Where.
        what: Which quantity.
        required: What the bench file asks for there, with unit.
        available: What there is, with unit.
        able: Whether that suffices.
    """

    plane: str
    what: str
    required: str
    available: str
    able: bool = True
