"""The only way plans take light: shots in, frames per camera out.

Shots that follow each other with the same beams and cameras are one sequence. Where every device has a trigger input it
is triggered by hardware: DMD frames are preloaded, beam phases too, cameras are armed, and the first DMD that changes
steps everything else. Elsewhere software steps it, shot by shot. Either way a shot's frame must be its own (see
`labctl.identity`); a shot without one is taken again.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.bench import Bench
from labctl.devices import DMD, Camera, Frames, PatternStack, join_frames
from labctl.devices import Sequence as LoadedSequence
from labctl.devices.tag import DARK
from labctl.errors import ConfigError, FrameLost
from labctl.identity import FrameFaults, identify

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Shots:
    """Exposure instants that are alike in beams, cameras and DMDs.

    Args:
        cameras: Cameras read.
        beams: Beams that are on; all others are off.
        patterns: Frame number in its stack of every shot, shape (n,), by DMD; a DMD that is not named is dark.
        phases_rad: Phase in every shot, shape (n,), by beam that has one; others keep the phase they have.
    """

    cameras: tuple[str, ...]
    beams: frozenset[str]
    patterns: Mapping[str, NDArray[np.integer]]
    phases_rad: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {column.shape for column in (*self.patterns.values(), *self.phases_rad.values())}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(f"frame numbers and phases of n shots have shape (n,), got {sorted(shapes)}")

    def __len__(self) -> int:
        return len(next(iter(self.patterns.values()), ()))

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> "Shots":
        """Return the shots at the positions `chosen`."""
        patterns = {name: column[chosen] for name, column in self.patterns.items()}
        return Shots(
            self.cameras, self.beams, patterns, {name: column[chosen] for name, column in self.phases_rad.items()}
        )

    @property
    def kind(self) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """What is the same in all of them."""
        return self.beams, self.cameras, tuple(self.patterns), tuple(self.phases_rad)


def join_shots(parts: Sequence[Shots]) -> Shots:
    """Return the shots of all `parts`, at least one and all of a kind, in their order."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Shots(
        first.cameras,
        first.beams,
        {name: np.concatenate([part.patterns[name] for part in parts]) for name in first.patterns},
        {name: np.concatenate([part.phases_rad[name] for part in parts]) for name in first.phases_rad},
    )


@dataclass(frozen=True)
class Measurement:
    """Frames of one acquisition.

    Args:
        frames: By camera, one frame per shot that read it, in shot order; `times_s` are those of the shots.
        exposures: Exposure instants asked for.
        retries: Exposure instants beyond those, for shots that had to be taken again.
        faults: Frames that were not used.
    """

    frames: Mapping[str, Frames]
    exposures: int
    retries: int = 0
    faults: FrameFaults = field(default_factory=FrameFaults)


@dataclass(frozen=True)
class _Taken:
    """One go at some shots: what each camera delivered, the position of each shot's frame in it, and what is wrong."""

    frames: dict[str, Frames]
    frame_of: dict[str, NDArray[np.int64]]
    faults: dict[str, FrameFaults]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which shots have a frame of every camera."""
        return np.all([frame_of >= 0 for frame_of in self.frame_of.values()], axis=0)


def measure(bench: Bench, patterns: Mapping[str, PatternStack], shots: Sequence[Shots]) -> Measurement:
    """Take all `shots` and return their frames; beams stay as the last shot left them.

    A shot of which a camera has no frame of its own is taken again with all its cameras, as often as the bench file's
    `acquisition.retries` says; no other frame is ever returned in its place.

    Args:
        bench: Open bench.
        patterns: Frames by DMD; shots name them by number.
        shots: What to take, in order.

    Raises:
        ConfigError: A shot names a stack or frame that is not there.
        DeviceError: A device failed; DMDs are halted and cameras disarmed.
        FrameLost: Shots were still without a frame after the last retry, or something else uses a camera.
    """
    for group in shots:
        _check(patterns, group)
    asked = [group for group in shots if len(group)]
    acquisition = _Acquisition(bench, patterns)
    taken: dict[str, list[Frames]] = {}
    for _, alike in groupby(asked, key=lambda group: group.kind):
        group = join_shots(list(alike))
        _switch(bench, group.beams)
        _halt(bench, (name for name in _dmds(bench) if name not in group.patterns))
        for part in _sequences(bench, group):
            for camera, frames in acquisition.take(part).items():
                taken.setdefault(camera, []).append(frames)
    joined = {camera: join_frames(parts) for camera, parts in taken.items()}
    return Measurement(joined, sum(map(len, asked)), acquisition.retries, acquisition.faults)


class _Acquisition:
    """The groups of shots of one measurement, each taken until all its shots have frames of their own."""

    def __init__(self, bench: Bench, patterns: Mapping[str, PatternStack]) -> None:
        self.retries = 0
        self.faults = FrameFaults()
        self._bench, self._patterns = bench, patterns
        self._last_ids: dict[str, int] = {}

    def take(self, shots: Shots) -> dict[str, Frames]:
        """Return the frames of `shots`."""
        step = _play if _triggered(self._bench, shots) else _show
        cameras, left = shots.cameras, self._bench.file.acquisition.retries
        kept: dict[str, list[Frames]] = {camera: [] for camera in cameras}
        pending, done = np.arange(len(shots)), []
        while True:
            go = step(self._bench, self._patterns, shots[pending])
            self._require_no_stray(go)
            self.faults = sum(go.faults.values(), self.faults)
            for camera in cameras:
                kept[camera].append(go.frames[camera][go.frame_of[camera][go.whole]])
            done.append(pending[go.whole])
            pending = pending[~go.whole]
            if not pending.size:
                in_order = np.argsort(np.concatenate(done))
                return {camera: join_frames(parts)[in_order] for camera, parts in kept.items()}
            if not left:
                raise self._lost(go, len(shots))
            logger.warning("%d of %d shots are taken again", len(pending), len(shots))
            self.retries += len(pending)
            left -= 1

    def _lost(self, go: _Taken, shots: int) -> FrameLost:
        """Return the error for shots without a frame; it names the camera that misses most."""
        worst = min(go.frame_of, key=lambda camera: int((go.frame_of[camera] >= 0).sum()))
        missing, retries = int((~go.whole).sum()), self._bench.file.acquisition.retries
        return FrameLost(
            worst,
            f"{missing} of {shots} shots have no frame of their own after {retries} retries, last time "
            f"{go.faults[worst]}; check trigger cable and rate, exposure, and the light of the tags",
        )

    def _require_no_stray(self, go: _Taken) -> None:
        """Refuse a camera that has counted frames between two sequences without faults."""
        for camera, frames in go.frames.items():
            last = None if go.faults[camera] or not len(frames) else int(frames.ids[-1])
            if last is not None and camera in self._last_ids and frames.ids[0] != self._last_ids[camera] + 1:
                raise FrameLost(
                    camera, "frame numbers have a gap between two sequences; nothing else may use this camera"
                )
            self._last_ids.pop(camera, None)
            self._last_ids |= {} if last is None else {camera: last}


def _dmds(bench: Bench) -> list[str]:
    return [name for name, device in bench.devices.items() if isinstance(device, DMD)]


def _halt(bench: Bench, names: Iterable[str]) -> None:
    for name in names:
        bench.dmd(name).halt()


def _check(patterns: Mapping[str, PatternStack], shots: Shots) -> None:
    """Refuse shots that name what is not there."""
    if not shots.patterns or not shots.cameras:
        raise ConfigError("a shot needs at least one DMD frame, which triggers it, and one camera")
    for dmd, order in shots.patterns.items():
        known = len(patterns[dmd]) if dmd in patterns else 0
        wrong = order[(order < 0) | (order >= known)]
        if wrong.size:
            have = f"{known} frames" if known else "none"
            raise ConfigError(f"a shot names frame {wrong[0]} of {dmd}, which has {have}")


def _switch(bench: Bench, beams: frozenset[str]) -> None:
    for beam in bench.beams:
        if beam.is_on and beam.name not in beams:
            beam.blank()
    for name in beams:
        if not bench.beam(name).is_on:
            bench.beam(name).on()


def _triggered(bench: Bench, shots: Shots) -> bool:
    """Return whether every device that shots step has a trigger input; the first DMD gives the pulses."""
    stepped = [
        *map(bench.camera, shots.cameras),
        *map(bench.dmd, list(shots.patterns)[1:]),
        *map(bench.beam, shots.phases_rad),
    ]
    return all(device.settings.external_trigger for device in stepped)


# ---- triggered by hardware


def _sequences(bench: Bench, shots: Shots) -> list[Shots]:
    """Return shots as parts, each of which the beams it steps can take as one sequence."""
    limits = [bench.beam(name).max_phases for name in shots.phases_rad]
    longest = min((limit for limit in limits if limit is not None), default=len(shots))
    return [shots[first : first + longest] for first in range(0, len(shots), longest)]


def _play(bench: Bench, patterns: Mapping[str, PatternStack], shots: Shots) -> _Taken:
    """Take shots as one triggered sequence."""
    cameras, phased = [bench.camera(name) for name in shots.cameras], sorted(shots.phases_rad)
    period_s = max(camera.settings.period_s for camera in cameras)
    numbers: dict[str, NDArray[np.int64]] = {}
    with _loaded(bench, {name: patterns[name] for name in shots.patterns}) as sequences:
        try:
            for name in phased:
                bench.beam(name).load_phases(shots.phases_rad[name].tolist())
            for camera in cameras:
                camera.arm(len(shots))
            master, *followers = shots.patterns
            for name in followers:
                bench.dmd(name).set_trigger("external")
                numbers[name] = bench.dmd(name).play(sequences[name], shots.patterns[name])
            bench.dmd(master).set_trigger("internal")
            bench.dmd(master).set_timing(period_s)
            numbers[master] = bench.dmd(master).play(sequences[master], shots.patterns[master])
            frames = {camera.name: camera.delivered() for camera in cameras}
        except BaseException:  # a stop as well as a fault: nothing may wait for triggers that will not come
            _try_all([camera.disarm for camera in cameras] + [bench.beam(name).clear_phases for name in phased])
            raise
    found = {
        camera.name: identify(frames[camera.name], _wanted(camera, numbers, len(shots)), period_s, camera.top_count)
        for camera in cameras
    }
    return _Taken(frames, {name: one[0] for name, one in found.items()}, {name: one[1] for name, one in found.items()})


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
            _try_all([bench.dmd(name).halt, partial(bench.dmd(name).free, sequence)])


# ---- stepped by software


def _show(bench: Bench, patterns: Mapping[str, PatternStack], shots: Shots) -> _Taken:
    """Take shots one by one: show, wait, acquire; cameras of a shot expose one after the other."""
    cameras = [bench.camera(name) for name in shots.cameras]
    frames: dict[str, list[Frames]] = {camera.name: [] for camera in cameras}
    frame_of: dict[str, list[int]] = {camera.name: [] for camera in cameras}
    faults = {camera.name: FrameFaults() for camera in cameras}
    try:
        for k in range(len(shots)):
            for name, phases_rad in shots.phases_rad.items():
                bench.beam(name).set_phase(float(phases_rad[k]))
            shown = {name: bench.dmd(name).show(patterns[name][order[k]]) for name, order in shots.patterns.items()}
            for camera in cameras:
                camera.arm(1, "internal")
                one = camera.delivered()
                numbers = {name: np.array([number]) for name, number in shown.items()}
                place, wrong = identify(one, _wanted(camera, numbers, 1), camera.settings.period_s, camera.top_count)
                before = sum(map(len, frames[camera.name]))
                frame_of[camera.name].append(before + int(place[0]) if place[0] >= 0 else -1)
                frames[camera.name].append(one)
                faults[camera.name] += wrong
    finally:
        _try_all([bench.dmd(name).halt for name in shots.patterns])
    joined = {name: join_frames(parts) for name, parts in frames.items()}
    return _Taken(joined, {name: np.array(places) for name, places in frame_of.items()}, faults)


# ---- common to both


def _wanted(camera: Camera, numbers: Mapping[str, NDArray[np.int64]], shots: int) -> NDArray[np.int64]:
    """Return the tag numbers that every frame of a camera must show, shape (shots, DMDs it watches)."""
    dark = np.full(shots, DARK)
    wanted = [numbers.get(name, dark) for name in camera.settings.tags]
    return np.stack(wanted, axis=1) if wanted else np.zeros((shots, 0), np.int64)


def _try_all(actions: Iterable[Callable[[], Any]]) -> None:
    """Take back what was begun; what fails here is logged, the fault that brought us here is the one to report."""
    for action in actions:
        try:
            action()
        except Exception:  # whatever a vendor's code raises
            logger.exception("%s was not taken back", action)
