"""ViALUX boards: ALP4lib as it is, over a stand-in for the vendor's library that keeps the board's rules."""

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivers.vialux_dmd import VialuxDMD
from labctl.clock import ManualClock
from labctl.devices import DMDSettings, Pattern, PatternStack, identity_codebook
from labctl.errors import ConfigError, ConnectError, DeviceError, DriverMissing, LimitError
from sim_backends.alp_board import EDGE_FALLING, AlpBoard
from tests.devices.contracts.dmd import DMDContract

SHAPE = (6, 1024)
ON = identity_codebook(1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def board(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AlpBoard:
    one = AlpBoard(clock, SHAPE, row_bytes=128, memory=41, table=64)
    monkeypatch.setattr(ctypes, "CDLL", one.load)
    return one


def dmd(clock: ManualClock, hardware: dict[str, Any] | None = None, **more: Any) -> VialuxDMD:
    settings = {"shape": SHAPE, "pitch": "13.7 um", "min_picture": "0.1 ms", "max_frames": 40, **more}
    told = {"folder": "/vendor", "serial": "12345", **(hardware or {})}
    return VialuxDMD("dmd", clock, DMDSettings.model_validate(settings), told)


class TestVialuxDMD(DMDContract):
    TESTED = VialuxDMD

    @pytest.fixture
    def device(self, board: AlpBoard, clock: ManualClock) -> Iterator[VialuxDMD]:
        one = dmd(clock)
        yield one
        one.close()


class TestTaggedVialuxDMD(DMDContract):
    TESTED = VialuxDMD

    @pytest.fixture
    def device(self, board: AlpBoard, clock: ManualClock) -> Iterator[VialuxDMD]:
        one = dmd(clock, tag_block=(2, 8))
        yield one
        one.close()


def patterns(n: int, shape: tuple[int, int] = SHAPE) -> PatternStack:
    return PatternStack(np.random.default_rng(n).integers(0, 2, (n, *shape), np.uint16), ON)


def expanded(stack: PatternStack, steps: list[int]) -> list[np.ndarray]:
    return [stack[k].expand(stack.indices.shape[1:]).astype(bool) for k in steps]


def test_mirrors_show_the_pattern_and_nothing_else(board: AlpBoard, clock: ManualClock):
    stack = patterns(2)
    with dmd(clock) as one:
        assert not board.mirrors().any()
        for k in (0, 1):
            one.show(stack[k])
            assert np.array_equal(board.mirrors(), expanded(stack, [k])[0])
        one.halt()
        assert not board.mirrors().any()


@pytest.mark.parametrize(("columns", "told", "row_bytes"), [(1920, None, 256), (1280, 160, 160), (1001, 126, 126)])
def test_rows_are_padded_to_the_boards_memory(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, columns: int, told: int | None, row_bytes: int
):
    board = AlpBoard(clock, (4, columns), row_bytes, memory=41)
    monkeypatch.setattr(ctypes, "CDLL", board.load)
    stack = patterns(20, (4, columns))
    with dmd(clock, {"row_bytes": told}, shape=(4, columns)) as one:
        one.show(stack[3])
        assert np.array_equal(board.mirrors(), expanded(stack, [3])[0])
        board.shown.clear()
        one.play(one.load(stack))
        assert np.array_equal(board.shown, expanded(stack, list(range(20))))


@pytest.mark.parametrize("steps", [[0, 1, 2], [2, 2, 0, 1, 1], list(np.arange(100) % 3)])
def test_frames_come_in_the_order_asked_each_for_its_time(board: AlpBoard, clock: ManualClock, steps: list[int]):
    stack = patterns(3)
    with dmd(clock) as one:
        sequence = one.load(stack)
        one.set_timing(2e-3)
        board.shown.clear()
        start = clock.now_s()
        one.play(sequence, np.array(steps))
        assert np.array_equal(board.shown, expanded(stack, steps))
        assert 2e-3 * len(steps) <= clock.now_s() - start <= 2e-3 * len(steps) + 0.01


def test_pulses_step_the_frames_and_too_early_ones_are_ignored(board: AlpBoard, clock: ManualClock):
    stack, steps = patterns(3), [1, 1, 0, 2]
    with dmd(clock) as one:
        sequence = one.load(stack)
        one.set_trigger("external")
        one.play(sequence, np.array(steps))
        board.shown.clear()
        assert not board.pulse(EDGE_FALLING)
        for k in range(len(steps)):
            assert board.pulse()
            assert not board.pulse()
            clock.wait(0.5e-3)
            assert np.array_equal(board.mirrors(), expanded(stack, steps[: k + 1])[-1])
        assert not board.pulse()
        assert np.array_equal(board.shown, expanded(stack, steps))
        one.show(stack[0])  # stands still again, whatever the trigger is
        assert not board.pulse()
        assert np.array_equal(board.mirrors(), expanded(stack, [0])[0])


def test_the_other_edge_can_be_chosen(board: AlpBoard, clock: ManualClock):
    with dmd(clock, {"edge": "falling"}) as one:
        one.set_trigger("external")
        one.play(one.load(patterns(2)))
        assert not board.pulse()
        assert board.pulse(EDGE_FALLING)


def test_more_triggered_steps_than_the_table_holds_are_refused(board: AlpBoard, clock: ManualClock):
    with dmd(clock) as one:
        sequence = one.load(patterns(2))
        one.set_trigger("external")
        one.play(sequence, np.zeros(32, int))
        with pytest.raises(LimitError, match=r"dmd: 33 triggered steps .* holds 32"):
            one.play(sequence, np.zeros(33, int))


def test_memory_comes_back(board: AlpBoard, clock: ManualClock):
    with dmd(clock) as one:
        assert one.state()["free_frames"] == 40
        first, second = one.load(patterns(30)), one.load(patterns(10))
        assert one.state()["free_frames"] == 0
        one.free(first)
        assert one.state()["free_frames"] == 30
        one.set_trigger("external")
        one.play(second)
        one.free(second)  # in use: it is stopped first
        assert one.state()["free_frames"] == 40
        assert not board.mirrors().any()
    assert board.owner == 0
    assert board.free_frames == 41


def test_a_load_that_fails_leaves_no_memory_behind(board: AlpBoard, clock: ManualClock):
    with dmd(clock) as one:

        def stop() -> None:
            raise KeyboardInterrupt

        clock.on_wait.append(stop)
        with pytest.raises(KeyboardInterrupt):
            one.load(patterns(3))
        clock.on_wait.remove(stop)
        assert one.state()["free_frames"] == 40
        one.play(one.load(patterns(3)))


def test_a_long_play_can_be_stopped(board: AlpBoard, clock: ManualClock):
    with dmd(clock) as one:
        sequence = one.load(patterns(2))
        one.set_timing(1.0)

        def stop() -> None:
            if clock.now_s() > start:
                raise KeyboardInterrupt

        start = clock.now_s()
        clock.on_wait.append(stop)
        with pytest.raises(KeyboardInterrupt):
            one.play(sequence, np.zeros(33, int))  # in two parts
        clock.on_wait.remove(stop)
    assert board.owner == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"shape": (6, 1000), "hardware": {"row_bytes": 125}}, r"has 6 x 1024 mirrors; correct `shape`"),
        ({"max_frames": 41}, r"holds 41 frames, of which `show` needs one; correct `max_frames`"),
        ({"min_picture": "50 us"}, r"shows a frame for 0.0001 s at least; correct `min_picture`"),
    ],
)
def test_a_board_that_is_not_as_the_bench_file_says_does_not_open(
    board: AlpBoard, clock: ManualClock, more: dict[str, Any], message: str
):
    with pytest.raises(DeviceError, match=message):
        dmd(clock, **more).open()
    assert board.owner == 0


def test_a_second_opener_and_an_absent_board_are_told(board: AlpBoard, clock: ManualClock):
    with dmd(clock), pytest.raises(ConnectError, match=r"dmd: board 12345 does not open: .*already allocated"):
        dmd(clock).open()
    with pytest.raises(ConnectError, match=r"dmd: board 7 .*not been found"):
        dmd(clock, {"serial": "7"}).open()
    with dmd(clock, {"serial": None}) as any_board:
        assert any_board.state()["serial"] == 12345


def test_without_the_vendors_library_it_says_what_to_install(clock: ManualClock):
    with pytest.raises(DriverMissing, match=r"dmd: the ALP-4.3 library cannot be loaded.*install ViALUX"):
        dmd(clock).open()


@pytest.mark.parametrize(
    ("hardware", "shape", "message"),
    [
        ({"serial": "A12"}, SHAPE, "serial 'A12' is not a number"),
        ({}, (6, 1280), "row of 1280 mirrors: known for 1024, 1920"),
        ({"version": "4.9"}, SHAPE, r"hardware of dmd: version: asked for '4.9'; allowed: one of 4.1, 4.2, 4.3, 4.4"),
    ],
)
def test_hardware_is_checked_before_a_board_is_opened(
    clock: ManualClock, hardware: dict[str, Any], shape: tuple[int, int], message: str
):
    with pytest.raises(ConfigError, match=message):
        dmd(clock, hardware, shape=shape)


def test_it_says_nothing_on_the_terminal(board: AlpBoard, clock: ManualClock, capsys: pytest.CaptureFixture[str]):
    with dmd(clock) as one:
        one.show(Pattern(np.ones((1, 1), np.uint16), ON))
        one.free(one.load(patterns(1)))
    assert capsys.readouterr() == ("", "")
