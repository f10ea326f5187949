"""A run stops and pauses where it is safe, and is dark then, whatever else it is told."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import DeviceError, RunAborted
from labctl.records import Record
from labctl.runner import Outcome, Runner
from tests.runner.runs import FakeBench, assert_ended, at_step, make


def test_stop_waits_for_the_record_boundary() -> None:
    bench = FakeBench()
    bench.clock.on_wait.append(lambda: runner.stop() if "step1" in bench.log else None)
    records: list[Record] = []
    runner = make(bench, records.append)
    outcome = runner.run()
    bench.clock.on_wait.clear()
    assert outcome == Outcome("stopped", {}, None, 0.25)
    assert len(records) == 2
    assert_ended(runner, bench, outcome)


def test_stop_now_ends_a_wait_but_not_the_waits_of_the_clean_up() -> None:
    def stop_once() -> None:
        if bench.log[-1] == "step1":
            bench.log.append("stop")
            runner.stop(now=True)

    bench = FakeBench()
    bench.clock.on_wait.append(stop_once)
    records: list[Record] = []
    runner = make(bench, records.append)
    outcome = runner.run()
    bench.clock.on_wait.clear()
    assert outcome.status == "stopped"
    assert len(records) == 1
    assert bench.log == ["step0", "step1", "stop", "closed", "make_safe"]
    assert_ended(runner, bench, outcome)


@pytest.mark.parametrize("now", [False, True])
def test_stop_before_the_start_touches_nothing(*, now: bool) -> None:
    bench = FakeBench()
    runner = make(bench)
    runner.stop(now=now)
    assert runner.run().status == "stopped"
    assert bench.log == ["make_safe"]


def test_pause_darkens_and_resume_restores() -> None:
    bench, statuses = FakeBench(), []

    def resume() -> None:
        if bench.log[-1] == "darken":
            statuses.append(runner.status)
            runner.resume()

    bench.clock.on_wait.append(resume)
    runner = make(bench, at_step(1, lambda: runner.pause()), lambda _: statuses.append(runner.status))
    assert runner.run().status == "completed"
    assert bench.log == ["step0", "step1", "darken", "restore", "step2", "closed", "make_safe"]
    assert statuses == ["running", "running", "paused", "running"]


@pytest.mark.parametrize("now", [False, True])
def test_stop_ends_a_pause_in_the_dark(*, now: bool) -> None:
    bench = FakeBench()
    bench.clock.on_wait.append(lambda: runner.stop(now=now) if bench.log[-1] == "darken" else None)
    runner = make(bench, at_step(0, lambda: runner.pause()))
    assert runner.run().status == "stopped"
    assert bench.log == ["step0", "darken", "closed", "make_safe"]


@pytest.mark.parametrize("action", ["darken", "restore"])
def test_a_pause_that_fails_fails_the_run(action: str) -> None:
    bench = FakeBench(**{action: DeviceError("pump", "no answer")})
    bench.clock.on_wait.append(lambda: runner.resume() if bench.log[-1] == "darken" else None)
    runner = make(bench, at_step(0, lambda: runner.pause()))
    outcome = runner.run()
    bench.clock.on_wait.clear()
    assert outcome.error == "pump: no answer"
    assert_ended(runner, bench, outcome)


def test_interlocks_are_served_during_a_pause() -> None:
    def interlock() -> None:
        if bench.log[-1] == "darken":
            raise RunAborted("cell too hot")

    bench = FakeBench()
    bench.clock.on_wait.append(interlock)
    runner = make(bench, at_step(0, lambda: runner.pause()))
    assert runner.run().error == "cell too hot"


COMMANDS: dict[str, Callable[[Runner], None]] = {
    "pause": Runner.pause,
    "resume": Runner.resume,
    "stop": Runner.stop,
    "stop now": lambda runner: runner.stop(now=True),
    "change": lambda runner: runner.change(gain=runner.settings.model_dump()["gain"] + 1),
}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(sorted(COMMANDS))), max_size=8))
def test_any_commands_leave_a_run_that_ended_dark(commands: Sequence[tuple[int, str]]) -> None:
    bench, records = FakeBench(), []
    bench.clock.on_wait.append(lambda: runner.resume() if bench.log[-1] == "darken" else None)

    def obey(record: Record) -> None:
        for index, command in commands:
            if (record.kind, record.index) == ("step", index):
                COMMANDS[command](runner)

    runner = make(bench, records.append, obey, steps=5)
    outcome = runner.run()
    bench.clock.on_wait.clear()
    stops = [index for index, command in commands if command.startswith("stop")]
    steps = [record for record in records if record.kind == "step"]
    assert outcome.status == ("stopped" if stops else "completed")
    assert len(steps) == min([index + 1 for index in stops], default=5)
    assert bench.log.count("darken") == bench.log.count("restore")
    assert_ended(runner, bench, outcome)
