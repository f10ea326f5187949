"""Every way out of a bench ends dark in time: real processes, measured by instruments in a process of their own."""

import importlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from labctl.cli.safety.trial import try_way
from labctl.cli.safety.way import Request, Way
from labctl.errors import LabError
from tests.safety.beams import SMALL_FOURIER, started_instruments

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def safety(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `make soak` does 50 times; a script, not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("safety")


@pytest.mark.parametrize("way", [Way.EXCEPTION, Way.TERMINATE, Way.KILL])
def test_a_bench_whose_owner_ends_is_dark_within_half_a_second(safety: Any, way: Way):
    if way is Way.TERMINATE and sys.platform == "win32":
        pytest.skip("a process of Windows is not asked to end")
    trial = safety.attempt(way, random.Random(1))
    assert trial.passed, trial


def test_an_owner_that_hangs_is_ended_and_its_bench_is_dark_half_a_second_after_the_deadline(safety: Any):
    trial = safety.attempt(Way.HANG, random.Random(2), deadline_s=0.4)
    assert trial.passed, trial
    assert trial.bar_s == 0.9
    assert any("it was stuck and has been ended" in line for line in trial.words)


def test_a_shutter_closes_though_its_modulator_is_unplugged_and_somebody_is_told(safety: Any):
    (_, shutter), other = safety.outputs_of(0), safety.outputs_of(1)
    trial = safety.attempt(Way.KILL, random.Random(3), strike=safety.unplugging(0), outputs=(shutter, *other))
    assert trial.passed, trial
    assert safety.by_hand(trial)


def test_where_nobody_sees_the_light_the_watchdog_must_have_spoken_of_every_beam(safety: Any):
    with started_instruments(2) as instruments:
        request = Request(str(safety.BENCH), Way.KILL, safety.overrides(instruments.where), safety.TWINS)
        trial = try_way(request, safety.DEADLINE_S)
    assert trial.passed, trial
    assert trial.measured_by == "watchdog, by its own readings"
    assert sum(": dark, " in line for line in trial.words) == 2


def test_an_owner_that_cannot_light_its_beams_says_why():
    fault = {"simulation.faults": [{"device": "beam", "fault": "exception", "at": 3}]}
    with pytest.raises(
        LabError, match=r"did not come to 'lit': beam: failed in 'switch': .*; check its power and cable$"
    ):
        try_way(Request(str(SMALL_FOURIER), Way.RETURN, fault, simulate=True), 2.0)
