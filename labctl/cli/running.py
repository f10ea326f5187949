"""How a command runs a plan: recorded, shown on the terminal, stopped by signals, and answered for."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from labctl.cli import show
from labctl.cli.answer import Answer
from labctl.cli.order import Order
from labctl.cli.progress import progress_on
from labctl.cli.signals import Interruptions
from labctl.recorder import Recorder
from labctl.records import Record
from labctl.runner import Listener, Runner

if TYPE_CHECKING:  # loads torch
    from labctl.bench import Bench


def run_order(
    order: Order,
    answer: Answer,
    open_recorder: Callable[[], Recorder],
    *also: Listener,
    checkpoint: Record | None = None,
    changed: int = 0,
) -> None:
    """Run a plan and answer for it; the recorder is opened on the open bench."""
    began_s, signals, console = time.monotonic(), Interruptions(), show.console(stderr=answer.as_json)
    with signals.handled(), order.bench as bench, open_recorder() as recorder:
        answer.values["run"] = str(recorder.folder)
        rng = np.random.default_rng(bench.seed)
        with progress_on(console, order.budget.steps) as progress:
            listeners = [_patient(bench, one) for one in (recorder, progress, *also)]
            runner = Runner(order.plan, bench, order.settings, rng, listeners, checkpoint, changed)
            signals.runner = runner
            outcome = runner.run()
        answer.end(outcome.status, outcome.error)
        answer.interlocked |= outcome.darkness_s is None
        wall_s = time.monotonic() - began_s
        own = {**answer.values, "dark_after_s": outcome.darkness_s, "wall_seconds": wall_s}
        answer.values |= {**outcome.summary, **own}
        recorder.finish(outcome.status, outcome.summary, outcome.error)
    if table := outcome.summary.get("table"):
        console.print(show.table(**table))
    if message := outcome.summary.get("message"):
        console.print(message, soft_wrap=True)
    console.print(f"{outcome.status} after {show.duration(wall_s)}; run: {recorder.folder}", soft_wrap=True)


def _patient(bench: "Bench", listener: Listener) -> Listener:
    """Return a listener that the watchdog gives time, as a slow disk is no reason to end a run."""

    def hear(record: Record) -> None:
        with bench.computing():
            listener(record)

    return hear
