"""What a run was asked to do, read back from its run.yaml so that it can be resumed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labctl.bench import Bench, BenchFile, parse_bench
from labctl.documents import Document
from labctl.errors import ConfigError
from labctl.plan import Plan, Settings, load_plan, parse_settings
from labctl.recorder import read_run


@dataclass(frozen=True)
class Asked:
    """What a run was asked to do.

    Args:
        plan: Its plan, which is resumable.
        settings: Settings it began with.
        bench: Its bench file, as it was then.
        simulated: Names of the devices that were simulated; "wire" where real drivers spoke to instrument simulators.
        seed: Its seed.
        truth_seed: Its truth seed.
        calibrations: Ids of the calibrations it believed.
        ledger: Folder they were read from, or None.
    """

    plan: Plan[Any]
    settings: Settings
    bench: BenchFile
    simulated: str | list[str]
    seed: int
    truth_seed: int
    calibrations: list[str]
    ledger: Path | None

    def open_bench(self) -> Bench:
        """Return its bench, not entered yet, that believes what it believed.

        Raises:
            ConfigError: Its calibrations are no longer those of the ledger.
        """
        bench = Bench(
            self.bench,
            self.simulated,
            seed=self.seed,
            truth_seed=self.truth_seed,
            ledger=self.ledger,
            calibrations=self.calibrations,
        )
        now = [entry.id for entry in bench.belief.used]
        if now != self.calibrations:
            raise ConfigError(
                f"ledger {self.ledger}: holds {', '.join(now) or 'nothing valid'} for this bench, the run began with "
                f"{', '.join(self.calibrations)}; put these back, or start a new run"
            )
        return bench


def read_asked(run: Path) -> Asked:
    """Return what the run in folder `run` was asked to do.

    Raises:
        ConfigError: It is no folder of a run, its plan is not there or not resumable, or its settings or bench are no
            longer allowed.
    """
    path = run / "run.yaml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; give the folder of a run, or start it with labctl run")
    header = read_run(run)
    missing = [key for key in ("plan_source", "settings", "bench_document") if key not in header]
    if missing:
        raise ConfigError(f"{path}: holds no {', '.join(missing)}; only runs started with labctl run are resumed")
    plan = load_plan(header["plan_source"])
    if not plan.resumable:
        raise ConfigError(f"{run}: plan {plan.name} keeps no checkpoints and cannot be resumed; run it again")
    return Asked(
        plan,
        parse_settings(plan, header["settings"]),
        parse_bench(Document(str(path), yaml.safe_dump(header["bench_document"], sort_keys=False))),
        "wire" if header.get("wired") else header["simulated"],
        header["seed"],
        header["truth_seed"],
        header["calibrations"],
        Path(header["ledger"]) if header["ledger"] and header["calibrations"] else None,
    )
