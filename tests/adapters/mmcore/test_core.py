"""A bench as a UniMMCore: what useq plans is what is taken, nothing is cached, nobody is in the way."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import useq
import yaozarrs
import zarr

from labctl.adapters.mmcore import BenchCore, run_mda, unicore
from labctl.bench import Bench, load_bench
from labctl.errors import RunAborted
from tests.adapters.mmcore.conftest import ROOT, SEQUENCE, Noted, small

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


def test_times_without_an_interval_have_no_scale(core: BenchCore, tmp_path: Path):
    path = tmp_path / "run.ome.zarr"
    run_mda(core, useq.MDASequence(time_plan={"interval": 0, "loops": 3}, channels=["weak"]), path)  # pyright: ignore
    yaozarrs.validate_zarr_store(str(path))
    root: Any = zarr.open_group(path, mode="r")
    (multiscale,) = root.attrs["ome"]["multiscales"]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx([1, 1, 100, 100])
    assert multiscale["axes"][0] == {"name": "t", "type": "time"}


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


# ---- the process


USE = """
import sys
import time
from labctl.adapters.mmcore import BenchCore, run_mda, unicore
from tests.adapters.mmcore.conftest import PRESETS, SEQUENCE, small
def listen(core):  # slowly, so that events are still to come when the process ends
    core.events.propertyChanged.connect(lambda *_: time.sleep(0.01))
if sys.argv[1] == "left open":
    bench = small()
    bench.__enter__()
    core = BenchCore(bench, PRESETS)
    listen(core)
    run_mda(core, SEQUENCE)
else:
    with small() as bench, unicore(bench, PRESETS) as core:
        listen(core)
        run_mda(core, SEQUENCE)
        if sys.argv[1] == "failed":
            raise SystemExit(3)
"""


@pytest.mark.parametrize(("ending", "code"), [("closed", 0), ("left open", 0), ("failed", 3)])
def test_a_process_that_used_a_core_ends_by_itself(ending: str, code: int):
    command = [sys.executable, "-c", USE, ending]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
