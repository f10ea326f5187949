"""labctl's devices as Python devices of a `UniMMCore`: micrometres, milliseconds, milliwatts; nothing is cached.

A UniMMCore calls from several threads, while labctl's devices are made for one: every call goes through one lock for
the whole bench. A stage or a panel holds it until it has settled, so that a stop pressed meanwhile comes after that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import (
    CameraDevice,
    GenericDevice,
    ShutterDevice,
    SLMDevice,
    StageDevice,
    XYStageDevice,
)

from labctl.bench.presets import plain_pattern
from labctl.devices import SLM, Beam, Camera, PowerMeter, Stage, VapourCell
from labctl.errors import LimitError

MICRO = 1e-6
MILLI = 1e-3
IMAGE = "Image"
POWER = "Power_mW"
STATE = "State"
TEMPERATURE = "Temperature_C"


class Access:
    """The way to the devices of one bench: one caller at a time, and the last fault is kept.

    Attributes:
        fault: What a device raised last, None since it was last cleared.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self._lock = RLock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Keep all others out for the time of the block, and note what it raises.

        A LimitError is not noted: nothing failed, and whoever asked for too much is told.
        """
        with self._lock:
            try:
                yield
            except LimitError:
                raise
            except Exception as error:
                self.fault = error
                raise


class BenchCamera(CameraDevice):
    """A camera; frames are taken one by one, so that other devices may be used in between."""

    def __init__(self, camera: Camera, access: Access) -> None:
        super().__init__()
        self._camera, self._access = camera, access

    def get_exposure(self) -> float:
        """Return the exposure in ms."""
        with self._access():
            return self._camera.exposure_s / MILLI

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in ms."""
        with self._access():
            self._camera.set_exposure(float(exposure) * MILLI)

    def shape(self) -> tuple[int, int]:
        """Return rows and columns of a frame."""
        with self._access():
            return self._camera.shape

    def dtype(self) -> DTypeLike:
        """Return the type of a count."""
        with self._access():
            return np.uint16 if self._camera.top_count < 2**16 else np.uint32

    def start_sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], DTypeLike], NDArray[Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield what is to be noted with each of `n` frames, or of frames until it is closed."""
        taken = 0
        while n is None or taken < n:
            with self._access():
                frame = self._camera.acquire(1)
            get_buffer(frame.counts.shape[1:], self.dtype())[:] = frame.counts[0]
            yield {"FrameId": int(frame.ids[0]), "BenchTime-s": float(frame.times_s[0])}
            taken += 1


class BenchPanel(SLMDevice):
    """A phase panel; an image is one of panel levels, uint8, or uint16 for panels beyond 8 bit.

    Images of presets are shown by name, through the property `Image`; it is empty while another one was loaded.
    """

    def __init__(self, panel: SLM, access: Access) -> None:
        super().__init__()
        self._panel, self._access = panel, access
        self._loaded = np.zeros(panel.shape, np.uint16)
        self._name = ""
        self._images: dict[str, NDArray[np.uint16]] = {}
        self.register_property(
            IMAGE, property_type=str, getter=lambda _: self._name, setter=lambda _, name: self.show_named(name)
        )

    def know_image(self, name: str, image: NDArray[np.uint16]) -> None:
        """Let an image (rows, cols) be shown by name."""
        self._images[name] = image
        self.set_property_allowed_values(IMAGE, list(self._images))

    def show_named(self, name: str) -> None:
        """Show an image by name, and return when the panel has settled."""
        self._loaded, self._name = self._images[name], ""
        self.display_image()
        self._name = name

    def shape(self) -> tuple[int, ...]:
        """Return rows and columns."""
        return self._panel.shape

    def dtype(self) -> DTypeLike:
        """Return the type of a level."""
        return np.uint8 if self._panel.bit_depth <= 8 else np.uint16

    def set_image(self, pixels: NDArray[Any]) -> None:
        """Take an image that `display_image` will show."""
        self._loaded, self._name = pixels.astype(np.uint16), ""

    def get_image(self) -> NDArray[Any]:
        """Return the image that was taken last; a panel cannot be asked what it shows."""
        return self._loaded.astype(self.dtype())

    def display_image(self) -> None:
        """Show the image that was taken last, and return when the panel has settled."""
        with self._access():
            self._panel.show(plain_pattern(self._loaded, self._panel.bit_depth))

    def get_exposure(self) -> float:
        """Return 0: a panel shows its image until the next."""
        return 0.0

    def set_exposure(self, interval_ms: float) -> None:
        """Refuse any time but 0."""
        if interval_ms:
            raise ValueError(f"{self._panel.name}: shows an image until the next; leave its exposure out")


class BenchXYStage(XYStageDevice):
    """The axes x and y of a stage."""

    def __init__(self, stage: Stage, access: Access) -> None:
        super().__init__()
        self._stage, self._access = stage, access

    def set_position_um(self, x: float, y: float) -> None:
        """Move to a position in um and return when settled."""
        with self._access():
            self._stage.move_to(x=x * MICRO, y=y * MICRO)
        self.core.events.XYStagePositionChanged.emit(self.get_label(), x, y)

    def get_position_um(self) -> tuple[float, float]:
        """Return the measured position in um."""
        with self._access():
            position_m = self._stage.position_m
        return position_m["x"] / MICRO, position_m["y"] / MICRO

    def stop(self) -> None:
        """Stop, after a move that is under way."""
        with self._access():
            self._stage.make_safe()

    def home(self) -> None:
        """Refuse: the axes of labctl are absolute."""
        raise _absolute(self._stage)

    def set_origin_x(self) -> None:
        """Refuse: the axes of labctl are absolute."""
        raise _absolute(self._stage)

    def set_origin_y(self) -> None:
        """Refuse: the axes of labctl are absolute."""
        raise _absolute(self._stage)


class BenchAxis(StageDevice):
    """One axis of a stage.

    Attributes:
        axis: Its name.
    """

    def __init__(self, stage: Stage, axis: str, access: Access) -> None:
        super().__init__()
        self.axis = axis
        self._stage, self._access = stage, access

    def set_position_um(self, val: float) -> None:
        """Move to a position in um and return when settled."""
        with self._access():
            self._stage.move_to(**{self.axis: val * MICRO})
        self.core.events.stagePositionChanged.emit(self.get_label(), val)

    def get_position_um(self) -> float:
        """Return the measured position in um."""
        with self._access():
            return self._stage.position_m[self.axis] / MICRO

    def stop(self) -> None:
        """Stop, after a move that is under way."""
        with self._access():
            self._stage.make_safe()

    def home(self) -> None:
        """Refuse: the axes of labctl are absolute."""
        raise _absolute(self._stage)

    def set_origin(self) -> None:
        """Refuse: the axes of labctl are absolute."""
        raise _absolute(self._stage)


class BenchBeam(ShutterDevice):
    """A beam: a shutter that is open while it is on, with its power as a property in mW."""

    def __init__(self, beam: Beam, access: Access) -> None:
        super().__init__()
        self._beam, self._access = beam, access
        self.register_property(
            STATE,
            property_type=int,
            limits=(0, 1),
            getter=lambda _: int(self.get_open()),
            setter=lambda _, value: self.set_open(bool(value)),
        )
        self.register_property(
            POWER,
            property_type=float,
            limits=(0.0, beam.settings.max_power_w / MILLI),
            getter=lambda _: self.get_power_mw(),
            setter=lambda _, value: self.set_power_mw(value),
        )

    def get_open(self) -> bool:
        """Return whether the hardware reports light."""
        with self._access():
            return self._beam.is_on

    def set_open(self, open: bool) -> None:
        """Switch the beam on or off; one that is so already is left alone."""
        with self._access():
            if open != self._beam.is_on:
                self._beam.on() if open else self._beam.off()

    def get_power_mw(self) -> float:
        """Return the power the hardware is set to, in mW."""
        with self._access():
            return self._beam.power_w / MILLI

    def set_power_mw(self, power_mw: float) -> None:
        """Set the power in mW."""
        with self._access():
            self._beam.set_power(float(power_mw) * MILLI)


class BenchCell(GenericDevice):
    """A vapour cell: its temperature is read back; what is set is where it ramps to."""

    def __init__(self, cell: VapourCell, access: Access) -> None:
        super().__init__()
        self._cell, self._access = cell, access
        self.register_property(
            TEMPERATURE,
            property_type=float,
            limits=(cell.settings.min_temperature_c, cell.settings.max_temperature_c),
            getter=lambda _: self.get_temperature_c(),
            setter=lambda _, value: self.set_temperature_c(value),
        )

    def get_temperature_c(self) -> float:
        """Return the measured temperature in degrees Celsius."""
        with self._access():
            return self._cell.temperature_c

    def set_temperature_c(self, temperature_c: float) -> None:
        """Start ramping to a temperature in degrees Celsius."""
        with self._access():
            self._cell.set_temperature(float(temperature_c))


class BenchMeter(GenericDevice):
    """A power meter."""

    def __init__(self, meter: PowerMeter, access: Access) -> None:
        super().__init__()
        self._meter, self._access = meter, access
        self.register_property(
            POWER, property_type=float, is_read_only=True, getter=lambda _: self.get_power_mw(), setter=None
        )

    def get_power_mw(self) -> float:
        """Return the measured power in mW."""
        with self._access():
            return self._meter.read_power() / MILLI


def _absolute(stage: Stage) -> NotImplementedError:
    return NotImplementedError(f"{stage.name}: its axes are absolute; move it to the position itself")
