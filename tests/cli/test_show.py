"""Numbers are shown as people say them, JSON is strict, and the log is one line for what was foreseen."""

import json
import logging
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.cli import show
from labctl.errors import DeviceError

DURATIONS = {
    0.0: "0.0 s",
    59.94: "59.9 s",
    59.96: "1 min 00 s",
    185: "3 min 05 s",
    3599.6: "1 h 00 min",
    3725: "1 h 02 min",
    360_000: "100 h 00 min",
    math.inf: "unknown",
}


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items())
def test_durations(seconds: float, text: str) -> None:
    assert show.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1.3e9, "1.3 GB"), (2e13, "20 TB")]
)
def test_disk(size: float, text: str) -> None:
    assert show.disk(size) == text


class Colour(StrEnum):
    RED = "red"


JSON: list[tuple[Any, Any]] = [
    (math.nan, "NaN"),
    (-math.inf, "-Infinity"),
    ((1, 2.5, True, None), [1, 2.5, True, None]),
    (np.float32(0.5), 0.5),
    (np.array([[1, 2]]), [[1, 2]]),
    (np.array([math.inf]), ["Infinity"]),
    ({1: Path("x")}, {"1": "x"}),
    (Colour.RED, "red"),
    ("µ\n", "µ\n"),
]


@pytest.mark.parametrize(("value", "read"), JSON)
def test_json_is_one_strict_line_of_ascii(value: Any, read: Any) -> None:
    line = show.json_line({"value": value})
    assert json.loads(line, parse_constant=pytest.fail) == {"value": read}
    assert line.isascii()
    assert "\n" not in line


def log_failure(error: Exception) -> None:
    try:
        raise error
    except Exception:
        logging.getLogger("labctl.bench").exception("%s could not be made safe", "pump")


def test_the_log_shows_a_traceback_only_for_what_was_not_foreseen(capsys: pytest.CaptureFixture[str]) -> None:
    with show.logging_on_stderr():
        log_failure(DeviceError("pump", "no answer"))
        assert capsys.readouterr().err == (
            "ERROR labctl.bench: pump could not be made safe\nDeviceError: pump: no answer\n"
        )
        log_failure(KeyError("x"))
        assert "Traceback" in capsys.readouterr().err


def test_logging_is_as_it_was_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with show.logging_on_stderr():
        logging.getLogger("labctl").info("not shown")
        root.setLevel(logging.INFO)
        logging.getLogger("labctl").info("shown")
    assert capsys.readouterr().err == "INFO labctl: shown\n"
    assert (root.handlers, root.level) == (handlers, level)
