"""Any camera that Micro-Manager has an adapter for, through pymmcore-plus."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drivers.mmcore import MMCore, named_core
from labctl.clock import Clock
from labctl.devices import Camera, CameraSettings, Counts, Frames, Hardware, Trigger, read_hardware
from labctl.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus

POLL_S = 0.002
"""How often a camera's buffer is looked at."""

SILENCE_S = 0.5
"""Beyond the time of one frame: what has not come after so long is lost."""

MEBIBYTE = 2**20
MILLI = 1e-3


class CameraHardware(Hardware):
    """What a camera is told.

    Args:
        label: Its label in the configuration.
        corner: First row and column of the region that is read; its size is the camera's `shape`. By default the region
            the configuration leaves.
        trigger_property: Property that chooses what exposes frames; needed where `external_trigger` is true.
        internal: Its value for frames at the camera's own pace.
        external: Its value for one frame per pulse.
    """

    label: str
    corner: tuple[int, int] | None = None
    trigger_property: str | None = None
    internal: str = "Internal"
    external: str = "External"


class MMCoreCamera(Camera):
    """A camera of Micro-Manager, read through the core's sequence buffer.

    Frames are numbered as MMCore received them. A frame that the camera itself dropped has no number: it is missing in
    the count, and that is a FrameLost. The time of a frame is the latest its exposure can have begun, given when it and
    those after it arrived, and that exposures do not overlap.

    Args:
        name: Name in the bench file.
        clock: Bench time; frames come in real time, so it must be a wall clock.
        settings: Sensor geometry and limits.
        hardware: See `CameraHardware`.
        connection: The core that has it; it must be named.

    Raises:
        ConfigError: `hardware` or `connection` is not as it should be.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: CameraSettings,
        hardware: Mapping[str, Any],
        connection: MMCore | None = None,
    ) -> None:
        super().__init__(name, clock, settings)
        self.hardware = read_hardware(CameraHardware, name, hardware)
        if settings.external_trigger and self.hardware.trigger_property is None:
            cure = "name the property that chooses its trigger, or set `external_trigger: false`"
            raise ConfigError(f"{name}: hardware: trigger_property is missing; {cure}")
        self._connection = named_core(name, connection)
        self._label = self.hardware.label
        self._next_id = 0
        self._expected = 0
        self._started_s = 0.0

    def _do_open(self) -> None:
        self._core = core = self._connection.join(self.name, self._label, "Camera")
        try:
            self._set_up(core)
        except BaseException:
            self._connection.leave(self.name)
            raise

    def _set_up(self, core: "CMMCorePlus") -> None:
        if self.hardware.corner:
            (top, left), (rows, columns) = self.hardware.corner, self.settings.shape
            core.setROI(self._label, left, top, columns, rows)
        core.setCameraDevice(self._label)
        _, _, width, height = core.getROI(self._label)
        if (height, width) != self.settings.shape:
            raise DeviceError(
                self.name,
                f"delivers {height} x {width} pixels, its shape in the bench file is {self.settings.shape}; correct "
                "that, or give the `corner` of the region to read in its `hardware`",
            )
        if core.getImageBitDepth() < self.bit_depth:
            raise DeviceError(
                self.name,
                f"delivers {core.getImageBitDepth()} bit, its bit_depth in the bench file is {self.bit_depth}; correct "
                f"that, or choose another pixel type in {self._connection.hardware.config}",
            )
        self._do_set_exposure(self.settings.exposure_s)
        core.initializeCircularBuffer()  # takes up to a second, and would otherwise do so when first armed

    def _do_close(self) -> None:
        self._connection.leave(self.name)

    def _do_make_safe(self) -> None:
        self._do_disarm()

    def _do_state(self) -> dict[str, Any]:
        left, top, width, height = self._core.getROI(self._label)
        return {"exposure_s": self._do_exposure_s(), "corner": [top, left], "shape": [height, width]}

    def _do_exposure_s(self) -> float:
        return self._core.getExposure(self._label) * MILLI

    def _do_set_exposure(self, exposure_s: float) -> None:
        self._core.setExposure(self._label, exposure_s / MILLI)

    def _do_arm(self, n: int, trigger: Trigger) -> None:
        self._connection.take(self.name)
        try:
            self._start(n, trigger)
        except BaseException:
            self._connection.rest(self.name)
            raise

    def _start(self, n: int, trigger: Trigger) -> None:
        core = self._core
        core.setCameraDevice(self._label)
        if self.hardware.trigger_property:
            value = self.hardware.internal if trigger == "internal" else self.hardware.external
            core.setProperty(self._label, self.hardware.trigger_property, value)
        needed = -(-2 * n * core.getImageBufferSize() // MEBIBYTE)  # frames and what MMCore notes with each
        if needed > core.getCircularBufferMemoryFootprint():
            core.setCircularBufferMemoryFootprint(needed)
        self._expected = n
        self._started_s = self.clock.now_s()
        core.startSequenceAcquisition(self._label, n, 0, True)

    def _do_collect(self) -> Frames:
        try:
            return self._received()
        finally:
            self._next_id += self._expected
            self._do_disarm()

    def _received(self) -> Frames:
        """Return the frames expected, or those that came until none followed for too long."""
        core, exposure_s = self._core, self._do_exposure_s()
        longest_s = max(exposure_s, self.settings.period_s) + SILENCE_S
        raw: list[NDArray[Any]] = []
        numbers: list[int] = []
        arrived_s: list[float] = []
        last_s = self.clock.now_s()
        while len(raw) < self._expected and self.clock.now_s() - last_s < longest_s:
            if not core.getRemainingImageCount():
                self.clock.wait(POLL_S)
                continue
            image, noted = core.popNextImageAndMD()
            raw.append(image)
            numbers.append(self._next_id + int(noted["ImageNumber"]))
            arrived_s.append(self._started_s + float(noted["ElapsedTime-ms"]) * MILLI)
            last_s = self.clock.now_s()
        counts = np.stack(raw) if raw else np.empty((0, *self.settings.shape), np.uint16)
        return Frames(self._counts(counts), np.array(numbers, np.int64), exposure_starts(arrived_s, exposure_s))

    def _do_disarm(self) -> None:
        self._core.stopSequenceAcquisition(self._label)
        self._connection.rest(self.name)

    def _counts(self, raw: NDArray[Any]) -> Counts:
        """Return the counts in words as the camera delivers them.

        Raises:
            DeviceError: Frames of another shape, or bits where the bench file says there are none.
        """
        if raw.shape[1:] != self.settings.shape or raw.dtype not in (np.uint8, np.uint16, np.uint32):
            reason = f"delivered frames of {raw.shape[1:]} {raw.dtype}, expected were {self.settings.shape} of integers"
            raise DeviceError(self.name, f"{reason}; set its region and pixel type as in the bench file and open again")
        spare = 8 * raw.dtype.itemsize - self.bit_depth
        high = self.settings.justification == "high"
        stray = raw & ((1 << spare) - 1) if high else raw >> self.bit_depth
        if stray.any():
            reason = f"has bits outside the {self.bit_depth} {'high' if high else 'low'} ones of its words"
            raise DeviceError(self.name, f"{reason}; correct its bit_depth or justification in the bench file")
        counts = raw >> spare if high else raw
        return counts.astype(np.uint16) if counts.dtype == np.uint8 else counts


def exposure_starts(arrived_s: list[float], exposure_s: float) -> NDArray[np.float64]:
    """Return the latest times at which exposures of `exposure_s` can have begun.

    A frame arrives after its exposure, late by what the computer adds; one that came late is put right by the next,
    because exposures do not overlap.

    Args:
        arrived_s: When frames arrived, rising, in seconds.
        exposure_s: How long each was exposed.
    """
    steps = exposure_s * np.arange(len(arrived_s))
    first = np.asarray(arrived_s, np.float64) - exposure_s - steps
    return np.asarray(np.minimum.accumulate(first[::-1])[::-1] + steps, np.float64)
