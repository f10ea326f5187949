"""Injected faults come when asked, do what they say, are logged, and cannot be written wrongly."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labctl.acquisition import Shots, measure
from labctl.bench import Bench, load_bench
from labctl.devices import PatternStack
from labctl.errors import ConfigError, DeviceError, DeviceTimeout, FrameLost
from tests.conftest import SMALL_BENCH

if TYPE_CHECKING:
    from tests.conftest import OpenTable, Table

LIT = frozenset({"pump", "reference"})


def stack(table: "Table", n: int = 6) -> dict[str, PatternStack]:
    return {"dmd_input": table.stack("dmd_input", np.random.default_rng(2).uniform(0, 1, (n, 22)))}


def shots(order: list[int]) -> list[Shots]:
    return [Shots(("camera_z1",), LIT, {"dmd_input": np.array(order)}, {"reference": np.zeros(len(order))})]


def faulty(quiet: dict[str, Any], **fault: Any) -> dict[str, Any]:
    return {**quiet, "simulation.faults": [fault]}


@pytest.mark.parametrize("fault", ["stale", "dropped", "repeated", "torn", "saturated"])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_whichever_frame_is_bad_all_frames_returned_are_as_without(
    fault: str, at: int, open_table: "OpenTable", quiet: dict[str, Any]
):
    order = [0, 0, 1, 2, 2, 5]
    clean, bad = open_table(quiet), open_table(faulty(quiet, device="camera_z1", fault=fault, at=at))
    whole = measure(clean.bench, stack(clean), shots(order))
    taken = measure(bad.bench, stack(bad), shots(order))
    difference = whole.frames["camera_z1"].counts.astype(int) - taken.frames["camera_z1"].counts.astype(int)
    assert np.abs(difference).max() <= 12  # ten times the rounding of 15 pixels
    assert (taken.exposures, taken.retries) == (6, 1)
    assert whole.retries == 0
    assert sum(vars_of(taken.faults).values()) == 1


def vars_of(faults: Any) -> dict[str, int]:
    return {name: getattr(faults, name) for name in ("lost", "repeated", "torn", "saturated")}


def test_retries_are_a_setting_of_the_bench(open_table: "OpenTable", quiet: dict[str, Any]):
    fault = faulty(quiet, device="camera_z1", fault="torn", at=2)
    table = open_table({**fault, "acquisition.retries": 0})
    with pytest.raises(FrameLost, match=r"camera_z1: 1 of 3 shots have no frame of their own after 0 retries.*1 torn"):
        measure(table.bench, stack(table), shots([0, 1, 2]))


def test_a_hanging_call_ends_after_the_time_its_device_is_given(open_table: "OpenTable", quiet: dict[str, Any]):
    fault = faulty(quiet, device="pump", fault="hang", at=2)
    table = open_table({**fault, "devices.pump.settings.call_timeout": "3 s"})
    began_s = table.bench.clock.now_s()
    with pytest.raises(DeviceTimeout, match="pump: gave no answer to 'is on' within 3 s"):
        print(table.bench.beam("pump").is_on)
    assert 3 < table.bench.clock.now_s() - began_s < 3.5
    assert not table.bench.beam("pump").is_on


def test_what_a_vendors_code_raises_comes_with_the_devices_name(open_table: "OpenTable", quiet: dict[str, Any]):
    table = open_table(faulty(quiet, device="cell", fault="exception", at=2))
    with pytest.raises(DeviceError, match="cell: failed in 'temperature c': RuntimeError: injected") as raised:
        print(table.bench.cell("cell").temperature_c)
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.fixture
def opened(quiet: dict[str, Any]) -> Iterator[Callable[..., Bench]]:
    """Opens a bench with one fault; its close logs what fails."""
    with ExitStack() as benches:

        def open_one(changes: dict[str, Any], **fault: Any) -> Bench:
            bench = Bench(load_bench(SMALL_BENCH, {**faulty(quiet, **fault), **changes}), True)
            benches.callback(bench.close)
            return bench.__enter__()

        yield open_one


def test_a_device_that_is_gone_stays_gone(opened: Callable[..., Bench]):
    bench = opened({}, device="slit_stage", fault="disconnect", at=2)
    for _ in range(3):
        with pytest.raises(DeviceError, match=r"slit_stage: .*injected disconnect"):
            bench.stage("slit_stage").move_to(x=0.0)


@pytest.mark.parametrize("falls_dark", [True, False])
def test_a_beam_that_is_gone_is_reported_and_dark_only_if_its_driver_sees_to_that(
    falls_dark: bool, opened: Callable[..., Bench]
):
    falls = {"devices.pump.settings.falls_dark": falls_dark}
    bench = opened(falls, device="pump", fault="disconnect", at=3)
    bench.beam("pump").on()
    with pytest.raises(ExceptionGroup, match=r"block the beams by hand: pump: .*injected disconnect"):
        bench.make_safe()
    assert (bench.power_meter("meter_pump").read_power() > 0) is not falls_dark


def test_equal_seeds_give_equal_faults(open_table: "OpenTable"):
    faults = {"simulation.faults": [{"device": "camera_z1", "fault": "torn", "rate": 0.05}]}
    seen = []
    for _ in range(2):
        table = open_table(faults, seed=5)
        taken = measure(table.bench, stack(table), shots([0, 1, 2, 3] * 30))
        seen.append((taken.faults, taken.frames["camera_z1"].ids.tolist()))
    assert seen[0] == seen[1]
    assert seen[0][0].torn > 0


def test_a_fault_that_never_came_is_told_at_the_end(caplog: pytest.LogCaptureFixture):
    faults = [
        {"device": "camera_z1", "fault": "torn", "at": 10**6},
        {"device": "pump", "fault": "exception", "at": 10**6},
        {"device": "camera_z1", "fault": "phase_jump", "at": 1},
    ]
    with Bench(load_bench(SMALL_BENCH, {"simulation.faults": faults}), True):
        assert not caplog.messages
    assert sorted(message.removeprefix("simulation.faults: ") for message in caplog.messages) == [
        "exception of pump, at 1000000, never came",
        "torn of camera_z1, at 1000000, never came",
    ]


REFUSED = {
    "no such device": (
        {"device": "camra_z1", "fault": "torn", "at": 1},
        "no device 'camra_z1'; did you mean 'camera_z1'",
    ),
    "no such fault": ({"device": "camera_z1", "fault": "tron", "at": 1}, "asked for 'tron'; allowed: one of .*torn"),
    "never": ({"device": "camera_z1", "fault": "torn"}, "either 'at'.* or a 'rate'"),
    "both": ({"device": "camera_z1", "fault": "torn", "at": 1, "rate": 0.1}, "either 'at'.* or a 'rate'"),
    "unknown key": ({"device": "camera_z1", "fault": "torn", "when": 1}, "simulation.faults.0: unknown key 'when'"),
    "frames of a beam": ({"device": "pump", "fault": "torn", "at": 1}, "pump gives no frames"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_that_cannot_be_is_refused(case: str):
    fault, message = REFUSED[case]
    with (
        pytest.raises(ConfigError, match=message),
        Bench(load_bench(SMALL_BENCH, {"simulation.faults": [fault]}), True),
    ):
        pass
