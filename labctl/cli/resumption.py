"""What `labctl resume` does: what a run was asked to do is read back from its run.yaml, and it goes on."""

import logging
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from labctl.bench import Bench, BenchFile, parse_bench
from labctl.cli import show
from labctl.cli.answer import Answer
from labctl.cli.order import Order, reckon
from labctl.cli.running import run_order
from labctl.documents import Document
from labctl.errors import ConfigError
from labctl.plan import Plan, Settings, apply_changes, load_plan, parse_settings
from labctl.recorder import ResumedRecorder, read_run, read_summary
from labctl.records import Changes

logger = logging.getLogger(__name__)

NEEDED = (
    *("plan_source", "settings", "bench_document", "simulated", "keep"),
    *("seed", "truth_seed", "calibrations", "ledger"),
)
"""What run.yaml must say for a run to go on."""


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
    missing = [key for key in NEEDED if key not in header]
    if missing:
        raise ConfigError(f"{path}: holds no {', '.join(missing)}; only runs started with labctl run are resumed")
    plan = load_plan(header["plan_source"])
    if not plan.resumable:
        raise ConfigError(f"{run}: plan {plan.name} keeps no checkpoints and cannot be resumed; run it again")
    return Asked(
        plan,
        parse_settings(plan, header["settings"]),
        parse_bench(Document.of(str(path), header["bench_document"])),
        "wire" if header.get("wired") else header["simulated"],
        header["seed"],
        header["truth_seed"],
        header["calibrations"],
        Path(header["ledger"]) if header["ledger"] and header["calibrations"] else None,
    )


def resume(run: Path, answer: Answer) -> None:
    """Go on with the run in folder `run` from its last checkpoint; one that has completed is left as it is.

    Raises:
        ConfigError: As `read_asked`, or its calibrations are no longer those of the ledger.
    """
    if read_summary(run).get("status") == "completed":
        show.console(stderr=answer.as_json).print(f"{run} has completed: there is nothing to resume", soft_wrap=True)
        return
    asked = read_asked(run)
    with ResumedRecorder(run) as recorder:
        for change in recorder.other_software:
            logger.warning("%s: %s since it began; it may not go on exactly as it would have", run, change)
        settings = reduce(apply_changes, map(Changes, recorder.changes), asked.settings)
        table = asked.open_bench()
        order = Order(asked.plan, settings, table, reckon(asked.plan, table, settings))
        answer.values |= order.names()
        changed = len(recorder.changes)
        run_order(order, answer, lambda: recorder, checkpoint=recorder.checkpoint, changed=changed)
