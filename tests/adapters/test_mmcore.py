"""A bench as a UniMMCore: what useq plans is what is taken, and a device that fails is never a completed sequence."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import useq
import yaozarrs
import zarr

from labctl.adapters.mmcore import BenchCore, run_mda, unicore
from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, DeviceError, LimitError, RunAborted, RunStopped

ROOT = Path(__file__).parents[2]
FOURIER = ROOT / "tests" / "benches" / "small_fourier.yaml"
TRAVEL = {"low": "-100 um", "high": "100 um"}
STAGE: dict[str, Any] = {
    "kind": "stage",
    "twin": "sim_backends.twins.TwinStage",
    "settings": {
        "axes": {"x": TRAVEL, "y": TRAVEL, "z": TRAVEL},
        "settle": "20 ms",
        "tolerance": "20 nm",
        "timeout": "2 s",
    },
}
QUIET = {"simulation.noise_scale": 0, "simulation.imperfections": False}
PRESETS = {"weak": {"beam": "2 mW"}, "strong": {"beam": "8 mW"}}
SEQUENCE = useq.MDASequence(
    axis_order="tpcz",  # pyright: ignore[reportArgumentType]
    time_plan={"interval": 0.01, "loops": 2},  # pyright: ignore[reportArgumentType]
    stage_positions=[(-20, 1, 3), (20, 0, 5)],  # pyright: ignore[reportArgumentType]
    z_plan={"range": 4, "step": 2},  # pyright: ignore[reportArgumentType]
    channels=["weak", {"config": "strong", "exposure": 20}],  # pyright: ignore[reportArgumentType]
)
"""2 times x 2 positions x 2 channels x 3 planes = 24 frames."""


def small(**overrides: Any) -> Bench:
    return Bench(load_bench(FOURIER, {"devices.stage": STAGE, **QUIET, **overrides}), True)


@pytest.fixture
def core() -> Iterator[BenchCore]:
    with small() as bench, unicore(bench, PRESETS) as core:
        yield core


class Noted:
    """What a core tells of every frame, as it is taken: its counts, its event, and what was measured with it."""

    def __init__(self, core: BenchCore) -> None:
        self.frames: list[tuple[np.ndarray, useq.MDAEvent, Any]] = []
        core.mda.events.frameReady.connect(self.note)

    def note(self, image: np.ndarray, event: useq.MDAEvent, meta: Any) -> None:
        self.frames.append((image.copy(), event, meta))


# ---- as planned


def test_frames_and_positions_are_those_useq_plans(core: BenchCore):
    noted = Noted(core)
    assert run_mda(core, SEQUENCE) == 24
    planned = list(SEQUENCE)
    assert [event.index for _, event, _ in noted.frames] == [event.index for event in planned]
    for event, (_, _, meta) in zip(planned, noted.frames, strict=True):
        assert meta["position"] == pytest.approx({"x": event.x_pos, "y": event.y_pos, "z": event.z_pos})
        assert meta["exposure_ms"] == pytest.approx(event.exposure or meta["exposure_ms"])


def test_light_follows_the_power_of_the_preset_and_is_off_afterwards(core: BenchCore):
    noted = Noted(core)
    run_mda(core, useq.MDASequence(channels=["dark", "weak", "strong", "beam"]))  # pyright: ignore
    dark, weak, strong, full = (float(image.sum()) for image, _, _ in noted.frames)
    assert dark == 0
    assert strong / weak == pytest.approx(4, rel=0.05)
    assert full / weak == pytest.approx(5, rel=0.05)
    assert not core.bench.beam("beam").is_on


def test_panel_images_change_what_the_camera_sees(core: BenchCore):
    blaze = (np.arange(64) * 32 % 256).astype(np.uint8) * np.ones((48, 1), np.uint8)
    events = [
        useq.MDAEvent(channel="strong", slm_image=useq.SLMImage(data=data, device="slm"))  # pyright: ignore
        for data in (0, blaze, blaze[:, ::-1])
    ]
    noted = Noted(core)
    assert run_mda(core, iter(events)) == 3
    at = [np.array(np.unravel_index(image.argmax(), image.shape)) for image, _, _ in noted.frames]
    far = 532e-9 * 250e-3 / (8 * 8e-6) / 100e-6
    assert np.hypot(*(at[1] - at[0])) == pytest.approx(far, abs=1)
    assert np.hypot(*(at[2] - at[0])) == pytest.approx(far, abs=1)
    assert np.hypot(*(at[2] - at[1])) == pytest.approx(2 * far, abs=2)


def test_a_sequence_brings_presets_of_beams_and_panels_of_its_own(core: BenchCore):
    blaze = (np.arange(64) * 32 % 256).astype(np.uint8) * np.ones((48, 1), np.uint8)
    presets = {"flat": {"beam": "8 mW", "slm": 0}, "blaze": {"beam": "8 mW", "slm": blaze.tolist()}}
    noted = Noted(core)
    sequence: Any = {"channels": ["flat", "blaze", "weak"], "metadata": {"labctl": {"presets": presets}}}
    assert run_mda(core, useq.MDASequence(**sequence)) == 3
    at = [np.array(np.unravel_index(image.argmax(), image.shape)) for image, _, _ in noted.frames]
    assert np.hypot(*(at[1] - at[0])) == pytest.approx(532e-9 * 250e-3 / (8 * 8e-6) / 100e-6, abs=1)
    assert np.array_equal(at[2], at[1])  # says nothing of the panel
    core.setConfig("Channel", "flat")
    assert (core.getCurrentConfig("Channel"), core.getProperty("slm", "Image")) == ("flat", "flat")
    core.setSLMImage("slm", blaze)
    assert core.getProperty("slm", "Image") == ""


def test_later_events_may_depend_on_earlier_frames(core: BenchCore):
    noted = Noted(core)

    def hunt() -> Iterator[useq.MDAEvent]:
        power_mw = 1.0
        for _ in range(4):
            properties: Any = [("beam", "Power_mW", power_mw), ("beam", "State", 1)]
            yield useq.MDAEvent(properties=properties)
            power_mw *= 200 / float(noted.frames[-1][0].max())

    assert run_mda(core, hunt()) == 4
    assert noted.frames[-1][0].max() == pytest.approx(200, abs=3)


def test_ome_zarr_has_the_frames_and_the_size_of_a_pixel(core: BenchCore, tmp_path: Path):
    noted, path = Noted(core), tmp_path / "run.ome.zarr"
    run_mda(core, SEQUENCE, path)
    yaozarrs.validate_zarr_store(str(path))
    root: Any = zarr.open_group(path, mode="r")
    for position, name in enumerate(root["OME"].attrs["ome"]["series"]):
        (multiscale,) = root[name].attrs["ome"]["multiscales"]
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        assert scale == pytest.approx([0.01, 1, 2, 100, 100])
        here = [image for image, event, _ in noted.frames if event.index["p"] == position]
        assert np.array_equal(root[name]["0"], np.reshape(here, (2, 2, 3, 60, 80)))


def test_a_magnification_makes_pixels_smaller():
    with small() as bench, unicore(bench, magnification=50) as core:
        assert core.getPixelSizeUm() == pytest.approx(2)


def test_every_device_of_a_vapour_cell_bench_is_there(small_bench_file: Path):
    with Bench(load_bench(small_bench_file), True) as bench, unicore(bench, camera="camera_output") as core:
        labels = set(core.getLoadedDevices())
        kinds = {name: entry.kind for name, entry in bench.file.devices.items()}
        assert {name for name, kind in kinds.items() if kind != "dmd"} <= labels
        cell = next(name for name, kind in kinds.items() if kind == "cell")
        core.setProperty(cell, "Temperature_C", "60")
        assert core.getProperty(cell, "Temperature_C") == bench.cell(cell).temperature_c
        assert core.getCameraDevice() == "camera_output"
        assert core.getXYStageDevice() == core.getFocusDevice() == ""  # the slit's stage aligns the beam
        core.snapImage()
        assert core.getImage().shape == bench.camera("camera_output").shape
        meter = next(name for name, kind in kinds.items() if kind == "power_meter")
        beam = bench.file.meters[meter]
        core.setShutterOpen(beam, True)
        assert core.getProperty(meter, "Power_mW") > 0
        assert run_mda(core, useq.MDASequence(channels=[beam, "dark"])) == 2  # pyright: ignore


# ---- nothing is cached, nobody is in the way


def test_what_the_core_says_is_what_the_bench_says(core: BenchCore):
    bench = core.bench
    bench.beam("beam").set_power(3e-3)
    bench.beam("beam").on()
    bench.camera("camera").set_exposure(5e-3)
    bench.stage("stage").move_to(x=7e-6, z=-4e-6)
    assert core.getProperty("beam", "Power_mW") == pytest.approx(3)
    assert core.getShutterOpen("beam")
    assert core.getExposure() == pytest.approx(5)
    assert core.getXYPosition() == pytest.approx((7, 0))
    assert core.getZPosition() == pytest.approx(-4)
    core.setShutterOpen("beam", False)
    assert not bench.beam("beam").is_on
    assert not core.getAutoShutter()


def test_calls_from_many_threads_come_one_after_the_other(core: BenchCore):
    stop, raised, before = threading.Event(), list[Exception](), [*core.bench.clock.on_wait]

    def look() -> None:
        while not stop.is_set():
            try:
                _ = core.getXYPosition(), core.getProperty("beam", "Power_mW"), core.getExposure()
            except Exception as error:
                raised.append(error)
                return

    watchers = [threading.Thread(target=look) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    try:
        assert run_mda(core, SEQUENCE) == 24
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join()
    assert not raised
    assert core.bench.clock.on_wait == before


def test_live_frames_come_until_they_are_stopped(core: BenchCore):
    core.setShutterOpen("beam", True)
    core.startContinuousSequenceAcquisition()
    while core.getRemainingImageCount() < 3:
        core.raise_fault()
    core.stopSequenceAcquisition()
    assert core.getLastImage().shape == (60, 80)
    assert core.getLastImage().max() > 0


def test_an_idle_core_still_serves_interlocks_and_watchdog(core: BenchCore):
    asked = threading.Semaphore(0)
    core.bench.clock.on_wait.append(asked.release)
    assert all(asked.acquire(timeout=10) for _ in range(3))


def test_an_interlock_that_trips_while_nothing_happens_switches_the_beams_off(core: BenchCore):
    core.setShutterOpen("beam", True)
    tripped = RunAborted("the door is open")
    beam, gone = core.bench.beam("beam"), threading.Event()

    def trip() -> None:
        core.bench.clock.on_wait.remove(trip)
        core.events.propertyChanged.connect(lambda *_: gone.set())
        raise tripped

    core.bench.clock.on_wait.append(trip)
    assert gone.wait(10)
    assert not beam.is_on
    with pytest.raises(RunAborted, match="the door is open"):
        core.raise_fault()


def test_an_interlock_that_stays_tripped_does_not_keep_the_beams_on(core: BenchCore):
    core.setShutterOpen("beam", True)
    beam, clock, dark = core.bench.beam("beam"), core.bench.clock, threading.Event()

    def trip() -> None:
        raise RunAborted("the door is open")

    beam.after_dark.append(lambda _: dark.set())
    clock.on_wait.append(trip)
    assert dark.wait(10)
    with core.access():  # the one who switched it off has done so
        clock.on_wait.remove(trip)
        assert not beam.is_on


# ---- failures


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"device": "camera", "fault": "exception", "at": 40}, r"camera: failed in .*injected exception"),
    ({"device": "camera", "fault": "disconnect", "at": 40}, r"camera: failed in .*injected disconnect"),
    ({"device": "camera", "fault": "dropped", "at": 7}, r"camera: 0 frames came where 1 were expected"),
    ({"device": "camera", "fault": "hang", "at": 60}, r"camera: gave no answer"),
    ({"device": "stage", "fault": "disconnect", "at": 60}, r"stage: failed in .*injected disconnect"),
    ({"device": "beam", "fault": "exception", "at": 30}, r"beam: failed in .*injected exception"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
@pytest.mark.parametrize("run", [run_mda, lambda core, sequence: core.mda.run(sequence)], ids=["run_mda", "mda.run"])
def test_a_device_that_fails_ends_the_sequence_as_failed(
    fault: dict[str, Any], said: str, run: Callable[[BenchCore, useq.MDASequence], Any]
):
    with ExitStack() as stack:
        if fault["fault"] == "disconnect":  # a device that is gone cannot be made safe either, and the bench says so
            stack.enter_context(pytest.raises(ExceptionGroup, match="did not close cleanly"))
        bench = stack.enter_context(small(**{"simulation.faults": [fault]}))
        core = stack.enter_context(unicore(bench, PRESETS))
        noted = Noted(core)
        with pytest.raises(DeviceError, match=said):
            run(core, SEQUENCE)
        assert core.mda.status.finish_reason == "errored"
        assert 0 < len(noted.frames) < 24
        assert not bench.beam("beam").is_on


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sequence_in_a_thread_of_its_own_ends_as_failed_too():
    with small(**{"simulation.faults": [FAULTS[0][0]]}) as bench, unicore(bench, PRESETS) as core:
        thread: Any = core.run_mda(SEQUENCE)
        thread.join()
        assert core.mda.status.finish_reason == "errored"
        with pytest.raises(DeviceError, match="injected exception"):
            core.raise_fault()


def test_a_panel_that_fails_ends_the_sequence_as_failed():
    with small(**{"simulation.faults": [{"device": "slm", "fault": "exception", "at": 3}]}) as bench:
        event: Any = useq.MDAEvent(slm_image=useq.SLMImage(data=0))
        with unicore(bench) as core, pytest.raises(DeviceError, match="slm: failed in 'show blocks'"):
            run_mda(core, [event] * 5)


def test_a_stage_that_stands_still_ends_the_sequence(core: BenchCore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(core.bench.stage("stage"), "_do_move", lambda target_m: None)
    with pytest.raises(DeviceError, match="stage: a move ended"):
        run_mda(core, SEQUENCE)


def test_a_stage_that_drifts_off_ends_the_sequence(core: BenchCore, monkeypatch: pytest.MonkeyPatch):
    stage = core.bench.stage("stage")
    monkeypatch.setattr(stage, "move_to", lambda **target_m: None)  # says it is there
    with pytest.raises(DeviceError, match=r"stage: is at .*from where it was sent"):
        run_mda(core, SEQUENCE)


def test_a_failed_sequence_leaves_the_next_one_alone():
    with small(**{"simulation.faults": [FAULTS[0][0]]}) as bench, unicore(bench, PRESETS) as core:
        with pytest.raises(DeviceError):
            run_mda(core, SEQUENCE)
        assert run_mda(core, SEQUENCE) == 24


def test_a_sequence_still_under_way_ends_before_the_core_does():
    long = SEQUENCE.replace(time_plan={"interval": 0.01, "loops": 5000})
    with small() as bench:
        with unicore(bench, PRESETS) as core:
            taken = threading.Event()
            core.mda.events.frameReady.connect(taken.set)
            thread: Any = core.run_mda(long)
            assert taken.wait(10)
        assert not thread.is_alive()
        assert core.mda.status.finish_reason == "canceled"
        assert core.fault is None
        assert not bench.beam("beam").is_on


def test_a_cancelled_sequence_is_no_completed_one(core: BenchCore):
    def cancel(*_: Any) -> None:
        core.mda.cancel()

    core.mda.events.frameReady.connect(cancel)
    with pytest.raises(RunStopped, match="after 1 frames"):
        run_mda(core, SEQUENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_live_view_of_a_camera_that_fails_leaves_its_fault_behind():
    fault = {"device": "camera", "fault": "exception", "at": 40}
    with small(**{"simulation.faults": [fault]}) as bench, unicore(bench) as core:
        core.startContinuousSequenceAcquisition()
        while core.isSequenceRunning():
            pass
        with pytest.raises(DeviceError, match="camera: failed in"):
            core.raise_fault()


@pytest.mark.parametrize(
    ("event", "kind", "said"),
    [
        (useq.MDAEvent(x_pos=500), LimitError, "stage: position of x 0.0005 m"),
        (useq.MDAEvent(exposure=60_000), LimitError, "camera: exposure 60 s"),
        (useq.MDAEvent(channel="dapi"), Exception, "dapi"),  # pyright: ignore[reportArgumentType]
        (useq.MDAEvent(slm_image=useq.SLMImage(data=300)), ConfigError, "levels from 0 to 255"),
        (useq.MDAEvent(slm_image=useq.SLMImage(data=0, device="dmd")), ConfigError, "no panel 'dmd'"),
        (useq.MDAEvent(slm_image=useq.SLMImage(data=np.zeros((3, 4), int))), ConfigError, "the panel has"),
        (useq.MDAEvent(slm_image=useq.SLMImage(data=0, exposure=3)), LimitError, "until the next"),
        (useq.MDAEvent(properties=[("beam", "Power_mW", 99)]), Exception, "Power_mW"),  # pyright: ignore
        (useq.MDAEvent(roi=(0, 0, 8, 8)), ConfigError, "roi is not supported"),  # pyright: ignore
        (useq.MDAEvent(action=useq.HardwareAutofocus()), ConfigError, "hardware_autofocus' is not supported"),
    ],
)
def test_what_an_event_may_not_ask_for_ends_the_sequence(core: BenchCore, event: Any, kind: Any, said: str):
    with pytest.raises(kind, match=said):
        run_mda(core, [event])
    assert core.mda.status.finish_reason == "errored"


def test_a_position_the_bench_has_no_stage_for_is_refused():
    said = pytest.raises(ConfigError, match="along z is asked for, small_fourier has no such stage")
    with Bench(load_bench(FOURIER), True) as bench, unicore(bench) as core, said:
        run_mda(core, [useq.MDAEvent(z_pos=1)])


def test_presets_that_cannot_be_are_refused_before_the_core_is_there():
    with small() as bench:
        with pytest.raises(ConfigError, match="did you mean 'beam'"), unicore(bench, {"a": {"bean": "1 mW"}}):
            pass
        with pytest.raises(LimitError, match="beam: preset a: power 1 W"), unicore(bench, {"a": {"beam": "1 W"}}):
            pass
        with pytest.raises(ConfigError, match="levels from 0 to 255"), unicore(bench, {"a": {"slm": 300}}):
            pass
        with pytest.raises(ConfigError, match="camera 'eye' is not on bench"), unicore(bench, camera="eye"):
            pass


# ---- the process


USE = """
import sys
from tests.adapters.test_mmcore import PRESETS, SEQUENCE, BenchCore, run_mda, small, unicore
if sys.argv[1] == "left open":
    bench = small()
    bench.__enter__()
    core = BenchCore(bench, PRESETS)
    run_mda(core, SEQUENCE)
else:
    with small() as bench, unicore(bench, PRESETS) as core:
        run_mda(core, SEQUENCE)
        if sys.argv[1] == "failed":
            raise SystemExit(3)
"""


@pytest.mark.parametrize(("ending", "code"), [("closed", 0), ("left open", 0), ("failed", 3)])
def test_a_process_that_used_a_core_ends_by_itself(ending: str, code: int):
    command = [sys.executable, "-c", USE, ending]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
