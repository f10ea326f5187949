"""The only way plans take light: a list of shots in, frames per camera out.

Shots that follow each other with the same beams and cameras are one hardware-triggered sequence: DMD frames are
preloaded, beam phases too, cameras are armed, and the first DMD that changes steps everything else.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.bench import Bench
from labctl.devices import DMD, Frames, PatternStack
from labctl.devices import Sequence as LoadedSequence
from labctl.errors import ConfigError, DeviceError, FrameLost

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shot:
    """One exposure instant.

    Args:
        cameras: Cameras read.
        beams: Beams that are on; all others are off.
        patterns: Frame number in its stack, by DMD; a DMD that is not named is dark.
        phases_rad: Phase by beam, for beams that have one; others keep the phase they have.
    """

    cameras: tuple[str, ...]
    beams: frozenset[str]
    patterns: Mapping[str, int] = field(default_factory=dict)
    phases_rad: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """Frames of one acquisition.

    Args:
        frames: By camera, one frame per shot that read it, in shot order; `times_s` are those of the shots.
        exposures: Exposure instants used.
    """

    frames: Mapping[str, Frames]
    exposures: int


def measure(bench: Bench, patterns: Mapping[str, PatternStack], shots: Sequence[Shot]) -> Measurement:
    """Take `shots` and return their frames; beams stay as the last shot left them.

    Args:
        bench: Open bench.
        patterns: Frames by DMD; shots name them by number.
        shots: What to take, in order.

    Raises:
        ConfigError: A shot names a stack or frame that is not there.
        DeviceError: A device failed; DMDs are halted and cameras disarmed.
        FrameLost: A camera has other frames than the shots asked for.
    """
    groups = [(state, list(group)) for state, group in groupby(shots, key=_static_state)]
    for _, group in groups:
        _check(patterns, group)
    taken: dict[str, list[Frames]] = {}
    with _loaded(bench, patterns) as sequences:
        for (beams, cameras, dmds, _), group in groups:
            _switch(bench, beams)
            _halt(bench, (name for name in _dmds(bench) if name not in dmds))
            for camera, frames in _play(bench, sequences, group, cameras, dmds).items():
                taken.setdefault(camera, []).append(frames)
    joined = {camera: _join(camera, parts) for camera, parts in taken.items()}
    return Measurement(joined, len(shots))


def _static_state(shot: Shot) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return shot.beams, shot.cameras, tuple(shot.patterns), tuple(shot.phases_rad)


def _dmds(bench: Bench) -> list[str]:
    return [name for name, device in bench.devices.items() if isinstance(device, DMD)]


def _halt(bench: Bench, names: Iterable[str]) -> None:
    for name in names:
        bench.dmd(name).halt()


def _check(patterns: Mapping[str, PatternStack], group: list[Shot]) -> None:
    """Refuse shots of one group that name what is not there."""
    if not group[0].patterns or not group[0].cameras:
        raise ConfigError("a shot needs at least one DMD frame, which triggers it, and one camera")
    for dmd in group[0].patterns:
        order = _order(group, dmd)
        known = len(patterns[dmd]) if dmd in patterns else 0
        wrong = order[(order < 0) | (order >= known)]
        if wrong.size:
            have = f"{known} frames" if known else "none"
            raise ConfigError(f"a shot names frame {wrong[0]} of {dmd}, which has {have}")


@contextmanager
def _loaded(bench: Bench, patterns: Mapping[str, PatternStack]) -> Iterator[dict[str, LoadedSequence]]:
    """Hold the stacks in the DMDs' memories for the time of the block."""
    sequences: dict[str, LoadedSequence] = {}
    try:
        for name, stack in patterns.items():
            sequences[name] = bench.dmd(name).load(stack)
        yield sequences
    finally:
        for name, sequence in sequences.items():
            try:
                bench.dmd(name).halt()
                bench.dmd(name).free(sequence)
            except DeviceError:  # the fault that brought us here is the one to report
                logger.exception("%s: sequence was not freed", name)


def _switch(bench: Bench, beams: frozenset[str]) -> None:
    for beam in bench.beams:
        if beam.is_on and beam.name not in beams:
            beam.off()
    for name in beams:
        if not bench.beam(name).is_on:
            bench.beam(name).on()


def _play(
    bench: Bench,
    sequences: Mapping[str, LoadedSequence],
    shots: list[Shot],
    cameras: tuple[str, ...],
    dmds: tuple[str, ...],
) -> dict[str, Frames]:
    period_s = max(bench.camera(camera).settings.period_s for camera in cameras)
    phased = sorted(shots[0].phases_rad)
    try:
        for name in phased:
            bench.beam(name).load_phases([shot.phases_rad[name] for shot in shots])
        for camera in cameras:
            bench.camera(camera).arm(len(shots))
        master, *followers = dmds
        for name in followers:
            bench.dmd(name).set_trigger("external")
            bench.dmd(name).play(sequences[name], _order(shots, name))
        bench.dmd(master).set_trigger("internal")
        bench.dmd(master).set_timing(period_s)
        bench.dmd(master).play(sequences[master], _order(shots, master))
        return {camera: bench.camera(camera).collect() for camera in cameras}
    except BaseException:  # a stop as well as a fault: nothing may wait for triggers that will not come
        _forget(bench, cameras, phased)
        raise


def _forget(bench: Bench, cameras: Iterable[str], phased: Iterable[str]) -> None:
    """Take back what was armed; what fails here is logged, the first fault is the one to report."""
    for action in [bench.camera(camera).disarm for camera in cameras] + [bench.beam(b).clear_phases for b in phased]:
        try:
            action()
        except DeviceError:
            logger.exception("%s was not taken back", action)


def _order(shots: list[Shot], dmd: str) -> NDArray[np.int64]:
    return np.fromiter((shot.patterns[dmd] for shot in shots), np.int64, len(shots))


def _join(camera: str, parts: list[Frames]) -> Frames:
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([part.ids for part in parts])
    if np.any(np.diff(ids) != 1):
        raise FrameLost(camera, "frame numbers have a gap between two sequences; nothing else may use this camera")
    counts: Any = np.concatenate([part.counts for part in parts])
    return Frames(counts, ids, np.concatenate([part.times_s for part in parts]))
