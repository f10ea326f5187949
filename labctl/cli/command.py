"""What surrounds the work of every command: its arguments are read, and whatever happens is answered."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from labctl.cli import show
from labctl.cli.answer import ALL, Answer


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
