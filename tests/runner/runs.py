"""A bench that notes what is done to it, a plan that counts on it, and what holds after every run of it."""

from collections.abc import Callable, Generator

import numpy as np

from labctl.clock import ManualClock
from labctl.plan import Plan, Settings, live
from labctl.records import Budget, Changes, Record, Summary
from labctl.runner import Listener, Outcome, Runner


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
