"""What a command line orders: a plan with its settings, on a bench that is opened for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.cli.options import parse_assignments, simulated_names
from labctl.cli.waiting import told
from labctl.documents import Document, read_bench_document
from labctl.plan import Plan, Settings, parse_settings
from labctl.recorder import Recorder
from labctl.records import Budget

if TYPE_CHECKING:  # loads torch
    from labctl.bench import Bench, BenchFile


@dataclass(frozen=True)
class Order:
    """A plan to run.

    Args:
        plan: The plan.
        settings: Its settings.
        bench: Its bench, not entered yet.
        budget: What it will cost.
    """

    plan: Plan[Any]
    settings: Settings
    bench: "Bench"
    budget: Budget

    def names(self) -> dict[str, Any]:
        """Return plan, bench, simulated devices, which of them have their real driver, and seeds."""
        bench = self.bench
        seeds = {"seed": bench.seed, "truth_seed": bench.truth_seed}
        devices = {"simulated": simulated_devices(bench), "wired": wired_devices(bench)}
        return {"plan": self.plan.name, "bench": bench.file.name, **devices, **seeds}

    def recorder(self, out: Path, plan: str, document: Document) -> Recorder:
        """Return the recorder of a new run; with what the user asked for it can be made again.

        Args:
            out: Folder of all runs.
            plan: Name of the plan, or file.py:function.
            document: Bench file as it was read.
        """
        file, _, function = plan.rpartition(":")
        asked = f"{Path(file).resolve()}:{function}" if file.endswith(".py") else plan
        header = {**self._header(), "plan_source": asked, "bench_document": document.data}
        return Recorder(out, self.plan.name, header, dict(self.settings).get("keep", "summary"))

    def _header(self) -> dict[str, Any]:
        """Return what run.yaml holds of this run, in SI under full field names."""
        bench = self.bench
        resolved = {"settings": self.settings.model_dump(), "bench_file": bench.as_written.model_dump()}
        resolved |= {"calibrations": [entry.id for entry in bench.belief.used], "believed": bench.calibrated_values}
        resolved |= {"ledger": str(bench.ledger.resolve()) if bench.ledger else None}
        names = [name for name in bench.file.devices if name in bench.simulated]
        return {**self.names(), "simulated": names, **resolved, "device_states": bench.state()}


def simulated_devices(bench: "Bench") -> bool | list[str]:
    """Return whether all or no devices of a bench are simulated, or the names of those that are."""
    if bench.simulated in (frozenset(), frozenset(bench.file.devices)):
        return bool(bench.simulated)
    return [name for name in bench.file.devices if name in bench.simulated]


def wired_devices(bench: "Bench") -> list[str]:
    """Return the names of simulated devices whose real driver speaks to an instrument simulator."""
    return [name for name in bench.file.devices if name in bench.wired]


@dataclass(frozen=True)
class Request:
    """A bench and settings as a command line gives them, for one plan or several.

    Args:
        document: Bench file as it was read, overrides applied.
        file: The same, as a model.
        simulated: What `--simulate` asks for, as `Bench` takes it.
        given: Settings of the plans by name.
        seed: Drives weights, data order and measurement noise.
        truth_seed: Draws the twins' truth; None for the bench file's.
    """

    document: Document
    file: "BenchFile"
    simulated: bool | str | list[str]
    given: Mapping[str, Any]
    seed: int
    truth_seed: int | None

    def order(self, plan: Plan[Any], ledger: Path | None = None) -> Order:
        """Return the order for `plan` on a bench that believes what `ledger` holds.

        Raises:
            ConfigError: The settings are not the plan's, or do not fit the bench; or the ledger is foreign.
        """
        from labctl.bench import Bench

        settings = parse_settings(plan, self.given)
        bench = Bench(self.file, self.simulated, seed=self.seed, truth_seed=self.truth_seed, ledger=ledger)
        return Order(plan, settings, bench, reckon(plan, bench, settings))


def reckon(plan: Plan[Any], bench: "Bench", settings: Settings) -> Budget:
    """Return what a run will cost; that it is being reckoned is shown where that takes a while.

    Raises:
        ConfigError: The settings do not fit the bench.
        LimitError: They ask for more than a device allows.
    """
    with told(f"{plan.name}: reckoning what it needs"):
        return plan.budget(bench, settings)


def read_request(
    bench: str, simulate: str | None, assignments: Sequence[str], seed: int, truth_seed: int | None
) -> Request:
    """Return what the options of a command line ask for.

    Args:
        bench: Shipped name or path of a bench file.
        simulate: Text of `--simulate`.
        assignments: Texts of `--set`.
        seed: As for `Request`, and so `truth_seed`.
        truth_seed: See there.

    Raises:
        ConfigError: The bench file or an override is wrong, or the bench cannot do what it declares.
    """
    from labctl.bench import parse_bench, require_able

    given, overrides = parse_assignments(assignments)
    document = read_bench_document(bench, overrides)
    file = parse_bench(document)
    require_able(file)
    return Request(document, file, simulated_names(simulate), given, seed, truth_seed)
