"""Panels through slmsuite, on its simulated panel and camera."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivers.slmsuite_slm import SlmsuiteSLM
from labctl.clock import ManualClock
from labctl.devices import Codebook, Pattern, SLMSettings, identity_codebook
from labctl.errors import ConfigError, ConnectError, DeviceError
from tests.devices.contracts.slm import SLMContract

SHAPE = (48, 64)


def panel(bits: int = 8, shape: tuple[int, int] = SHAPE, **hardware: Any) -> SlmsuiteSLM:
    settings = {"shape": list(shape), "pitch": "8 um", "bit_depth": bits, "latency": "0.2 ms", "settle": "1 ms"}
    options = {"resolution": [SHAPE[1], SHAPE[0]], "bitdepth": bits, "gpu": False}
    told = {"model": "simulated.SimulatedSLM", "options": options, **hardware}
    return SlmsuiteSLM("slm", ManualClock(), SLMSettings.model_validate(settings), told)


@pytest.fixture(params=[8, 10], ids=lambda bits: f"{bits} bit")
def bits(request: pytest.FixtureRequest) -> int:
    return request.param


class TestSimulatedPanel(SLMContract):
    TESTED = SlmsuiteSLM

    @pytest.fixture
    def device(self, bits: int) -> Iterator[SlmsuiteSLM]:
        one = panel(bits)
        yield one
        one.close()


def frame(levels: np.ndarray, bits: int) -> Pattern:
    return Pattern(levels.astype(np.uint16), identity_codebook(bits))


def test_a_higher_level_is_more_phase_on_every_pixel(bits: int):
    levels = np.random.default_rng(1).integers(0, 2**bits, SHAPE)
    levels[:20, :10] = np.arange(10)  # an asymmetric corner: it must stand upright
    with panel(bits) as slm:
        slm.show(frame(levels, bits))
        turned = np.angle(np.exp(1j * (np.asarray(slm.panel.phase) - 2 * np.pi * levels / 2**bits)))
        assert np.abs(turned).max() < 1e-4


def spot(camera: Any) -> tuple[int, int]:
    """Return row and column of the brightest pixel."""
    image = np.asarray(camera.get_image())
    row, column = np.unravel_index(image.argmax(), image.shape)
    return int(row), int(column)


@pytest.mark.parametrize(("rows", "columns"), [(0.0, 0.05), (0.03, 0.0), (-0.04, 0.02)])
def test_a_blaze_lands_at_plus_k_as_slmsuites_own_does(rows: float, columns: float):
    from slmsuite.hardware.cameras.simulated import SimulatedCamera
    from slmsuite.holography.toolbox.phase import blaze

    cycles = rows * np.arange(SHAPE[0])[:, None] + columns * np.arange(SHAPE[1])
    with panel() as slm:
        wavelength, pitch = slm.panel.wav_um, slm.pitch_m * 1e6
        per_pixel = SHAPE[1] * pitch / wavelength  # one camera pixel is one resolvable spot
        camera = SimulatedCamera(
            slm.panel, resolution=(64, 64), M=per_pixel * np.eye(2), b=np.array([32.0, 32.0]), bitdepth=16, gain=1
        )
        slm.show(frame(np.zeros(SHAPE), 8))
        assert spot(camera) == (32, 32)
        slm.show(frame(np.round(256 * cycles) % 256, 8))
        landed = spot(camera)
        assert landed == (round(32 + SHAPE[1] * rows), round(32 + SHAPE[1] * columns))
        slm.panel.set_phase(blaze(slm.panel, (columns * wavelength / pitch, rows * wavelength / pitch)))
        assert spot(camera) == landed


def test_the_sign_can_be_told(bits: int):
    with panel(bits, phase_rises=True) as slm:
        slm.show(frame(np.full((1, 1), 3), bits))
        assert slm.panel.display[0, 0] == 3
        assert slm.state()["phase_rises"] is True
    with panel(bits) as slm:
        slm.show(frame(np.full((1, 1), 3), bits))
        assert slm.panel.display[0, 0] == 2**bits - 3
        assert slm.state()["phase_rises"] is False


def test_levels_of_wide_tiles_fit_an_8_bit_panel():
    pattern = Pattern(np.zeros((2, 2), np.uint16), Codebook("wide", np.full((1, 1, 1), 7, np.uint16), (1, 1)))
    with panel(phase_rises=True) as slm:
        slm.show(pattern)
        assert slm.panel.display[1, 1] == 7


def test_what_was_shown_does_not_change_with_the_callers_array():
    levels = np.full(SHAPE, 9, np.uint16)
    with panel(phase_rises=True) as slm:
        slm.show(Pattern(levels, identity_codebook(8)))
        levels[:] = 0
        assert np.all(slm.panel.display == 9)


@pytest.mark.parametrize(
    ("hardware", "error", "message"),
    [
        ({"model": "holoey.Holoeye"}, ConfigError, r"slm: hardware: slmsuite has no panel 'holoey.Holoeye'.*holoeye"),
        ({"model": "holoeye.os"}, ConfigError, "no panel 'holoeye.os'"),
        ({"options": {"resolution": [4, 4], "colour": "red"}}, ConnectError, "slm: .*does not open: .*colour"),
        ({"options": {"resolution": [48, 64]}}, DeviceError, r"has \(64, 48\) pixels of 8 bit.*\(48, 64\)"),
    ],
)
def test_a_panel_that_cannot_be_opened_says_why(hardware: dict[str, Any], error: type[Exception], message: str):
    one = panel(**hardware)
    with pytest.raises(error, match=message):
        one.open()
    assert not one.is_open


def test_keys_are_checked_before_anything_is_opened():
    with pytest.raises(ConfigError, match="hardware of slm: unknown key 'modle'; did you mean 'model'"):
        panel(modle="holoeye.Holoeye")
