"""A watchdog stands by while there is light, and switches it off when the owner of the bench cannot."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest

from drivers.moglabs_rf import RfBeam
from labctl.bench import Bench, load_bench
from labctl.clock import WallClock
from labctl.devices import BeamSettings
from labctl.devices.building import DriverSpec
from labctl.errors import ConnectError, DeviceError, StateError
from labctl.watchdog import Charge, Watchdog
from labctl.watchdog.rescue import switch_off
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.socket_server import SocketServer
from tests.safety.beams import ROOT, SMALL_FOURIER, TWINS, driven_beam, started_instruments


class Wire:
    """One beam's instruments, simulated in this process, and the bench it is on."""

    def __init__(self, stack: ExitStack) -> None:
        self.rf, self.shutter = MoglabsRf(), SC10Controller(WallClock())
        self.urls = [stack.enter_context(SocketServer(one)).url for one in (self.rf, self.shutter)]
        self.file = load_bench(SMALL_FOURIER, {"devices.alpha": driven_beam(*self.urls)})

    @property
    def dark(self) -> bool:
        return not self.rf.channels[1].on and self.shutter.is_closed


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


def watchdogs(before: set[int]) -> list[int]:
    """Return the child processes of this one that were not there before."""
    return [pid for pid in children() if pid not in before]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_a_bench_of_twins_needs_no_watchdog():
    before = children()
    with Bench(load_bench(SMALL_FOURIER), simulate=True) as bench:
        bench.beam("beam").on()
        assert not watchdogs(before)


def test_a_watchdog_stands_by_as_long_as_the_bench_is_open(wire: Wire):
    before = children()
    with Bench(wire.file, TWINS) as bench:
        bench.beam("alpha").on()
        bench.clock.wait(0.0)
        assert len(watchdogs(before)) == 1
    assert not watchdogs(before)
    assert wire.dark


def test_a_bench_may_do_without(wire: Wire):
    before, file = (
        children(),
        load_bench(SMALL_FOURIER, {"devices.alpha": driven_beam(*wire.urls), "watchdog": {"enabled": False}}),
    )
    with Bench(file, TWINS) as bench:
        bench.beam("alpha").on()
        assert not watchdogs(before)


def test_the_end_of_the_watchdog_ends_the_run_and_no_beam_is_lit_without_it(wire: Wire):
    before = children()
    with Bench(wire.file, TWINS) as bench:
        bench.beam("alpha").on()
        (watchdog,) = map(psutil.Process, watchdogs(before))
        watchdog.kill()
        watchdog.wait(10)
        with pytest.raises(StateError, match="ended with alpha on"):
            bench.clock.wait(1.0)
        bench.make_safe()
        assert wire.dark
        with pytest.raises(StateError, match="alpha stays dark"):
            bench.beam("alpha").on()
        assert wire.dark


def test_a_blanked_beam_is_guarded_as_its_shutter_is_open(wire: Wire):
    before = children()
    with Bench(wire.file, TWINS) as bench:
        bench.beam("alpha").on()
        bench.beam("alpha").blank()
        assert not wire.rf.channels[1].on
        (watchdog,) = map(psutil.Process, watchdogs(before))
        watchdog.kill()
        watchdog.wait(10)
        with pytest.raises(StateError, match="ended with alpha on"):
            bench.clock.wait(1.0)
    assert wire.dark


@pytest.mark.skipif(sys.platform == "win32", reason="no signal stops a process there")
def test_a_watchdog_that_is_stuck_ends_the_run(wire: Wire, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("labctl.watchdog.owner.UNANSWERED", 3)
    before = children()
    with Bench(wire.file, simulate=TWINS) as bench:
        (watchdog,) = watchdogs(before)
        beam = bench.beam("alpha")
        beam.on()
        for _ in range(5):
            bench.clock.wait(0.25)
        os.kill(watchdog, signal.SIGSTOP)
        with pytest.raises(StateError, match=r"watchdog: .* not answered 3 times with alpha on"):
            bench.clock.wait(5)
        beam.off()
        os.kill(watchdog, signal.SIGCONT)
    assert wire.dark


def test_what_the_owner_cannot_switch_off_the_watchdog_does(wire: Wire, monkeypatch: pytest.MonkeyPatch):
    def fail(beam: RfBeam) -> None:
        raise DeviceError(beam.name, "does not answer")

    bench = Bench(wire.file, TWINS).__enter__()
    bench.beam("alpha").on()
    monkeypatch.setattr(RfBeam, "_do_make_safe", fail)
    with pytest.raises(ExceptionGroup, match="did not close cleanly"):
        bench.__exit__(None, None, None)
    assert wire.dark


def test_a_watchdog_that_cannot_build_a_driver_says_so_before_there_is_light():
    settings = BeamSettings.model_validate({"power": "1 mW", "max_power": "2 mW", "switch": "1 ms"})
    spec = DriverSpec("alpha", "drivers.moglabs_rf.NoSuchBeam", settings, {})
    watchdog = Watchdog(Charge(os.getpid(), 2.0, (spec,)))
    with pytest.raises(StateError, match=r"device alpha: no class 'drivers.moglabs_rf.NoSuchBeam'"):
        watchdog.require_ready()
    watchdog.end()


def test_instruments_inside_the_owner_go_with_it(wire: Wire):
    """What is simulated inside a process that has died cannot be reached, and needs not be."""
    charge = Charge(os.getpid(), 2.0, (), instruments_inside=True)
    command = [sys.executable, "-m", "labctl.watchdog"]
    ended = subprocess.run(
        command, input=f"{charge.to_json()}\nlit\n", capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ended.returncode == 3
    assert "simulated inside it and went with it" in ended.stderr


LIGHT_AND_FORK = """
import os, sys, json
from drivers.moglabs_rf import RfBeam
from labctl.clock import WallClock
from labctl.devices import BeamSettings
from labctl.devices.building import DriverSpec
from labctl.watchdog import Charge, Watchdog
from labctl.watchdog.rescue import switch_off
entry = json.loads(sys.argv[1])
spec = DriverSpec("alpha", entry["driver"], BeamSettings.model_validate(entry["settings"]), entry["hardware"])
watchdog = Watchdog(Charge(os.getpid(), 2.0, (spec,)))
beam = RfBeam("alpha", WallClock(), spec.settings, spec.hardware)
beam.before_light.append(watchdog.before_light)
if sys.argv[2] == "lit":
    beam.open()
    beam.on()
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
if sys.argv[2] == "dark":
    beam.open()
    beam.on()
assert beam.is_on
print("lit", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes fork on POSIX only")
@pytest.mark.parametrize("forked", ["dark", "lit"])
def test_a_forked_child_that_lives_on_does_not_hide_the_death_of_the_owner(forked: str):
    with started_instruments(1) as instruments:
        entry: dict[str, Any] = driven_beam(*instruments.where)
        command = [sys.executable, "-W", "ignore", "-c", LIGHT_AND_FORK, json.dumps(entry), forked]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "lit\n"
            assert instruments.dark_since_ns() is None
            os.kill(owner.pid, signal.SIGKILL)
            assert instruments.dark_since_ns(timeout_s=5.0) is not None


def test_the_watchdog_closes_a_shutter_whose_modulator_is_out_of_reach(wire: Wire):
    """The cable that was pulled with the killed process leaves one way to the dark."""
    wire.shutter.enabled = True
    entry = driven_beam("socket://127.0.0.1:9", wire.urls[1])
    settings = BeamSettings.model_validate(entry["settings"])
    spec = DriverSpec("alpha", entry["driver"], settings, entry["hardware"])
    (rescued,) = switch_off([spec], time.monotonic())
    assert isinstance(rescued.error, ConnectError)
    assert wire.shutter.is_closed


@contextmanager
def spoken_to(deadline_s: float, words: str) -> Iterator["subprocess.Popen[str]"]:
    """Yield a watchdog that is told these words; its owner and the instruments inside are a process that waits."""
    command = [sys.executable, "-m", "labctl.watchdog"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=pipe) as owner,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as watchdog,
    ):
        assert watchdog.stdin is not None
        assert owner.stdin is not None
        charge = Charge(owner.pid, deadline_s, (), instruments_inside=True)
        watchdog.stdin.write(f"{charge.to_json()}\n{words}")
        watchdog.stdin.flush()
        yield watchdog
        owner.stdin.close()


@pytest.mark.parametrize("words", ["lit\n", "lit\nbusy 30\nbeat\n"])
def test_an_owner_that_says_no_more_is_ended(words: str):
    with spoken_to(0.2, words) as watchdog:
        assert watchdog.stderr is not None
        assert watchdog.wait(20) == 3
        errors = watchdog.stderr.read()
    assert "it was stuck and has been ended" in errors


def test_an_owner_that_is_busy_or_has_no_light_is_not_ended():
    for words in ("lit\nbusy 30\n", "lit\ndark\n"):
        with spoken_to(0.2, words) as watchdog:
            with pytest.raises(subprocess.TimeoutExpired):
                watchdog.wait(1.5)
            _, errors = watchdog.communicate("end\n")
        assert watchdog.returncode == 0
        assert not errors
