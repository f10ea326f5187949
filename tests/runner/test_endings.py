"""However a run goes, it ends dark, its generator closed, its clock unwatched, and says how it ended."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from labctl.errors import ConfigError, DeviceError, LabError, LimitError, RunAborted, RunStopped, StaleCalibration
from labctl.plan import Plan, Settings
from labctl.records import Budget, Changes, Record, Summary
from labctl.runner import Outcome, Runner
from tests.runner.runs import COUNT, FakeBench, assert_ended, at_step, make


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
