"""`--simulate wire`: the instruments live in the owner, and a watchdog stands by all the same."""

import os
import subprocess
import sys

import pytest

from labctl.cli.safety.way import Request, Way
from labctl.documents import read_bench_document
from tests.safety.beams import ROOT, SMALL_FOURIER


@pytest.fixture(scope="module")
def wired_beam() -> dict[str, object]:
    """The beam of the shipped Fourier bench: a real driver and what answers it."""
    return read_bench_document("fourier").data["devices"]["beam"]


def owner(request: Request) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "labctl.cli.safety.owner", request.to_json()]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=False)


def test_an_owner_that_hangs_is_ended_though_its_instruments_go_with_it(wired_beam: dict[str, object]):
    overrides = {"devices.beam": wired_beam, "watchdog": {"deadline": "0.2 s"}}
    ended = owner(Request(str(SMALL_FOURIER), Way.HANG, overrides, simulate="wire"))
    assert ended.returncode != 0
    assert "it was stuck and has been ended" in ended.stderr
    assert "its instruments were simulated inside it and went with it" in ended.stderr
    assert "by hand" not in ended.stderr


def test_ctrl_c_on_the_wire_ends_dark(wired_beam: dict[str, object]):
    ended = owner(Request(str(SMALL_FOURIER), Way.INTERRUPT, {"devices.beam": wired_beam}, simulate="wire"))
    assert ended.returncode == 0, ended.stderr
    assert '"event": "dark"' in ended.stdout
    assert "watchdog" not in ended.stderr
