"""The reference's phase, held against its drift: what the pilots of every reading say, and what is set next."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Fields = NDArray[np.floating] | NDArray[np.complexfloating]
"""Readings in one quadrature are real, in two complex."""

LARGEST_PHASE_RAD = 0.3
"""Furthest a batch's phase may move from where it was expected; there 95 % of a reading's slope is left (DESIGN 6)."""

LARGEST_OFFSET_RAD = 1.0
"""Furthest a camera may stand from those read with it; half of a reading's slope is left there."""

READABLE_COSINE = 0.5
"""Cosine of a mode's phase below which one quadrature does not read it: at 60 degrees its noise has doubled."""

ALL_MODES_ALIKE = np.zeros(1)

OFFSET_GAIN = 0.05
"""Share of an unexpected phase that is taken for a camera's own offset: it stands still, the common phase walks."""

EQUAL_PILOTS = np.array([1, -1j])
"""Response of two equal pilots, one a quarter period shifted (see `pilot_response`)."""


class HeldReference:
    """One actuator for all cameras: it follows the common phase, and each camera's static offset is learned.

    A camera reads the phase held + common + its own offset. Cameras read together are centred on 0, so that none
    stands further out than it must. The first camera ever read defines offset 0.
    """

    def __init__(self) -> None:
        self.common_rad = 0.0
        self._offsets_rad: dict[str, float] = {}

    def state(self) -> dict[str, Any]:
        """Return what has been learned, for `restore`."""
        return {"common_rad": self.common_rad, "offsets_rad": dict(self._offsets_rad)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.common_rad, self._offsets_rad = state["common_rad"], dict(state["offsets_rad"])

    def held_rad(self, cameras: Sequence[str]) -> float:
        """Return the phase to set for reading `cameras` together."""
        return self.common_rad - sum(self._offsets_rad.get(camera, 0.0) for camera in cameras) / len(cameras)

    def follow(self, phases_rad: Mapping[str, float], held_rad: float) -> float:
        """Take in the phases that cameras read at `held_rad`; return the largest distance from what was expected.

        A camera that is read for the first time is expected at 0.
        """
        expected = {
            camera: held_rad - self.common_rad + offset
            for camera, offset in self._offsets_rad.items()
            if camera in phases_rad
        }
        surprise = {camera: _turn(phases_rad[camera] - phase) for camera, phase in expected.items()}
        if surprise:
            self.common_rad -= sum(surprise.values()) / len(surprise)
        elif not self._offsets_rad:
            self.common_rad -= next(iter(phases_rad.values()))
        for camera, phase in phases_rad.items():
            if camera in surprise:
                if abs(surprise[camera]) <= LARGEST_PHASE_RAD:  # a jump says nothing about offsets
                    self._offsets_rad[camera] += OFFSET_GAIN * surprise[camera]
            else:
                self._offsets_rad[camera] = _turn(phase - held_rad + self.common_rad)
        return max((surprise.get(camera, phase) for camera, phase in phases_rad.items()), key=abs)


def pilot_response(pilots: Fields) -> NDArray[np.complex128]:
    """Return how strong and where in phase a camera's two pilots are, shape (2,): pilot k reads Re(r_k exp(i phase)).

    Uneven light and a misaligned panel weaken one pilot more than the other, and turn it. Taken for equal, the pair
    would show a phase that moves up to twice as fast as the reference does, and a loop that follows it would swing.

    Args:
        pilots: Complex fields of the two pilots, shape (n, 2).

    Returns:
        The response; phase 0 is where the in-phase pilot and the shifted one, on average, say so.
    """
    seen = pilots.mean(axis=0)
    middle = seen[0] + 1j * seen[1]
    return np.asarray(seen * np.conj(middle) / abs(middle))


def pilot_phases(pilots: Fields, response: NDArray[np.complex128]) -> NDArray[np.floating]:
    """Return the phase that pilots show, given their `response` (2,): of each reading, or of all where they are real.

    Args:
        pilots: Fields of the two pilots, shape (n, 2): complex, or one quadrature.
        response: From `pilot_response`.

    Returns:
        Phases of shape (n,) for complex fields, (1,) for real ones, whose noise is averaged.
    """
    if np.iscomplexobj(pilots):
        return np.angle(pilots @ np.conj(response))
    cosine, sine = _quadratures(np.real(pilots).mean(axis=0), response)
    return np.array([math.atan2(sine, cosine)])


def pilot_strength(pilots: Fields, response: NDArray[np.complex128]) -> float:
    """Return how strong pilots are over their `response`, rms over readings, at whatever phase; as `pilot_phases`."""
    if np.iscomplexobj(pilots):
        seen = np.abs(pilots @ np.conj(response)) / np.sum(np.abs(response) ** 2)
        return float(np.sqrt(np.mean(seen**2)))
    return float(np.sqrt(np.mean(np.sum(_quadratures(np.real(pilots).T, response) ** 2, axis=0))))


def _quadratures(pilots: NDArray[np.floating], response: NDArray[np.complex128]) -> NDArray[np.floating]:
    """Return cosine and sine of the phase, shape (2, ...), from one quadrature of the pilots, of the same shape."""
    (one, other), (first, second) = response, pilots
    both = np.stack([one.imag * second - other.imag * first, one.real * second - other.real * first])
    return both / (one * np.conj(other)).imag


def mean_phase(phases_rad: NDArray[np.floating]) -> float:
    """Return the mean of phases on the circle."""
    return float(np.angle(np.exp(1j * phases_rad).mean()))


def unreadable(fields: Fields, phases_rad: NDArray[np.floating], own_rad: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return where one quadrature says too little of a field; arguments as for `turn_back`."""
    if np.iscomplexobj(fields):
        return np.zeros((1, 1), bool)
    return np.abs(np.cos(phases_rad[:, None] + own_rad)) < READABLE_COSINE


def turn_back(
    fields: Fields, phases_rad: NDArray[np.floating], own_rad: NDArray[np.floating] = ALL_MODES_ALIKE
) -> NDArray[np.float32]:
    """Return the in-phase part of fields (n, modes) that were read at `phases_rad` (n,) or (1,).

    One quadrature alone has lost the cosine of the phase, and the other part of the field with it; 0 where it is
    unreadable.

    Args:
        fields: Complex fields, or one quadrature.
        phases_rad: Phase of every reading, or of all.
        own_rad: Phase of every mode beside its camera's, (modes,) or (1,).
    """
    phases = phases_rad[:, None] + own_rad
    if np.iscomplexobj(fields):
        return np.real(fields * np.exp(-1j * phases)).astype(np.float32)
    unread = unreadable(fields, phases_rad, own_rad)
    return np.where(unread, 0, fields / np.where(unread, 1, np.cos(phases))).astype(np.float32)


def _turn(phase_rad: float) -> float:
    """Return the phase within half a turn of 0."""
    return math.remainder(phase_rad, 2 * math.pi)
