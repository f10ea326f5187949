"""Ends the owner of a bench in every way, at random moments, against instruments in another process that time the dark.

`python benchmarks/safety.py --kills 50 --seed 0`. Two beams, each a MOGLabs RF driver and an SC10 shutter, simulated in
a process of their own which notes when light passes; its clock is `time.monotonic`, one for the whole machine. Dark
means RF off and shutter closed, its blade arrived. A time counts from the kill, the signal, or the last sign of life.
"""

import argparse
import os
import random
import signal
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.cli.safety.instruments import InstrumentProcess, Output
from labctl.cli.safety.trial import Strike, Trial, kill, try_way
from labctl.cli.safety.way import Request, Way

if TYPE_CHECKING:
    import subprocess

BENCH = Path(__file__).parents[1] / "tests" / "benches" / "small_fourier.yaml"
TWINS = ("slm", "camera", "beam")
BEAMS = ("alpha", "beta")
DEADLINE_S = 2.0
INSTRUMENTS = ("--light", *("moglabs_rf", "sc10") * len(BEAMS))
LONGEST_DELAY_S = 1.0
TRIED_AGAIN = 5


def outputs_of(beam: int) -> tuple[Output, Output]:
    """Return the RF channel and the shutter of beam 0 or 1."""
    return (2 * beam, "1"), (2 * beam + 1, "shutter")


def overrides(urls: Sequence[str], deadline_s: float = DEADLINE_S) -> dict[str, Any]:
    """Return what adds the two beams, behind real drivers, to a bench of twins."""
    settings = {"power": "1 mW", "max_power": "2 mW", "has_phase": True, "switch": "5 ms", "shutter": "15 ms"}
    modulator = {"channel": 1, "carrier": "80 MHz", "full_power": "10 mW", "full_rf_dbm": 30}
    entries = {
        f"devices.{name}": {
            "kind": "beam",
            "driver": "drivers.moglabs_rf.RfBeam",
            "settings": settings,
            "hardware": {**modulator, "url": urls[2 * number], "shutter": {"url": urls[2 * number + 1]}},
        }
        for number, name in enumerate(BEAMS)
    }
    return {**entries, "watchdog": {"deadline": f"{deadline_s} s"}}


def freeze(process: "subprocess.Popen[str]") -> None:
    """Stop every thread of a process, which POSIX can."""
    os.kill(process.pid, signal.SIGSTOP)


def attempt(
    way: Way,
    draw: random.Random,
    *,
    strike: Callable[[InstrumentProcess], Strike] = lambda _: kill,
    outputs: Sequence[Output] = (),
    deadline_s: float = DEADLINE_S,
) -> Trial:
    """Return what comes of one way, on fresh instruments."""
    with InstrumentProcess("sim_backends.instruments", INSTRUMENTS, len(BEAMS) * 2) as instruments:
        changes = overrides(instruments.where, deadline_s)
        request = Request(str(BENCH), way, changes, TWINS, restless=True, seed=draw.randrange(2**31))
        delay_s = draw.uniform(0, LONGEST_DELAY_S)
        return try_way(request, deadline_s, instruments, strike(instruments), delay_s, outputs)


def unplugging(*numbers: int) -> Callable[[InstrumentProcess], Strike]:
    """Return what unplugs these instruments in place of a kill; the owner then ends by itself."""

    def strike(instruments: InstrumentProcess, process: "subprocess.Popen[str]") -> None:
        for number in numbers:
            instruments.unplug(number)

    return lambda instruments: partial(strike, instruments)


@dataclass(frozen=True)
class Scenario:
    """A way to end, how often, and what must be true beside the dark."""

    name: str
    times: int
    attempt: Callable[[random.Random], Trial]
    holds: Callable[[Trial], bool] = lambda trial: True


def by_hand(trial: Trial) -> bool:
    """Return whether somebody is told to block beam alpha by hand."""
    return any("alpha" in line and "by hand" in line for line in trial.words)


def struck_while_lit(scenario: Scenario, draw: random.Random) -> Trial:
    """Return a trial that began with light; a restless owner is dark at times, and then there is nothing to see."""
    trial = scenario.attempt(draw)
    for _ in range(TRIED_AGAIN):
        if trial.after_s != 0 or not scenario.holds(trial):  # what went wrong is never tried away
            break
        trial = scenario.attempt(draw)
    return trial


def scenarios(kills: int) -> Iterator[Scenario]:
    """Yield all that is tried."""
    some = max(kills // 10, 1)
    yield Scenario("kill -9 at a random moment", kills, partial(attempt, Way.KILL))
    yield Scenario("exception in the plan", 2 * some, partial(attempt, Way.EXCEPTION))
    yield Scenario("Ctrl-C", some, partial(attempt, Way.INTERRUPT))
    yield Scenario("SIGTERM", some, partial(attempt, Way.TERMINATE))
    yield Scenario("hang in a plan", some, partial(attempt, Way.HANG))
    if hasattr(signal, "SIGSTOP"):
        yield Scenario("frozen owner (SIGSTOP)", some, partial(attempt, Way.FREEZE, strike=lambda _: freeze))
    rf, shutter = outputs_of(0)
    other = outputs_of(1)
    unplugged = partial(attempt, Way.KILL)
    yield Scenario(
        "RF unplugged: shutter", 2, partial(unplugged, strike=unplugging(0), outputs=(shutter, *other)), by_hand
    )
    yield Scenario("shutter unplugged: RF", 2, partial(unplugged, strike=unplugging(1), outputs=(rf, *other)), by_hand)
    yield Scenario("both unplugged: other beam", 2, partial(unplugged, strike=unplugging(0, 1), outputs=other), by_hand)


def main() -> None:
    """Try every way and print the worst and the median time; exit code 1 when one was not dark in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, passed = random.Random(options.seed), True
    sys.stdout.write(f"{'ending':28} {'dark':>8} {'worst':>9} {'median':>9} {'bar':>9}\n")
    for scenario in scenarios(options.kills):
        trials = [struck_while_lit(scenario, draw) for _ in range(scenario.times)]
        good = sum(trial.passed and scenario.holds(trial) for trial in trials)
        passed &= good == len(trials)
        after_ms = [trial.after_s * 1e3 for trial in trials if trial.after_s is not None] or [float("nan")]
        worst, median, bar = max(after_ms), statistics.median(after_ms), trials[0].bar_s * 1e3
        row = f"{scenario.name:28} {good:3} of {len(trials):2} {worst:6.0f} ms {median:6.0f} ms {bar:6.0f} ms\n"
        sys.stdout.write(row)
        for trial in trials:
            if not (trial.passed and scenario.holds(trial)):
                sys.stdout.write(f"  after {trial.after_s} s: " + "\n    ".join(trial.words[-8:]) + "\n")
        sys.stdout.flush()
    sys.exit(not passed)


if __name__ == "__main__":
    main()
