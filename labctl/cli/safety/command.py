"""What `labctl safety-test` does: light every beam at low power, end its owner in every way, and confirm the dark."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from labctl.cli import show
from labctl.cli.safety.instruments import InstrumentProcess
from labctl.cli.safety.trial import Trial, try_way
from labctl.cli.safety.way import LOW, Request, Way
from labctl.documents import read_bench_document
from labctl.errors import ConfigError, Interlock
from labctl.units import POWER
from labctl.units import show as show_quantity

if TYPE_CHECKING:
    from labctl.bench import BenchFile

WAYS = (Way.RETURN, Way.EXCEPTION, Way.INTERRUPT, Way.TERMINATE, Way.KILL, Way.HANG)
_NOT_TRIED = "not tried: twins go with their owner; needs a beam with a driver and a watchdog"


@dataclass(frozen=True)
class Row:
    """One line of the answer: a way out, and what came of it where it could be tried."""

    way: Way
    trial: Trial | None

    def values(self) -> dict[str, Any]:
        """Return it as plain values, times in seconds."""
        if self.trial is None:
            return {"way": self.way, "dark": None, "measured_by": _NOT_TRIED}
        trial = self.trial
        about = {"after_s": trial.after_s, "bar_s": trial.bar_s, "measured_by": trial.measured_by}
        return {"way": self.way, "dark": trial.passed, **about}

    def cells(self) -> tuple[str, ...]:
        """Return it as text."""
        if self.trial is None:
            return self.way, "-", "", "", _NOT_TRIED
        trial = self.trial
        after = "never" if trial.after_s is None else f"{trial.after_s * 1e3:.0f} ms"
        verdict = "yes" if trial.passed else "NO"
        return self.way, verdict, after, f"{trial.bar_s * 1e3:.0f} ms", trial.measured_by


class SafetyTest:
    """The ways out of one bench.

    Args:
        bench: Shipped name or path of a bench file.
        file: What is in it.
        simulate: As `Bench` takes it. Where all is simulated, drivers of beams that have a `wire:` are tried on it, in
            a process of its own.

    Raises:
        ConfigError: The bench has no beam, none with a `wire:` that was asked for, or cannot be simulated like this.
    """

    def __init__(self, bench: str, file: "BenchFile", simulate: bool | str | Sequence[str]) -> None:
        self._bench, self._file = bench, file
        beams = [name for name, entry in file.devices.items() if entry.kind == "beam"]
        if not beams:
            raise ConfigError(f"bench {file.name} has no beam: there is nothing to test")
        from labctl.bench import Bench  # loads torch

        Bench(file, simulate)  # refuses here what the owners would refuse
        devices = read_bench_document(bench).data["devices"]
        every = simulate is True or simulate == "wire"
        self._wired = {name: devices[name] for name in beams if every and file.devices[name].wire}
        if simulate == "wire" and not self._wired:
            raise ConfigError(f"--simulate wire: no beam of bench {file.name} names a `wire:`; write --simulate")
        self._simulated = tuple(file.devices) if every else tuple(simulate) if not isinstance(simulate, bool) else ()
        self.on_table = [name for name in beams if name not in self._simulated]
        """Beams whose real light will be lit."""

    @property
    def powers(self) -> list[tuple[str, str]]:
        """Every beam and the power it is lit with, as text."""
        return [
            (name, show_quantity(LOW * entry.settings.max_power_w, POWER))
            for name, entry in self._file.devices.items()
            if entry.kind == "beam"
        ]

    def rows(self, ways: Sequence[Way] = WAYS) -> Iterator[Row]:
        """Try these ways, one after the other, and yield what came of each."""
        watchdog = self._file.watchdog
        watched = watchdog.enabled and bool(self.on_table or self._wired)
        for way in ways:
            if way.needs_watchdog and not watched:
                yield Row(way, None)
                continue
            with self._request() as (request, instruments):
                yield Row(way, try_way(replace(request, way=way), watchdog.deadline_s, instruments))

    @contextmanager
    def _request(self) -> Iterator[tuple[Request, InstrumentProcess | None]]:
        if not self._wired:
            yield Request(self._bench, Way.RETURN, simulate=self._simulated), None
            return
        with InstrumentProcess("labctl.cli.safety.wires", [self._bench, *self._wired], 1) as instruments:
            hardware = json.loads(instruments.where[0])
            yield Request(self._bench, Way.RETURN, self._driven_beams(hardware), self._simulated), instruments

    def _driven_beams(self, hardware: Mapping[str, Any]) -> dict[str, Any]:
        """Return what adds a beam with the real driver beside each twin, which alone joins the simulated light."""
        connections = {f"connections.{name}.hardware": own for name, own in hardware["connections"].items()}
        beams = {
            f"devices.{name}_driven": {**entry, "wire": None, "hardware": hardware["devices"][name]}
            for name, entry in self._wired.items()
        }
        return {**connections, **beams}


def require_yes(question: str) -> None:
    """Ask on the terminal.

    Raises:
        ConfigError: The answer is not yes, or there is nobody to ask.
    """
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise ConfigError("no beam was lit: answer y, or say --yes")


def rows_table(bench: str, rows: Sequence[Row]) -> Any:
    """Return the rows as a table."""
    columns = ("way out", "dark", "after", "allowed", "measured by")
    return show.table(f"ways out of {bench}", columns, [row.cells() for row in rows])


def require_dark(bench: str, rows: Sequence[Row]) -> None:
    """Refuse to call a bench safe that was not dark in time.

    Raises:
        Interlock: Names the ways, and what the owners and their watchdogs said at last.
    """
    bad = [row for row in rows if row.trial and not row.trial.passed]
    if bad:
        words = [word for row in bad if row.trial for word in row.trial.words[-3:]]
        ways = ", ".join(row.way for row in bad)
        raise Interlock("\n".join([f"{bench}: not dark in time after: {ways}; check every beam by eye now", *words]))
