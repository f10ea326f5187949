"""A shot that cannot be taken is refused, one that fails is an error; all is off, and the bench can go on."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labctl.acquisition import Shots, measure
from labctl.bench import Bench
from labctl.devices import Frames, PatternStack
from labctl.errors import ConfigError, DeviceError, FrameLost, LimitError, RunStopped, StateError
from sim_backends.twins import TwinCamera
from tests.acquisition.conftest import (
    PUMPED,
    ROUNDING,
    alone,
    assert_as_before,
    assert_each_as_alone,
    error_shot,
    input_shot,
    shot,
    used,
)

if TYPE_CHECKING:
    from tests.conftest import OpenTable, Table

# ---- what is refused

REFUSED: dict[str, tuple[Shots, type[Exception], str]] = {
    "no such frame": (input_shot(5), ConfigError, "frame 5 of dmd_input, which has 5 frames"),
    "a frame before the first": (input_shot(-1), ConfigError, "frame -1 of dmd_input"),
    "no such stack": (shot(("camera_z1",), PUMPED, {"dmd_output": 0}), ConfigError, "dmd_output.*none"),
    "no trigger": (shot(("camera_z1",), PUMPED), ConfigError, "at least one DMD frame"),
    "no camera": (shot((), PUMPED, {"dmd_input": 0}), ConfigError, "one camera"),
    "no such camera": (input_shot(0, camera="camera_z9"), StateError, "camera_z9"),
    "a camera that is a beam": (input_shot(0, camera="pump"), ConfigError, "pump: a camera is needed"),
    "no such beam": (shot(("camera_z1",), frozenset({"pmup"}), {"dmd_input": 0}), StateError, "pmup"),
    "a phase for a beam without": (
        shot(("camera_z1",), PUMPED, {"dmd_input": 0}, {"pump": 1.0}),
        LimitError,
        "pump: has no phase",
    ),
    "a phase that is none": (input_shot(0, float("nan")), LimitError, "reference: .*finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_shot_that_cannot_be_taken_is_refused(case: str, table: "Table", stacks: dict[str, PatternStack]):
    shot, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        measure(table.bench, {"dmd_input": stacks["dmd_input"]}, [shot])
    assert_as_before(table, "dmd_input", "camera_z1")
    assert_each_as_alone(table.bench, stacks, [input_shot(1), input_shot(2)])


# ---- what fails


class LossyCamera(TwinCamera):
    """A camera that misses the last of its triggers."""

    def _do_arm(self, n: int, trigger: Any) -> None:
        self.missed = 1 if trigger == "external" else 0
        super()._do_arm(n, trigger)

    def _do_collect(self) -> Frames:
        frames = super()._do_collect()
        return frames[np.arange(len(frames) - self.missed)]


class GappyCamera(TwinCamera):
    """A camera that misses a frame between two sequences."""

    def _do_arm(self, n: int, trigger: Any) -> None:
        if trigger == "external":
            self._light.sensors[self.name].next_id += 1
        super()._do_arm(n, trigger)


@pytest.mark.parametrize("camera", ["camera_error_1", "camera_hidden_1"])
def test_a_lost_frame_is_an_error_and_all_is_off(
    camera: str, open_table: "OpenTable", quiet: dict[str, Any], stacks: dict[str, PatternStack]
):
    table = open_table({**quiet, f"devices.{camera}.twin": f"{__name__}.LossyCamera"})
    shots = [error_shot(k, k) for k in range(3)]
    with pytest.raises(FrameLost, match=f"{camera}: 1 of 3 shots have no frame of their own after 2 retries.*1 lost"):
        measure(table.bench, used(stacks, *shots), shots)
    assert_as_before(table, "dmd_hidden", "camera_hidden_1")
    assert_as_before(table, "dmd_hidden", "camera_error_1")
    assert table.bench.dmd("dmd_error").state()["sequences"] == 0
    with pytest.raises(FrameLost):  # and not: still armed
        measure(table.bench, used(stacks, *shots), shots)


def test_a_frame_lost_between_two_sequences_is_an_error(
    open_table: "OpenTable", quiet: dict[str, Any], stacks: dict[str, PatternStack]
):
    table = open_table({**quiet, "devices.camera_z1.twin": f"{__name__}.GappyCamera"})
    shots = [input_shot(0), shot(("camera_z1",), frozenset({"pump"}), {"dmd_input": 0})]
    assert len(measure(table.bench, used(stacks, *shots), shots[:1]).frames["camera_z1"]) == 1
    with pytest.raises(FrameLost, match=r"camera_z1: .*gap"):
        measure(table.bench, used(stacks, *shots), shots)


def fail_in(device: str, hook: str, error: Exception) -> Callable[[Bench, pytest.MonkeyPatch], None]:
    def prepare(bench: Bench, patch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise error

        patch.setattr(bench[device], hook, fail)

    return prepare


BROKEN = DeviceError("x", "broke")
FAILURES = {
    "loading": fail_in("dmd_error", "_do_load_blocks", BROKEN),
    "arming the second camera": fail_in("camera_hidden_1", "_do_arm", BROKEN),
    "following": fail_in("dmd_error", "_do_play", BROKEN),
    "playing": fail_in("dmd_hidden", "_do_play", BROKEN),
    "collecting": fail_in("camera_error_1", "_do_collect", BROKEN),
    "lighting": fail_in("probe", "_do_switch", BROKEN),
    "stepping the phase": fail_in("probe", "_do_load_phases", BROKEN),
}


@pytest.mark.parametrize("step", FAILURES)
def test_after_a_failure_at_any_step_the_bench_can_go_on(
    step: str, table: "Table", stacks: dict[str, PatternStack], monkeypatch: pytest.MonkeyPatch
):
    shots = [error_shot(0, 1), error_shot(1, 0)]
    FAILURES[step](table.bench, monkeypatch)
    with pytest.raises(DeviceError, match="broke"):
        measure(table.bench, used(stacks, *shots), shots)
    monkeypatch.undo()
    for dmd in ("dmd_hidden", "dmd_error"):
        assert table.bench.dmd(dmd).state()["sequences"] == 0
    assert_as_before(table, "dmd_hidden", "camera_hidden_1", "camera_error_1")
    assert_each_as_alone(table.bench, stacks, shots)


def test_phases_of_a_measurement_that_failed_do_not_reach_the_next(
    table: "Table", stacks: dict[str, PatternStack], monkeypatch: pytest.MonkeyPatch
):
    plain = shot(("camera_z1",), PUMPED, {"dmd_input": 1})
    before = alone(table.bench, stacks, plain)["camera_z1"]
    fail_in("dmd_input", "_do_play", BROKEN)(table.bench, monkeypatch)
    with pytest.raises(DeviceError, match="broke"):
        measure(table.bench, used(stacks, plain), [input_shot(0, math.pi)])
    monkeypatch.undo()
    after = alone(table.bench, stacks, plain)["camera_z1"]
    assert np.abs(after.astype(int) - before.astype(int)).max() <= ROUNDING


@pytest.mark.parametrize("error", [RunStopped("stop"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_after_a_stop_in_the_middle_the_bench_can_go_on(
    table: "Table", stacks: dict[str, PatternStack], error: BaseException
):
    def stop() -> None:
        raise error

    shots = [input_shot(0), input_shot(1)]
    measure(table.bench, used(stacks, *shots), shots)  # beams are on now: the next wait is that of the exposures
    table.bench.clock.on_wait.append(stop)
    with pytest.raises(type(error)):
        measure(table.bench, used(stacks, *shots), shots)
    table.bench.clock.on_wait.remove(stop)
    assert_as_before(table, "dmd_input", "camera_z1")
    assert_each_as_alone(table.bench, stacks, shots)
