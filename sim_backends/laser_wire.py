"""A DLC pro for a bench file's `wire:`, whose laser shines into the simulated light path."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from labctl.clock import Clock
from labctl.devices import BeamSettings, Hardware, read_hardware
from labctl.documents import StrictModel
from labctl.units import Amperes, Hertz, Volts, Watts
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.table import SimulatedTable
from sim_backends.wire import Wire


class _Piezo(StrictModel):
    zero_v: Volts
    per_volt_hz: Hertz


class _Laser(Hardware, extra="ignore"):
    """What the driver's `DlcProHardware` says of the laser."""

    laser: int = Field(default=1, ge=1, le=4)
    amplifier: bool
    threshold_a: Amperes
    full_current_a: Amperes
    full_power_w: Watts
    piezo: _Piezo | None = None

    @property
    def watts_per_a(self) -> float:
        return self.full_power_w / (self.full_current_a - self.threshold_a)


class LaserLight:
    """A `BeamLight` that asks the controller at the moment it is asked; its light rises linearly from threshold.

    Args:
        controller: Whose currents these are.
        laser: What the bench file says of the laser.
    """

    phase_rad = 0.0
    sequence: NDArray[Any] | None = None

    def __init__(self, controller: DlcPro, laser: _Laser) -> None:
        self._controller, self._laser = controller, laser
        self._gain = "amp" if laser.amplifier else "dl"

    @property
    def on(self) -> bool:
        """Whether light comes: of an amplifier only with its seed."""
        return self._controller.emits(self._gain) and self._controller.emits("dl")

    @property
    def power_w(self) -> float:
        """Power while it is on."""
        above_a = self._number(f"{self._gain}:cc:current-set") / 1e3 - self._laser.threshold_a
        return max(0.0, above_a * self._laser.watts_per_a)

    @property
    def detuning_hz(self) -> float:
        """Detuning from line centre."""
        piezo = self._laser.piezo
        return (self._number("dl:pc:voltage-set") - piezo.zero_v) * piezo.per_volt_hz if piezo else 0.0

    def end_sequence(self) -> None:
        """Nothing to end: its phase is not stepped."""

    def go_dark(self) -> None:
        """Nothing to do: a laser goes on when its link to the computer is lost."""

    def _number(self, parameter: str) -> float:
        return float(self._controller.parameters[f"{self._controller.head}:{parameter}"])


class DlcProWire(Wire):
    """A laser whose clip and piezo are as the bench needs them, behind `drivers.toptica_dlc_pro.DlcProBeam`.

    Args:
        name: Name of the beam.
        clock: Bench time.
        settings: Its ceiling, which somebody has set as the controller's own.
        hardware: As the driver's.
        light_path: What the beam shines into.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: BeamSettings,
        hardware: Mapping[str, Any],
        light_path: SimulatedTable,
    ) -> None:
        laser = read_hardware(_Laser, name, hardware)
        controller = DlcPro(clock, laser=laser.laser)
        clip_ma = 1e3 * (laser.threshold_a + settings.max_power_w / laser.watts_per_a)
        gain = "amp" if laser.amplifier else "dl"
        controller.parameters[f"{controller.head}:{gain}:cc:current-clip"] = f"{clip_ma:.3f}"
        light_path.beams[name] = LaserLight(controller, laser)
        super().__init__(hardware, {"": controller})
