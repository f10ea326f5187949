"""Rounds: the frames of one time each. A sequence repeats them, so that a survey walks a few and reckons the rest.

What is taken at a time depends on the time only by channels that are left out at some (`acquire_every`), so rounds come
back every so many times, and so does how they find the bench, but for the first turn of rounds after something else.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import useq

from labctl.errors import ConfigError
from labctl.experiments.mda.sequence import parts, phases

MOST_FRAMES = 1_000_000
"""Most frames of a run: each is a file of the stack and a line of the run, and useq holds all times in memory."""


@dataclass(frozen=True)
class Times:
    """The times of a sequence, and those that stand for them.

    Walked are a first turn of rounds, a second one that stands for itself and `repeats` more like it, and all that is
    left, one turn at least, as what follows the last round finds the bench as that left it.

    Args:
        walked: The sequence with the times that are walked.
        turn: Rounds of a turn.
        repeats: How often the second turn is taken again.
        starts_s: Start of every time, from the first; None where every frame is walked, and says when it starts, as
            times are few, or positions have times of their own.
    """

    walked: useq.MDASequence
    turn: int = 1
    repeats: int = 0
    starts_s: Sequence[float] | None = None

    @classmethod
    def of(cls, sequence: useq.MDASequence) -> Self:
        """Return the times of a sequence whose axes are of countable length (see `require_countable`)."""
        if "t" not in sequence.axis_order or any(part.time_plan for part in parts(sequence)[1:]):
            return cls(sequence)
        starts_s = list(sequence.time_plan or ())
        turn = math.lcm(*(channel.acquire_every for channel in sequence.channels))
        repeats = len(starts_s) // turn - 3
        if repeats < 1:
            return cls(sequence)
        few = useq.TIntervalLoops(interval=1, loops=len(starts_s) - repeats * turn)  # type: ignore[arg-type]
        return cls(sequence.replace(time_plan=few), turn, repeats, starts_s)

    def again(self, t: int) -> int:
        """Return how often more the round of a walked time is taken."""
        return self.repeats if self.turn <= t < 2 * self.turn else 0

    def whole(self, t: int) -> int:
        """Return which time of the sequence a walked time is."""
        return t if t < 2 * self.turn else t + self.repeats * self.turn


@dataclass
class Round:
    """The frames of one time, one after another.

    Args:
        t: The walked time.
        start_s: When it may begin at the earliest, as its frames say.
        restarts: Whether its first frame restarts the clock.
        preparing_s: How long its first frame is prepared before it may wait.
        taking_s: How long everything after that takes.
    """

    t: int
    start_s: float
    restarts: bool
    preparing_s: float
    taking_s: float = 0.0


def busy_s(rounds: Iterable[Round], times: Times) -> float:
    """Return the seconds until the last round is over, its repetitions taken into account."""
    now_s = began_s = 0.0
    for one, t in _unrolled(rounds, times):
        now_s += one.preparing_s
        began_s = now_s if one.restarts else began_s
        start_s = one.start_s if times.starts_s is None else times.starts_s[t]
        now_s = max(now_s, began_s + start_s) + one.taking_s
    return now_s


def _unrolled(rounds: Iterable[Round], times: Times) -> Iterator[tuple[Round, int]]:
    """Yield every round of the sequence with its time; one prefix of slower axes after another."""
    second: list[Round] = []
    for one in rounds:
        if times.whole(one.t) != one.t:  # the second turn is over
            for k in range(1, times.repeats + 1):
                yield from ((again, again.t + k * times.turn) for again in second)
            second = []
        if times.again(one.t):
            second.append(one)
        yield one, times.whole(one.t)


def require_countable(sequence: useq.MDASequence) -> None:
    """Refuse an axis that alone has more than `MOST_FRAMES` places, before useq lists them.

    Raises:
        ConfigError: There is such an axis.
    """
    for part in parts(sequence):
        for what, count in _lengths(part):
            if count > MOST_FRAMES:
                raise too_many(f"{what}: {count:,}")


def too_many(what: str) -> ConfigError:
    """Return the refusal of a sequence that is too long."""
    return ConfigError(
        f"sequence: {what} frames; a run takes {MOST_FRAMES:,} at most; take fewer, or several runs one after another"
    )


def _lengths(part: useq.MDASequence) -> Iterator[tuple[str, int]]:
    """Yield how many places each axis has, without listing them; of a time plan of phases, at most."""
    if part.time_plan:
        yield "time_plan", sum(phase.loops for phase in phases(part))
    if part.grid_plan:
        yield "grid_plan", part.grid_plan.num_positions()
    if part.z_plan:
        yield "z_plan", part.z_plan.num_positions()
