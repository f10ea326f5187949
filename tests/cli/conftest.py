import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from labctl.cli.main import app

PLANS = Path(__file__).with_name("plans.py")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        code: Exit code.
        out: Lines of stdout.
        errors: Lines of stderr.
    """

    code: int
    out: list[str]
    errors: list[str]

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        return json.loads(self.out[-1])


Labctl = Callable[..., Ended]


@pytest.fixture
def labctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labctl:
    """Return a function that runs a command line inside an empty folder; `count` stands for the plan in plans.py."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Ended:
        result = CliRunner().invoke(app, [f"{PLANS}:count" if arg == "count" else arg for arg in args])
        return Ended(result.exit_code, result.stdout.splitlines(), result.stderr.splitlines())

    return call
