"""Every twin keeps the contract of its kind, and so do plain drivers that only write down what they are told."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from labctl.bench import Bench, load_bench
from labctl.clock import ManualClock
from labctl.devices import (
    DMD,
    SLM,
    Codebook,
    Device,
    DMDSettings,
    Levels,
    Pattern,
    PatternStack,
    Sequence,
    SLMSettings,
    Trigger,
    identity_codebook,
)
from labctl.devices.tag import TAG_BLOCKS, read_tags
from labctl.errors import LimitError
from sim_backends.twins import TwinBeam, TwinCamera, TwinCell, TwinDMD, TwinPowerMeter, TwinSLM, TwinStage
from tests.conftest import SMALL_BENCH
from tests.devices.contracts.beam import BeamContract
from tests.devices.contracts.camera import CameraContract
from tests.devices.contracts.cell import CellContract
from tests.devices.contracts.dmd import DMDContract
from tests.devices.contracts.power_meter import PowerMeterContract
from tests.devices.contracts.slm import SLMContract
from tests.devices.contracts.stage import StageContract

BENCHES = {
    "small_cell": SMALL_BENCH,
    "vapour_cell": "vapour_cell",
    "small_diffractive": SMALL_BENCH.with_name("small_diffractive.yaml"),
    "small_fourier": SMALL_BENCH.with_name("small_fourier.yaml"),
}
"""Every light path that twins stand in."""
FILES = {name: load_bench(path) for name, path in BENCHES.items()}


def of_kind(kind: str) -> Any:
    """Return the fixture `device` for every twin of `kind`: its bench is open, the twin itself is not."""
    names = [(bench, name) for bench, file in FILES.items() for name, one in file.devices.items() if one.kind == kind]

    @pytest.fixture(params=names, ids="-".join)
    def device(_self: object, request: pytest.FixtureRequest, simulated: dict[str, Bench]) -> Iterator[Device]:
        bench, name = request.param
        one = simulated[bench][name]
        one.close()
        yield one
        one.close()

    return device


@pytest.fixture(scope="module")
def simulated() -> Iterator[dict[str, Bench]]:
    with ExitStack() as benches:
        yield {name: benches.enter_context(Bench(file, True)) for name, file in FILES.items()}


class TestTwinDMD(DMDContract):
    TESTED = TwinDMD
    device = of_kind("dmd")


class TestTwinSLM(SLMContract):
    TESTED = TwinSLM
    device = of_kind("slm")


class TestTwinCamera(CameraContract):
    TESTED = TwinCamera
    device = of_kind("camera")


class TestTwinBeam(BeamContract):
    TESTED = TwinBeam
    device = of_kind("beam")


class TestTwinStage(StageContract):
    TESTED = TwinStage
    device = of_kind("stage")


class TestTwinCell(CellContract):
    TESTED = TwinCell
    device = of_kind("cell")


class TestTwinPowerMeter(PowerMeterContract):
    TESTED = TwinPowerMeter
    device = of_kind("power_meter")

    def test_it_sees_its_beam_only_while_that_is_on(self, simulated: dict[str, Bench]):
        bench = simulated["small_cell"]
        meter, beam = bench.power_meter("meter_pump"), bench.beam("pump")
        with meter, beam:
            assert meter.read_power() == 0
            beam.set_power(beam.settings.max_power_w)
            assert meter.read_power() == 0
            beam.on()
            assert meter.read_power() == pytest.approx(beam.settings.max_power_w, rel=0.01)
            beam.off()
            assert meter.read_power() == 0


class RecordingDMD(DMD):
    """A board that keeps what it is given."""

    def __init__(self, settings: DMDSettings) -> None:
        super().__init__("board", ManualClock(), settings)
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.shown: NDArray[np.uint8] | None = None
        self.trigger = "internal"
        self.picture_s = settings.min_picture_s

    def _do_open(self) -> None: ...

    def _do_close(self) -> None:
        self.memory.clear()

    def _do_state(self) -> dict[str, Any]:
        return {"trigger": self.trigger, "picture_s": self.picture_s, "sequences": sorted(self.memory)}

    def _do_load(self, sequence: Sequence, frames: NDArray[np.uint8]) -> None:
        self.memory[sequence.id] = frames

    def _do_show(self, frame: NDArray[np.uint8]) -> None:
        self.shown = frame

    def _do_set_timing(self, picture_s: float) -> None:
        self.picture_s = picture_s

    def _do_set_trigger(self, trigger: Trigger) -> None:
        self.trigger = trigger

    def _do_play(self, sequence: Sequence, order: NDArray[np.integer]) -> None:
        if self.trigger == "internal":
            self.shown = self.memory[sequence.id][order[-1]]
            self.clock.wait(self.picture_s * len(order))

    def _do_halt(self) -> None:
        self.shown = None

    def _do_free(self, sequence: Sequence) -> None:
        del self.memory[sequence.id]


class RecordingSLM(SLM):
    """A panel that keeps the frame it is given."""

    def __init__(self, settings: SLMSettings) -> None:
        super().__init__("panel", ManualClock(), settings)
        self.frame: Levels | None = None

    def _do_open(self) -> None: ...

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {"top": None if self.frame is None else int(self.frame.max())}

    def _do_show(self, frame: Levels) -> None:
        self.frame = frame


def board(shape: tuple[int, int] = (6, 13), **more: Any) -> RecordingDMD:
    settings = {"shape": shape, "pitch": "10.8 um", "min_picture": "0.1 ms", **more}
    return RecordingDMD(DMDSettings.model_validate(settings))


def panel() -> RecordingSLM:
    settings = {"shape": (7, 11), "pitch": "3.74 um", "bit_depth": 10, "latency": "16 ms", "settle": "40 ms"}
    return RecordingSLM(SLMSettings.model_validate(settings))


class TestRecordingDMD(DMDContract):
    TESTED = RecordingDMD

    @pytest.fixture
    def device(self) -> RecordingDMD:
        return board()


class TestRecordingSLM(SLMContract):
    TESTED = RecordingSLM

    @pytest.fixture
    def device(self) -> RecordingSLM:
        return panel()


@st.composite
def binary_stacks(draw: st.DrawFn) -> PatternStack:
    """Return stacks that fit 6 x 13 mirrors."""
    block = draw(st.tuples(st.integers(1, 3), st.integers(1, 6)))
    grid = draw(st.tuples(st.integers(1, 6 // block[0]), st.integers(1, 13 // block[1])))
    free = (6 - block[0] * grid[0], 13 - block[1] * grid[1])
    origin = (draw(st.integers(0, free[0])), draw(st.integers(0, free[1])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tiles = rng.integers(0, 2, (5, *draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))), np.uint8)
    indices = rng.integers(0, 5, (draw(st.integers(1, 3)), *grid), np.uint16)
    return PatternStack(indices, Codebook("drawn", tiles, block), origin)


@given(binary_stacks())
def test_a_board_gets_one_bit_per_mirror_of_the_expanded_frames(stack: PatternStack):
    with board() as dmd:
        sequence = dmd.load(stack)
        packed = dmd.memory[sequence.id]
        assert packed.dtype == np.uint8
        assert packed.shape == (len(stack), 6, 2)
        mirrors = np.unpackbits(packed, axis=2)
        assert np.array_equal(mirrors[:, :, :13], [stack[k].expand((6, 13)) for k in range(len(stack))])
        assert not mirrors[:, :, 13:].any()
        dmd.show(stack[0])
        assert dmd.shown is not None
        assert np.array_equal(dmd.shown, packed[0])


def tags_on(frame: NDArray[np.uint8]) -> list[int]:
    """Return the numbers that a packed frame of 8 x 32 mirrors shows in its first and last corner."""
    mirrors = np.unpackbits(frame, axis=1)
    return [int(read_tags(mirrors[0, :TAG_BLOCKS], 1.0)), int(read_tags(mirrors[-1, -TAG_BLOCKS:], 1.0))]


def test_a_tagged_board_never_shows_one_number_twice_in_a_row():
    stack = PatternStack(
        np.zeros((3, 2, 1), np.uint16), Codebook("dark", np.zeros((1, 1, 1), np.uint8), (1, 1)), (3, 3)
    )
    with board((8, 32), tag_block=(1, 1)) as dmd:
        shown: list[int] = []
        for order in ([0, 0, 0, 2], [2, 1], [1], [1]):
            sequence = dmd.load(stack)
            for steps in (order, order[::-1], order):
                shown += dmd.play(sequence, np.array(steps)).tolist()
                assert dmd.shown is not None
                assert tags_on(dmd.shown) == [shown[-1]] * 2
            dmd.free(sequence)
        shown += [dmd.show(stack[0]) for _ in range(2)]
        assert tags_on(dmd.shown) == [shown[-1]] * 2
        assert np.all(np.diff(shown) != 0)


def test_a_tagged_board_holds_every_pattern_twice_and_its_mirrors_outside_the_tag_are_the_patterns():
    indices = np.random.default_rng(0).integers(0, 2, (2, 4, 32), np.uint16)
    stack = PatternStack(indices, identity_codebook(1), (2, 0))
    with board((8, 32), tag_block=(1, 1), max_frames=5) as dmd:
        frames = np.unpackbits(dmd.memory[dmd.load(stack).id], axis=2)
        assert np.array_equal(frames[:, 2:6], np.repeat(indices, 2, axis=0))
        with pytest.raises(LimitError, match="memory holds 2"):
            dmd.load(stack)


def test_a_tag_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        board((8, 27), tag_block=(1, 2))


def test_a_panel_gets_the_expanded_frame_in_its_levels():
    pattern = Pattern(np.array([[0, 2], [1, 0]], np.uint16), Codebook("c", _levels(5, 1023, 700), (2, 3)), (1, 4))
    with panel() as slm:
        slm.show(pattern)
        assert slm.frame is not None
        assert np.array_equal(slm.frame, pattern.expand((7, 11)))
        assert slm.frame.max() == 1023


def _levels(*levels: int) -> NDArray[np.uint16]:
    return np.array(levels, np.uint16)[:, None, None]
