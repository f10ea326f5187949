"""Whatever way a pattern is written it gives the same light, and what waits for triggers is lit when they come."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labctl.devices import Codebook, Pattern, PatternStack, identity_codebook
from labctl.errors import DeviceError, FrameLost
from tests.sim_backends.conftest import assert_close, masks

if TYPE_CHECKING:
    from tests.conftest import OpenTable, Table

# ---- patterns of any kind

FULL = {"dmd_input": ("camera_z1", "pump"), "dmd_hidden": ("camera_hidden_1", "pump_hidden")}


def plain(table: "Table", stack: PatternStack) -> PatternStack:
    """Return `stack` as whole frames of mirrors."""
    shape = table.file.settings("dmd_input").shape
    frames = np.stack([stack[k].expand(shape) for k in range(len(stack))])
    return PatternStack(frames.astype(np.uint16), identity_codebook(1))


@pytest.mark.parametrize("dmd", FULL)
def test_a_frame_of_mirrors_gives_the_light_of_its_blocks(ideal: "Table", dmd: str):
    masks(ideal)
    camera, beam = FULL[dmd]
    low = -1 if ideal.sources[dmd].signed else 0
    stack = ideal.stack(dmd, np.random.default_rng(2).uniform(low, 1, (2, ideal.sources[dmd].modes)))
    blocks = ideal.fields(camera, [beam], {dmd: stack})
    assert_close(ideal.fields(camera, [beam], {dmd: plain(ideal, stack)}), blocks)
    assert_close(ideal.fields(camera, [beam], {dmd: stack}), blocks)


def test_a_frame_of_panel_pixels_gives_the_light_of_its_blocks(open_table: "OpenTable", quiet: dict[str, Any]):
    table = open_table({**quiet, "light.1.multiply.fringing": {"value": 0, "source": "sharp pixels"}})
    masks(table)
    stacks = {"dmd_input": table.stack("dmd_input", np.random.default_rng(2).uniform(0, 1, (2, 22)))}
    blocks = table.fields("camera_z1", ["pump"], stacks)
    multiplier, slm = table.multipliers["slm_1"], table.bench.slm("slm_1")
    indices = multiplier.inverse(np.random.default_rng(1).uniform(-1, 1, multiplier.shape))  # as `masks` has written
    code = Codebook("blazed", multiplier.tiles, multiplier.block, multiplier.rest)
    pattern = Pattern(indices, code, (0, 5))
    slm.show(Pattern(pattern.expand(slm.shape).astype(np.uint16), identity_codebook(slm.bit_depth)))
    assert_close(table.fields("camera_z1", ["pump"], stacks), blocks, 2e-3)
    slm.show(Pattern(np.zeros((1, 1), np.uint16), identity_codebook(slm.bit_depth)))  # a flat panel: all in order 0
    assert np.abs(table.fields("camera_z1", ["pump"], stacks)).max() < 1e-3


def test_a_block_beside_its_place_gives_less_light(ideal: "Table"):
    masks(ideal)
    camera, dmd = ideal.bench.camera("camera_hidden_1"), ideal.bench.dmd("dmd_hidden")
    ideal.bench.beam("pump_hidden").on()
    stack = ideal.stack("dmd_hidden", np.eye(11)[4:5])
    dmd.show(stack[0])
    in_place = camera.acquire(1).counts[0, 0].astype(float)
    dmd.show(Pattern(stack.indices[0], stack.codebook, (stack.origin[0], stack.origin[1] + 8)))
    beside = camera.acquire(1).counts[0, 0].astype(float)
    assert in_place[5] < 0.01 * in_place[4]
    assert beside[4] < 0.3 * in_place[4]
    assert beside[4] == pytest.approx(beside[5], rel=0.1)  # half in the one, half in the other


@pytest.mark.parametrize("dmd", FULL)
def test_a_dmd_halted_after_a_frame_of_mirrors_is_dark(ideal: "Table", dmd: str):
    masks(ideal)
    camera, beam = FULL[dmd]
    ideal.bench.beam(beam).on()
    stack = plain(ideal, ideal.stack(dmd, np.ones(ideal.sources[dmd].modes)))
    ideal.bench.dmd(dmd).show(stack[0])
    assert ideal.bench.camera(camera).acquire(1).counts.max() > 1000
    ideal.bench.dmd(dmd).halt()
    assert ideal.bench.camera(camera).acquire(1).counts.max() < 20


def test_a_sequence_keeps_its_own_code(ideal: "Table"):
    masks(ideal)
    dmd, camera = ideal.bench.dmd("dmd_input"), ideal.bench.camera("camera_z1")
    ideal.bench.beam("pump").on()
    stack = ideal.stack("dmd_input", np.random.default_rng(2).uniform(0, 1, (2, 22)))
    backwards = Codebook("inverted", 1 - stack.codebook.tiles, stack.codebook.block)

    dmd.set_timing(camera.settings.period_s)

    def taken(sequence: Any) -> np.ndarray:
        camera.arm(2)
        dmd.play(sequence)
        return camera.collect().counts.astype(int)

    dmd.set_timing(ideal.file.settings("camera_z1").period_s)
    first = dmd.load(stack)
    alone = taken(first)
    dmd.load(PatternStack(stack.indices, backwards, stack.origin))
    assert np.abs(taken(first) - alone).max() <= 20


# ---- triggers and time


def test_armed_for_another_number_of_triggers_a_camera_is_named(ideal: "Table"):
    dmd, camera = ideal.bench.dmd("dmd_input"), ideal.bench.camera("camera_z1")
    sequence = dmd.load(ideal.stack("dmd_input", np.eye(22)[:3]))
    camera.arm(2)
    with pytest.raises(DeviceError, match=r"camera_z1: .*2 frames.*triggers 3"):
        dmd.play(sequence)
    camera.disarm()
    dmd.play(sequence)


def test_a_sequence_takes_its_frames_time(ideal: "Table"):
    dmd, camera, clock = ideal.bench.dmd("dmd_input"), ideal.bench.camera("camera_z1"), ideal.bench.clock
    sequence = dmd.load(ideal.stack("dmd_input", np.eye(22)))
    camera.arm(22)
    dmd.set_timing(2 * camera.settings.period_s)
    start = clock.now_s()
    dmd.play(sequence)
    assert clock.now_s() - start == pytest.approx(44 * camera.settings.period_s)
    frames = camera.collect()
    assert frames.times_s[0] == pytest.approx(start)
    assert np.diff(frames.times_s) == pytest.approx(2 * camera.settings.period_s)


def test_triggered_faster_than_it_can_a_camera_loses_frames(ideal: "Table"):
    dmd, camera = ideal.bench.dmd("dmd_input"), ideal.bench.camera("camera_z1")
    sequence = dmd.load(ideal.stack("dmd_input", np.eye(22)))
    camera.arm(22)
    dmd.set_timing(0.5 * camera.settings.period_s)
    dmd.play(sequence)
    with pytest.raises(FrameLost, match="camera_z1"):
        camera.collect()


@pytest.mark.parametrize("n", [2, 3])
def test_phases_that_wait_for_triggers_do_not_move_a_free_running_exposure(ideal: "Table", n: int):
    masks(ideal)
    camera, reference = ideal.bench.camera("camera_z1"), ideal.bench.beam("reference")
    ideal.bench.dmd("dmd_input").show(ideal.stack("dmd_input", np.ones(22))[0])
    ideal.bench.beam("pump").on()
    reference.on()
    before = camera.acquire(1).counts.astype(int)
    reference.load_phases([math.pi] * 2)
    assert np.abs(camera.acquire(n).counts.astype(int) - before).max() <= 20


def test_without_noise_the_same_shot_gives_the_same_counts(ideal: "Table"):
    masks(ideal)
    ideal.bench.beam("reference").on()
    ideal.bench.beam("pump").on()
    ideal.bench.dmd("dmd_input").show(ideal.stack("dmd_input", np.linspace(0, 1, 22))[0])
    counts = ideal.bench.camera("camera_z1").acquire(5).counts
    assert np.all(counts == counts[0])
