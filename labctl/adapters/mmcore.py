"""A bench as a `UniMMCore` of pymmcore-plus, for useq sequences, OME writers, pymmcore-widgets, napari-micromanager.

    with Bench(load_bench("fourier"), simulate=True) as bench, unicore(bench, {"low": {"beam": "0.5 mW"}}) as core:
        run_mda(core, useq.MDASequence(channels=["low"], time_plan={"interval": 1, "loops": 5}), "run.ome.zarr")

Auto-shutter never drives a Python shutter: a core only says that it did. It is switched off here, and beams are opened
by presets or by hand, and closed by the engine and by the bench. `core.mda.run` reports a failed device as an error;
live view and plain sequences end their thread with it: `core.raise_fault()` says whether one failed.
Needs `labctl[hardware]`; pymmcore-plus calls its Python devices experimental.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from weakref import finalize, ref

import useq
from pymmcore import CMMCore
from pymmcore_plus.experimental.unicore import Device as PyDevice
from pymmcore_plus.experimental.unicore import UniMMCore

from labctl.adapters.mmcore_devices import (
    IMAGE,
    MICRO,
    MILLI,
    POWER,
    STATE,
    Access,
    BenchAxis,
    BenchBeam,
    BenchCamera,
    BenchCell,
    BenchMeter,
    BenchPanel,
    BenchXYStage,
)
from labctl.adapters.mmcore_engine import BenchEngine
from labctl.bench import Bench
from labctl.bench.pixels import pixel_m
from labctl.bench.presets import Written, read_presets
from labctl.clock import SLICE_S
from labctl.devices import SLM, Beam, Camera, PowerMeter, Stage, VapourCell
from labctl.errors import ConfigError, FrameLost, LabError, RunStopped

logger = logging.getLogger(__name__)

GROUP = "Channel"
"""Config group of the beam presets: the one useq takes for channels by default."""


class BenchCore(UniMMCore):
    """A core whose devices are those of an open bench; `unicore` makes it and unloads it before the bench closes.

    Every camera, panel, beam, cell and power meter has its name in the bench file as label. A stage with axes x and y
    is an XY stage, every other axis a stage; where that makes several of one, `-xy` or `-axis` follows its name. The
    current XY stage and focus are the only ones of their kind outside the light path. DMDs, which need their sequences
    and tags, are left to labctl.

    Args:
        bench: The open bench; while the core is in use nothing else may touch it.
        presets: Presets by name, as `labctl.bench.presets.read_presets` takes them: a preset switches its beams on and
            all others off, and shows its images; panels it does not name keep theirs. Every beam's name is a preset
            too, and `dark`. A sequence may bring more, under `metadata: labctl: presets:`.
        camera: Current camera; by default the first one.
        magnification: From the imaged plane to the cameras; by default what the bench file says, or 1.

    Attributes:
        bench: The bench.
        beams: Labels of the beams.
        panels: Phase panels by label.
        stages: Stages by label of their XY stages and axes.
        engine: What takes its sequences.
        access: The way to the devices, for one caller at a time.

    Raises:
        ConfigError: A preset names what is no beam, or there is no such camera.
        LimitError: A power above a beam's ceiling.
    """

    def __init__(
        self,
        bench: Bench,
        presets: Written | None = None,
        *,
        camera: str | None = None,
        magnification: float | None = None,
    ) -> None:
        super().__init__()
        self.bench = bench
        self.beams: tuple[str, ...] = tuple(beam.name for beam in bench.beams)
        self.panels: dict[str, BenchPanel] = {}
        self.stages: dict[str, Stage] = {}
        self.access = Access()
        finalize(self, _silence, ref(self))  # at exit too, for a core that nobody unloaded
        self.setAutoShutter(False)
        loaded = dict(self._wrapped())
        for label, device in loaded.items():
            self.loadPyDevice(label, device)
            self.initializeDevice(label)
        self._choose_devices(loaded, camera, magnification)
        self.defineConfigGroup(GROUP)
        self.define_presets({"dark": {}, **{beam: {beam: True} for beam in self.beams}, **(presets or {})})
        self.setChannelGroup(GROUP)
        self.engine = BenchEngine(self)
        self.mda.set_engine(self.engine)
        self._under_way: Thread | None = None

    @property
    def fault(self) -> Exception | None:
        """What a device raised last, None since `clear_fault`."""
        return self.access.fault

    def clear_fault(self) -> None:
        """Forget the last fault."""
        self.access.fault = None

    def raise_fault(self) -> None:
        """Raise what a device raised last, if one did.

        Raises:
            LabError: What it raised.
        """
        if self.fault is not None:
            raise self.fault

    def darken(self) -> None:
        """Switch all beams off; one that fails does not keep the others lit."""
        with ExitStack() as beams:
            for beam in self.beams:
                beams.callback(self.setShutterOpen, beam, False)

    def run_mda(self, *args: Any, **options: Any) -> Thread:
        """Take a sequence in a thread of its own, as pymmcore-plus does; it is ended before the core is unloaded."""
        self._under_way = super().run_mda(*args, **options)
        return self._under_way

    def end_sequences(self) -> None:
        """Cancel the sequence under way and live view, and return when neither touches a device any more."""
        while self._under_way is not None and self._under_way.is_alive():
            self.mda.cancel()  # which one that is still starting does not hear
            self._under_way.join(SLICE_S)
        if self.isSequenceRunning():
            self.stopSequenceAcquisition()

    def setCameraDevice(self, cameraLabel: str) -> None:  # noqa: N802  pymmcore's name
        """Choose the current camera, and with it the size of a pixel."""
        super().setCameraDevice(cameraLabel)
        if cameraLabel in self.getAvailablePixelSizeConfigs():
            self.setPixelSizeConfig(cameraLabel)

    def _wrapped(self) -> Iterator[tuple[str, PyDevice]]:
        access = self.access
        for name, device in self.bench.devices.items():
            if isinstance(device, Camera):
                yield name, BenchCamera(device, access)
            elif isinstance(device, SLM):
                self.panels[name] = BenchPanel(device, access)
                yield name, self.panels[name]
            elif isinstance(device, Beam):
                yield name, BenchBeam(device, access)
            elif isinstance(device, VapourCell):
                yield name, BenchCell(device, access)
            elif isinstance(device, PowerMeter):
                yield name, BenchMeter(device, access)
            elif isinstance(device, Stage):
                for label, part in _parts(device, access):
                    self.stages[label] = device
                    yield label, part

    def _choose_devices(self, loaded: Mapping[str, PyDevice], camera: str | None, magnification: float | None) -> None:
        cameras = [label for label, device in loaded.items() if isinstance(device, BenchCamera)]
        if camera is not None and camera not in cameras:
            has = ", ".join(cameras) or "none"
            raise ConfigError(f"camera '{camera}' is not on bench {self.bench.file.name}; it has: {has}")
        for name in cameras:
            self.definePixelSizeConfig(name)
            self.setPixelSizeUm(name, pixel_m(self.bench.file, name, magnification) / MICRO)
        aligning = self.bench.file.light_devices  # a stage in the light path is no place to put samples on
        free = {label: loaded[label] for label, stage in self.stages.items() if stage.name not in aligning}
        upright = [label for label, part in free.items() if isinstance(part, BenchAxis) and part.axis == "z"]
        flat = [label for label, part in free.items() if isinstance(part, BenchXYStage)]
        if cameras:
            self.setCameraDevice(camera or cameras[0])
        if self.panels:
            self.setSLMDevice(next(iter(self.panels)))
        if self.beams:
            self.setShutterDevice(self.beams[0])
        if len(flat) == 1:
            self.setXYStageDevice(flat[0])
        if len(upright) == 1:
            self.setFocusDevice(upright[0])

    def define_presets(self, presets: Written) -> None:
        """Define presets of the config group `Channel`; those of a name that is known are replaced.

        Raises:
            ConfigError: A preset names what is no beam or panel, or gives it what it cannot take.
            LimitError: A power above a beam's ceiling.
        """
        for name, preset in read_presets(self.bench.file, presets).items():
            if name in self.getAvailableConfigs(GROUP):
                self.deleteConfig(GROUP, name)
            for panel, image in preset.images.items():
                self.panels[panel].know_image(name, image)
                self.defineConfig(GROUP, name, panel, IMAGE, name)
            for beam in sorted(self.beams, key=lambda beam: beam in preset.powers_w):  # off before on
                if beam in preset.powers_w:
                    self.defineConfig(GROUP, name, beam, POWER, preset.powers_w[beam] / MILLI)
                self.defineConfig(GROUP, name, beam, STATE, int(beam in preset.powers_w))


def _parts(stage: Stage, access: Access) -> list[tuple[str, PyDevice]]:
    """Return the XY stage and the axes that a stage is made of, by label."""
    flat = {"x", "y"} <= set(stage.axes)
    parts: list[tuple[str, PyDevice]] = [("xy", BenchXYStage(stage, access))] if flat else []
    parts += [(axis, BenchAxis(stage, axis, access)) for axis in stage.axes if not (flat and axis in "xy")]
    return [(stage.name if len(parts) == 1 else f"{stage.name}-{part}", device) for part, device in parts]


@contextmanager
def unicore(
    bench: Bench, presets: Written | None = None, *, camera: str | None = None, magnification: float | None = None
) -> Iterator[BenchCore]:
    """Give a core of an open bench for the time of the block.

    Then sequences still under way are cancelled and waited for, beams are off, and its devices unloaded.

    Args:
        bench: As for `BenchCore`.
        presets: As for `BenchCore`.
        camera: As for `BenchCore`.
        magnification: As for `BenchCore`.

    Raises:
        ConfigError: As for `BenchCore`.
        LimitError: As for `BenchCore`.
    """
    core = BenchCore(bench, presets, camera=camera, magnification=magnification)
    try:
        with bench.dark_at_end(), _served(core):
            try:
                yield core
            finally:
                core.end_sequences()
    finally:
        _silence(ref(core))
        core.unloadAllDevices()


def _silence(reference: "ref[BenchCore]") -> None:
    """End the thread in which MMCore sends its events; one that calls into an interpreter which ends aborts it."""
    core = reference()
    if core is not None:
        CMMCore.registerCallback(core, None)  # pymmcore-plus lets only its base class do this


@contextmanager
def _served(core: BenchCore) -> Iterator[None]:
    """Ask interlocks and tell the watchdog between calls too: a core that waits for its user is no hung one.

    This waits for its turn like any caller, so that a device that hangs is still noticed. What an interlock raises
    cancels the sequence under way, switches the beams off and is kept as the core's fault.
    """
    ended = Event()

    def serve() -> None:
        tripped = ""
        while not ended.wait(SLICE_S):
            try:
                with core.access():
                    for check in tuple(core.bench.clock.on_wait):
                        check()
                tripped = ""
            except Exception as interlock:  # of whatever kind
                if str(interlock) == tripped:  # said before; it may stay so for long
                    continue
                tripped = str(interlock)
                logger.exception("%s: beams go off", core.bench.file.name)
                core.mda.cancel()
                with core.access(), ExitStack() as beams:
                    for beam in core.bench.beams:
                        beams.callback(beam.make_safe)
                with suppress(LabError):  # the beams are off; whoever listens to the core is told
                    core.darken()

    server = Thread(target=serve, name=f"labctl {core.bench.file.name}", daemon=True)
    server.start()
    try:
        yield
    finally:
        ended.set()
        server.join()


def run_mda(
    core: BenchCore,
    sequence: useq.MDASequence | Iterable[useq.MDAEvent],
    output: str | Path | Any | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Take a sequence and return the number of its frames, which are all there, each at its place; beams are off then.

    Args:
        core: The core of an open bench.
        sequence: What to take; events may be made while it runs.
        output: As for `core.mda.run`: a path ending in `.ome.zarr` or `.ome.tiff`, or whatever takes frames.
        overwrite: Whether files of that name may be replaced.

    Raises:
        DeviceError: A device failed, or is not where it was sent; frames taken until then are in the file.
        ConfigError: The sequence asks for what cannot be done.
        FrameLost: Fewer frames came than there are events.
        RunStopped: It was cancelled.
    """
    core.mda.run(sequence, output=output, overwrite=overwrite, dimension_overrides=_undistanced(sequence))
    core.raise_fault()
    frames = core.engine.frames
    if core.mda.status.finish_reason == "canceled":
        raise RunStopped(f"the sequence was cancelled after {frames} frames")
    planned = sum(1 for _ in sequence) if isinstance(sequence, useq.MDASequence) else core.engine.events
    if frames != planned:
        raise FrameLost(core.getCameraDevice(), f"{frames} frames came where {planned} were planned; take them again")
    return frames


def _undistanced(sequence: useq.MDASequence | Iterable[useq.MDAEvent]) -> dict[str, Any]:
    """Return how axes are stored whose neighbours have no distance, such as times one right after another.

    ome-writers would give them a scale of 0. Where none is applicable, NGFF 0.5 (multiscales) wants 1.0; without a unit
    it is read as no time.
    """
    plans = {"t": ("time_plan", "interval"), "z": ("z_plan", "step")}
    distances = {axis: getattr(getattr(sequence, plan, None), name, None) for axis, (plan, name) in plans.items()}
    return {
        axis: {"scale": 1.0, "unit": None}
        for axis, distance in distances.items()
        if distance is not None and not distance
    }
