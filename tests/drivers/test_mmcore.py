"""Cameras and stages through the real C++ MMCore, with the device adapters its own developers test it with."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.mmcore import MMCore
from drivers.mmcore_camera import MMCoreCamera, exposure_starts
from drivers.mmcore_stage import MMCoreStage
from labctl.bench import Bench, load_bench
from labctl.clock import WallClock
from labctl.devices import CameraSettings, Pattern, StageSettings, identity_codebook
from labctl.errors import ConfigError, ConnectError, DeviceError, FrameLost, StateError
from tests.devices.contracts.camera import CameraContract
from tests.devices.contracts.stage import StageContract

ROOT = Path(__file__).parents[2]

DEMO = """
Device,Camera,DemoCamera,DCam
Device,Second,DemoCamera,DCam
Device,XY,DemoCamera,DXYStage
Device,Z,DemoCamera,DStage
Property,Core,Initialize,1
Property,Camera,PixelType,16bit
Property,Camera,BitDepth,12
"""

TESTER = """
Device,THub,SequenceTester,THub
Device,TCamera,SequenceTester,TCamera-0
Device,TXY,SequenceTester,TXYStage
Device,TZ,SequenceTester,TZStage
Parent,TCamera,THub
Parent,TXY,THub
Parent,TZ,THub
Property,TCamera,ImageMode,MachineReadable
Property,Core,Initialize,1
"""

CAMERA = {
    "shape": [32, 48],
    "pitch": "6.5 um",
    "bit_depth": 12,
    "exposure": "2 ms",
    "min_exposure": "1 ms",
    "max_exposure": "1 s",
    "period": "1 ms",
    "quantum_efficiency": 0.5,
    "full_well": 30000,
    "read_noise": 2,
    "external_trigger": False,
}
TRAVEL = {"low": "-100 um", "high": "100 um"}
STAGE = {"axes": {"x": TRAVEL, "y": TRAVEL, "z": TRAVEL}, "settle": "5 ms", "tolerance": "50 nm", "timeout": "2 s"}


@pytest.fixture
def core(tmp_path: Path) -> MMCore:
    config = tmp_path / "demo.cfg"
    config.write_text(DEMO)
    return MMCore("microscope", {"config": str(config)})


@pytest.fixture
def tester(tmp_path: Path) -> MMCore:
    config = tmp_path / "tester.cfg"
    config.write_text(TESTER)
    return MMCore("tester", {"config": str(config)})


def camera(core: MMCore, name: str = "camera", label: str = "Camera", **more: Any) -> MMCoreCamera:
    hardware = {"label": label, "corner": [100, 20], **more.pop("hardware", {})}
    return MMCoreCamera(name, WallClock(), CameraSettings.model_validate({**CAMERA, **more}), hardware, core)


def stage(core: MMCore, xy: str = "XY", z: str = "Z") -> MMCoreStage:
    return MMCoreStage("stage", WallClock(), StageSettings.model_validate(STAGE), {"xy": xy, "axes": {"z": z}}, core)


class TestDemoCamera(CameraContract):
    TESTED = MMCoreCamera

    @pytest.fixture
    def device(self, core: MMCore) -> Iterator[MMCoreCamera]:
        one = camera(core)
        yield one
        one.close()


class TestDemoStage(StageContract):
    TESTED = MMCoreStage

    @pytest.fixture
    def device(self, core: MMCore) -> Iterator[MMCoreStage]:
        one = stage(core)
        yield one
        one.close()


class TestSequenceTesterStage(StageContract):
    TESTED = MMCoreStage

    @pytest.fixture
    def device(self, tester: MMCore) -> Iterator[MMCoreStage]:
        one = stage(tester, "TXY", "TZ")
        yield one
        one.close()


def test_camera_and_stage_share_a_core_until_the_last_is_closed(core: MMCore):
    eye, table = camera(core), stage(core)
    with table:
        with eye:
            table.move_to(x=20e-6, z=5e-6)
            assert len(eye.acquire(2)) == 2
        assert table.position_m["x"] == pytest.approx(20e-6, abs=50e-9)
        with eye:
            assert len(eye.acquire(1)) == 1


def test_moving_one_axis_again_and_again_leaves_the_other_in_place(core: MMCore):
    with stage(core) as table:
        table.move_to(x=0.0, y=33e-6)
        for k in range(20):
            table.move_to(x=k * 1e-6)
        assert table.position_m["y"] == pytest.approx(33e-6, abs=50e-9)


def noted(image: np.ndarray, name: str) -> float:
    """Return a number that SequenceTester's camera wrote into its image: states before and now, then each change."""
    _, _, rest = image.astype(np.uint8).tobytes().rpartition(name.encode() + b"\x92\xa5float\xcb")
    return struct.unpack(">d", rest[:8])[0]


def test_every_frame_is_taken_under_what_was_set_before_it(tester: MMCore):
    eye = camera(tester, label="TCamera", hardware={"corner": None}, shape=[384, 384], bit_depth=8)
    with eye, stage(tester, "TXY", "TZ") as table:
        for exposure_s, z_m in ((20e-3, 7e-6), (3e-3, -2e-6)):
            table.move_to(z=z_m)
            eye.set_exposure(exposure_s)
            for image in eye.acquire(2).counts:
                assert noted(image, "Exposure") == pytest.approx(exposure_s * 1e3)
                assert noted(image, "ZPositionUm") == pytest.approx(z_m * 1e6)


def test_one_camera_at_a_time_takes_frames_through_one_core(core: MMCore):
    first, second = camera(core), camera(core, "other", "Second", bit_depth=8)
    with first, second:
        first.arm(2, "internal")
        with pytest.raises(StateError, match=r"other: 'camera' takes frames .* connection of its own"):
            second.arm(2, "internal")
        assert len(first.collect()) == 2
        assert len(second.acquire(2)) == 2
        second.arm(1, "internal")
        second.disarm()
        assert len(first.acquire(1)) == 1


def test_more_frames_than_the_buffer_held_are_all_there(core: MMCore):
    with camera(core, hardware={"corner": [0, 0]}, shape=[512, 512], exposure="1 ms") as eye:
        frames = eye.acquire(300)  # 150 MiB
        assert np.array_equal(np.diff(frames.ids), np.ones(299))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"shape": [513, 512], "hardware": {"corner": None}}, r"delivers 512 x 512 pixels.*\(513, 512\).*corner"),
        ({"bit_depth": 14}, r"delivers 12 bit.*14"),
    ],
)
def test_a_camera_that_is_not_as_the_bench_file_says_does_not_open(core: MMCore, more: dict[str, Any], message: str):
    one = camera(core, **more)
    with pytest.raises(DeviceError, match=message):
        one.open()
    assert not one.is_open
    with camera(core) as good:
        assert len(good.acquire(1)) == 1


def test_counts_with_bits_where_there_should_be_none_are_refused(core: MMCore):
    wrongs: list[dict[str, Any]] = [{"bit_depth": 4}, {"justification": "high", "bit_depth": 8}]
    for wrong in wrongs:
        with camera(core, **wrong) as eye, pytest.raises(DeviceError, match=r"bits outside.*justification"):
            eye.acquire(1)


def test_high_bits_are_brought_down(core: MMCore, monkeypatch: pytest.MonkeyPatch):
    with camera(core, justification="high") as eye:
        mmcore = core.join("test", "Camera", "Camera")
        pop = mmcore.popNextImageAndMD
        low: list[np.ndarray] = []

        def left_justified() -> tuple[np.ndarray, Any]:
            image, noted = pop()
            low.append(image)
            return image << 4, noted

        monkeypatch.setattr(mmcore, "popNextImageAndMD", left_justified)
        assert np.array_equal(eye.acquire(2).counts, low)
        core.leave("test")


def test_an_arming_sets_the_trigger_property(core: MMCore):
    trigger = {"trigger_property": "ScanMode", "internal": "1", "external": "3"}  # stands in: the demo has no trigger
    with camera(core, hardware=trigger, external_trigger=True) as eye, stage(core):
        mmcore = core.join("test", "Camera", "Camera")
        eye.arm(1, "external")
        assert mmcore.getProperty("Camera", "ScanMode") == "3"
        eye.disarm()
        eye.acquire(1)
        assert mmcore.getProperty("Camera", "ScanMode") == "1"
        core.leave("test")


def test_a_trigger_input_needs_its_property(core: MMCore):
    with pytest.raises(ConfigError, match=r"camera: hardware: trigger_property is missing.*external_trigger"):
        camera(core, external_trigger=True)


def test_a_frame_the_core_did_not_get_is_lost(core: MMCore):
    with camera(core) as eye:
        mmcore = core.join("test", "Camera", "Camera")
        eye.arm(50, "internal")
        mmcore.stopSequenceAcquisition("Camera")
        with pytest.raises(FrameLost, match="where 50 were expected"):
            eye.collect()
        core.leave("test")
        assert len(eye.acquire(1)) == 1


def test_after_a_failed_read_out_the_next_one_works(core: MMCore, monkeypatch: pytest.MonkeyPatch):
    with camera(core) as eye:
        mmcore = core.join("test", "Camera", "Camera")

        def broken() -> None:
            raise RuntimeError("device unplugged")

        monkeypatch.setattr(mmcore, "popNextImageAndMD", broken)
        with pytest.raises(DeviceError, match=r"camera: .*device unplugged"):
            eye.acquire(5)
        monkeypatch.undo()
        assert len(eye.acquire(2)) == 2
        core.leave("test")


def test_a_device_without_a_core_is_refused():
    settings = CameraSettings.model_validate(CAMERA)
    with pytest.raises(ConfigError, match=r"camera: connection: .*`connections`"):
        MMCoreCamera("camera", WallClock(), settings, {"label": "Camera"})


def test_what_the_configuration_lacks_is_named(core: MMCore, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"camera: no Camera 'XY' in .*demo.cfg; it has: Camera, Second"):
        camera(core, label="XY").open()
    absent = MMCore("microscope", {"config": str(tmp_path / "absent.cfg")})
    with pytest.raises(ConnectError, match=r"camera: MMCore cannot load .*absent.cfg"):
        camera(absent).open()
    broken = tmp_path / "broken.cfg"
    broken.write_text("Device,Camera,NoSuchAdapter,DCam\n")
    with pytest.raises(ConnectError, match=r"camera: MMCore cannot load .*NoSuchAdapter"):
        camera(MMCore("microscope", {"config": str(broken)})).open()


def test_axes_the_hardware_does_not_drive_are_refused(core: MMCore):
    settings = StageSettings.model_validate(STAGE)
    with pytest.raises(ConfigError, match="stage: hardware: drives x, y; the bench file's axes are x, y, z"):
        MMCoreStage("stage", WallClock(), settings, {"xy": "XY"}, core)
    with pytest.raises(ConfigError, match="hardware of stage: unknown key 'lable'; known here: serial, xy, axes"):
        MMCoreStage("stage", WallClock(), settings, {"lable": "XY"}, core)


def test_late_arrivals_do_not_make_exposures_overlap():
    starts = exposure_starts([1.0, 2.4, 3.0, 4.0], 1.0)
    assert starts.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert exposure_starts([1.0, 2.5], 1.0).tolist() == [0.0, 1.5]
    assert exposure_starts([], 1.0).shape == (0,)


def test_a_bench_opens_devices_on_a_shared_connection(small_bench_file: Path, core: MMCore):
    connection = {"driver": "drivers.mmcore.MMCore", "hardware": {"config": core.hardware.config}}
    changes = {
        "connections": {"microscope": connection},
        "devices.eye": {
            "kind": "camera",
            "driver": "drivers.mmcore_camera.MMCoreCamera",
            "connection": "microscope",
            "hardware": {"label": "Camera", "corner": [0, 0]},
            "settings": CAMERA,
        },
        "devices.table": {
            "kind": "stage",
            "driver": "drivers.mmcore_stage.MMCoreStage",
            "connection": "microscope",
            "hardware": {"xy": "XY", "axes": {"z": "Z"}},
            "settings": STAGE,
        },
    }
    file = load_bench(small_bench_file, changes)
    twins = set(file.devices) - {"eye", "table"}
    with Bench(file, twins) as bench:
        bench.stage("table").move_to(x=1e-6)
        assert len(bench.camera("eye").acquire(2)) == 2
        panel = bench.slm("slm_1")
        panel.show(Pattern(np.ones((1, 1), np.uint16), identity_codebook(8)))
    with pytest.raises(ConfigError, match="eye: connection 'micro' is not among: microscope"):
        load_bench(small_bench_file, {**changes, "devices.eye": {**changes["devices.eye"], "connection": "micro"}})


USE = """
import sys
from labctl.clock import WallClock
from tests.drivers.test_mmcore import MMCore, camera, stage
core = MMCore("microscope", {"config": sys.argv[1]})
eye, table = camera(core), stage(core)
eye.open(), table.open()
table.move_to(x=1e-6)
eye.acquire(3)
eye.arm(10_000, "internal")
table.move_to(x=50e-6)
if sys.argv[2] == "closed":
    eye.close(), table.close()
elif sys.argv[2] == "failed":
    raise SystemExit(3)
"""


@pytest.mark.parametrize(("ending", "code"), [("closed", 0), ("left open", 0), ("failed", 3)])
def test_a_process_that_used_mmcore_ends_by_itself(core: MMCore, ending: str, code: int):
    command = [sys.executable, "-c", USE, core.hardware.config, ending]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
