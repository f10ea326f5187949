"""An owner that ends as it is told: `python -m labctl.cli.safety.owner REQUEST`, with a `Request` as JSON.

It writes lines of JSON with `event` and `time_ns` on `time.monotonic_ns`: `lit` when all beams are, `ending` when it
ends itself, `dark` when it knows its beams to be dark.
"""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from labctl.bench import Bench, load_bench
from labctl.cli.safety.way import LOW, Request, Way
from labctl.cli.show import logging_on_stderr
from labctl.cli.signals import Interruptions
from labctl.devices import Beam
from labctl.errors import LabError
from labctl.plan import Settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.runner import Runner

logger = logging.getLogger(__name__)

_STEP_S = 0.02
"""Time between two safe points."""

_ALONE_S = 30.0
"""An owner that is to be ended from outside and has not been by then ends by itself: whoever was to do it is gone."""


class ExerciseSettings(Settings):
    """How to end."""

    way: Way
    restless: bool = False


@plan(ExerciseSettings, budget=lambda bench, settings: Budget(steps=1))
def exercise(
    bench: Bench, settings: ExerciseSettings, rng: np.random.Generator
) -> Generator[Record, Changes | None, Summary]:
    """Light every beam and end."""
    for beam in bench.beams:
        beam.set_power(LOW * beam.settings.max_power_w)
        beam.on()
    dark = [beam.name for beam in bench.beams if not beam.is_on]
    watched = [beam.name for beam in bench.beams if bench.has_driver(beam.name)]
    _tell("lit", dark=dark, watched=len(watched))
    yield Record("lit", 0, bench.clock.now_s())
    if not settings.way.waits:
        _tell("ending")
    if settings.way is Way.RETURN:
        return {}
    if settings.way is Way.EXCEPTION:
        raise RuntimeError("an exception, on purpose")
    if settings.way is Way.HANG:
        threading.Event().wait()
    if settings.way is Way.INTERRUPT:
        signal.raise_signal(signal.SIGINT)
    if settings.way is Way.TERMINATE:
        signal.raise_signal(signal.SIGTERM)
    index, until_s = 0, bench.clock.now_s() + _ALONE_S
    while bench.clock.now_s() < until_s:
        index += 1
        if settings.restless:
            _fidget(bench.beams, rng)
        bench.clock.wait(_STEP_S)
        yield Record("lit", index, bench.clock.now_s())
    raise LabError(f"nobody has ended this owner within {_ALONE_S:g} s; its beams go off, run the safety test again")


def _fidget(beams: Sequence[Beam], rng: np.random.Generator) -> None:
    """Do with one beam what plans do, after all have been asked for their state."""
    beam = beams[int(rng.integers(len(beams)))]
    for one in beams:
        one.state()
    action = rng.integers(5)
    if action == 0:
        beam.off()
    elif action == 4:
        beam.blank()
    elif action == 1:
        beam.set_power(LOW * rng.random() * beam.settings.max_power_w)
    elif action == 2 and beam.settings.has_phase:
        beam.set_phase(2 * np.pi * rng.random())
    else:
        beam.on()


def own(request: Request) -> None:
    """Open the bench and end as requested."""
    signals = Interruptions()
    file = load_bench(request.bench, request.overrides)
    with signals.handled(), Bench(file, request.simulate) as bench:
        settings = ExerciseSettings(way=request.way, restless=request.restless)
        runner = Runner(exercise, bench, settings, np.random.default_rng(request.seed))
        signals.runner = runner
        outcome = runner.run()
        _tell("lit still" if outcome.darkness_s is None else "dark")
        if outcome.error:
            logger.error("%s", outcome.error)


def _tell(event: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, "time_ns": time.monotonic_ns(), **values}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with logging_on_stderr():
        try:
            own(Request.from_json(sys.argv[1]))
        except (LabError, ExceptionGroup) as error:
            logger.error("%s", error)
            sys.exit(1)
