"""A run has one thread and one life; others ask it, wait for it, and come too late."""

import threading

import pytest

from labctl.errors import LabError
from labctl.records import Record
from tests.runner.runs import FakeBench, assert_ended, make

TIMEOUT_S = 10.0
"""A thread that has not answered by then never will."""


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
