"""Each fault, at each device, in each phase of a training: the run ends dark, readable and with the right reason.

One run that nothing happens to counts the calls and frames of every device in every phase; each cell of the matrix is
then one run in which the fault hits the first of them. `recording`: the fault comes while a record is being written and
shows at the device's next call. The driver of a beam is asked nothing while a mask is written, so not every device has
a cell in every phase; a test says which there are.
"""

import errno
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pytest

from labctl.acquisition import Measurement, measure
from labctl.bench import Bench, BenchFile, load_bench
from labctl.devices import Camera, Frames
from labctl.errors import LabError
from labctl.plan import Settings, parse_settings
from labctl.recorder import Recorder, read_records, read_run
from labctl.records import Record
from labctl.runner import Runner
from labctl.training.in_situ import train_in_situ
from labctl.training.measure import BenchNetwork
from sim_backends.faults import Fault, Injector
from sim_backends.light_path import LightPath
from tests.test_every_call import SETTINGS, costly_things_once  # noqa: F401  the fixture makes hundreds of runs quick

SMALL_BENCH = Path(__file__).parent / "benches" / "small_cell.yaml"
PHASES = {"prepare": "setting up", "read_forward": "forward", "read_backward": "backward", "write_masks": "update"}
NEVER = 10**9
Cell = tuple[str, str]
"""Device and phase."""


@dataclass
class Watch:
    """What a run does: the phase it is in, the first call and frame of every cell, and the frames that were used."""

    phase: str | None = None
    after_record: bool = False
    full_from: str | None = None
    disk_full: bool = False
    disk_stays_full: bool = False
    light: LightPath | None = None
    calls: dict[Cell, int] = field(default_factory=dict)
    last_calls: dict[Cell, int] = field(default_factory=dict)
    frames: dict[Cell, int] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    used: set[tuple[str, int]] = field(default_factory=set)

    def cells(self, device: str) -> list[Cell]:
        """Return the cells of the matrix that a call of a device is in now."""
        return [(device, phase) for phase in [self.phase, "recording" if self.after_record else None] if phase]


WATCH = Watch()
"""Of the run that is under way, or was last."""


class WatchedInjector(Injector):
    """Says which call of which device it is asked about."""

    def due(self, fault: Fault, number: int) -> bool:
        for cell in WATCH.cells(fault.device):
            WATCH.calls.setdefault(cell, number)
            WATCH.last_calls[cell] = number
        return super().due(fault, number)


class WatchedLightPath(LightPath):
    """A light path that can be asked when the bench is closed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        WATCH.light = self


@pytest.fixture(scope="module", autouse=True)
def watched() -> Iterator[None]:
    """Follow the phases of every run."""

    def during(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*args: Any, **options: Any) -> Any:
            outer, WATCH.phase = WATCH.phase, WATCH.phase or PHASES[name]
            WATCH.disk_full = WATCH.disk_full or WATCH.phase == WATCH.full_from
            try:
                return method(*args, **options)
            finally:
                WATCH.phase = outer

        return entered

    def delivered(camera: Camera) -> Frames:
        frames = real_delivered(camera)
        first = WATCH.delivered.get(camera.name, 0)
        for cell in WATCH.cells(camera.name):
            WATCH.frames.setdefault(cell, first + 2)  # the second of a pair, so that there is one before it
        WATCH.delivered[camera.name] = first + len(frames)
        return frames

    def measured(*args: Any) -> Measurement:
        taken = measure(*args)
        WATCH.used |= {(camera, int(k)) for camera, frames in taken.frames.items() for k in frames.ids}
        return taken

    real_delivered = Camera.delivered
    with pytest.MonkeyPatch.context() as patch:
        for name in PHASES:
            patch.setattr(BenchNetwork, name, during(name, getattr(BenchNetwork, name)))
        patch.setattr(Camera, "delivered", delivered)
        patch.setattr("labctl.training.homodyne.measure", measured)
        patch.setattr("sim_backends.table.Injector", WatchedInjector)
        patch.setattr("os.fsync", lambda _: None)  # these runs need not survive a power failure
        patch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # hundreds of tracebacks take long
        yield


@pytest.fixture(scope="module")
def settings() -> Settings:
    return parse_settings(train_in_situ, {**SETTINGS, "train_samples": 8, "agreement_every": 1000})


def bench_file(*faults: Mapping[str, Any], **changes: Any) -> BenchFile:
    light_path = {"simulation.light_path": f"{__name__}.WatchedLightPath", "simulation.faults": list(faults)}
    return load_bench(SMALL_BENCH, {**light_path, **changes})


@dataclass
class Ended:
    """How a run ended: status, reason and folder; no folder where the bench did not open."""

    status: str
    error: str
    folder: Path | None

    @property
    def values(self) -> dict[str, Any]:
        assert self.folder is not None
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))["summary"]


def run(
    file: BenchFile, settings: Settings, root: Path, full_from: str | None = None, stays_full: bool = False
) -> Ended:
    """Make one run as the command line makes it, and check what holds however it ends: dark, and readable.

    Args:
        file: Bench file.
        settings: Settings of the training.
        root: Folder of all runs.
        full_from: Phase with which the disk is full.
        stays_full: Whether it is full for good, and not for one write.
    """
    WATCH.__init__(full_from=full_from, disk_stays_full=stays_full)

    def begun(record: Record) -> None:
        WATCH.disk_full = WATCH.disk_full or (full_from == "recording" and record.kind == "step")

    def published(record: Record) -> None:
        WATCH.after_record = WATCH.after_record or record.kind == "step"

    folder, ended = None, None
    try:
        with Bench(file, True) as bench:
            recorder = Recorder(root, train_in_situ.name, {"device_states": bench.state()}, "all")
            folder = recorder.folder
            runner = Runner(train_in_situ, bench, settings, np.random.default_rng(0), [begun, recorder, published])
            outcome = runner.run()
            WATCH.after_record = False
            ended = Ended(outcome.status, outcome.error or "", folder)
            recorder.finish(outcome.status, outcome.summary, outcome.error)
    except (LabError, ExceptionGroup) as error:  # the command line shows these
        ended = Ended("failed", "; ".join([*filter(None, [ended and ended.error]), *_messages(error)]), folder)
    assert ended is not None
    assert WATCH.light is not None
    lit = [name for name, beam in WATCH.light.beams.items() if beam.on]
    assert not lit
    if folder is not None:
        assert read_run(folder)["plan"] == train_in_situ.name
        list(read_records(folder))
    if folder is not None and not stays_full:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["status"] == ended.status
        assert (summary["error"] or "") in ended.error
    return ended


def _messages(error: BaseException) -> list[str]:
    """Return the messages of an error, or of all errors in a group."""
    parts = error.exceptions if isinstance(error, ExceptionGroup) else ()
    return [part for one in parts for part in _messages(one)] or [str(error)]


@pytest.fixture(scope="module")
def cells(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """The first call and frame of every device in every phase of a run that nothing happens to."""
    names = load_bench(SMALL_BENCH).devices
    silent = [{"device": name, "fault": "exception", "at": NEVER} for name in names]
    assert run(bench_file(*silent), settings, tmp_path_factory.mktemp("whole")).status == "completed"
    return replace(WATCH)


def test_the_matrix_has_these_cells(cells: Watch):
    asked = {
        phase: {device for device, when in cells.calls if when == phase} for phase in [*PHASES.values(), "recording"]
    }
    beams = {"reference", "probe", "pump_hidden", "pump"}
    assert asked["setting up"] >= beams | {"cell", "dmd_input", "camera_z1", "camera_output"}
    assert asked["forward"] >= beams | {"dmd_input", "dmd_hidden", "camera_z1", "camera_hidden_1", "camera_output"}
    assert asked["backward"] >= beams | {"dmd_hidden", "dmd_error", "camera_error_1"}
    assert asked["update"] == {"slm_1", "slm_2"}
    assert asked["recording"] >= asked["forward"] | asked["backward"] | asked["update"]
    assert {camera for camera, _ in cells.frames} == {"camera_z1", "camera_hidden_1", "camera_error_1", "camera_output"}


@pytest.mark.parametrize("fault", ["hang", "exception", "disconnect"])
def test_a_device_that_fails_ends_the_run_dark_with_the_reason(
    fault: str, cells: Watch, settings: Settings, tmp_path: Path
):
    reasons = {"hang": "gave no answer", "exception": "injected exception", "disconnect": "injected disconnect"}
    for (device, phase), number in cells.calls.items():
        ended = run(bench_file({"device": device, "fault": fault, "at": number}), settings, tmp_path)
        where = f"{fault} of {device}, {phase}, call {number}: {ended}"
        assert ended.status == "failed", where
        assert f"{device}: " in ended.error, where
        assert reasons[fault] in ended.error, where


FRAME_FAULTS = {
    "stale": "frames_repeated",
    "dropped": "frames_lost",
    "repeated": "frames_repeated",
    "torn": "frames_torn",
    "saturated": "frames_saturated",
}


@pytest.mark.parametrize("fault", FRAME_FAULTS)
def test_a_bad_frame_is_counted_and_taken_again_and_never_used(
    fault: str, cells: Watch, settings: Settings, tmp_path: Path
):
    for (camera, phase), number in cells.frames.items():
        ended = run(bench_file({"device": camera, "fault": fault, "at": number}), settings, tmp_path)
        where = f"{fault} of {camera}, {phase}, frame {number}: {ended}"
        assert ended.status == "completed", where
        counted = {name: count for name, count in ended.values.items() if name.startswith("frames_") and count}
        assert counted == {FRAME_FAULTS[fault]: 1}, where
        assert ended.values["retries"] == ended.values["exposures_by_heading"]["retries"] == 1, where
        assert WATCH.light is not None
        bad = {(one.device, one.number) for one in WATCH.light.injector.log}
        assert len(bad) == 1
        assert not bad & WATCH.used, where


@pytest.mark.parametrize("fault", FRAME_FAULTS)
def test_a_camera_with_nothing_but_bad_frames_stops_the_run_with_the_reason(
    fault: str, cells: Watch, settings: Settings, tmp_path: Path
):
    for camera in sorted({camera for camera, _ in cells.frames}):
        ended = run(bench_file({"device": camera, "fault": fault, "rate": 1}), settings, tmp_path)
        assert ended.status == "failed"
        assert f"{camera}: " in ended.error
        assert "after 2 retries" in ended.error
        assert FRAME_FAULTS[fault].removeprefix("frames_") in ended.error


def test_a_phase_jump_is_relocked(cells: Watch, settings: Settings, tmp_path: Path):
    calm = run(bench_file(), settings, tmp_path).values["relocks"]
    for (device, phase), first in cells.calls.items():
        if device == "reference":
            # not while the pilots are first looked at: what is calibrated then is what later readings are held to
            number = first if phase == "recording" else cells.last_calls[device, phase]
            jump = {"device": device, "fault": "phase_jump", "at": number}
            ended = run(bench_file(jump), settings, tmp_path)
            assert ended.status == "completed", f"{phase}: {ended}"
            # before the first reading there is nothing locked yet that a jump could unlock
            assert ended.values["relocks"] > calm or phase == "setting up", phase


def test_a_jump_off_the_slit_changes_what_is_read_and_is_survived(cells: Watch, settings: Settings, tmp_path: Path):
    calm = losses(run(bench_file(), settings, tmp_path))
    for (device, phase), number in cells.calls.items():
        if device == "pump":
            jump = {"device": device, "fault": "slit_jump", "at": number}
            ended = run(bench_file(jump), settings, tmp_path)
            assert ended.status == "completed", f"{phase}: {ended}"
            assert losses(ended) != calm, phase


def losses(ended: Ended) -> list[float]:
    assert ended.folder is not None
    return [record["values"]["loss"] for record in read_records(ended.folder) if record["kind"] == "step"]


# ---- the disk


class Disk:
    """Files whose writing fails while the disk is full."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        if WATCH.disk_full:
            WATCH.disk_full = WATCH.disk_stays_full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = real(path, mode, *args, **options)
        return Disk(file) if "b" in mode and "r" not in mode and path.is_relative_to(tmp_path) else file

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("phase", [*PHASES.values(), "recording"])
@pytest.mark.usefixtures("disk")
def test_a_full_disk_ends_the_run_dark_with_the_reason(phase: str, lasting: bool, settings: Settings, tmp_path: Path):
    ended = run(bench_file(), settings, tmp_path, full_from=phase, stays_full=lasting)
    assert ended.status == "failed"
    assert "free disk space" in ended.error
    assert ended.folder is not None
    assert (ended.folder / "summary.json").exists() != lasting
