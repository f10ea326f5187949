"""A survey walks a few times of a sequence, and comes to what a walk of all of them would."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import ConfigError
from labctl.experiments.mda.change import timeline
from labctl.experiments.mda.frames import Job, make_job
from labctl.experiments.mda.plan import mda
from labctl.experiments.mda.survey import survey
from labctl.plan import parse_settings
from tests.experiments.mda.small import SEQUENCE, small

BENCH = small()
PRESETS = {"weak": {"beam": "2 mW", "slm": 0}, "strong": {"beam": "10 mW", "slm": 90}}


def job_of(sequence: dict[str, Any]) -> Job:
    return make_job(BENCH, parse_settings(mda, {"sequence": sequence, "presets": PRESETS, "magnification": 1000}))


def assert_as_walked(job: Job) -> None:
    """The survey's numbers are those of all frames one after another, by the clock as the plan keeps it."""
    found, now_s, began_s, shown, frames = survey(job), 0.0, 0.0, 0, []
    for frame, change, preparing_s, taking_s in timeline(job):
        now_s += preparing_s
        began_s = now_s if frame.restarts else began_s
        now_s = max(now_s, began_s + frame.start_s) + taking_s
        shown += len(change.images)
        frames.append(frame)
    assert (found.frames, found.shown) == (len(frames), shown)
    assert found.seconds == pytest.approx(now_s)
    assert list(found.images) == list(dict.fromkeys(frame.image for frame in frames))
    places: dict[str, list[list[int]]] = {}
    for frame in reversed(frames):
        image = found.images[frame.image]
        places.setdefault(frame.image, []).append(found.place(frame))
        if frame.channel is not None:
            assert image.channels[frame.index.get("c", 0)] == frame.channel
    for name, image in found.images.items():
        assert image.shape == tuple(max(axis) + 1 for axis in zip(*places[name], strict=True))
        assert image.first_m == next(frame.target_m for frame in frames if frame.image == name)


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations("tpcz").map("".join),
    loops=st.integers(1, 30),
    interval=st.floats(0, 1),
    every=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    stacks=st.tuples(st.booleans(), st.booleans()),
    places=st.lists(st.tuples(st.floats(-90, 90), st.floats(20, 80)), max_size=3),
    planes=st.integers(0, 3),
    open_across=st.sampled_from(["", "z", "t", "ct", "tpcz"]),
)
def test_few_times_stand_for_all(
    order: str,
    loops: int,
    interval: float,
    every: tuple[int, int],
    stacks: tuple[bool, bool],
    places: list[tuple[float, float]],
    planes: int,
    open_across: str,
):
    if order.index("c") < order.index("t"):  # useq warns of this, so it is refused
        every = (1, 1)
    named = zip(PRESETS, every, stacks, strict=True)
    data: dict[str, Any] = {"axis_order": order, "time_plan": {"interval": interval, "loops": loops}}
    data["channels"] = [{"config": name, "acquire_every": n, "do_stack": stack} for name, n, stack in named]
    data["stage_positions"] = [{"x": x, "z": z} for x, z in places]
    data["keep_shutter_open_across"] = open_across
    if planes:
        data["z_plan"] = {"relative": [2.0 * k for k in range(planes)]} if places else {"absolute": [*range(planes)]}
    assert_as_walked(job_of(data))


ALSO = {
    "phases": {"time_plan": [{"interval": 0.02, "loops": 9}, {"interval": 3, "loops": 8}], "channels": ["weak"]},
    "grids of positions": {
        "time_plan": {"interval": 1, "loops": 12},
        "stage_positions": [{"z": 20}, {"x": 9, "y": 1, "z": 30, "sequence": {"grid_plan": {"rows": 2, "columns": 2}}}],
        "channels": ["weak", {"config": "strong", "acquire_every": 3}],
    },
    "times of a position": {
        "stage_positions": [{"z": 20}, {"z": 30, "sequence": {"time_plan": {"interval": 2, "loops": 9}}}],
        "channels": ["weak"],
    },
    "one channel now and then": {
        "time_plan": {"interval": 1, "loops": 23},
        "channels": [{"config": "strong", "acquire_every": 5}],
    },
    "axes that are not named again": {
        "axis_order": "ptc",
        "time_plan": {"interval": 1, "loops": 11},
        "stage_positions": [{"x": 1, "y": 2, "z": 3}, {"y": 4}, {"x": 5, "z": 6}],
        "channels": ["weak", {"config": "strong", "acquire_every": 2}],
    },
}


@pytest.mark.parametrize("name", ALSO)
def test_sequences_with_odd_parts_are_reckoned_as_walked(name: str):
    assert_as_walked(job_of(ALSO[name]))


def test_a_long_sequence_is_surveyed_at_once():
    found = survey(job_of({"time_plan": {"interval": 0.5, "loops": 1_000_000}, "channels": ["weak"]}))
    assert found.frames == 1_000_000
    assert found.seconds == pytest.approx(0.5 * 999_999, abs=1)
    assert found.interval_s == pytest.approx(0.5)
    assert found.images["image"].shape == (1_000_000, 1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time_plan": {"interval": 0.01, "loops": 10**10}}, "time_plan: 10,000,000,000 frames; a run takes 1,000,000"),
        ({"time_plan": [{"interval": 1, "loops": 10**10}]}, "time_plan: 10,000,000,000 frames"),
        ({"time_plan": {"interval": 1e-6, "duration": 86400}}, "time_plan: 86,400,000,001 frames"),
        ({"time_plan": {"interval": 1, "loops": 100_000}}, "more than 1,000,000 frames; a run takes 1,000,000"),
        ({"z_plan": {"range": 100, "step": 1e-8}}, "z_plan: 10,000,000,001 frames"),
        ({"grid_plan": {"rows": 10**5, "columns": 10**5}}, "grid_plan: 10,000,000,000 frames"),
    ],
)
def test_more_frames_than_a_run_takes_are_refused_in_one_line(changes: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said) as refused:
        survey(job_of({**SEQUENCE, **changes}))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"interval": -1, "loops": 3}, "an interval of -1 s; give 0 or more"),
        ([{"interval": 1, "loops": 3}, {"interval": -2, "loops": 3}], "an interval of -2 s; give 0 or more"),
        ([{"interval": 1, "loops": 3}, {"interval": 0, "duration": 3}], "has no end; give an interval above 0"),
        ({"duration": 3, "loops": 1}, "one loop has no duration; give 2 loops or more"),
    ],
)
def test_times_that_cannot_be_are_refused(plan: Any, said: str):
    with pytest.raises(ConfigError, match=f"time_plan: {said}"):
        job_of({**SEQUENCE, "time_plan": plan})
