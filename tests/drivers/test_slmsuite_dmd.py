"""A micromirror device that mirrors a screen, on slmsuite's simulated panel."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivers.slmsuite_dmd import SlmsuiteDMD
from labctl.clock import ManualClock
from labctl.devices import Codebook, DMDSettings, Pattern, PatternStack, identity_codebook
from labctl.errors import ConfigError, ConnectError, DeviceError, DriverMissing
from tests.devices.contracts.dmd import DMDContract

SHAPE = (24, 50)  # columns that are no whole bytes


def dmd(hardware: dict[str, Any] | None = None, **settings: Any) -> SlmsuiteDMD:
    says = {
        "shape": SHAPE,
        "pitch": "7.6 um",
        "min_picture": "34 ms",
        "max_frames": 100,
        "external_trigger": False,
        **settings,
    }
    screen = {
        "model": "simulated.SimulatedSLM",
        "options": {"resolution": [50, 24], "gpu": False},
        "refresh": "60 Hz",
        **(hardware or {}),
    }
    return SlmsuiteDMD("dmd", ManualClock(), DMDSettings.model_validate(says), screen)


class TestSimulatedScreen(DMDContract):
    TESTED = SlmsuiteDMD

    @pytest.fixture
    def device(self) -> Iterator[SlmsuiteDMD]:
        one = dmd()
        yield one
        one.close()


class TestTaggedScreen(DMDContract):
    TESTED = SlmsuiteDMD

    @pytest.fixture
    def device(self) -> Iterator[SlmsuiteDMD]:
        one = dmd(tag_block=(2, 1))
        yield one
        one.close()


def test_mirrors_that_are_on_are_white_and_all_others_black():
    mirrors = np.random.default_rng(2).integers(0, 2, SHAPE, np.uint16)
    mirrors[:5, :9] = np.eye(5, 9, 2, dtype=np.uint16)  # an asymmetric corner: it must stand upright
    with dmd() as board:
        assert not board.panel.display.any()
        board.show(Pattern(mirrors, identity_codebook(1)))
        assert np.array_equal(board.panel.display, 255 * mirrors)
        assert board.state()["mirrors_on"] == mirrors.sum()
        board.halt()
        assert not board.panel.display.any()


def test_frames_come_in_the_order_asked_each_for_its_time(monkeypatch: pytest.MonkeyPatch):
    stack = PatternStack(np.random.default_rng(3).integers(0, 2, (3, *SHAPE), np.uint16), identity_codebook(1))
    steps = [2, 0, 0, 1]
    with dmd() as board:
        sequence = board.load(stack)
        board.set_timing(0.1)
        sent: list[tuple[float, np.ndarray]] = []
        monkeypatch.setattr(
            board.panel, "set_phase", lambda grey, settle: sent.append((board.clock.now_s(), grey.copy()))
        )
        start = board.clock.now_s()
        board.play(sequence, np.array(steps))
        assert [time - start for time, _ in sent] == pytest.approx([0.0, 0.1, 0.2, 0.3])
        assert board.clock.now_s() - start == pytest.approx(0.4)
        assert np.array_equal([grey for _, grey in sent], 255 * stack.indices[steps])


def test_a_pattern_of_blocks_is_shown_as_it_expands():
    tiles = np.array([[[0, 0], [0, 0]], [[0, 1], [1, 1]]], np.uint8)
    pattern = Pattern(np.array([[1, 0, 1]], np.uint16), Codebook("corners", tiles, (2, 2)), (3, 5))
    with dmd() as board:
        board.show(pattern)
        assert np.array_equal(board.panel.display, 255 * pattern.expand(SHAPE))


@pytest.mark.parametrize(
    ("hardware", "settings", "message"),
    [
        ({}, {"external_trigger": True}, "dmd: a mirrored screen has no trigger input; set external_trigger: false"),
        ({}, {"min_picture": "20 ms"}, r"min_picture 0\.02 s was asked for, allowed is at least 0\.0333333 s, two ref"),
        ({"refresh": "0 Hz"}, {}, "min_picture"),
        ({"refresh": None}, {}, "a frequency with its unit is needed"),
        ({"modle": "screenmirrored.ScreenMirrored"}, {}, "unknown key 'modle'; did you mean 'model'"),
    ],
)
def test_what_a_screen_cannot_do_is_a_config_error(hardware: dict[str, Any], settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        dmd(hardware, **settings)


@pytest.mark.parametrize(
    ("hardware", "error", "message"),
    [
        ({"model": "simulated.os"}, ConfigError, "no panel 'simulated.os'"),
        ({"options": {"resolution": [4, 4], "colour": "red"}}, ConnectError, "dmd: .*does not open: .*colour"),
        ({"options": {"resolution": [24, 50]}}, DeviceError, r"has \(50, 24\) pixels of 8 bit.*\(24, 50\) mirrors"),
        ({"options": {"resolution": [50, 24], "bitdepth": 10}}, DeviceError, "of 10 bit"),
    ],
)
def test_a_screen_that_cannot_be_opened_says_why(hardware: dict[str, Any], error: type[Exception], message: str):
    board = dmd(hardware)
    with pytest.raises(error, match=message):
        board.open()
    assert not board.is_open


def test_without_pyglet_the_real_screen_says_what_is_missing():
    board = dmd({"model": "screenmirrored.ScreenMirrored", "options": {"display_number": 1}})
    with pytest.raises((DriverMissing, ConnectError), match=r"dmd: slmsuite's screenmirrored\.ScreenMirrored"):
        board.open()
