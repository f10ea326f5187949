"""What stands behind `--set` and `--simulate` is understood as it was meant, or refused."""

import json
import logging
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from labctl.cli.answer import Answer
from labctl.cli.command import LabCommand, LabGroup
from labctl.cli.options import parse_assignments, simulated_names
from labctl.errors import ConfigError, DeviceError

VALUES = {
    "7": 7,
    "0.5": 0.5,
    "5e-4": 5e-4,
    "-1E3": -1000.0,
    "+.5e2": 50.0,
    "2.e1": 20.0,
    "'5e-4'": "5e-4",
    '"7"': "7",
    "[5e-4, 1]": [5e-4, 1],
    "{rate: 5e-4}": {"rate": 5e-4},
    "20 ms": "20 ms",
    "5e-4 W": "5e-4 W",
    "adam": "adam",
    "true": True,
    "null": None,
    "": None,
    "a=b": "a=b",
    "e5": "e5",
    "1e5x": "1e5x",
}


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=VALUES)
def test_values_are_yaml_with_plain_numbers(text: str, value: Any) -> None:
    settings, overrides = parse_assignments([f"key={text}"])
    assert (settings, overrides) == ({"key": value}, {})
    assert type(settings["key"]) is type(value)


def test_keys_that_begin_with_bench_override_the_bench_file() -> None:
    settings, overrides = parse_assignments(["benchmark=1", "bench.laser.power=1 W", "bench.light.0.modes = 3"])
    assert settings == {"benchmark": 1}
    assert overrides == {"laser.power": "1 W", "light.0.modes": 3}


@pytest.mark.parametrize(
    "texts",
    [["steps"], ["=3"], ["bench=3"], ["bench.=3"], ["a=1", "a=2"], ["a=[1"], ["a=!!python/none x"], ["a=2024-13-45"]],
    ids="; ".join,
)
def test_what_is_no_assignment_is_a_usage_error(texts: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parse_assignments(texts)


def test_simulate_means_nothing_all_or_names() -> None:
    assert simulated_names(None) is False
    assert simulated_names("all") is True
    assert simulated_names("stage, cell,") == ["stage", "cell"]
    with pytest.raises(typer.BadParameter):
        simulated_names(" , ")


app = typer.Typer(cls=LabGroup, add_completion=False)


@app.callback()
def options() -> None:
    """Stand in for labctl."""


@app.command(cls=LabCommand)
def look(
    ctx: typer.Context,
    bench: str,
    simulate: str | None = None,
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Tell what was understood."""
    ctx.obj.values |= {"bench": bench, "simulate": simulate, "seed": seed}


PLACES = {
    "": None,
    "--simulate": "all",
    "--simulate --seed 3": "all",
    "--seed 3 --simulate": "all",
    "--simulate -- ": "all",
    "--simulate stage": "stage",
    "--simulate stage,cell --seed 3": "stage,cell",
    "--simulate=stage": "stage",
}


@pytest.mark.parametrize(("text", "value"), PLACES.items(), ids=PLACES)
def test_simulate_may_stand_without_a_value(text: str, value: str | None) -> None:
    result = CliRunner().invoke(app, ["look", "b", "--json", *text.split()])
    answer = json.loads(result.stdout)
    assert (answer["bench"], answer["simulate"]) == ("b", value)
    assert answer["seed"] == (3 if "--seed" in text else 0)


def test_simulate_may_stand_first_before_another_option() -> None:
    result = CliRunner().invoke(app, ["look", "--simulate", "--json", "b"])
    assert json.loads(result.stdout)["simulate"] == "all"


def fail_by(error: BaseException) -> Answer:
    def action() -> None:
        raise error

    answer = Answer(["--json"])
    assert answer.take(action) is None
    return answer


ERRORS = {
    "config": (ConfigError("a\nb"), "refused", "a\nb"),
    "device": (DeviceError("pump", "no answer"), "failed", "pump: no answer"),
    "group": (ExceptionGroup("not closed", [DeviceError("pump", "x"), OSError("y")]), "failed", None),
    "fault": (KeyError("x"), "failed", "KeyError: 'x'"),
    "ctrl-c": (KeyboardInterrupt(), "interrupted", "interrupted"),
}


@pytest.mark.parametrize(("error", "status", "text"), ERRORS.values(), ids=ERRORS)
def test_every_error_becomes_a_status_and_lines(error: BaseException, status: str, text: str | None) -> None:
    answer = fail_by(error)
    assert answer.values == {"status": status, "error": text or "not closed\npump: x\nOSError: y"}


def test_only_unforeseen_errors_are_logged_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    fail_by(ConfigError("x"))
    fail_by(DeviceError("pump", "x"))
    assert caplog.records == []
    fail_by(KeyError("x"))
    assert [(record.levelno, bool(record.exc_info)) for record in caplog.records] == [(logging.ERROR, True)]


def test_a_later_error_does_not_hide_the_first() -> None:
    answer = Answer([])
    answer.end("failed", "first")
    answer.end("failed", "second")
    assert answer.values["error"] == "first\nsecond"


def test_only_the_end_of_the_program_passes() -> None:
    for error in (typer.Exit(3), BrokenPipeError()):
        with pytest.raises(type(error)):
            fail_by(error)
