"""The commands of `labctl`."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial, reduce
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

import labctl
from labctl.cli import show
from labctl.cli.answer import Answer
from labctl.cli.ledger import (
    OWN_LEDGER,
    entries_table,
    entry_table,
    entry_values,
    folder_to_read,
    folder_to_write,
    ledger_folder,
)
from labctl.cli.options import LabCommand, LabGroup, parse_length, simulated_names
from labctl.cli.order import Order, read_request, simulated_devices, wired_devices
from labctl.cli.progress import progress_on
from labctl.cli.signals import Interruptions
from labctl.documents import read_bench_document, shipped_benches
from labctl.experiments.diffractive.export import Format
from labctl.plan import apply_changes, find_plans, load_plan
from labctl.recorder import Recorder, ResumedRecorder, read_summary
from labctl.records import Changes, Record
from labctl.runner import Listener, Runner

if TYPE_CHECKING:
    from labctl.bench import Bench

logger = logging.getLogger(__name__)

# ---- options


def _set_level(verbose: bool) -> None:
    if verbose:
        logging.getLogger().setLevel(logging.INFO)


Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, to stderr.", callback=_set_level)]
Simulate = Annotated[
    str | None,
    typer.Option(
        metavar="[NAMES]",
        help="Twins for all devices, or for those named: stage,cell; wire: real drivers on instrument simulators.",
        show_default=False,
    ),
]
Ledger = Annotated[
    str, typer.Option(metavar="DIR", envvar="LABCTL_LEDGER", help="Folder of calibrations; `none` to go without.")
]
app = typer.Typer(cls=LabGroup, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=False)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"labctl {labctl.__version__}")
        raise typer.Exit


@app.callback()
def labctl_options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_show_version)] = False,
) -> None:
    """Run an optics bench, and train the optical network on it in situ."""


# ---- list and check


class Listed(StrEnum):
    """What `labctl list` knows."""

    BENCHES = "benches"
    PLANS = "plans"
    CALIBRATIONS = "calibrations"
    DRIVERS = "drivers"
    TABLES = "tables"


def _listing(what: Listed) -> list[tuple[str, str]]:
    """Return names and what they stand for; nothing is imported, so this is quick."""
    if what is Listed.BENCHES:
        return [(name, str(read_bench_document(name).data.get("description", ""))) for name in shipped_benches()]
    if what is Listed.PLANS:
        return [(name, entry.value) for name, entry in find_plans().items()]
    if what is Listed.TABLES:
        from labctl.experiments.table import describe, find_tables

        return [(name, describe(entry)) for name, entry in find_tables().items()]
    return sorted((entry.name, entry.value) for entry in entry_points(group=f"labctl.{what}"))


@app.command("list", cls=LabCommand)
def list_names(
    ctx: typer.Context,
    what: Annotated[Listed | None, typer.Argument(help="All of them by default.", show_default=False)] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the benches, plans, calibrations, drivers and tables that are installed."""
    for kind in [what] if what else list(Listed):
        rows = _listing(kind)
        ctx.obj.values[kind.value] = [{"name": name, "description": about} for name, about in rows]
        if not as_json:
            show.console().print(show.table(kind, ("name", "description"), rows) if rows else f"{kind}: none")


@app.command(cls=LabCommand)
def check(
    ctx: typer.Context,
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="Shipped name or path of a bench file.")],
    simulate: Simulate = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare what a bench needs with what it has; with --simulate, open it and show its devices."""
    from labctl.bench import Bench, load_bench, power_table, require_able

    names, file, out = simulated_names(simulate), load_bench(bench), show.console()
    rows = power_table(file)
    ctx.obj.values |= {"bench": file.name, "planes": [asdict(row) for row in rows]}
    if not as_json:
        out.print(show.power_rows(file.name, rows))
    require_able(file)
    if names is not False:
        with Bench(file, names) as table:
            ctx.obj.values |= {"simulated": simulated_devices(table), "wired": wired_devices(table)}
            ctx.obj.values["devices"] = table.state()
            if not as_json:
                out.print(show.device_states(table))


# ---- run


@app.command(cls=LabCommand)
def run(
    ctx: typer.Context,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Name of a plan, or file.py:function.")],
    bench: Annotated[str, typer.Option(metavar="BENCH", help="Shipped name or path of a bench file.")],
    simulate: Simulate = None,
    seed: Annotated[int, typer.Option(min=0, help="Drives weights, data order and measurement noise.")] = 0,
    truth_seed: Annotated[int | None, typer.Option(min=0, help="Draws the twins' truth.", show_default=False)] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, or bench.PATH; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    ledger: Ledger = OWN_LEDGER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would cost, and stop.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run a plan on a bench."""
    asked = read_request(bench, simulate, assignments or (), seed, truth_seed)
    order = asked.order(load_plan(plan), ledger_folder(ledger))
    ctx.obj.values |= order.names()
    if not dry_run:
        _carry_out(order, ctx.obj, lambda: order.recorder(out, plan, asked.document))
        return
    ctx.obj.values["budget"] = {**asdict(order.budget), "total_exposures": order.budget.total_exposures}
    if not as_json:
        show.console().print(show.budget_rows(order.plan.name, order.budget))


def _carry_out(
    order: Order,
    answer: Answer,
    open_recorder: Callable[[], Recorder],
    *also: Listener,
    checkpoint: Record | None = None,
    changed: int = 0,
) -> None:
    """Run a plan and answer for it; the recorder is opened on the open bench."""
    began_s, signals, console = time.monotonic(), Interruptions(), show.console(stderr=answer.as_json)
    with signals.handled(), order.bench as bench, open_recorder() as recorder:
        answer.values["run"] = str(recorder.folder)
        rng = np.random.default_rng(bench.seed)
        with progress_on(console, order.budget.steps) as progress:
            listeners = [_patient(bench, one) for one in (recorder, progress, *also)]
            runner = Runner(order.plan, bench, order.settings, rng, listeners, checkpoint, changed)
            signals.runner = runner
            outcome = runner.run()
        answer.end(outcome.status, outcome.error)
        answer.interlocked |= outcome.darkness_s is None
        wall_s = time.monotonic() - began_s
        own = {**answer.values, "dark_after_s": outcome.darkness_s, "wall_seconds": wall_s}
        answer.values |= {**outcome.summary, **own}
        recorder.finish(outcome.status, outcome.summary, outcome.error)
    if table := outcome.summary.get("table"):
        console.print(show.table(**table))
    if message := outcome.summary.get("message"):
        console.print(message, soft_wrap=True)
    console.print(f"{outcome.status} after {show.duration(wall_s)}; run: {recorder.folder}", soft_wrap=True)


def _patient(bench: "Bench", listener: Listener) -> Listener:
    """Return a listener that the watchdog gives time, as a slow disk is no reason to end a run."""

    def hear(record: Record) -> None:
        with bench.computing():
            listener(record)

    return hear


@app.command(cls=LabCommand)
def resume(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Continue a run that was stopped, killed or has failed, from its last checkpoint."""
    from labctl.cli.resumption import read_asked

    ctx.obj.values["run"] = str(run)
    if read_summary(run).get("status") == "completed":
        show.console(stderr=as_json).print(f"{run} has completed: there is nothing to resume", soft_wrap=True)
        return
    asked = read_asked(run)
    with ResumedRecorder(run) as recorder:
        for change in recorder.other_software:
            logger.warning("%s: %s since it began; it may not go on exactly as it would have", run, change)
        settings = reduce(apply_changes, map(Changes, recorder.changes), asked.settings)
        table = asked.open_bench()
        order = Order(asked.plan, settings, table, asked.plan.budget(table, settings))
        ctx.obj.values |= order.names()
        changed = len(recorder.changes)
        _carry_out(order, ctx.obj, lambda: recorder, checkpoint=recorder.checkpoint, changed=changed)


# ---- calibrate


@app.command(cls=LabCommand)
def calibrate(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME|all", help="Name of a calibration, or all of use here.")],
    bench: Annotated[str, typer.Option(metavar="BENCH", help="Shipped name or path of a bench file.")],
    simulate: Simulate = None,
    seed: Annotated[int, typer.Option(min=0, help="Drives measurement noise.")] = 0,
    truth_seed: Annotated[int | None, typer.Option(min=0, help="Draws the twins' truth.", show_default=False)] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, or bench.PATH; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    ledger: Ledger = OWN_LEDGER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would cost, and stop.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure parameters of a bench, fit them, and enter them into its ledger."""
    from labctl.calibrations import MEASURED, calibrations_of, load_calibration
    from labctl.ledger import write_entry

    asked, root = read_request(bench, simulate, assignments or (), seed, truth_seed), folder_to_write(ledger)
    chosen = calibrations_of(asked.file) if name == "all" else [load_calibration(name)]
    ctx.obj.values["calibrations"] = found = []
    for calibration in chosen:
        order, measured = asked.order(calibration.measure), []
        ctx.obj.values |= order.names()
        if dry_run:
            found.append({"calibration": calibration.name, "budget": asdict(order.budget)})
            if not as_json:
                show.console().print(show.budget_rows(order.plan.name, order.budget))
            continue
        _carry_out(order, ctx.obj, partial(order.recorder, out, order.plan.name, asked.document), measured.append)
        if ctx.obj.values["status"] != "completed":
            return
        data = next(record for record in measured if record.kind == MEASURED)
        fit = calibration.fit({**data.values, **data.arrays})
        entry = calibration.entry(order.bench, order.settings, fit, datetime.now(UTC))
        path = write_entry(root, entry)
        found.append({**entry_values(entry), "entry": str(path), "run": ctx.obj.values["run"]})
        if not as_json:
            show.console().print(entry_table(entry))


@app.command(cls=LabCommand)
def calibrations(
    ctx: typer.Context,
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="Shipped name or path of a bench file.")],
    truth_seed: Annotated[int | None, typer.Option(min=0, help="Truth of the twins.", show_default=False)] = None,
    ledger: Ledger = OWN_LEDGER,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List what was calibrated on a bench, when, and whether it may still be believed."""
    from labctl.bench import Bench, load_bench
    from labctl.ledger import read_entries

    file, root = load_bench(bench), folder_to_read(ledger)
    entries = [entry for simulated in (False, True) for entry in read_entries(root, file.name, simulated)]
    made_on = {simulated: Bench(file, simulated, truth_seed=truth_seed).identity for simulated in (False, True)}
    now = datetime.now(UTC)
    ctx.obj.values |= {"bench": file.name}
    ctx.obj.values["calibrations"] = [
        {**entry_values(entry), "standing": entry.standing(made_on[entry.simulated], now)} for entry in entries
    ]
    if not as_json:
        empty = f"no calibrations of {file.name} in {root}; labctl calibrate makes them"
        show.console().print(entries_table(file.name, entries, made_on) if entries else empty)


# ---- safety


@app.command("safety-test", cls=LabCommand)
def safety_test(
    ctx: typer.Context,
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="Shipped name or path of a bench file.")],
    simulate: Simulate = None,
    yes: Annotated[bool, typer.Option("--yes", help="Light the beams without asking.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """End the owner of a bench in every way, its beams lit at low power, and confirm that each ends dark."""
    from labctl.bench import load_bench
    from labctl.cli.safety.command import SafetyTest, require_dark, require_yes, rows_table

    file, out = load_bench(bench), show.console(stderr=as_json)
    test = SafetyTest(bench, file, simulated_names(simulate))
    out.print(show.table("lit, several times", ("beam", "power"), test.powers))
    if test.on_table and not yes:
        require_yes(f"Light {', '.join(test.on_table)} on the table? Eyewear on, nobody near the beams")
    rows = list(test.rows())
    ctx.obj.values |= {"bench": file.name, "ways": [row.values() for row in rows]}
    if not as_json:
        out.print(rows_table(file.name, rows))
    require_dark(file.name, rows)


# ---- report


@app.command(cls=LabCommand)
def report(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write report.html into the folder of a run: one page with its settings, curves, masks and cost."""
    from labctl.report.page import write_report

    ctx.obj.values |= {"run": str(run), "report": str(write_report(run))}
    if not as_json:
        show.console().print(ctx.obj.values["report"], soft_wrap=True)


# ---- export


@app.command(cls=LabCommand)
def export(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder or file of trained plates.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="Bodies, heights, or levels of a panel.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; one beside the plates by default.", show_default=False)
    ] = None,
    index: Annotated[float, typer.Option(help="Refractive index of the material.")] = 1.7227,
    base: Annotated[str, typer.Option(help="Thickness under the lowest neuron.")] = "0.5 mm",
    response: Annotated[
        Path | None, typer.Option(help="Phase in rad of every panel level, one a line.", show_default=False)
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write trained plates as files to print (STL, CSV, 16-bit PNG) or to show on a panel (levels).

    RUN is a cell of a table, a run of train_masks, or a file of plates.
    """
    from labctl.experiments.diffractive.export import Printed, export_plates
    from labctl.experiments.diffractive.levels import read_response
    from labctl.experiments.diffractive.trained import read_trained

    printed = Printed(index, parse_length(base), read_response(response) if response else None)
    plates, folder = read_trained(run)
    files = export_plates(plates, out or folder / form.value, form, printed)
    ctx.obj.values |= {"run": str(run), "format": form.value, "files": [str(file) for file in files]}
    if not as_json:
        show.console().print("\n".join(map(str, files)), soft_wrap=True)


# ---- reproduce


class Scale(StrEnum):
    """How thoroughly a table is computed."""

    QUICK = "quick"
    PAPER = "paper"


@app.command(cls=LabCommand)
def reproduce(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of a table.", show_default=False)],
    scale: Annotated[Scale, typer.Option(help="Minutes, or as the paper did it.")] = Scale.QUICK,
    seed: Annotated[int, typer.Option(min=0, help="Drives weights, data order and noise.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on in the folder of a table, its scale and seed.", show_default=False),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compute a table of published numbers anew and show both side by side."""
    from labctl.cli.reproduce import begin, carry_out, take_up
    from labctl.experiments.table import load_table

    chosen = load_table(table)
    carry_out(take_up(chosen, resume) if resume else begin(chosen, scale, seed, out), ctx.obj)


if __name__ == "__main__":
    app()
