"""What a sequence means on a bench, frame by frame; nothing here touches a device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import useq
from numpy.typing import NDArray

from labctl.bench import BenchFile
from labctl.bench.pixels import pixel_m
from labctl.bench.presets import Preset, panel_image, read_presets
from labctl.devices import CameraSettings
from labctl.documents import nearest
from labctl.errors import ConfigError, LimitError
from labctl.experiments.mda.sequence import OWN, parse_sequence, parts
from labctl.experiments.mda.settings import MdaSettings

MICRO = 1e-6
MILLI = 1e-3
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence.

    Args:
        index: Its place in the sequence, by axis (t, p, g, c, z).
        image: Name of the position it belongs to.
        target_m: Where x, y and z are meant to be; axes the sequence has not named so far are missing.
        channel: Its channel, None where the sequence has none.
        exposure_s: Exposure.
        start_s: When it may begin at the earliest, counted from the last frame that restarts the clock.
        restarts: Whether it restarts that clock.
        keep_open: Whether the light stays on until the next frame.
    """

    index: Mapping[str, int]
    image: str
    target_m: Mapping[str, float]
    channel: str | None
    exposure_s: float
    start_s: float
    restarts: bool
    keep_open: bool

    @property
    def label(self) -> str:
        """Its index as text: `t=0 p=1 z=3`."""
        return " ".join(f"{axis}={k}" for axis, k in self.index.items())


@dataclass(frozen=True)
class Job:
    """A sequence on a bench.

    Args:
        file: The bench.
        sequence: The sequence, fields of view of its grids filled in.
        camera: The camera's name.
        axes: Stage and axis of x, y and z, those the bench has.
        presets: State of the light by channel, or by None where the sequence has none.
        pixel_m: Side of a pixel in the imaged plane.
        start_m: Where x, y and z are meant to be before the first frame.
        exposure_s: Exposure of frames whose channel has none.
    """

    file: BenchFile
    sequence: useq.MDASequence
    camera: str
    axes: Mapping[str, tuple[str, str]]
    presets: Mapping[str | None, Preset]
    pixel_m: float
    start_m: Mapping[str, float] = field(default_factory=dict)
    exposure_s: float = 0.0

    @property
    def camera_settings(self) -> CameraSettings:
        """Settings of the camera."""
        return self.file.settings(self.camera)

    def frames(self) -> Iterator[Frame]:
        """Yield every frame; of the sequence, useq holds the places along each axis in memory, not the frames.

        Raises:
            ConfigError: A frame has a position along an axis the bench has not.
            LimitError: A position or an exposure beyond what the devices allow.
        """
        target_m = dict(self.start_m)
        for event in self.sequence:
            index = {str(axis): k for axis, k in event.index.items()}
            asked_um = {axis: getattr(event, f"{axis}_pos") for axis in AXES}
            target_m |= {axis: um * MICRO for axis, um in asked_um.items() if um is not None}
            frame = Frame(
                index=index,
                image=_image_name(index, event.pos_name),
                target_m=dict(target_m),
                channel=event.channel.config if event.channel else None,
                exposure_s=self.exposure_s if event.exposure is None else event.exposure * MILLI,
                start_s=event.min_start_time or 0.0,
                restarts=event.reset_event_timer,
                keep_open=event.keep_shutter_open,
            )
            self._check(frame)
            yield frame

    def _check(self, frame: Frame) -> None:
        for axis, position_m in frame.target_m.items():
            if axis not in self.axes:
                raise ConfigError(f"sequence: frame {frame.label}: {_no_axis(self.file, axis)}")
            stage, name = self.axes[axis]
            limits = self.file.settings(stage).axes[name]
            if not limits.low_m <= position_m <= limits.high_m:
                allowed = f"{limits.low_m / MICRO:g} to {limits.high_m / MICRO:g} um"
                raise LimitError(
                    stage, f"frame {frame.label}: {name} at {position_m / MICRO:g} um was asked for, allowed: {allowed}"
                )
        low, high = self.camera_settings.min_exposure_s, self.camera_settings.max_exposure_s
        if not low <= frame.exposure_s <= high:
            raise LimitError(
                self.camera,
                f"frame {frame.label}: exposure {frame.exposure_s / MILLI:g} ms was asked for, allowed: "
                f"{low / MILLI:g} to {high / MILLI:g} ms",
            )


def make_job(file: BenchFile, settings: MdaSettings) -> Job:
    """Return what a sequence means on a bench.

    Raises:
        ConfigError: The sequence is wrong or asks for what cannot be done; the bench lacks what it needs.
        LimitError: A power above a beam's ceiling.
    """
    sequence, camera = parse_sequence(settings.sequence), _camera(file, settings.camera)
    shown = file.settings(camera)
    side_m = pixel_m(file, camera, settings.magnification)
    for plan in (part.grid_plan for part in parts(sequence) if part.grid_plan):
        high_um, wide_um = (n * side_m / MICRO for n in shown.shape)
        plan.fov_height, plan.fov_width = plan.fov_height or high_um, plan.fov_width or wide_um
    setup = sequence.setup
    asked_um = {axis: getattr(setup, f"{axis}_pos") for axis in AXES} if setup else {}
    return Job(
        file=file,
        sequence=sequence,
        camera=camera,
        axes=_axes(file, settings.axes),
        presets=_presets(file, sequence, settings),
        pixel_m=side_m,
        start_m={axis: um * MICRO for axis, um in asked_um.items() if um is not None},
        exposure_s=setup.exposure * MILLI if setup and setup.exposure else shown.exposure_s,
    )


def _image_name(index: Mapping[str, int], position: str | None) -> str:
    words = [position or f"position {index['p']}"] if "p" in index else []
    words += [f"grid {index['g']}"] if "g" in index else []
    return ", ".join(words) or "image"


def _named(file: BenchFile, kind: str) -> list[str]:
    return [name for name, entry in file.devices.items() if entry.kind == kind]


def _camera(file: BenchFile, asked: str | None) -> str:
    cameras = _named(file, "camera")
    if asked is None and len(cameras) == 1:
        return cameras[0]
    if asked not in cameras:
        has = ", ".join(cameras) or "no camera"
        what = f"camera '{asked}' is not on bench {file.name}" if asked else f"bench {file.name} has several cameras"
        raise ConfigError(f"{what}; set camera to one of: {has}")
    return asked


def _axes(file: BenchFile, asked: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return stage and axis of x, y and z: those asked for, else the only ones of that name.

    Stages in the light path, which align a beam, are taken only where they are asked for.
    """
    found: dict[str, tuple[str, str]] = {}
    stages = {name: file.settings(name).axes for name in _named(file, "stage")}
    for axis in AXES:
        having = [name for name, axes in stages.items() if axis in axes and name not in file.light_devices]
        if len(having) == 1:
            found[axis] = (having[0], axis)
    for axis, text in asked.items():
        stage, _, name = text.rpartition(".")
        if axis not in AXES or name not in stages.get(stage, ()):
            has = ", ".join(f"{one}.{name}" for one, axes in stages.items() for name in axes) or "no stage"
            raise ConfigError(f"axes: {axis}: {text} is no axis of bench {file.name}; x, y and z may be: {has}")
        found[axis] = (stage, name)
    return found


def _no_axis(file: BenchFile, axis: str) -> str:
    has = ", ".join(f"{stage}.{name}" for stage in _named(file, "stage") for name in file.settings(stage).axes)
    cure = f"choose one with axes: {{{axis}: stage.axis}}, leave {axis} out, or add a stage to the bench file"
    return f"a position along {axis} is asked for, and no stage is known for it; the bench has {has or 'none'}; {cure}"


def _presets(file: BenchFile, sequence: useq.MDASequence, settings: MdaSettings) -> dict[str | None, Preset]:
    """Return the state of the light by channel, in the order of the channels; panels show the same ones in each."""
    for beam in settings.beams:
        if beam not in _named(file, "beam"):
            raise ConfigError(f"beams: '{beam}' is no beam of {file.name}{nearest(beam, _named(file, 'beam'))}")
    each_beam = {beam: {beam: True} for beam in _named(file, "beam")}
    known = read_presets(file, {**each_beam, **settings.presets})
    channels = dict.fromkeys(channel.config for part in parts(sequence) for channel in part.channels)
    for channel in channels:
        if channel not in known:
            write = f"metadata: {OWN}: presets: {{{channel}: {{{next(iter(each_beam), 'beam')}: 1 mW}}}}"
            raise ConfigError(
                f"sequence: channel '{channel}' is no preset and no beam{nearest(channel, known)}; write {write}"
            )
    chosen: dict[str | None, Preset] = {channel: known[channel] for channel in channels}
    if not sequence.channels:  # frames of positions whose own sequence has none
        chosen[None] = Preset({beam: file.settings(beam).power_w for beam in settings.beams})
    setup = _setup_images(file, sequence)
    panels = {panel for preset in chosen.values() for panel in preset.images}
    for channel, preset in chosen.items():
        missing = panels - set(preset.images) - set(setup)
        if missing:
            what = f"preset {channel} says" if channel else "frames without a channel say"
            raise ConfigError(
                f"{what} nothing of {', '.join(sorted(missing))}, which other presets write; give it an image too, "
                "0 for a flat panel, or one for all in `setup: {slm_image: ...}`"
            )
    return {name: Preset(preset.powers_w, {**setup, **preset.images}) for name, preset in chosen.items()}


def _setup_images(file: BenchFile, sequence: useq.MDASequence) -> dict[str, NDArray[np.uint16]]:
    image = sequence.setup.slm_image if sequence.setup else None
    if image is None:
        return {}
    if image.exposure is not None:
        raise ConfigError("sequence: setup: slm_image: exposure: panels show an image until the next; leave it out")
    panels = _named(file, "slm")
    panel = image.device or (panels[0] if len(panels) == 1 else None)
    if panel not in panels:
        has = ", ".join(panels) or "none"
        raise ConfigError(f"sequence: setup: slm_image: device is '{panel}'; panels of {file.name}: {has}")
    return {panel: panel_image(panel, file.settings(panel), image.data)}
