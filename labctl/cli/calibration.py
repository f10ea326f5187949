"""What `labctl calibrate` does: every calibration that is asked for is measured, fitted and entered into the ledger."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from labctl.calibrations import MEASURED, calibrations_of, load_calibration
from labctl.cli import show
from labctl.cli.answer import Answer
from labctl.cli.ledger import entry_table, entry_values
from labctl.cli.order import Request
from labctl.cli.running import run_order
from labctl.ledger import write_entry


def calibrate(asked: Request, name: str, ledger: Path, out: Path, dry_run: bool, answer: Answer) -> None:
    """Carry out calibrations one by one, up to the first that does not complete.

    Args:
        asked: Bench and settings.
        name: Name of a calibration, or `all` of use on this bench.
        ledger: Folder that entries are written to.
        out: Folder of all runs.
        dry_run: Show only what each would cost.
        answer: Takes what was found.
    """
    chosen = calibrations_of(asked.file) if name == "all" else [load_calibration(name)]
    answer.values["calibrations"] = found = []
    for calibration in chosen:
        order, measured = asked.order(calibration.measure), []
        answer.values |= order.names()
        if dry_run:
            found.append({"calibration": calibration.name, "budget": asdict(order.budget)})
            if not answer.as_json:
                show.console().print(show.budget_rows(order.plan.name, order.budget))
            continue
        run_order(order, answer, partial(order.recorder, out, order.plan.name, asked.document), measured.append)
        if answer.values["status"] != "completed":
            return
        data = next(record for record in measured if record.kind == MEASURED)
        fit = calibration.fit({**data.values, **data.arrays})
        entry = calibration.entry(order.bench, order.settings, fit, datetime.now(UTC))
        path = write_entry(ledger, entry)
        found.append({**entry_values(entry), "entry": str(path), "run": answer.values["run"]})
        if not answer.as_json:
            show.console().print(entry_table(entry))
