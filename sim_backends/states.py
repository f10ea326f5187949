"""What twins write into the light path and cameras take out of it: the momentary state of every device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from labctl.devices import Codebook, Frames


class BeamLight(Protocol):
    """What a beam does at the moment it is asked."""

    @property
    def on(self) -> bool:
        """Whether there is light."""
        ...

    @property
    def power_w(self) -> float:
        """Power while it is on."""
        ...

    @property
    def phase_rad(self) -> float:
        """Phase where no sequence plays."""
        ...

    @property
    def detuning_hz(self) -> float:
        """Detuning from line centre."""
        ...

    @property
    def sequence(self) -> NDArray[np.float64] | None:
        """Phases of the next triggers, if any are loaded."""
        ...

    def end_sequence(self) -> None:
        """Know that all triggers of the sequence have come."""
        ...

    def go_dark(self) -> None:
        """Do what a beam does by itself when its link to the computer is lost."""
        ...


@dataclass
class BeamState:
    """What a beam's twin does now: a `BeamLight`; `sequence` holds one phase per trigger of the next sequence."""

    on: bool = False
    power_w: float = 0.0
    phase_rad: float = 0.0
    detuning_hz: float = 0.0
    sequence: NDArray[np.float64] | None = None

    def end_sequence(self) -> None:
        """Know that all triggers of the sequence have come."""
        self.sequence = None

    def go_dark(self) -> None:
        """Do what a beam does by itself when its link to the computer is lost."""
        self.on = False


@dataclass
class MirrorState:
    """What a DMD shows: `indices` (n, modes) of a code, which of them at each trigger, and under what tag numbers."""

    indices: NDArray[np.uint16]
    codebook: Codebook
    order: NDArray[np.integer] = field(default_factory=lambda: np.zeros(1, np.int64))
    numbers: NDArray[np.integer] | None = None


@dataclass
class SensorState:
    """What a camera waits for and holds."""

    exposure_s: float
    next_id: int = 0
    armed: int = 0
    frames: Frames | None = None


@dataclass
class CellState:
    """A reservoir on its way: from `start_c` since `since_s` towards `target_c`."""

    start_c: float
    target_c: float
    since_s: float


@dataclass(frozen=True)
class TableState:
    """What the devices that shape the light do now, by name: beams, DMDs, cells' thermometers, stages' axes in m.

    `phases_rad` are the beams' phases in the shots that are being taken, one number or shape (n,).
    """

    beams: dict[str, BeamLight] = field(default_factory=dict)
    phases_rad: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    mirrors: dict[str, MirrorState] = field(default_factory=dict)
    temperatures_c: dict[str, Callable[[], float]] = field(default_factory=dict)
    positions_m: dict[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Emission:
    """Light that leaves a DMD: each pattern's fields once, and which pattern each shot shows.

    Args:
        fields: Complex fields of every pattern, shape (patterns, modes).
        order: Pattern of each shot, shape (n,).
        factor: What beam power and phase make of it in each shot, shape (n, 1).
    """

    fields: Tensor
    order: Tensor
    factor: Tensor

    def shots(self, fields: Tensor | None = None) -> Tensor:
        """Return the fields (n, modes) of every shot; `fields` stands for what linear optics made of the patterns."""
        return (self.fields if fields is None else fields)[self.order] * self.factor
