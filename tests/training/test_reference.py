"""One reference phase for all cameras: followed, and with each camera's own offset."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.training.reference import (
    EQUAL_PILOTS,
    HeldReference,
    pilot_phases,
    pilot_response,
    pilot_strength,
    turn_back,
)

ANGLES = st.floats(-3, 3)


def pilots(response: np.ndarray, phase_rad: float, n: int = 3) -> np.ndarray:
    return np.tile(response * np.exp(1j * phase_rad), (n, 1))


def wrapped(angle: float) -> float:
    return math.remainder(angle, 2 * math.pi)


@given(phase=ANGLES)
def test_equal_pilots_show_the_phase_itself(phase: float):
    both = pilots(EQUAL_PILOTS, phase)
    for read in (both, np.real(both)):
        for found in pilot_phases(read, EQUAL_PILOTS):
            assert wrapped(found - phase) == pytest.approx(0, abs=1e-9)


@given(strong=st.floats(0.3, 3), weak=st.floats(0.1, 3), turned=st.floats(-0.7, 0.7), start=ANGLES, moved=ANGLES)
def test_uneven_pilots_once_measured_follow_every_move(
    strong: float, weak: float, turned: float, start: float, moved: float
):
    true = np.array([strong, -1j * weak * np.exp(1j * turned)])
    found = pilot_response(pilots(true, start))
    for part in (np.asarray, np.real):
        first = pilot_phases(part(pilots(true, start)), found)[0]
        later = pilot_phases(part(pilots(true, start + moved)), found)[0]
        assert wrapped(later - first - moved) == pytest.approx(0, abs=1e-6)
    assert np.abs(found) == pytest.approx(np.abs(true))


@given(phase=st.floats(-1, 1))
def test_a_reading_is_turned_back_by_its_phase(phase: float):
    fields = np.array([[2.0, -3.0, 1.0 + 1.0j]])
    turned = fields * np.exp(1j * phase)
    assert turn_back(turned, np.array([phase]))[0] == pytest.approx([2, -3, 1], abs=1e-6)
    assert turn_back(np.real(turned), np.array([phase]))[0, :2] == pytest.approx([2, -3], rel=1e-6)


@given(weak=st.floats(0.1, 3), phase=ANGLES, dimmed=st.floats(0, 2))
def test_dimmed_pilots_show_by_how_much_at_any_phase(weak: float, phase: float, dimmed: float):
    response = np.array([1, -1j * weak])
    seen = dimmed * pilots(response, phase)
    assert pilot_strength(seen, response) == pytest.approx(dimmed, abs=1e-9)
    assert pilot_strength(np.real(seen), response) == pytest.approx(dimmed, abs=1e-9)


def test_cameras_read_together_are_centred_and_the_walk_is_followed():
    offsets = {"z": 0.0, "hidden": 0.3, "output": -0.1, "error": 0.5}
    reference, rng, walk = HeldReference(), np.random.default_rng(0), 2.0
    furthest, surprises = [], []
    for step in range(200):
        for group in (("z",), ("hidden", "output"), ("error",)):
            walk += 0.02 * rng.standard_normal()
            held = reference.held_rad(group)
            phases = {camera: wrapped(held + walk + offsets[camera]) for camera in group}
            surprises.append(abs(reference.follow(phases, held)))
            if step > 5:
                furthest.append(max(abs(phase) for phase in phases.values()))
    assert surprises[0] == pytest.approx(2.0, abs=0.1)  # nothing was known of the first camera
    assert max(surprises[10:]) < 0.1
    assert max(furthest) < 0.2 + 0.1  # half the spread within a group, and a walk of a few steps


def test_a_jump_is_reported_as_far_as_it_went():
    reference = HeldReference()
    reference.follow({"z": 0.0}, 0.0)
    assert reference.follow({"z": 0.8}, reference.held_rad(("z",))) == pytest.approx(0.8)
    assert reference.held_rad(("z",)) == pytest.approx(-0.8)
