"""Runs a plan: thread, pause, stop, live changes, listeners; every way out leaves the bench dark."""

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from labctl.clock import SLICE_S, Clock
from labctl.errors import REFUSALS, LabError, RunAborted, RunStopped
from labctl.plan import Plan, Settings, apply_changes, live_fields
from labctl.records import Changes, Record, Summary

_log = logging.getLogger(__name__)

Status = Literal["idle", "running", "paused", "completed", "stopped", "refused", "interrupted", "failed"]
Listener = Callable[[Record], None]
"""Receives every record in the thread that runs the plan; an exception from it fails the run."""

_WORST_LAST: tuple[Status, ...] = ("completed", "stopped", "refused", "interrupted", "failed")
_T = TypeVar("_T")


class SafeBench(Protocol):
    """What a runner needs of a bench."""

    @property
    def clock(self) -> Clock:
        """The bench's clock."""
        ...

    @property
    def dark_after_s(self) -> float | None:
        """Seconds that `make_safe` took to make it dark; None where it is not known to be."""
        ...

    @property
    def was_lit(self) -> bool:
        """Whether any beam was switched on since the bench was opened."""
        ...

    def make_safe(self) -> float:
        """Bring everything into its safe state and return the seconds until it was dark."""
        ...

    def darken(self) -> None:
        """Switch the light off for a pause and remember what was on."""
        ...

    def restore(self) -> None:
        """Switch back on what `darken` switched off."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        status: `completed`, `stopped`, `interrupted` or `failed`; `refused` where the plan would not begin, having
            yielded nothing and lit nothing.
        summary: What the plan returned; empty unless it came to its end.
        error: Why it failed; None when it did not.
        darkness_s: Seconds until the bench was dark; None when that could not be brought about.
        cause: The exception that ended it.
    """

    status: Status
    summary: Summary = field(default_factory=dict)
    error: str | None = None
    darkness_s: float | None = None
    cause: BaseException | None = field(default=None, compare=False, repr=False)


class Runner:
    """Iterates one plan on a bench, once.

    The plan runs in the thread that calls `run`, or in one of its own after `start`; that thread alone touches the
    bench. All other methods may be called from any thread and from a signal handler. They take effect at the next
    record boundary, the safe point; only `stop(now=True)` also ends a wait of the bench clock. A stop that is neither
    for now nor in a pause is thrown into the plan, which may yield some more, for example a checkpoint.

        idle -> running <-> paused
        running, paused -> completed | stopped | interrupted | failed
        running -> refused

    Args:
        plan: The plan to run.
        bench: The open bench.
        settings: Settings of the plan, for example from `parse_settings`.
        rng: Source of all randomness of the plan.
        listeners: Called in order with every record. Each gets the record even when one before it failed.
        checkpoint: Record the plan goes on from; from its beginning without one.
        changed: `change` records there were before the checkpoint.
    """

    def __init__(
        self,
        plan: Plan[Any],
        bench: SafeBench,
        settings: Settings,
        rng: np.random.Generator,
        listeners: Sequence[Listener] = (),
        checkpoint: Record | None = None,
        changed: int = 0,
    ) -> None:
        self.plan = plan
        self.bench = bench
        self._initial = self._settings = settings
        self._rng = rng
        self._listeners = tuple(listeners)
        self._checkpoint = checkpoint
        self._wake = threading.Condition()  # its lock is re-entrant, so a signal handler may call in
        self._status: Status = "idle"
        self._stop = self._stop_now = self._pause = False
        self._changes: dict[str, Any] = {}
        self._changed = changed
        self._yielded = False
        self._generator: Generator[Record, Changes | None, Summary] | None = None
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | None = None

    @property
    def status(self) -> Status:
        """What the run is doing, or how it ended."""
        return self._status

    @property
    def settings(self) -> Settings:
        """The settings as changed so far."""
        return self._settings

    @property
    def outcome(self) -> Outcome | None:
        """How the run ended, or None while it has not."""
        return self._outcome

    def run(self) -> Outcome:
        """Run the plan in this thread and return how it ended, the bench being dark.

        Ctrl-C gives an outcome too; exceptions that mean the end of the interpreter pass, after the bench is safe.

        Raises:
            LabError: This runner has been started before.
        """
        self._claim()
        return self._run()

    def start(self) -> None:
        """Run the plan in a thread of its own; a run under way keeps the interpreter from ending.

        Raises:
            LabError: This runner has been started before.
        """
        self._claim()
        self._thread = threading.Thread(target=self._run, name=f"labctl {self.plan.name}")
        self._thread.start()

    def join(self) -> Outcome:
        """Wait for a started run to end and return how it ended; Ctrl-C ends this wait, not the run.

        Raises:
            LabError: The run was never started.
        """
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(SLICE_S)  # in slices, because Windows does not interrupt an endless join
        if self._outcome is None:
            raise LabError(f"{self.plan.name}: there is no run to wait for; call start() first")
        return self._outcome

    def pause(self) -> None:
        """Hold at the next safe point with the light off; without effect on a run that has ended."""
        with self._wake:
            self._pause = True

    def resume(self) -> None:
        """Go on after a pause with the light restored."""
        with self._wake:
            self._pause = False
            self._wake.notify_all()

    def stop(self, *, now: bool = False) -> None:
        """End the run at the next safe point, or `now`: at the next wait of the bench clock if that comes first."""
        with self._wake:
            self._stop = True
            self._stop_now = self._stop_now or now
            self._wake.notify_all()

    def change(self, **values: Any) -> None:
        """Change live settings from the next safe point on; the plan gets them sent, listeners as a `change` record.

        Raises:
            ConfigError: A name is no live setting, or its value is not allowed; nothing is changed then.
            LabError: The run has ended.
        """
        with self._wake:
            if self._status not in ("idle", "running", "paused"):
                raise LabError(f"{self.plan.name}: cannot change {', '.join(values)}: the run has {self._status}")
            before, self._settings = self._settings, apply_changes(self._settings, Changes(values))
            for name in live_fields(type(before)):
                if getattr(self._settings, name) != getattr(before, name):
                    self._changes[name] = getattr(self._settings, name)

    def _claim(self) -> None:
        with self._wake:
            if self._status != "idle":
                raise LabError(f"{self.plan.name}: this run was started before; make a new Runner for another")
            self._status = "running"

    def _run(self) -> Outcome:
        on_wait = self.bench.clock.on_wait
        on_wait.append(self._check)
        summary = None
        ran = closed = safe = Outcome("failed", error="ended together with the interpreter")
        try:
            summary, ran = self._attempt(self._iterate)
        finally:
            try:
                on_wait.remove(self._check)  # first, so that the plan's own clean-up can wait undisturbed
                _, closed = self._attempt(self._close)
            finally:
                _, safe = self._attempt(self._make_safe)
                outcome = self._finish([ran, closed, safe], summary or {}, self.bench.dark_after_s)
        return outcome

    def _attempt(self, action: Callable[[], _T]) -> tuple[_T | None, Outcome]:
        """Return what `action` returns and how it ended."""
        try:
            return action(), Outcome("completed")
        except RunStopped as stop:
            return None, Outcome("stopped", cause=stop)
        except KeyboardInterrupt as interrupt:
            return None, Outcome("interrupted", cause=interrupt)
        except LabError as error:
            refused = isinstance(error, REFUSALS) and not (self._yielded or self.bench.was_lit)
            return None, Outcome("refused" if refused else "failed", error=str(error), cause=error)
        except Exception as error:  # a fault in a plan or listener: the bench must be made safe before it is shown
            _log.exception("%s failed", self.plan.name)
            return None, Outcome("failed", error=f"{type(error).__name__}: {error}", cause=error)

    def _finish(self, endings: Sequence[Outcome], summary: Summary, darkness_s: float | None) -> Outcome:
        worst = max(endings, key=lambda ending: _WORST_LAST.index(ending.status))
        error = "; ".join(dict.fromkeys(ending.error for ending in endings if ending.error)) or None
        with self._wake:
            self._outcome = Outcome(worst.status, summary, error, darkness_s, worst.cause)
            self._status = worst.status
            return self._outcome

    def _iterate(self) -> Summary:
        self._generator = generator = self.plan(self.bench, self._initial, self._rng, self._checkpoint)
        self._obey()
        changes = None
        while True:
            try:
                record = generator.send(changes)
            except StopIteration as end:
                return end.value
            self._yielded = True
            self._publish(record)
            if self._stop and not (self._pause or self._stop_now):  # a pause stays dark to its end
                self._hear_out(generator)
            self._obey()
            changes = self._take_changes()

    def _hear_out(self, generator: Generator[Record, Changes | None, Summary]) -> None:
        """Tell the plan that it is stopped, and publish what it still has to say, such as a checkpoint."""
        with suppress(StopIteration, RunStopped):
            record = generator.throw(RunStopped())
            while True:
                self._publish(record)
                record = next(generator)

    def _close(self) -> None:
        if self._generator is not None:
            self._generator.close()

    def _make_safe(self) -> float:
        try:
            return self.bench.make_safe()
        except KeyboardInterrupt:  # an impatient second Ctrl-C must not leave the light on
            return self.bench.make_safe()
        except Exception as error:
            _log.exception("%s: the bench could not be made safe", self.plan.name)
            if self.bench.dark_after_s is not None:
                raise RunAborted(str(error)) from error
            raise RunAborted(f"the bench is not known to be dark, close the shutters by hand: {error}") from error

    def _publish(self, record: Record) -> None:
        """Give the record to every listener, then raise what the first failing one raised."""
        failures: list[Exception] = []
        for listener in self._listeners:
            try:
                listener(record)
            except Exception as error:  # kept until the others have their data, raised below
                failures.append(error)
        if failures:
            raise failures[0]

    def _obey(self) -> None:
        """Hold as long as a pause is asked for; raise RunStopped when a stop is."""
        if self._held():
            self.bench.darken()
            self._status = "paused"
            held = True
            while held:
                for check in self.bench.clock.on_wait:  # a pause is a wait: interlocks and watchdog stay served
                    check()
                held = self._held(wait_s=SLICE_S)
            if not self._stop:
                self.bench.restore()
                self._status = "running"
        if self._stop:
            raise RunStopped

    def _held(self, wait_s: float = 0.0) -> bool:
        with self._wake:
            if wait_s and self._pause and not self._stop:
                self._wake.wait(wait_s)
            return self._pause and not self._stop

    def _take_changes(self) -> Changes | None:
        with self._wake:
            values, self._changes = self._changes, {}
        if not values:
            return None
        self._publish(Record("change", self._changed, self.bench.clock.now_s(), values))
        self._changed += 1
        return Changes(values)

    def _check(self) -> None:
        """End a wait of the bench clock, once for each stop that was asked for now."""
        if self._stop_now:
            self._stop_now = False
            raise RunStopped
