"""How every command ends: a status, an exit code, and one JSON object where it is asked for.

A command ends with `completed` or `stopped` (exit code 0), `failed` (1), `refused` (2) or `interrupted` (130); one that
failed because there may be light where there must be none ends with exit code 3.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer
from pydantic import ValidationError

from labctl.cli import show
from labctl.errors import REFUSALS, Interlock, LabError

logger = logging.getLogger(__name__)
T = TypeVar("T")

ALL = "all"
"""What a bare `--simulate` stands for."""

WIRE = "wire"
"""What `--simulate` says for real drivers on instrument simulators."""

EXIT_CODES = {"completed": 0, "stopped": 0, "failed": 1, "refused": 2, "interrupted": 130}
INTERLOCKED = 3


class Answer:
    """How a command ended: errors for people, one JSON object for programs, the exit code for both.

    Args:
        args: All arguments of the program; with `--json` among them the last line of stdout is a JSON object.
    """

    def __init__(self, args: Sequence[str]) -> None:
        self.args = tuple(args)
        self.values: dict[str, Any] = {"status": "completed"}
        self.interlocked = False
        """Whether there may be light where there must be none."""

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
        except REFUSALS as error:
            self.end("refused", str(error))
        except Exception as error:  # whatever it is, it becomes an exit code and a line
            self._end_by(error)
        return None

    def _end_by(self, error: Exception) -> None:
        if hasattr(error, "format_message"):  # a usage error; typer keeps the class to itself
            return self.end("refused", self._usage(error))
        if not isinstance(error, LabError | ExceptionGroup):  # benches log the members of the groups they raise
            logger.error("unexpected error", exc_info=error)
        self.interlocked |= isinstance(error, Interlock)
        return self.end("failed", _describe(error))

    def _usage(self, error: Any) -> str:
        text, context = " ".join(error.format_message().split()).removesuffix("."), getattr(error, "ctx", None)
        if isinstance(error.__cause__, ValidationError):  # of one option; typer does not say what was asked
            asked = repr(error.__cause__.errors()[0]["input"])
            text = text.replace("Value error, ", "") + ("" if asked in text else f"; got {asked}")
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
        if code := INTERLOCKED if self.interlocked else EXIT_CODES[self.values["status"]]:
            raise typer.Exit(code)


def _describe(error: BaseException) -> str:
    if isinstance(error, ExceptionGroup):
        return "\n".join([error.message, *map(_describe, error.exceptions)])
    return str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
