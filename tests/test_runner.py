"""However a run goes, it ends dark, its generator closed, its clock unwatched, and says how it ended."""

import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.clock import ManualClock
from labctl.errors import ConfigError, DeviceError, LabError, LimitError, RunAborted, RunStopped, StaleCalibration
from labctl.plan import Plan, Settings, live
from labctl.records import Budget, Changes, Record, Summary
from labctl.runner import Listener, Outcome, Runner

TIMEOUT_S = 10.0
"""A thread that has not answered by then never will."""


class FakeBench:
    """Notes what is done to it; an action named in `faults` raises what stands there, once."""

    def __init__(self, **faults: BaseException) -> None:
        self.clock = ManualClock()
        self.log: list[str] = []
        self.faults = faults
        self.dark_after_s: float | None = None
        self.was_lit = False

    def act(self, name: str) -> None:
        self.log.append(name)
        if name in self.faults:
            raise self.faults.pop(name)

    def make_safe(self) -> float:
        self.act("make_safe")
        self.dark_after_s = 0.25
        return 0.25

    def darken(self) -> None:
        self.act("darken")

    def restore(self) -> None:
        self.act("restore")


class CountSettings(Settings):
    steps: int = 3
    gain: float = live(1.0, gt=0)
    loss: float = live(0.0, ge=0)


def count(
    bench: FakeBench, settings: CountSettings, _rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    sent = []
    try:
        for index in range(settings.steps):
            bench.act(f"step{index}")
            bench.clock.wait(1.0)
            changes = yield Record("step", index, bench.clock.now_s())
            sent.append(changes and dict(changes.values))
    finally:
        bench.clock.wait(1.0)
        bench.act("closed")
    return {"sent": sent}


COUNT = Plan("count", count, CountSettings, budget=lambda _bench, settings: Budget(steps=settings.steps))


def make(bench: FakeBench, *listeners: Listener, steps: int = 3) -> Runner:
    return Runner(COUNT, bench, CountSettings(steps=steps), np.random.default_rng(0), listeners)


def at_step(index: int, action: Callable[[], object]) -> Listener:
    """Return a listener that acts when it gets step `index`."""
    return lambda record: action() if (record.kind, record.index) == ("step", index) else None  # type: ignore[return-value]


def assert_ended(runner: Runner, bench: FakeBench, outcome: Outcome) -> None:
    """What holds after every run."""
    assert bench.log[-1] == "make_safe"
    assert "step0" not in bench.log or bench.log[-2] in ("closed", "make_safe")
    assert bench.clock.on_wait == []
    assert runner.status == outcome.status
    assert runner.outcome == outcome
    assert (outcome.error is None) == (outcome.status not in ("failed", "refused"))


def test_a_run_that_is_left_alone_completes() -> None:
    bench, records, statuses = FakeBench(), [], []
    runner = make(bench, records.append, lambda _: statuses.append(runner.status))
    assert (runner.status, runner.outcome) == ("idle", None)
    outcome = runner.run()
    assert outcome == Outcome("completed", {"sent": [None] * 3}, None, 0.25)
    assert [(r.kind, r.index, r.bench_time_s) for r in records] == [("step", i, i + 1.0) for i in range(3)]
    assert statuses == ["running"] * 3
    assert bench.log == ["step0", "step1", "step2", "closed", "make_safe"]
    assert_ended(runner, bench, outcome)


def test_a_plan_without_records_or_summary_completes() -> None:
    def nothing(*_: Any) -> Generator[Record, Changes | None, Summary]:
        yield from ()
        return None  # type: ignore[return-value]

    runner = Runner(Plan("nothing", nothing, Settings, lambda *_: Budget()), FakeBench(), Settings(), None)  # type: ignore[arg-type]
    assert runner.run() == Outcome("completed", {}, None, 0.25)


ENDINGS = {
    "device error in the plan": ({"step1": DeviceError("camera", "no frame")}, "failed", "camera: no frame"),
    "interlock in the plan": ({"step1": RunAborted("cell too hot")}, "failed", "cell too hot"),
    "fault in the plan": ({"step1": ZeroDivisionError("by zero")}, "failed", "ZeroDivisionError: by zero"),
    "stop in the plan": ({"step1": RunStopped()}, "stopped", None),
    "ctrl-c in the plan": ({"step1": KeyboardInterrupt()}, "interrupted", None),
    "fault in the clean-up": ({"closed": ValueError("odd")}, "failed", "ValueError: odd"),
    "ctrl-c in the clean-up": ({"closed": KeyboardInterrupt()}, "interrupted", None),
    "not dark": (
        {"make_safe": DeviceError("pump", "no answer")},
        "failed",
        "the bench is not known to be dark, close the shutters by hand: pump: no answer",
    ),
    "ctrl-c while made safe": ({"make_safe": KeyboardInterrupt()}, "completed", None),
    "plan and clean-up": ({"step1": LabError("one"), "closed": LabError("two")}, "failed", "two"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_every_way_out_is_reported_and_dark(case: str) -> None:
    faults, status, error = ENDINGS[case]
    bench = FakeBench(**faults)
    runner = make(bench)
    outcome = runner.run()
    assert (outcome.status, outcome.error) == (status, error)
    assert outcome.darkness_s == (None if case == "not dark" else 0.25)
    assert_ended(runner, bench, outcome)


REFUSED = {
    # where an error is raised, whether a beam was lit by then: how the run ends
    "limit before anything": ({"step0": LimitError("camera", "too long")}, False, "refused"),
    "setting before anything": ({"step0": ConfigError("no such cell")}, False, "refused"),
    "calibration before anything": ({"step0": StaleCalibration("of another table")}, False, "refused"),
    "limit after light": ({"step0": LimitError("camera", "too long")}, True, "failed"),
    "limit after a record": ({"step1": LimitError("camera", "too long")}, False, "failed"),
    "device before anything": ({"step0": DeviceError("camera", "no answer")}, False, "failed"),
    "limit, and not dark": ({"step0": LimitError("camera", "a"), "make_safe": DeviceError("b", "c")}, False, "failed"),
}


@pytest.mark.parametrize(("faults", "lit", "status"), REFUSED.values(), ids=REFUSED)
def test_a_run_is_refused_only_before_it_did_anything(faults: dict[str, Any], lit: bool, status: str) -> None:
    bench = FakeBench(**faults)
    bench.was_lit = lit
    runner = make(bench)
    outcome = runner.run()
    assert outcome.status == status
    assert_ended(runner, bench, outcome)


def test_settings_of_another_plan_are_refused() -> None:
    bench = FakeBench()
    outcome = Runner(COUNT, bench, Settings(), np.random.default_rng(0)).run()
    assert outcome.status == "refused"
    assert "settings are a Settings" in (outcome.error or "")
    assert bench.log == ["make_safe"]


def test_outcome_keeps_the_exception() -> None:
    error = RunAborted("cell too hot")
    assert make(FakeBench(step1=error)).run().cause is error


def test_faults_are_logged_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    make(FakeBench(step1=ZeroDivisionError("by zero"))).run()
    assert "in count" in caplog.text
    assert "ZeroDivisionError: by zero" in caplog.text


def test_the_end_of_the_interpreter_passes_after_the_bench_is_safe() -> None:
    bench = FakeBench(step1=SystemExit())
    runner = make(bench)
    with pytest.raises(SystemExit):
        runner.run()
    assert_ended(runner, bench, Outcome("failed", {}, "ended together with the interpreter", 0.25))


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (LabError("disk full"), "failed", "disk full"),
        (KeyError("loss"), "failed", "KeyError: 'loss'"),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_a_failing_listener_ends_the_run(raised: BaseException, status: str, error: str | None) -> None:
    def fail() -> None:
        raise raised

    bench = FakeBench()
    runner = make(bench, at_step(1, fail))
    outcome = runner.run()
    assert (outcome.status, outcome.error) == (status, error)
    assert "step2" not in bench.log
    assert_ended(runner, bench, outcome)


def test_a_failing_listener_takes_no_data_from_the_others() -> None:
    def fail(_: Record) -> None:
        raise ValueError("window gone")

    records: list[Record] = []
    assert make(FakeBench(), fail, records.append).run().error == "ValueError: window gone"
    assert len(records) == 1


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


def test_changes_are_sent_at_the_boundary_and_recorded() -> None:
    bench, records = FakeBench(), []

    def change() -> None:
        runner.change(gain=2)
        runner.change(gain=3.0, loss=0.5)

    runner = make(bench, records.append, at_step(1, change))
    assert runner.run().summary == {"sent": [None, {"gain": 3.0, "loss": 0.5}, None]}
    assert [r.kind for r in records] == ["step", "step", "change", "step"]
    assert records[2] == Record("change", 0, 2.0, {"gain": 3.0, "loss": 0.5})
    assert runner.settings == CountSettings(gain=3.0, loss=0.5)


def test_changes_before_the_start_reach_the_plan_at_its_first_boundary() -> None:
    runner = make(FakeBench())
    runner.change(gain=2.0)
    assert runner.run().summary == {"sent": [{"gain": 2.0}, None, None]}


@pytest.mark.parametrize("changes", [{"steps": 5}, {"gain": -1}, {"gian": 1}, {"gain": 2, "loss": -1}])
def test_a_refused_change_raises_for_the_asker_and_leaves_the_run_alone(changes: dict[str, Any]) -> None:
    refused: list[str] = []

    def change() -> None:
        with pytest.raises(ConfigError):
            runner.change(**changes)
        refused.append(runner.status)

    runner = make(FakeBench(), at_step(0, change))
    assert runner.run() == Outcome("completed", {"sent": [None] * 3}, None, 0.25)
    assert refused == ["running"]
    assert runner.settings == CountSettings()


def test_after_the_end_changes_are_refused_and_the_rest_has_no_effect() -> None:
    runner = make(FakeBench())
    runner.run()
    for action in (runner.pause, runner.resume, runner.stop):
        action()
    assert runner.status == "completed"
    with pytest.raises(LabError, match="cannot change gain: the run has completed"):
        runner.change(gain=2.0)


def test_a_runner_runs_once() -> None:
    runner = make(FakeBench())
    runner.run()
    for again in (runner.run, runner.start):
        with pytest.raises(LabError, match="make a new Runner"):
            again()


def test_join_without_start_is_refused() -> None:
    with pytest.raises(LabError, match=r"call start\(\) first"):
        make(FakeBench()).join()


def test_a_started_run_touches_the_bench_only_in_its_own_thread() -> None:
    bench, threads = FakeBench(), set()
    act = bench.act
    bench.act = lambda name: (threads.add(threading.current_thread().name), act(name))[1]  # type: ignore[method-assign]
    runner = make(bench)
    runner.start()
    outcome = runner.join()
    assert outcome.status == "completed"
    assert threads == {"labctl count"}
    assert_ended(runner, bench, outcome)


def test_a_started_run_is_paused_changed_resumed_and_stopped_from_outside() -> None:
    bench = FakeBench()
    stepped, go, paused = threading.Event(), threading.Event(), threading.Event()
    bench.clock.on_wait.append(lambda: paused.set() if bench.log[-1] == "darken" else None)

    def gate(record: Record) -> None:
        if record.kind == "step":
            stepped.set()
            assert go.wait(TIMEOUT_S)
            go.clear()

    runner = make(bench, gate, steps=1000)
    runner.start()
    assert stepped.wait(TIMEOUT_S)
    runner.pause()
    go.set()
    assert paused.wait(TIMEOUT_S)
    assert runner.status == "paused"
    runner.change(gain=2.0)
    stepped.clear()
    runner.resume()
    assert stepped.wait(TIMEOUT_S)
    assert runner.status == "running"
    runner.stop()
    go.set()
    assert runner.join().status == "stopped"
    assert bench.log == ["step0", "darken", "restore", "step1", "closed", "make_safe"]


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
