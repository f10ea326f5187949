"""The logbook of a training: its records in order, and what comes back for them."""

from collections.abc import Generator, Mapping
from typing import Any, Generic

from numpy.typing import NDArray

from labctl.bench import Bench
from labctl.errors import RunStopped
from labctl.plan import SettingsT, apply_changes
from labctl.records import Changes, Record, split_tree

Records = Generator[Record, Changes | None, None]


class Logbook(Generic[SettingsT]):
    """Numbers the records of a training; hears the changes of settings and the stop that come back for them.

    Args:
        bench: Open bench, whose clock dates the records.
        settings: Settings of the plan.
    """

    def __init__(self, bench: Bench, settings: SettingsT) -> None:
        self.settings = settings
        self.changed = False
        self.stop: RunStopped | None = None
        self._bench = bench
        self._counts: dict[str, int] = {}
        self._started_s = bench.clock.now_s()

    def count(self, kind: str) -> int:
        """Return how many records of a kind there are."""
        return self._counts.get(kind, 0)

    @property
    def seconds(self) -> float:
        """Bench time that the training has taken, over all the runs it is made of."""
        return self._bench.clock.now_s() - self._started_s

    def record(self, kind: str, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> Record:
        """Return the next record of a kind."""
        return Record(kind, self.number(kind), self._bench.clock.now_s(), values, arrays or {})

    def number(self, kind: str) -> int:
        """Count one more record of a kind, and return its number."""
        number = self.count(kind)
        self._counts[kind] = number + 1
        return number

    def checkpoint(self, number: int, state: Mapping[str, Any]) -> Record:
        """Return the checkpoint of that number: `state`, nested values and arrays."""
        return Record("checkpoint", number, self._bench.clock.now_s(), *split_tree(state))

    def tell(self, record: Record) -> Records:
        """Yield a record and apply the changes that come back for it; a stop waits for the next safe point."""
        try:
            changes = yield record
        except RunStopped as stop:
            self.stop = stop
            return
        if changes is not None:
            self.settings = apply_changes(self.settings, changes)
            self.changed = True

    def note(self, kind: str, values: Mapping[str, Any]) -> Records:
        """Tell the next record of a kind."""
        yield from self.tell(self.record(kind, values))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs: numbers of records, times, and the bench where all of it is simulated."""
        return {
            "counts": dict(self._counts),
            "seconds": [self._started_s, self._bench.clock.now_s()],
            "bench": self._bench.simulation_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; a simulated bench goes back there, the time since then is not the run's."""
        self._counts = dict(state["counts"])
        self._started_s, then_s = state["seconds"]
        if state["bench"]:
            self._bench.restore_simulation(state["bench"])
        else:
            self._started_s += self._bench.clock.now_s() - then_s
