"""The options that several commands share, and what they mean: `--simulate` names devices, `--set` key=value."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from labctl.cli.answer import ALL, WIRE
from labctl.errors import ConfigError
from labctl.files import require_folder
from labctl.units import LENGTH


def _set_level(verbose: bool) -> None:
    if verbose:
        logging.getLogger().setLevel(logging.INFO)


def _to_write(out: Path) -> Path:
    return require_folder(out, "--out")


BenchArgument = Annotated[str, typer.Argument(metavar="BENCH", help="Shipped name or path of a bench file.")]
BenchOption = Annotated[str, typer.Option(metavar="BENCH", help="Shipped name or path of a bench file.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
Simulate = Annotated[
    str | None,
    typer.Option(
        metavar="[NAMES]",
        help="Twins for all devices, or for those named: stage,cell; wire: real drivers on instrument simulators.",
        show_default=False,
    ),
]
TruthSeed = Annotated[int | None, typer.Option(min=0, help="Draws the twins' truth.", show_default=False)]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, or bench.PATH; repeatable.")
]
Out = Annotated[Path, typer.Option(help="Folder of all runs.", callback=_to_write)]
Ledger = Annotated[
    str, typer.Option(metavar="DIR", envvar="LABCTL_LEDGER", help="Folder of calibrations; `none` to go without.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would cost, and stop.")]
Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, to stderr.", callback=_set_level)]


def simulated_names(text: str | None) -> bool | str | list[str]:
    """Return what `--simulate` asks for, as `Bench` takes it.

    Raises:
        typer.BadParameter: It names nothing.
    """
    if text is None or text == ALL:
        return text == ALL
    if text == WIRE:
        return WIRE
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("write device names set off by commas, or nothing for all", param_hint="--simulate")
    return names


def parse_length(option: str, text: str) -> float:
    """Return the length that an option gives with its unit ("0.5 mm"), in metres.

    Raises:
        ConfigError: It is none.
    """
    try:
        return LENGTH.parse(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 5e-4 is a number, as in YAML 1.2 and everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_assignments(texts: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings and the bench overrides that `--set key=value ...` gives.

    Raises:
        typer.BadParameter: No key, no `=`, a value that is not YAML, or a key that stands twice.
    """
    given: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or key in ("", "bench", "bench."):
            raise typer.BadParameter(f"{text!r}: write key=value, or bench.PATH=value", param_hint="--set")
        if key in given:
            raise typer.BadParameter(f"{key!r} stands twice; give it once", param_hint="--set")
        try:
            given[key] = yaml.load(value, Loader=_Loader)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: 2024-13-45 looks like a date
            problem = getattr(error, "problem", None) or error
            raise typer.BadParameter(f"{text!r}: not readable as YAML: {problem}", param_hint="--set") from error
    overrides = {key.removeprefix("bench."): value for key, value in given.items() if key.startswith("bench.")}
    return {key: value for key, value in given.items() if not key.startswith("bench.")}, overrides


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Return the bench overrides that `--set bench.PATH=value ...` gives where there is no plan to set.

    Raises:
        typer.BadParameter: As `parse_assignments`, or a key that is none of the bench file.
    """
    settings, overrides = parse_assignments(texts)
    if settings:
        raise typer.BadParameter(
            f"{next(iter(settings))!r}: there is no plan to set here; write bench.PATH=value", param_hint="--set"
        )
    return overrides
