"""Shots become frames: one per shot and camera, in order, under what the shot says."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.acquisition import Shots, measure
from labctl.devices import DMD, Beam, PatternStack
from labctl.errors import ConfigError, LimitError
from tests.acquisition.conftest import (
    BOTH_WAYS,
    PUMPED,
    ROUNDING,
    alone,
    assert_as_before,
    assert_each_as_alone,
    error_shot,
    input_shot,
    shot,
    used,
)

if TYPE_CHECKING:
    from tests.conftest import OpenTable, Table


def test_what_a_beam_cannot_take_as_one_sequence_is_taken_as_several(
    table: "Table", stacks: dict[str, PatternStack], monkeypatch: pytest.MonkeyPatch
):
    shots = [input_shot(k % 5, 0.3 * k) for k in range(7)]
    whole = measure(table.bench, used(stacks, *shots), shots).frames["camera_z1"]
    loaded: list[int] = []
    reference, load = table.bench.beam("reference"), Beam.load_phases
    monkeypatch.setattr(reference, "max_phases", 3)
    monkeypatch.setattr(Beam, "load_phases", lambda beam, rad: (loaded.append(len(rad)), load(beam, rad))[1])
    parts = measure(table.bench, used(stacks, *shots), shots).frames["camera_z1"]
    assert loaded == [3, 3, 1]
    assert np.abs(parts.counts.astype(int) - whole.counts.astype(int)).max() <= ROUNDING


# ---- what comes back


def test_frame_k_shows_the_pattern_of_shot_k(table: "Table", stacks: dict[str, PatternStack]):
    taken = assert_each_as_alone(table.bench, stacks, [input_shot(k) for k in (3, 0, 0, 4, 1, 2, 3)])
    different = np.abs(np.diff(taken.frames["camera_z1"].counts[[0, 1, 3, 4, 5]].astype(int), axis=0))
    assert different.max(axis=(1, 2)).min() > 100 * ROUNDING


def test_every_shot_has_its_own_phase(table: "Table", stacks: dict[str, PatternStack]):
    shots = [input_shot(k, phase) for k in (0, 1) for phase in (0.0, math.pi, math.pi / 2)]
    assert_each_as_alone(table.bench, stacks, shots)


def test_two_dmds_step_together(table: "Table", stacks: dict[str, PatternStack]):
    shots = [error_shot(hidden, error) for hidden, error in ((0, 1), (1, 1), (1, 0), (4, 3))]
    assert_each_as_alone(table.bench, stacks, shots)


def test_beams_cameras_and_dmds_may_change_between_shots(table: "Table", stacks: dict[str, PatternStack]):
    dark = shot(("camera_z1",), frozenset({"reference"}), {"dmd_input": 0})
    shots = [input_shot(0), dark, input_shot(1), error_shot(2, 3), input_shot(2), error_shot(0, 0), dark, input_shot(0)]
    taken = assert_each_as_alone(table.bench, stacks, shots)
    assert {name: len(frames) for name, frames in taken.frames.items()} == {
        "camera_z1": 6,
        "camera_error_1": 2,
        "camera_hidden_1": 2,
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(order=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_any_list_of_shots_comes_back_in_its_order(table: "Table", stacks: dict[str, PatternStack], order: list):
    shots = [
        shot(("camera_z1",), PUMPED if lit else frozenset({"pump"}), {"dmd_input": k}, {"reference": math.pi * half})
        for k, lit, half in order
    ]
    taken = assert_each_as_alone(table.bench, stacks, shots)
    assert taken.exposures == len(order)


def test_frames_carry_numbers_without_gap_and_the_times_of_their_shots(table: "Table", stacks: dict[str, PatternStack]):
    clock = table.bench.clock
    start = clock.now_s()
    shots = [input_shot(0), input_shot(1), shot(("camera_z1",), frozenset({"pump"}), {"dmd_input": 2}), input_shot(3)]
    frames = measure(table.bench, used(stacks, *shots), shots).frames["camera_z1"]
    assert np.array_equal(np.diff(frames.ids), [1, 1, 1])
    assert np.all(np.diff(frames.times_s) > 0)
    assert start <= frames.times_s[0] < frames.times_s[-1] < clock.now_s()


def test_cameras_of_one_shot_expose_at_the_same_instant(table: "Table", stacks: dict[str, PatternStack]):
    shots = [error_shot(0, 0), error_shot(1, 1)]
    frames = measure(table.bench, used(stacks, *shots), shots).frames
    assert np.array_equal(frames["camera_error_1"].times_s, frames["camera_hidden_1"].times_s)


def test_exposures_are_counted_once_per_shot_however_many_cameras_look(table: "Table", stacks: dict[str, PatternStack]):
    shots = [error_shot(0, 0)] * 3
    assert measure(table.bench, used(stacks, *shots), shots).exposures == 3


def test_nothing_asked_nothing_taken(table: "Table"):
    taken = measure(table.bench, {}, [])
    assert (dict(taken.frames), taken.exposures) == ({}, 0)


# ---- how they are taken


def test_shots_alike_in_beams_and_cameras_are_one_sequence(
    table: "Table", stacks: dict[str, PatternStack], monkeypatch: pytest.MonkeyPatch
):
    played: list[list[int]] = []
    switched: list[str] = []
    play, on = DMD.play, Beam.on
    monkeypatch.setattr(DMD, "play", lambda *args: (played.append(args[2].tolist()), play(*args))[1])
    monkeypatch.setattr(Beam, "on", lambda beam: (switched.append(beam.name), on(beam))[1])
    dark = shot(("camera_z1",), frozenset({"reference"}), {"dmd_input": 4})
    shots = [*[input_shot(k, phase) for k in (2, 0) for phase in (0.0, math.pi)], dark, dark, input_shot(1)]
    measure(table.bench, used(stacks, *shots), shots)
    assert played == [[2, 2, 0, 0], [4, 4], [1]]
    assert sorted(switched) == ["pump", "pump", "reference"]


def test_beams_that_a_shot_does_not_name_are_off(table: "Table", stacks: dict[str, PatternStack]):
    for beam in table.bench.beams:
        beam.on()
    pumped = shot(("camera_z1",), frozenset({"pump"}), {"dmd_input": 0})
    measure(table.bench, used(stacks, pumped), [pumped])
    assert [beam.name for beam in table.bench.beams if beam.is_on] == ["pump"]


def test_afterwards_the_dmds_are_dark_and_their_memory_is_free(table: "Table", stacks: dict[str, PatternStack]):
    shots = [input_shot(k) for k in range(5)]
    measure(table.bench, used(stacks, *shots), shots)
    assert_as_before(table, "dmd_input", "camera_z1")


def test_a_dmd_that_a_shot_does_not_name_is_dark(table: "Table", stacks: dict[str, PatternStack]):
    table.bench.dmd("dmd_error").show(stacks["dmd_error"][0])
    without = shot(("camera_error_1",), BOTH_WAYS, {"dmd_hidden": 0}, {"reference": 0.0})
    taken = measure(table.bench, used(stacks, without), [without]).frames["camera_error_1"].counts
    table.bench.dmd("dmd_error").halt()
    dark = alone(table.bench, stacks, without)["camera_error_1"]
    assert np.abs(taken[0].astype(int) - dark.astype(int)).max() <= ROUNDING


def test_a_dmd_that_only_the_shots_before_named_is_dark(table: "Table", stacks: dict[str, PatternStack]):
    with_one = error_shot(0, 1)
    without = Shots(with_one.cameras, with_one.beams, {"dmd_hidden": np.array([0])}, with_one.phases_rad)
    assert_each_as_alone(table.bench, stacks, [with_one, without])


def test_a_phase_that_only_some_shots_name_is_refused_or_kept(table: "Table", stacks: dict[str, PatternStack]):
    shots = [input_shot(0, math.pi), shot(("camera_z1",), PUMPED, {"dmd_input": 0})]
    try:
        measure(table.bench, used(stacks, *shots), shots)
    except ConfigError as error:
        refusal = str(error)
    else:
        return
    assert "reference" in refusal


# ---- without hardware triggers


@pytest.mark.parametrize("untriggered", ["camera_error_1", "dmd_error", "probe"])
def test_a_device_without_trigger_input_makes_it_slower_and_nothing_else(
    untriggered: str, open_table: "OpenTable", quiet: dict[str, Any]
):
    shots = [error_shot(0, 1), error_shot(1, 1), error_shot(1, 0), error_shot(4, 3)]
    counts, seconds = [], []
    for changes in ({}, {f"devices.{untriggered}.settings.external_trigger": False}):
        table = open_table({**quiet, **changes})
        frames = masks_and_stacks(table)
        began_s = table.bench.clock.now_s()
        taken = measure(table.bench, frames, shots)
        seconds.append(table.bench.clock.now_s() - began_s)
        counts.append(np.concatenate([taken.frames[name].counts.astype(int) for name in shots[0].cameras], axis=2))
        assert (taken.exposures, taken.retries) == (4, 0)
        assert [len(frames) for frames in taken.frames.values()] == [4, 4]
    assert np.abs(counts[0] - counts[1]).max() <= ROUNDING
    assert seconds[1] > seconds[0]


def masks_and_stacks(table: "Table") -> dict[str, PatternStack]:
    rng = np.random.default_rng(6)
    table.write("slm_2", rng.uniform(-1, 1, table.multipliers["slm_2"].shape))
    amplitudes = {"dmd_hidden": rng.uniform(-1, 1, (5, 11)), "dmd_error": rng.uniform(-1, 1, (5, 6))}
    return {dmd: table.stack(dmd, values) for dmd, values in amplitudes.items()}


@pytest.mark.parametrize("fault", ["stale", "dropped", "torn", "saturated"])
def test_a_bad_frame_is_found_shot_by_shot_too(fault: str, open_table: "OpenTable", quiet: dict[str, Any]):
    faults = {"simulation.faults": [{"device": "camera_error_1", "fault": fault, "at": 3}]}
    table = open_table({**quiet, **faults, "devices.camera_error_1.settings.external_trigger": False})
    taken = measure(table.bench, masks_and_stacks(table), [error_shot(k, k) for k in range(4)])
    assert taken.retries == 1
    assert len(taken.frames["camera_error_1"]) == 4


def test_what_cannot_be_triggered_refuses_to_be(open_table: "OpenTable"):
    no = "settings.external_trigger"
    table = open_table({f"devices.camera_z1.{no}": False, f"devices.dmd_input.{no}": False})
    with pytest.raises(LimitError, match="camera_z1: has no trigger input"):
        table.bench.camera("camera_z1").arm(1)
    with pytest.raises(LimitError, match="dmd_input: has no trigger input"):
        table.bench.dmd("dmd_input").set_trigger("external")
