"""Whatever a device call does, a run ends dark and its folder opens.

One short training counts its device calls; then it is run again and again, and each time another call is hit: the
first and the last call of every method of every device by an exception that nobody foresaw, a device error, Ctrl-C and
SIGTERM, and every third call of all by the unforeseen exception.
"""

import gc
import json
import logging
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.cli.signals import Interruptions
from labctl.devices import DMD, SLM, Beam, Camera, Device, PowerMeter, Stage, VapourCell
from labctl.errors import DeviceError, RunStopped
from labctl.optics.multiplier.crosstalk import row_response
from labctl.optics.multiplier.modulator import blazed_response
from labctl.plan import Settings, parse_settings
from labctl.recorder import Recorder, read_records, read_run
from labctl.runner import Runner
from labctl.training.datasets import load_dataset
from labctl.training.in_situ import train_in_situ
from sim_backends.light_path import LightPath
from sim_backends.noise import load_noise_set

SETTINGS: dict[str, Any] = {
    "data": "sample",
    "hidden": [2],
    "train_samples": 4,
    "batch_size": 4,
    "test_samples": 2,
    "epochs": 1,
    "agreement_every": 1000,
    "initial_sd": 0.5,
    "optical_depth": 4,
    "keep": "all",
}
QUERIES = {"name", "clock", "settings", "kind", "is_open"}  # these ask no hardware
Name = tuple[str, str]
"""Device and method of a call."""


class Calls:
    """Counts the calls of devices' public methods and acts at one of them."""

    def __init__(self) -> None:
        self.seen: list[Name] = []
        self.at: int | None = None
        self.action: Callable[[], None] = lambda: None
        self._inside = False

    def begin(self, at: int, action: Callable[[], None]) -> None:
        self.seen, self.at, self.action = [], at, action

    def note(self, device: Device, method: str) -> None:
        self.seen.append((device.name, method))
        if len(self.seen) == self.at:
            self.action()

    @contextmanager
    def counted(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for kind in (Device, Beam, Camera, DMD, SLM, Stage, VapourCell, PowerMeter):
                for name, member in list(vars(kind).items()):
                    if name.startswith("_") or name in QUERIES:
                        continue
                    if isinstance(member, property) and member.fget:
                        patch.setattr(kind, name, property(self._noted(name, member.fget)))
                    elif callable(member):
                        patch.setattr(kind, name, self._noted(name, member))
            yield

    def _noted(self, name: str, member: Callable[..., Any]) -> Callable[..., Any]:
        def noted(device: Device, *args: Any, **options: Any) -> Any:
            if self._inside:  # a method that calls another one is one call
                return member(device, *args, **options)
            self.note(device, name)
            self._inside = True
            try:
                return member(device, *args, **options)
            finally:
                self._inside = False

        return noted


class KeptLightPath(LightPath):
    """A light path that can be asked about its beams when the bench is closed."""

    last: LightPath

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        KeptLightPath.last = self


class Attempt:
    """One run as the command line makes it, with its signals.

    Args:
        file: Bench file.
        root: Folder of all runs.
    """

    def __init__(self, file: BenchFile, root: Path) -> None:
        self.file, self.root = file, root
        self.signals = Interruptions()
        self.begun: Path | None = None
        self.status: str | None = None

    def run(self, settings: Settings) -> None:
        with Bench(self.file, True) as bench:
            recorder = Recorder(self.root, train_in_situ.name, {"device_states": bench.state()}, "all")
            self.begun = recorder.folder
            runner = Runner(train_in_situ, bench, settings, np.random.default_rng(0), [recorder])
            self.signals.runner = runner
            outcome = runner.run()
            self.status = outcome.status
            recorder.finish(outcome.status, outcome.summary, outcome.error)

    def assert_ended_well(self, statuses: set[str]) -> None:
        """Dark, and the folder, where one was begun, opens and says how the run ended."""
        lit = [name for name, beam in KeptLightPath.last.beams.items() if beam.on]
        assert not lit
        if self.begun is None:
            return
        assert read_run(self.begun)["plan"] == train_in_situ.name
        summary = json.loads((self.begun / "summary.json").read_text(encoding="utf-8"))
        assert summary["status"] == self.status
        assert summary["status"] in statuses
        kinds = [record["kind"] for record in read_records(self.begun)]
        assert kinds == WHOLE[: len(kinds)]
        if self.status == "completed":
            assert kinds == WHOLE


WHOLE = ["setup", "agreement", "step", "epoch", "weights"]


@pytest.fixture(scope="module")
def file() -> BenchFile:
    path = Path(__file__).parent / "benches" / "small_cell.yaml"
    return load_bench(path, {"simulation.light_path": f"{__name__}.KeptLightPath"})


@pytest.fixture(scope="module", autouse=True)
def costly_things_once() -> Iterator[None]:
    """Read data and noise, and compute what tiles diffract, for the first of hundreds of equal runs only."""
    known: dict[bytes, Any] = {}
    noise = load_noise_set("reference", {})

    def once(compute: Callable[..., Any]) -> Callable[..., Any]:
        def computed(*args: Any) -> Any:
            key = pickle.dumps((compute.__name__, args))
            if key not in known:
                known[key] = compute(*args)
            return known[key]

        return computed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labctl.training.settings.load_dataset", cache(load_dataset))
        patch.setattr("sim_backends.table.load_noise_set", lambda *_: noise)
        for compute in (blazed_response, row_response):
            patch.setattr(f"labctl.optics.multiplier.slit_multiplier.{compute.__name__}", once(compute))
        gc.freeze()  # what is there already need not be gone through after each run
        yield
        gc.unfreeze()


@pytest.fixture(scope="module")
def settings() -> Settings:
    return parse_settings(train_in_situ, SETTINGS)


@pytest.fixture(scope="module")
def seen(
    file: BenchFile, settings: Settings, costly_things_once: None, tmp_path_factory: pytest.TempPathFactory
) -> list[Name]:
    """Every device call of a run that nothing happens to."""
    calls, attempt = Calls(), Attempt(file, tmp_path_factory.mktemp("whole"))
    with calls.counted():
        attempt.run(settings)
    attempt.assert_ended_well({"completed"})
    return calls.seen


def unforeseen(_: Interruptions) -> None:
    raise ZeroDivisionError("a vendor's slip")


def refuse(_: Interruptions) -> None:
    raise DeviceError("device", "does not answer")


def interrupt(_: Interruptions) -> None:
    raise KeyboardInterrupt


def terminate(signals: Interruptions) -> None:
    signals.demand(signal.SIGTERM, None)


def chosen(seen: list[Name], act: Callable[[Interruptions], None]) -> list[int]:
    """Return at which calls to act, counted from 1."""
    first = {name: k for k, name in reversed(list(enumerate(seen, 1)))}
    last = {name: k for k, name in enumerate(seen, 1)}
    between = range(1, len(seen) + 1, 3) if act is unforeseen else ()
    return sorted({*first.values(), *last.values(), *between})


HITS = [
    # what happens, how the run may have ended, what may come out of it
    (unforeseen, {"failed", "completed"}, (ZeroDivisionError, ExceptionGroup)),
    (refuse, {"failed", "completed"}, (DeviceError, ExceptionGroup)),
    (interrupt, {"interrupted", "completed"}, (KeyboardInterrupt,)),
    (terminate, {"stopped", "completed"}, (KeyboardInterrupt,)),
]


@pytest.mark.parametrize(("act", "statuses", "errors"), HITS, ids=["unforeseen", "device error", "Ctrl-C", "SIGTERM"])
def test_a_hit_at_any_call_ends_dark_with_a_folder_that_opens(
    file: BenchFile,
    settings: Settings,
    seen: list[Name],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Interruptions], None],
    statuses: set[str],
    errors: tuple[type[BaseException], ...],
):
    monkeypatch.setattr("os.fsync", lambda _: None)  # these runs need not survive a power failure
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # hundreds of tracebacks take long
    calls = Calls()
    with calls.counted():
        for k in chosen(seen, act):
            attempt = Attempt(file, tmp_path)
            calls.begin(k, partial(act, attempt.signals))
            try:
                with suppress(*errors):
                    attempt.run(settings)
                attempt.assert_ended_well(statuses)
            except BaseException as error:
                error.add_note(f"hit at call {k}, {'.'.join(seen[k - 1])}")
                raise
            assert calls.seen[:k] == seen[:k]
            gc.collect()  # an error holds its run, and arrays do not count towards the next collection


# ---- the bench by itself, with light on


@pytest.mark.parametrize("way", ["leave", "make_safe"])
@pytest.mark.parametrize("hook", ["_do_switch", "_do_is_on"])
def test_ctrl_c_while_one_beam_goes_dark_leaves_none_lit(
    file: BenchFile, monkeypatch: pytest.MonkeyPatch, way: str, hook: str
):
    def once(*args: Any) -> Any:
        monkeypatch.setattr(beam, hook, real)
        raise KeyboardInterrupt

    leaving = ExitStack()
    bench = leaving.enter_context(Bench(file, True))
    for beam in bench.beams:
        beam.on()
    devices, beam = list(bench.devices.values()), bench.beams[0]
    real = getattr(beam, hook)
    monkeypatch.setattr(beam, hook, once)
    end = leaving.close if way == "leave" else bench.make_safe
    with pytest.raises(KeyboardInterrupt):
        end()
    assert not any(state.on for state in KeptLightPath.last.beams.values())
    assert any(device.is_open for device in devices) == (way == "make_safe")
    leaving.close()


def test_a_run_that_ended_in_a_pause_lights_nothing_later(file: BenchFile):
    with Bench(file, True) as bench:
        bench.beam("pump").on()
        bench.darken()
        bench.make_safe()
        bench.restore()
        assert not bench.beam("pump").is_on


def test_dark_after_counts_what_the_shutters_need_even_when_waits_are_refused(file: BenchFile):
    def stop() -> None:
        raise RunStopped

    with Bench(file, True) as bench:
        least_s = max(beam.settings.both_s for beam in bench.beams)
        for beam in bench.beams:
            beam.on()
        bench.clock.on_wait.append(stop)
        assert bench.make_safe() >= least_s
        assert bench.clock.on_wait == [stop]
        bench.clock.on_wait.clear()
