"""The README holds: its script runs, its commands are accepted, its overrides lead somewhere."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

from labctl.bench import load_bench
from labctl.cli.main import app

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Return every `labctl run` command of the README that names no file of the reader's."""
    lines = "\n".join(text for kind, text in BLOCKS if not kind).replace("\\\n", " ").splitlines()
    found = [line.split("labctl ", 1)[1] for line in lines if re.match(r"(\.venv/bin/)?labctl run \w", line)]
    return [line for line in found if not re.search(r"PLAN|/path/|DATE", line)]


def overrides() -> list[str]:
    """Return every `--set bench...` that stands alone on a line."""
    lines = [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("--set ")]
    quoted = [re.match(r"--set (\"[^\"]*\"|'[^']*'|\S+)", line) for line in lines]
    return [found[1].strip("\"'") for found in quoted if found]


def test_the_scripts_run_and_print(capsys: pytest.CaptureFixture[str]):
    printed = []
    for script in [text for kind, text in BLOCKS if kind == "python"]:
        exec(compile(script, "README.md", "exec"), {})
        printed.append(capsys.readouterr().out.splitlines())
    frame, training, engine, spots = printed
    assert "brightest pixel" in frame[-1]
    assert len(training) == 2
    assert "test digits right" in training[-1]
    assert "(5, 200, 200)" in engine[-1]
    assert min(ast.literal_eval(spots[-1].split(": ")[1])) > 300


@pytest.mark.parametrize("command", commands())
def test_a_command_is_accepted(command: str):
    with pytest.raises(SystemExit) as ended:
        app([*shlex.split(command), "--dry-run", "--json"])
    assert ended.value.code == 0


@pytest.mark.parametrize("override", overrides())
def test_an_override_leads_somewhere(override: str):
    path, _, value = override.partition("=")
    load_bench("vapour_cell", {path.removeprefix("bench."): yaml.safe_load(value)})


def test_the_commands_and_overrides_were_found():
    assert len(commands()) >= 3
    assert len(overrides()) >= 6
