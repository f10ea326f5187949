"""A bench with masks, frames for its DMDs, shots of them, and what must be so after a measurement."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labctl.acquisition import Measurement, Shots, measure
from labctl.bench import Bench
from labctl.devices import PatternStack

if TYPE_CHECKING:
    from tests.conftest import Table

ROUNDING = 12
"""Counts of 16 bit by which two exposures of the same light may differ: ten times the rounding of 15 pixels."""

PUMPED = frozenset({"pump", "reference"})
BOTH_WAYS = frozenset({"pump_hidden", "probe", "reference"})


@pytest.fixture
def table(ideal: "Table") -> "Table":
    """The ideal bench with masks on both panels."""
    rng = np.random.default_rng(3)
    for panel, multiplier in ideal.multipliers.items():
        ideal.write(panel, rng.uniform(-1, 1, multiplier.shape))
    return ideal


@pytest.fixture
def stacks(table: "Table") -> dict[str, PatternStack]:
    """Five different frames for every DMD."""
    rng = np.random.default_rng(4)
    return {
        "dmd_input": table.stack("dmd_input", rng.uniform(0, 1, (5, 22))),
        "dmd_hidden": table.stack("dmd_hidden", rng.uniform(-1, 1, (5, 11))),
        "dmd_error": table.stack("dmd_error", rng.uniform(-1, 1, (5, 6))),
    }


def shot(
    cameras: tuple[str, ...],
    beams: frozenset[str],
    patterns: Mapping[str, int] = MappingProxyType({}),
    phases_rad: Mapping[str, float] = MappingProxyType({}),
) -> Shots:
    numbers = {name: np.array([number]) for name, number in patterns.items()}
    return Shots(cameras, beams, numbers, {name: np.array([rad]) for name, rad in phases_rad.items()})


def input_shot(number: int, phase_rad: float = 0.0, camera: str = "camera_z1") -> Shots:
    return shot((camera,), PUMPED, {"dmd_input": number}, {"reference": phase_rad})


def error_shot(hidden: int, error: int) -> Shots:
    patterns = {"dmd_hidden": hidden, "dmd_error": error}
    return shot(("camera_error_1", "camera_hidden_1"), BOTH_WAYS, patterns, {"probe": 0.0, "reference": 0.0})


def used(stacks: Mapping[str, PatternStack], *shots: Shots) -> dict[str, PatternStack]:
    """Return only the stacks that `shots` name."""
    names = {name for shot in shots for name in shot.patterns}
    return {name: stack for name, stack in stacks.items() if name in names}


def alone(bench: Bench, stacks: Mapping[str, PatternStack], shot: Shots) -> dict[str, np.ndarray]:
    """Return the counts of one shot taken by itself, by camera."""
    return {name: frames.counts[0] for name, frames in measure(bench, used(stacks, shot), [shot]).frames.items()}


def assert_each_as_alone(bench: Bench, stacks: Mapping[str, PatternStack], shots: list[Shots]) -> Measurement:
    """Compare every frame of one measurement with that of its shot taken by itself."""
    taken = measure(bench, used(stacks, *shots), shots)
    single = {shot_key(shot): alone(bench, stacks, shot) for shot in shots}
    for camera, frames in taken.frames.items():
        expected = [single[shot_key(shot)][camera] for shot in shots if camera in shot.cameras]
        assert len(frames) == len(expected)
        assert np.abs(frames.counts.astype(int) - np.array(expected).astype(int)).max() <= ROUNDING
    return taken


def shot_key(shot: Shots) -> tuple[object, ...]:
    columns = [*shot.patterns.items(), *shot.phases_rad.items()]
    return shot.cameras, shot.beams, tuple((name, float(column[0])) for name, column in columns)


def assert_as_before(table: "Table", dmd: str, *cameras: str) -> None:
    """Check that no sequence is held, no mirror is on, and no camera is armed."""
    bench = table.bench
    assert bench.dmd(dmd).state()["sequences"] == 0
    beam = next(stage.source.beam for stage in table.file.stages if stage.source.device == dmd)
    for one in bench.beams:
        one.off()
    bench.beam(beam).on()
    for camera in cameras:
        assert bench.camera(camera).acquire(1).counts.max() <= 100 * ROUNDING
    bench.beam(beam).off()
