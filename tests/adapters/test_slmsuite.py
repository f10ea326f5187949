"""slmsuite on labctl's devices: it finds the twins' hidden truth, the right way up, and no fault is passed over."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from slmsuite.hardware.cameraslms import FourierSLM
from slmsuite.holography.algorithms import SpotHologram
from slmsuite.holography.toolbox.phase import blaze

from drivers.mmcore import MMCore
from drivers.mmcore_camera import MMCoreCamera
from drivers.slmsuite_slm import SlmsuiteSLM
from labctl.adapters.slmsuite import BenchCamera, BenchSLM
from labctl.bench import Bench, BenchFile, load_bench
from labctl.clock import ManualClock, WallClock
from labctl.devices import SLM, CameraSettings, Pattern, SLMSettings
from labctl.errors import DeviceError, DeviceTimeout, FrameLost, StateError
from sim_backends.truth import draw_truth
from tests.conftest import OpenTable

SMALL_FOURIER = Path(__file__).parents[1] / "benches" / "small_fourier.yaml"
WAVELENGTH_M = 532e-9
TABLE: Mapping[str, Any] = {
    # 4 x 6 superpixels of 32 pixels; a camera that two superpixels' spots fit side by side
    "devices.slm.settings.shape": [128, 192],
    "light.1.mask.samples": [128, 192],
    "light.0.illuminate.waist": "0.5 mm",
    "devices.camera.settings.shape": [240, 320],
    "devices.camera.settings.pitch": "25 um",
    "light.3.detect.view.fraction.value": 2e-8,
    "light.3.detect.view.shift_y.sd": 8,
    "light.3.detect.view.shift_x.sd": 8,
}
SUPERPIXEL = 32
AWAY = (0.025, 0.0)
"""Where light goes that is not wanted on the camera, which reaches 0.016 (kx) and 0.012 (ky) from the axis."""


def true_affine(file: BenchFile, truth_seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix and axis of pixel (x, y) = matrix (kx, ky) + axis.

    A lens of focal length f sends a blaze k to (x, y) = f k. The camera sees that mirrored left to right (the bench's
    flip), magnified, and turned by an angle a from the rows' direction (down) towards the columns' (right):
    down = cos a y - sin a (-x), right = sin a y + cos a (-x), in pixels from the camera's centre, plus its shift.
    """
    values, camera = draw_truth(file.parameters(), truth_seed, 1.0).values, file.settings("camera")
    cos, sin = np.cos(values["camera.rotation"]), np.sin(values["camera.rotation"])
    per_angle = values["lens.focal_length"] * values["camera.magnification"] / camera.pitch_m
    matrix = per_angle * np.array([[-cos, sin], [sin, cos]])
    centre = (np.array(camera.shape[::-1]) - 1) / 2
    shift = np.array([values["camera.shift_x"], values["camera.shift_y"]])
    return matrix, centre + shift


class Setup:
    """A simulated Fourier bench as slmsuite sees it, the beam on, and how its camera truly stands."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.slm = BenchSLM(bench.slm("slm"), bench.file.laser.wavelength_m)
        self.camera: Any = BenchCamera(bench.camera("camera"))
        self.fourier: Any = FourierSLM(self.camera, self.slm)
        self.matrix, self.axis = true_affine(bench.file, bench.truth_seed)
        bench.beam("beam").on()

    def calibrate(self) -> None:
        """Let slmsuite find how the camera stands."""
        self.fourier.fourier_calibrate([6, 5], [10, 10], autoexpose=True, verbose=False, plot=-1)

    def place(self, k: ArrayLike) -> NDArray[np.float64]:
        """Return the pixel (x, y) where a blaze truly lands."""
        return self.matrix @ np.asarray(k) + self.axis

    def landed(self, k: tuple[float, float]) -> NDArray[np.float64]:
        """Return the pixel (x, y) that is brightest under a blaze."""
        self.slm.set_phase(blaze(self.slm, k))
        self.camera.autoexpose(verbose=False)
        row, column = np.unravel_index(self.camera.get_image().argmax(), self.camera.shape)
        return np.array([column, row], float)

    def peak(self, k: tuple[float, float]) -> float:
        """Return the highest count per second under a blaze, which is put on nine places of a pixel."""
        peaks = []
        for aside in np.mgrid[-1:2, -1:2].reshape(2, 9).T / 3:
            self.slm.set_phase(blaze(self.slm, k + np.linalg.solve(self.matrix, aside)))
            peaks.append(np.mean(self.camera.get_images(8), axis=0).max())
        return max(peaks) / self.camera.exposure_s


OpenSetup = Callable[..., Setup]


@pytest.fixture
def setup() -> Iterator[OpenSetup]:
    with ExitStack() as benches:

        def open_one(changes: Mapping[str, Any] | None = None, truth_seed: int = 1) -> Setup:
            file = load_bench(SMALL_FOURIER, {**TABLE, **(changes or {})})
            return Setup(benches.enter_context(Bench(file, simulate=True, truth_seed=truth_seed)))

        yield open_one


# ---- what slmsuite finds


@pytest.mark.parametrize("truth_seed", [1, 2, 3])
def test_the_fourier_calibration_finds_how_the_camera_stands(setup: OpenSetup, truth_seed: int):
    table = setup(truth_seed=truth_seed)
    table.calibrate()
    error = np.array(table.fourier.fourier_affine.M) - table.matrix
    assert np.linalg.norm(error) < 0.01 * np.linalg.norm(table.matrix)
    corners = np.array([[0, 0, 319, 319], [0, 239, 0, 239]])
    k = np.linalg.solve(table.matrix, corners - table.axis[:, None])
    assert np.abs(table.fourier.kxyslm_to_ijcam(k) - corners).max() < 1.5


@pytest.mark.parametrize("k", [(0.008, 0.0), (0.0, 0.008), (-0.009, 0.003), (0.002, -0.007)])
def test_a_blaze_lands_at_plus_k(setup: OpenSetup, k: tuple[float, float]):
    table = setup()
    assert np.abs(table.landed(k) - table.place(k)).max() < 1.5


def test_spots_stand_upright_and_the_camera_makes_them_even(setup: OpenSetup):
    table = setup()
    table.fourier.fourier_calibrate_analytic(table.matrix, table.axis)
    letter = ("###", "#..", "##.", "#..")  # no turn or mirror image of it looks the same
    dots = np.array([(x, y) for y, row in enumerate(letter) for x, dot in enumerate(row) if dot == "#"]).T
    spots = dots * 14 + np.array([[30], [30]])

    def light(around: NDArray[np.float64]) -> NDArray[np.float64]:
        image = np.mean(table.camera.get_images(16), axis=0)
        return np.array([image[y - 4 : y + 5, x - 4 : x + 5].sum() for x, y in np.rint(around).astype(int).T])

    hologram = SpotHologram((256, 256), spots, basis="ij", cameraslm=table.fourier)
    hologram.optimize("WGS-Kim", maxiter=10, feedback="computational_spot", verbose=False)
    table.slm.set_phase(hologram.get_phase())
    table.camera.autoexpose(verbose=False)
    computed = light(spots)
    hologram.optimize("WGS-Kim", maxiter=10, feedback="experimental_spot", verbose=False)
    table.slm.set_phase(hologram.get_phase())
    seen, turned = light(spots), light(2 * table.axis[:, None] - spots)
    assert turned.max() < 0.1 * seen.min()
    assert computed.min() / computed.max() < 0.9
    assert seen.min() / seen.max() > 0.97


@pytest.mark.parametrize("truth_seed", [1, 2])
def test_a_correction_measured_on_superpixels_restores_the_peak(setup: OpenSetup, truth_seed: int):
    k, aberration = (0.006, 0.004), "light.1.mask.aberration.sd"
    flat = setup({aberration: 0}, truth_seed)
    flat.landed(k)
    ideal = flat.peak(k)
    table = setup({aberration: 0.12}, truth_seed)
    table.calibrate()
    table.landed(k)
    before, exposure_s = table.peak(k), table.camera.exposure_s

    table.camera.set_exposure(0.03)
    point = np.rint(table.axis - [75, 50])[:, None]
    table.fourier.wavefront_calibrate(point, superpixel_size=SUPERPIXEL, field_point=AWAY, plot=-1)
    table.fourier.wavefront_calibration_superpixel_process(apply=True)

    table.camera.set_exposure(exposure_s / 2)
    assert before < 0.9 * ideal
    assert ideal - table.peak(k) < (ideal - before) / 2


# ---- what crosses over


class Recording(SLM):
    """A panel that remembers what it was told to show."""

    def __init__(self, bits: int) -> None:
        told = {"shape": [128, 192], "pitch": "8 um", "bit_depth": bits, "latency": "1 ms", "settle": "1 ms"}
        super().__init__("slm", ManualClock(), SLMSettings.model_validate(told))
        self.shown: list[Pattern] = []

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {}

    def _do_show_blocks(self, pattern: Pattern) -> None:
        self.shown.append(pattern)

    def _do_show(self, frame: NDArray[np.unsignedinteger]) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("bits", [8, 10])
def test_phase_becomes_level_and_what_was_shown_stays(bits: int):
    with Recording(bits) as panel:
        slm = BenchSLM(panel, WAVELENGTH_M)
        phase = np.random.default_rng(1).uniform(-20, 20, (128, 192))
        slm.set_phase(phase)
        slm.set_phase(None)
    _, shown, after = (pattern.indices.astype(float) * 2 * np.pi / 2**bits for pattern in panel.shown)
    assert len(np.unique(after)) == 1
    aside = np.angle(np.exp(1j * (shown - after - phase)))
    assert np.abs(aside).max() < 1.01 * np.pi / 2**bits


def test_units_and_order_are_slmsuites(setup: OpenSetup):
    table = setup()
    assert table.slm.resolution == (192, 128)
    assert table.slm.wav_um == pytest.approx(0.532)
    assert table.slm.pitch_um == pytest.approx([8, 8])
    assert table.camera.resolution == (320, 240)
    assert table.camera.pitch_um == pytest.approx([25, 25])
    assert (table.camera.bitdepth, table.camera.dtype) == (10, np.uint16)
    assert table.camera.exposure_bounds_s == pytest.approx((40e-6, 10))


def test_the_exposure_is_the_cameras(setup: OpenSetup):
    table = setup()
    sensor = table.bench.camera("camera")
    sensor.set_exposure(0.02)
    assert table.camera.exposure_s == 0.02
    table.camera.exposure_s = 0.03
    assert sensor.exposure_s == table.camera.get_exposure() == 0.03
    table.camera.set_exposure(100)
    assert sensor.exposure_s == 10


def test_a_window_and_averages_are_of_the_cameras_frames(setup: OpenSetup):
    table = setup({"simulation.noise_scale": 0, "simulation.terms": {"power_step": {"value": 0, "source": "test"}}})
    frame = table.bench.camera("camera").acquire(1).counts[0]
    assert np.array_equal(table.camera.get_image(), frame)
    assert np.array_equal(table.camera.get_image(averaging=3), 3 * frame)
    table.camera.set_woi((100, 60, 50, 40))
    assert np.array_equal(table.camera.get_image(), frame[50:90, 100:160])


# ---- faults


def take(camera: BenchCamera, frames: int) -> None:
    for _ in range(frames):
        camera.get_image()


@pytest.mark.parametrize(
    ("fault", "error"),
    [("exception", DeviceError), ("hang", DeviceTimeout), ("dropped", FrameLost)],
)
def test_a_camera_that_fails_once_is_not_asked_again(setup: OpenSetup, fault: str, error: type[DeviceError]):
    at = 2 if fault == "dropped" else 20
    table = setup({"simulation.faults": [{"device": "camera", "fault": fault, "at": at}]})
    table.camera.capture_attempts = 5
    with pytest.raises(error, match="camera: ") as first:
        take(table.camera, 20)
    with pytest.raises(error) as later:
        table.calibrate()
    assert later.value is first.value is table.camera.fault
    table.camera.fault = None
    table.camera.get_image()


def test_a_calibration_on_a_camera_that_is_unplugged_fails():
    unplugged = {"simulation.faults": [{"device": "camera", "fault": "disconnect", "at": 12}]}
    file = load_bench(SMALL_FOURIER, {**TABLE, **unplugged})
    with pytest.raises(DeviceError, match=r"camera: .*disconnect"), Bench(file, simulate=True) as bench:
        Setup(bench).calibrate()


def test_a_camera_that_is_dead_is_no_camera(setup: OpenSetup):
    with pytest.raises(FrameLost, match="camera: 0 frames came"):
        setup({"simulation.faults": [{"device": "camera", "fault": "dropped", "at": 1}]})
    table = setup()
    table.bench.camera("camera").close()
    with pytest.raises(StateError, match="camera: is closed"):
        BenchCamera(table.bench.camera("camera"))


def test_a_panel_that_fails_shows_nothing_more(setup: OpenSetup):
    table = setup({"simulation.faults": [{"device": "slm", "fault": "exception", "at": 3}]})
    with pytest.raises(DeviceError, match="slm: failed in 'show blocks'") as first:
        table.calibrate()
    with pytest.raises(DeviceError) as later:
        table.slm.set_phase(None)
    assert later.value is first.value
    table.slm.fault = None
    table.slm.set_phase(None)


# ---- twins and drivers alike


def test_twins_pass_slmsuites_own_test_of_hardware(setup: OpenSetup):
    table = setup()
    assert table.slm.test()
    assert table.camera.test()


def test_a_driver_of_a_panel_passes_it_too_and_shows_the_phase_it_is_given():
    told = {"shape": [128, 192], "pitch": "8 um", "bit_depth": 8, "latency": "1 ms", "settle": "1 ms"}
    options = {"resolution": [192, 128], "bitdepth": 8, "gpu": False}
    hardware = {"model": "simulated.SimulatedSLM", "options": options}
    with SlmsuiteSLM("slm", ManualClock(), SLMSettings.model_validate(told), hardware) as panel:
        slm = BenchSLM(panel, WAVELENGTH_M)
        assert slm.test()
        phase = blaze(slm, (0.001, 0.002))
        slm.set_phase(phase)
        turned = np.exp(1j * (np.asarray(panel.panel.phase) - phase))
        assert np.abs(np.angle(turned / turned.mean())).max() < 1.01 * np.pi / 256


def test_a_driver_of_a_camera_passes_it_too(tmp_path: Path):
    config = tmp_path / "demo.cfg"
    config.write_text("Device,Camera,DemoCamera,DCam\nProperty,Core,Initialize,1\n")
    told = {"shape": [512, 512], "pitch": "6.5 um", "bit_depth": 8, "exposure": "2 ms", "min_exposure": "1 ms"}
    more = {"max_exposure": "1 s", "period": "1 ms", "quantum_efficiency": 0.5, "full_well": 30000, "read_noise": 2}
    settings = CameraSettings.model_validate({**told, **more, "external_trigger": False})
    core = MMCore("microscope", {"config": str(config)})
    with MMCoreCamera("camera", WallClock(), settings, {"label": "Camera"}, core) as sensor:
        assert BenchCamera(sensor).test()


def test_a_camera_of_summed_pixels_is_one_too(open_table: OpenTable):
    sensor = open_table().bench.camera("camera_z1")
    camera: Any = BenchCamera(sensor)
    assert camera.get_image().shape == sensor.shape
    assert camera.bitresolution > sensor.top_count


def test_the_bench_keeps_its_devices(setup: OpenSetup):
    table = setup()
    table.slm.close()
    table.camera.close()
    BenchSLM(table.bench.slm("slm"), WAVELENGTH_M)  # given up at once
    assert table.bench.slm("slm").is_open
    assert table.bench.camera("camera").is_open


def test_the_beams_are_left_to_the_bench():
    with Bench(load_bench(SMALL_FOURIER, TABLE), simulate=True) as bench:
        FourierSLM(BenchCamera(bench.camera("camera")), BenchSLM(bench.slm("slm"), WAVELENGTH_M))
        assert not bench.beam("beam").is_on


def test_without_slmsuite_the_cure_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "slmsuite.hardware.cameras.camera", None)
    monkeypatch.delitem(sys.modules, "labctl.adapters.slmsuite")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'labctl\[hardware\]'"):
        importlib.import_module("labctl.adapters.slmsuite")


def test_slmsuite_is_loaded_for_its_adapter_only():
    code = "import labctl.adapters, sys; print('slmsuite' in sys.modules)"
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
