"""An engine that takes useq events through a `UniMMCore` and hides nothing.

The engine of pymmcore-plus logs what a device raises and goes on: a sequence of a dead camera is completed without
frames, one of a dead stage with all frames at the wrong place. Here whatever fails ends the sequence, whether it was
started by `labctl.adapters.mmcore.run_mda`, by `core.mda.run` or from a widget.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import useq
from pymmcore_plus.mda import MDAEngine
from pymmcore_plus.metadata import frame_metadata

from labctl.adapters.mmcore_devices import POWER, STATE
from labctl.bench.presets import panel_image
from labctl.errors import ConfigError, DeviceError, LimitError

if TYPE_CHECKING:
    from labctl.adapters.mmcore import BenchCore


BEAM = (STATE, POWER)
"""Properties of every beam that are noted with a frame."""


class BenchEngine(MDAEngine):
    """Takes one frame an event; what it cannot do, and what a device raises, ends the sequence.

    With each channel its beams are set; they are off again after the frame, unless the event keeps the shutter open,
    and all beams are off at the end. Beams that were opened by hand before a sequence without channels stay on until
    its end.

    Args:
        core: The core of a bench.

    Attributes:
        events: Events of the sequence that were begun and give a frame.
        frames: Frames taken.
    """

    def __init__(self, core: "BenchCore") -> None:
        super().__init__(core, use_hardware_sequencing=False, restore_initial_state=False)
        self.events = self.frames = 0

    @property
    def _core(self) -> "BenchCore":
        core: Any = self.mmcore
        return core

    def setup_sequence(self, sequence: useq.MDASequence) -> Any:
        """Forget faults of before, learn the presets the sequence brings, and set up what it wants set up first."""
        self._core.clear_fault()
        self.events = self.frames = 0
        brought = sequence.metadata.get("labctl") or {}
        with self._told():
            self._core.define_presets(brought.get("presets") or {})
            noted = super().setup_sequence(sequence)
            if sequence.setup is not None and sequence.setup.slm_image is not None:
                self._show(sequence.setup.slm_image)
        return noted

    def setup_event(self, event: useq.MDAEvent) -> None:
        """Bring everything where `event` needs it.

        Raises:
            DeviceError: A device failed, or is not where it was sent.
            ConfigError: The event asks for what this engine cannot do.
        """
        if not isinstance(event.action, useq.AcquireImage):
            raise ConfigError(f"useq: action '{event.action.type}' is not supported; leave it out of the sequence")
        self.events += 1
        with self._told():
            self.setup_single_event(event)

    def setup_single_event(self, event: useq.MDAEvent) -> None:
        """Move, load the panel, set channel, exposure and properties; nothing that fails is passed over."""
        core = self._core
        if event.roi is not None:
            raise ConfigError("useq: roi is not supported; frames are those of the bench file")
        if event.x_pos is not None or event.y_pos is not None:
            self._move_xy(event.x_pos, event.y_pos)
        if event.z_pos is not None:
            self._move_z(event.z_pos)
        if event.slm_image is not None:
            self._load(event.slm_image)
        if event.channel is not None:
            core.setConfig(event.channel.group, event.channel.config)
        if event.exposure is not None:
            core.setExposure(event.exposure)
        for device, name, value in event.properties or ():
            core.setProperty(device, name, value)

    def exec_event(self, event: useq.MDAEvent) -> Iterable[Any]:
        """Yield the one frame of `event`.

        Raises:
            DeviceError: A device failed.
        """
        core = self._core
        with self._told():
            if event.slm_image is not None:
                self._show(event.slm_image)
            core.snapImage()
            frame, noted = core.getImage(), self._noted(event)
        self.frames += 1
        yield frame, event, noted
        if event.channel is not None and not event.keep_shutter_open:
            self._core.darken()

    def teardown_event(self, event: useq.MDAEvent) -> None:
        """Leave everything as it is."""

    def teardown_sequence(self, sequence: useq.MDASequence) -> None:
        """Switch all beams off, however the sequence ended."""
        self._core.darken()

    def _noted(self, event: useq.MDAEvent) -> Any:
        """Return what is noted with a frame: everything asked of the devices, nothing from the core's memory."""
        core = self._core
        began_s = event.metadata.get("runner_t0") or time.perf_counter()
        beams = [{"dev": beam, "prop": one, "val": core.getProperty(beam, one)} for beam in core.beams for one in BEAM]
        return frame_metadata(
            core,
            cached=False,
            runner_time_ms=(time.perf_counter() - began_s) * 1e3,
            camera_device=core.getCameraDevice(),
            property_values=tuple(beams),  # pyright: ignore[reportArgumentType]
            mda_event=event,
            include_position=True,
        )

    def _move_xy(self, x_um: float | None, y_um: float | None) -> None:
        core, stage = self._core, self._core.getXYStageDevice()
        if not stage:
            raise ConfigError(f"useq: a position along x or y is asked for, {core.bench.file.name} has no such stage")
        x_now, y_now = core.getXYPosition()
        asked = (x_now if x_um is None else x_um, y_now if y_um is None else y_um)
        core.setXYPosition(*asked)
        self._require_there(stage, asked, core.getXYPosition())

    def _move_z(self, z_um: float) -> None:
        core, stage = self._core, self._core.getFocusDevice()
        if not stage:
            raise ConfigError(f"useq: a position along z is asked for, {core.bench.file.name} has no such stage")
        core.setZPosition(z_um)
        self._require_there(stage, (z_um,), (core.getZPosition(),))

    def _require_there(self, label: str, asked_um: tuple[float, ...], measured_um: tuple[float, ...]) -> None:
        stage = self._core.stages[label]
        off_um = max(abs(asked - at) for asked, at in zip(asked_um, measured_um, strict=True))
        if off_um * 1e-6 > stage.settings.tolerance_m:
            at = ", ".join(f"{um:g}" for um in measured_um)
            raise DeviceError(stage.name, f"is at {at} um, {off_um:g} um from where it was sent; check its cables")

    def _load(self, image: useq.SLMImage) -> None:
        core = self._core
        label = image.device or core.getSLMDevice()
        if label not in core.panels:
            has = ", ".join(core.panels) or "none"
            raise ConfigError(f"useq: slm_image: no panel '{label}' on {core.bench.file.name}; it has: {has}")
        if image.exposure is not None:
            raise LimitError(label, "shows an image until the next; leave the exposure of slm_image out")
        core.setSLMImage(label, panel_image(label, core.bench.file.settings(label), image.data))

    def _show(self, image: useq.SLMImage) -> None:
        self._core.displaySLMImage(image.device or self._core.getSLMDevice())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what a device raised, whatever became of it on its way through the core."""
        try:
            yield
        except Exception as error:
            if self._core.fault is None or self._core.fault is error:
                raise
            raise self._core.fault from error
        self._core.raise_fault()
