"""The reference's phase, held against its drift: what the pilots of every reading say, and what is set next."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LARGEST_PHASE_RAD = 0.3
"""Furthest a batch's phase may move from where it was expected; there 95 % of a reading's slope is left (DESIGN 6)."""

LARGEST_OFFSET_RAD = 1.0
"""Furthest a camera may stand from those read with it; half of a reading's slope is left there."""

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


def pilot_response(now: NDArray[np.floating], quarter_later: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return how strong and where in phase a camera's two pilots are, shape (2,): pilot k reads Re(r_k exp(i phase)).

    Uneven light and a misaligned panel weaken one pilot more than the other, and turn it. Taken for equal, the pair
    would show a phase that moves up to twice as fast as the reference does, and a loop that follows it would swing.

    Args:
        now: Fields of the two pilots, shape (n, 2).
        quarter_later: The same with the reference a quarter period further.

    Returns:
        The response; phase 0 is where the in-phase pilot and the shifted one, on average, say so.
    """
    seen = now.mean(axis=0) - 1j * quarter_later.mean(axis=0)
    middle = seen[0] + 1j * seen[1]
    return np.asarray(seen * np.conj(middle) / abs(middle))


def pilot_phase(pilots: NDArray[np.floating], response: NDArray[np.complex128]) -> float:
    """Return the phase that the mean of `pilots` (n, 2) shows, given their `response` (2,)."""
    parts = np.stack([response.real, -response.imag], axis=1)
    cosine, sine = np.linalg.solve(parts, pilots.mean(axis=0))
    return math.atan2(sine, cosine)


def _turn(phase_rad: float) -> float:
    """Return the phase within half a turn of 0."""
    return math.remainder(phase_rad, 2 * math.pi)
