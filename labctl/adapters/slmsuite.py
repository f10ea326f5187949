"""Phase panels and cameras of a bench, drivers and twins alike, as slmsuite's: its calibrations and holograms.

    with Bench(load_bench("fourier"), simulate=True) as bench:
        slm = BenchSLM(bench.slm("slm"), bench.file.laser.wavelength_m)
        setup = FourierSLM(BenchCamera(bench.camera("camera")), slm)
        bench.beam("beam").on()
        setup.fourier_calibrate(array_shape=[10, 8], array_pitch=[30, 30], autoexpose=True)

The bench stays the owner: it opens and closes the devices, switches the beams, and is used from one thread. Exposures
are read back from the camera; what slmsuite itself remembers (`slm.phase`, `slm.display`) is what it showed last.
slmsuite may compute between two exposures for longer than the bench's watchdog allows while beams are on: on a table,
give `watchdog: {deadline: ...}` of the bench file more time than that.

slmsuite tries a failed exposure again, and ignores the failure of the one it takes to learn a camera's data type. Here
a device's first fault is kept as `fault`, and every later use of it raises that again, until whoever has cured the
cause sets `fault` to None.
"""

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from labctl import devices
from labctl.devices import Counts, Levels, Pattern, identity_codebook
from labctl.errors import DeviceError, LimitError

try:
    from slmsuite.hardware.cameras.camera import Camera
    from slmsuite.hardware.slms.slm import SLM
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}; labctl.adapters.slmsuite needs slmsuite: pip install 'labctl[hardware]'"
    ) from error

logging.getLogger("slmsuite").setLevel(logging.WARNING)  # at import it sets itself to tell of every exposure

P = ParamSpec("P")
T = TypeVar("T")


class _OnLoan:
    """A device that stays the bench's, and whose first fault is kept: slmsuite might pass over it."""

    fault: DeviceError | None = None

    def close(self) -> None:
        """Do nothing: the bench closes the device."""

    @staticmethod
    def info(verbose: bool = True) -> list[str]:
        """Return no names: the bench file says which devices there are."""
        return []

    def _ask(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        if self.fault:
            raise self.fault
        try:
            return call(*args, **options)
        except LimitError:
            raise  # refused before the hardware was touched
        except DeviceError as fault:
            self.fault = fault
            raise


class BenchSLM(_OnLoan, SLM):
    """A phase panel of the bench as slmsuite's SLM; `set_phase` returns when the panel has settled.

    A higher level is more phase; 0 to 2^bits spans one wavelength. For a panel measured to do something else there is
    `set_gamma`.

    Args:
        panel: Open phase panel; a flat phase is shown on it.
        wavelength_m: Wavelength of the light on it: the bench's `file.laser.wavelength_m`.

    Raises:
        DeviceError: The panel is closed, or failed.
    """

    _gamma_sign = +1  # slmsuite's default is a panel whose phase falls with its level

    def __init__(self, panel: devices.SLM, wavelength_m: float) -> None:
        rows, columns = panel.shape
        self.panel = panel
        self._plain = identity_codebook(panel.bit_depth)
        super().__init__(
            (columns, rows),
            bitdepth=panel.bit_depth,
            name=panel.name,
            wav_um=wavelength_m * 1e6,  # pyright: ignore[reportArgumentType]  # its default is 1
            pitch_um=panel.pitch_m * 1e6,
            settle_time_s=0.0,  # `show` has waited
            gpu=False,
        )
        self.set_phase(None)

    def _set_phase_hw(self, display: Levels) -> None:
        # slmsuite writes its next phase into the same array
        self._ask(self.panel.show, Pattern(display.astype(np.uint16, copy=True), self._plain))


class BenchCamera(_OnLoan, Camera):
    """A camera of the bench as slmsuite's Camera; every frame is exposed after it was asked for.

    Its window (`set_woi`) and binning are slmsuite's own, cut out of whole frames.

    Args:
        sensor: Open camera; one frame is taken.

    Raises:
        DeviceError: The camera is closed, or failed.
    """

    def __init__(self, sensor: devices.Camera) -> None:
        rows, columns = sensor.shape
        self.sensor = sensor
        settings = sensor.settings
        super().__init__(
            (columns, rows),
            bitdepth=sensor.top_count.bit_length(),
            pitch_um=settings.pitch_m * 1e6,
            name=sensor.name,
            exposure_bounds_s=(settings.min_exposure_s, settings.max_exposure_s),
            capture_attempts=1,
        )
        if self.fault:
            raise self.fault

    @property
    def exposure_s(self) -> float:
        """Exposure time the camera reports now; slmsuite's own remembers the last one it set."""
        return self._get_exposure_hw()

    @exposure_s.setter
    def exposure_s(self, value: float) -> None:
        self.set_exposure(value)

    def flush(self, timeout_s: float = 1) -> None:
        """Do nothing: no frame comes that was exposed before it was asked for."""

    def _get_exposure_hw(self) -> float:
        return self._ask(lambda: self.sensor.exposure_s)

    def _set_exposure_hw(self, exposure_s: float) -> None:
        self._ask(self.sensor.set_exposure, float(exposure_s))

    def _get_image_hw(self, timeout_s: float) -> Counts:
        return self._ask(self.sensor.acquire, 1).counts[0]

    def _get_images_hw(self, image_count: int, timeout_s: float, out: NDArray[Any] | None = None) -> NDArray[Any]:
        counts = self._ask(self.sensor.acquire, image_count).counts
        if out is None:
            return counts
        np.copyto(out, counts)
        return out
