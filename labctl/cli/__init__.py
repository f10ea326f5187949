"""The command line `labctl`: what its arguments mean, and how every command ends.

A command ends with a status: `completed` or `stopped` (exit code 0), `failed` (1), `refused` (2) or `interrupted`
(130); exit code 3 is kept for interlocks. The commands themselves are in `labctl.cli.main`.
"""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer
import yaml
from typer.core import TyperCommand, TyperGroup

from labctl.cli import show
from labctl.errors import ConfigError, LabError

logger = logging.getLogger(__name__)
T = TypeVar("T")

EXIT_CODES = {"completed": 0, "stopped": 0, "failed": 1, "refused": 2, "interrupted": 130}
ALL = "all"
"""What a bare `--simulate` stands for."""


class Answer:
    """How a command ended: errors for people, one JSON object for programs, the exit code for both.

    Args:
        args: All arguments of the program; with `--json` among them the last line of stdout is a JSON object.
    """

    def __init__(self, args: Sequence[str]) -> None:
        self.args = tuple(args)
        self.values: dict[str, Any] = {"status": "completed"}

    @property
    def as_json(self) -> bool:
        """Whether a JSON object is wanted, even where the arguments could not be understood."""
        return "--json" in self.args

    def end(self, status: str, error: str | None = None) -> None:
        """Note how the command ended; errors noted before stay."""
        errors = [one for one in (self.values.get("error"), error) if one]
        self.values |= {"status": status} | ({"error": "\n".join(errors)} if errors else {})

    def take(self, action: Callable[..., T], *args: Any) -> T | None:
        """Return what `action` returns, or note how it failed and return None."""
        try:
            return action(*args)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            self.end("interrupted", "interrupted")
        except ConfigError as error:
            self.end("refused", str(error))
        except Exception as error:  # whatever it is, it becomes an exit code and a line
            self._end_by(error)
        return None

    def _end_by(self, error: Exception) -> None:
        if hasattr(error, "format_message"):  # a usage error; typer keeps the class to itself
            return self.end("refused", self._usage(error))
        if not isinstance(error, LabError | ExceptionGroup):  # benches log the members of the groups they raise
            logger.error("unexpected error", exc_info=error)
        return self.end("failed", _describe(error))

    def _usage(self, error: Any) -> str:
        text, context = error.format_message().strip().removesuffix("."), getattr(error, "ctx", None)
        if text.startswith("Missing argument") and "--simulate" in self.args:
            text += f"; if --simulate took it, write --simulate={ALL}"
        return f"{text}; see '{context.command_path} --help'" if context else text

    def send(self) -> None:
        """Print errors and the JSON object; a status other than 0 ends the program.

        Raises:
            typer.Exit: With the exit code of the status.
        """
        console = show.console(stderr=True)
        for line in self.values.get("error", "").splitlines():
            console.print(f"error: {line}", style="red", soft_wrap=True)
        if self.as_json:
            typer.echo(show.json_line(self.values))
        if code := EXIT_CODES[self.values["status"]]:
            raise typer.Exit(code)


def _describe(error: BaseException) -> str:
    if isinstance(error, ExceptionGroup):
        return "\n".join([error.message, *map(_describe, error.exceptions)])
    return str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"


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


def simulated_names(text: str | None) -> bool | list[str]:
    """Return what `--simulate` asks for, as `Bench` takes it.

    Raises:
        typer.BadParameter: It names nothing.
    """
    if text is None or text == ALL:
        return text == ALL
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("write device names set off by commas, or nothing for all", param_hint="--simulate")
    return names


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
