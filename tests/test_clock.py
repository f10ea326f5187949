"""Bench time passes by waiting, every wait asks whether to go on, and a simulated wait costs nothing."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl import clock as clock_module
from labctl.clock import SLICE_S, Clock, ManualClock, WallClock
from labctl.errors import RunStopped


class FakeTime:
    """The `time` module as a wall clock sees it; sleeping moves it on, a little late as always."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.sleeps.append(duration_s)
        self.now_s += duration_s + 1e-4


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(monotonic=fake.monotonic, sleep=fake.sleep))
    return fake


@pytest.fixture(params=[ManualClock, WallClock])
def clock(request: pytest.FixtureRequest, fake_time: FakeTime) -> Clock:
    return request.param()


def test_it_starts_at_zero(clock: Clock):
    assert clock.now_s() == 0


@pytest.mark.parametrize("duration_s", [1e-3, 0.05, 0.31, 2.0])
def test_a_wait_takes_its_time(clock: Clock, duration_s: float):
    clock.wait(duration_s)
    assert clock.now_s() == pytest.approx(duration_s, abs=2e-4 * (1 + duration_s / SLICE_S))
    assert clock.now_s() >= duration_s


@pytest.mark.parametrize("duration_s", [0.0, -1.0])
def test_waiting_for_the_past_takes_no_time(clock: Clock, duration_s: float):
    clock.wait(duration_s)
    assert clock.now_s() == 0


def test_every_wait_asks_all_checks(clock: Clock):
    asked: list[str] = []
    clock.on_wait += [lambda: asked.append("stop"), lambda: asked.append("interlock")]
    for duration_s in (0.0, 1e-3, -1.0):
        asked.clear()
        clock.wait(duration_s)
        assert set(asked) == {"stop", "interlock"}


def test_a_stop_ends_the_wait_and_the_clock_goes_on(clock: Clock):
    def stop() -> None:
        raise RunStopped("stop")

    clock.on_wait.append(stop)
    with pytest.raises(RunStopped):
        clock.wait(3600)
    assert clock.now_s() < SLICE_S
    clock.on_wait.remove(stop)
    clock.wait(1)
    assert clock.now_s() == pytest.approx(1, abs=0.1)


def test_clocks_share_no_checks():
    one, other = ManualClock(), ManualClock()
    one.on_wait.append(lambda: None)
    assert not other.on_wait


def test_a_stop_on_the_table_is_noticed_within_a_slice(fake_time: FakeTime):
    clock = WallClock()
    noticed: list[float] = []
    clock.on_wait.append(lambda: noticed.append(clock.now_s()))
    clock.wait(1.0)
    assert max(fake_time.sleeps) <= SLICE_S <= 0.05
    steps = [later - earlier for earlier, later in pairwise(noticed)]
    assert max(steps) <= SLICE_S + 1e-3


@given(st.lists(st.floats(0, 1e6)))
def test_simulated_time_is_the_sum_of_all_waits(waits: list[float]):
    clock = ManualClock(start_s=5.0)
    for duration_s in waits:
        before = clock.now_s()
        clock.wait(duration_s)
        assert clock.now_s() >= before
    assert clock.now_s() == pytest.approx(5.0 + sum(waits))


def test_simulated_time_needs_no_sleep(fake_time: FakeTime):
    ManualClock().wait(1e9)
    assert not fake_time.sleeps
