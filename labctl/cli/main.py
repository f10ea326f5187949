"""The commands of `labctl`: their names, options and help; what takes more than a few lines lies beside this file."""

from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import labctl
from labctl.cli import show
from labctl.cli.command import LabCommand, LabGroup
from labctl.cli.ledger import OWN_LEDGER, entries_table, entry_values, folder_to_read, folder_to_write, ledger_folder
from labctl.cli.listing import Listed, listings
from labctl.cli.options import (
    Assignments,
    BenchArgument,
    BenchOption,
    DryRun,
    Json,
    Ledger,
    Out,
    RunArgument,
    Simulate,
    TruthSeed,
    Verbose,
    parse_length,
    parse_overrides,
    simulated_names,
)
from labctl.cli.order import read_request, simulated_devices, wired_devices
from labctl.cli.running import run_order
from labctl.experiments.diffractive.export import Format
from labctl.files import require_folder
from labctl.plan import load_plan

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


@app.command("list", cls=LabCommand)
def list_names(
    ctx: typer.Context,
    what: Annotated[Listed | None, typer.Argument(help="All but settings by default.", show_default=False)] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Whose settings: a plan, calibration or table.", show_default=False),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the benches, plans, calibrations, drivers and tables that are installed, or the settings of one."""
    for found in listings(what, name):
        ctx.obj.values[found.kind.value] = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        if not as_json:
            shown = show.table(found.title, found.columns, found.texts()) if found.rows else f"{found.title}: none"
            show.console().print(shown)


@app.command(cls=LabCommand)
def check(
    ctx: typer.Context,
    bench: BenchArgument,
    simulate: Simulate = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="bench.PATH=VALUE", help="A value of the bench file; repeatable."),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare what a bench needs with what it has; with --simulate, open it and show its devices."""
    from labctl.bench import Bench, load_bench, power_table, require_able

    names, out = simulated_names(simulate), show.console()
    file = load_bench(bench, parse_overrides(assignments or ()))
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
    bench: BenchOption,
    simulate: Simulate = None,
    seed: Annotated[int, typer.Option(min=0, help="Drives weights, data order and measurement noise.")] = 0,
    truth_seed: TruthSeed = None,
    assignments: Assignments = None,
    out: Out = Path("runs"),
    ledger: Ledger = OWN_LEDGER,
    dry_run: DryRun = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run a plan on a bench."""
    asked = read_request(bench, simulate, assignments or (), seed, truth_seed)
    order = asked.order(load_plan(plan), ledger_folder(ledger))
    ctx.obj.values |= order.names()
    if not dry_run:
        run_order(order, ctx.obj, lambda: order.recorder(out, plan, asked.document))
        return
    ctx.obj.values["budget"] = {**asdict(order.budget), "total_exposures": order.budget.total_exposures}
    if not as_json:
        show.console().print(show.budget_rows(order.plan.name, order.budget))


@app.command(cls=LabCommand)
def resume(
    ctx: typer.Context,
    run: RunArgument,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Continue a run that was stopped, killed or has failed, from its last checkpoint."""
    from labctl.cli import resumption

    ctx.obj.values["run"] = str(run)
    resumption.resume(run, ctx.obj)


# ---- calibrate


@app.command(cls=LabCommand)
def calibrate(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME|all", help="Name of a calibration, or all of use here.")],
    bench: BenchOption,
    simulate: Simulate = None,
    seed: Annotated[int, typer.Option(min=0, help="Drives measurement noise.")] = 0,
    truth_seed: TruthSeed = None,
    assignments: Assignments = None,
    out: Out = Path("runs"),
    ledger: Ledger = OWN_LEDGER,
    dry_run: DryRun = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure parameters of a bench, fit them, and enter them into its ledger."""
    from labctl.cli import calibration

    asked = read_request(bench, simulate, assignments or (), seed, truth_seed)
    calibration.calibrate(asked, name, folder_to_write(ledger), out, dry_run, ctx.obj)


@app.command(cls=LabCommand)
def calibrations(
    ctx: typer.Context,
    bench: BenchArgument,
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
    bench: BenchArgument,
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
    run: RunArgument,
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

    printed = Printed(index, parse_length("--base", base), read_response(response) if response else None)
    plates, folder = read_trained(run)
    files = export_plates(plates, require_folder(out or folder / form.value, "--out"), form, printed)
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
    out: Out = Path("runs"),
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
