"""`labctl safety-test`: asks before it lights a table, shows every way out, and fails as an interlock does."""

from collections.abc import Callable
from typing import Any

import pytest

from labctl.cli.safety import command
from labctl.cli.safety.trial import Trial
from labctl.cli.safety.way import Request, Way
from sim_backends.twins import TwinBeam
from tests.cli.conftest import Labctl, labctl  # noqa: F401  a fixture
from tests.safety.beams import SMALL_FOURIER

Tried = list[Request]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], Tried]:
    """Return a function that lets every trial give this time, and the list of what was tried."""

    def become(after_s: float | None) -> Tried:
        requests: Tried = []

        def try_way(request: Request, deadline_s: float, instruments: Any) -> Trial:
            requests.append(request)
            return Trial(request.way, after_s, 0.5, "nobody", 0, ("the last words",))

        monkeypatch.setattr(command, "try_way", try_way)
        return requests

    return become


def test_on_twins_the_ways_that_need_a_watchdog_are_left_out_and_said_to_be(
    labctl: Labctl,  # noqa: F811
    tried: Callable[[float | None], Tried],
):
    requests = tried(0.02)
    ended = labctl("safety-test", str(SMALL_FOURIER), "--simulate", "--json")
    assert ended.code == 0
    assert [one.way for one in requests] == [Way.RETURN, Way.EXCEPTION, Way.INTERRUPT, Way.TERMINATE]
    ways = {row["way"]: row for row in ended.answer["ways"]}
    assert ways["return"] == {
        "way": "return", "dark": True, "after_s": 0.02, "bar_s": 0.5, "measured_by": "nobody"
    }  # fmt: skip
    assert ways["kill -9"]["dark"] is None
    assert "needs a beam with a driver" in ways["hang"]["measured_by"]


def test_no_light_on_a_table_without_a_yes(labctl: Labctl, tried: Callable[[float | None], Tried]):  # noqa: F811
    requests = tried(0.02)
    ended = labctl("safety-test", "fourier", "--json")
    assert ended.code == 2
    assert "no beam was lit" in ended.answer["error"]
    assert not requests
    assert any("beam" in line and "20 uW" in line for line in ended.errors)
    assert labctl("safety-test", "fourier", "--yes").code == 0
    assert [one.way for one in requests] == list(command.WAYS)


@pytest.mark.parametrize("after_s", [None, 0.7])
def test_a_bench_that_was_not_dark_in_time_is_an_interlock(
    after_s: float | None,
    labctl: Labctl,  # noqa: F811
    tried: Callable[[float | None], Tried],
):
    tried(after_s)
    ended = labctl("safety-test", str(SMALL_FOURIER), "--simulate", "--json")
    assert ended.code == 3
    assert ended.answer["status"] == "failed"
    assert (
        "not dark in time after: return, exception, Ctrl-C, SIGTERM; check every beam by eye" in ended.answer["error"]
    )
    assert "the last words" in ended.answer["error"]


def test_instruments_in_another_process_time_the_dark_of_a_bench_that_has_wires():
    from labctl.bench import load_bench

    test = command.SafetyTest("fourier", load_bench("fourier"), simulate=True)
    assert not test.on_table
    (row,) = test.rows([Way.KILL])
    assert row.trial
    assert row.trial.passed, row
    assert row.trial.measured_by == "instruments, in another process"


def test_a_run_that_does_not_end_dark_is_an_interlock_too(
    labctl: Labctl,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(TwinBeam, "_do_is_on", lambda beam: True)
    ended = labctl("run", "count", "--bench", str(SMALL_FOURIER), "--simulate", "--json")
    assert ended.code == 3
    assert "block the beams by hand" in ended.answer["error"]
