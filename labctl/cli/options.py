"""What the command line's arguments mean: `--simulate` with or without names, and `--set key=value`."""

import re
from collections.abc import Sequence
from typing import Any

import typer
import yaml
from typer.core import TyperCommand, TyperGroup

from labctl.cli import show
from labctl.cli.answer import ALL, WIRE, Answer
from labctl.errors import ConfigError
from labctl.units import LENGTH


class LabGroup(TyperGroup):
    """All commands; whatever happens in one is answered here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options that stand before the command."""
        show.prepare_streams()
        ctx.obj = answer = Answer(args)
        rest = answer.take(super().parse_args, ctx, args or ["--help"])
        if rest is None:
            answer.send()
        return rest or []

    def invoke(self, ctx: Any) -> None:
        """Run the command and answer for it."""
        with show.logging_on_stderr():
            ctx.obj.take(super().invoke, ctx)
            ctx.obj.send()


class LabCommand(TyperCommand):
    """A command whose `--simulate` may stand without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, a bare `--simulate` as `--simulate all`."""
        following = [*args[1:], "-"]
        bare = [arg == "--simulate" and after.startswith("-") for arg, after in zip(args, following, strict=False)]
        return super().parse_args(
            ctx, [f"{arg}={ALL}" if alone else arg for arg, alone in zip(args, bare, strict=True)]
        )


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


def parse_length(text: str) -> float:
    """Return a length with its unit ("0.5 mm") in metres.

    Raises:
        ConfigError: It is none.
    """
    try:
        return LENGTH.parse(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error


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
