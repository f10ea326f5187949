"""People are told what they wait for, but only where they wait."""

import time

import pytest

from labctl.cli.waiting import told


def test_what_takes_long_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with told("counting frames", after_s=0.01):
        deadline_s, err = time.monotonic() + 10, ""
        while not err and time.monotonic() < deadline_s:
            err = capsys.readouterr().err
    assert err == "counting frames ...\n"


def test_what_is_quick_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with told("counting frames", after_s=60):
        pass
    assert capsys.readouterr() == ("", "")


def test_an_error_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="odd"), told("counting frames", after_s=60):
        raise ValueError("odd")
    assert capsys.readouterr() == ("", "")
