"""What a bench file's `wire:` may name: instruments that answer real drivers, and the simulated light they move.

Each is made as the driver is, with the light path besides; puts what its instrument does into the light path; and
serves the instrument while it is entered. Instruments live in bench time, answers come in real time.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from pydantic import Field

from labctl.clock import Clock
from labctl.devices import BeamSettings, CellSettings, Hardware, PowerMeterSettings, StageSettings, read_hardware
from labctl.documents import StrictModel
from labctl.units import Hertz, Metres, Watts
from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.gcs2 import Axis, Gcs2Controller
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.pm100 import PM100Meter
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.server import Server
from sim_backends.instruments.socket_server import SocketServer
from sim_backends.instruments.tc200 import TC200Heater
from sim_backends.modulated_beam import ModulatedBeam
from sim_backends.table import SimulatedTable

_UM = 1e-6

_PATIENCE = {"timeout": "10 s"}
"""Answers come as soon as this process lets them, whatever else it is busy with: no instrument is late for that."""


class Wire:
    """Instruments in the place of those that a bench file's `hardware:` leads to; they have other serial numbers.

    Args:
        hardware: What the driver is told.
        instruments: Simulators by the part of it that has their `url`: "" for itself, or "shutter".
    """

    def __init__(self, hardware: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> None:
        self._hardware = {key: value for key, value in hardware.items() if key != "serial"}
        self._instruments = instruments
        self._served = ExitStack()

    def __enter__(self) -> Mapping[str, Any]:
        """Start serving, and return the hardware that leads to the simulators."""
        hardware = self._hardware
        for part, instrument in self._instruments.items():
            told = {"url": self._served.enter_context(_server(instrument)).url, **_PATIENCE}
            hardware = {**hardware, part: {**hardware[part], **told}} if part else {**hardware, **told}
        return hardware

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.close()


class RfBoxWire(Wire):
    """A MOGLabs box of four channels, behind `drivers.moglabs_rf.RfBox`.

    Args:
        name: Name of the connection.
        clock: Bench time.
        hardware: As the driver's.
    """

    def __init__(self, name: str, clock: Clock, hardware: Mapping[str, Any]) -> None:
        self.box = MoglabsRf(channels=4)
        super().__init__(hardware, {"": self.box})


class _Modulator(Hardware, extra="ignore"):
    """What the driver's `RfHardware` says of the modulator."""

    channel: int = Field(default=1, ge=1, le=4)
    carrier_hz: Hertz
    passes: int = 1
    order: int = 1
    full_power_w: Watts
    full_rf_dbm: float
    shutter: Mapping[str, Any] | None = None


class RfBeamWire(Wire):
    """A modulator on a channel of a box, and its SC10 shutter where it has one, behind `drivers.moglabs_rf.RfBeam`.

    Args:
        name: Name of the beam.
        clock: Bench time.
        settings: Not needed.
        hardware: As the driver's.
        light_path: What the beam shines into.
        connection: The box, where beams share it.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: BeamSettings,
        hardware: Mapping[str, Any],
        light_path: SimulatedTable,
        connection: RfBoxWire | None = None,
    ) -> None:
        own = read_hardware(_Modulator, name, hardware)
        box = connection.box if connection else MoglabsRf(channels=4)
        shutter = SC10Controller(clock) if own.shutter else None
        light_path.beams[name] = ModulatedBeam(
            box.channels[own.channel],
            own.full_power_w,
            own.full_rf_dbm,
            own.carrier_hz,
            own.order * own.passes,
            shutter,
        )
        instruments: dict[str, Instrument] = {} if connection else {"": box}
        super().__init__(hardware, {**instruments, "shutter": shutter} if shutter else instruments)


class TC200Wire(Wire):
    """A heater and its oven, which starts in the cold, behind `drivers.thorlabs_tc200.TC200Cell`.

    Args:
        name: Name of the cell.
        clock: Bench time.
        settings: How cold it is.
        hardware: As the driver's.
        light_path: Whose atoms it warms.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: CellSettings,
        hardware: Mapping[str, Any],
        light_path: SimulatedTable,
    ) -> None:
        heater = TC200Heater(clock, room_c=settings.min_temperature_c)
        light_path.temperatures_c[name] = heater.temperature_c
        super().__init__(hardware, {"": heater})


class _PiezoAxis(StrictModel):
    id: str
    zero_m: Metres = 0.0


class _Piezo(Hardware, extra="ignore"):
    """What the driver's `GcsHardware` says of the axes."""

    axes: Mapping[str, _PiezoAxis]


class GcsWire(Wire):
    """A piezo with the travel the bench needs, which stands where the bench calls 0, behind `drivers.pi_gcs2.GcsStage`.

    Args:
        name: Name of the stage.
        clock: Bench time.
        settings: Its travel.
        hardware: As the driver's.
        light_path: What the stage moves.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: StageSettings,
        hardware: Mapping[str, Any],
        light_path: SimulatedTable,
    ) -> None:
        own = read_hardware(_Piezo, name, hardware)
        axes = {axis: one for axis, one in own.axes.items() if axis in settings.axes}
        travel_um = {axis: round((settings.axes[axis].high_m + one.zero_m) / _UM, 6) for axis, one in axes.items()}
        zeros_um = {axis: one.zero_m / _UM for axis, one in axes.items()}
        piezo = Gcs2Controller(
            clock, {one.id: Axis(travel_um[axis], zeros_um[axis], zeros_um[axis]) for axis, one in axes.items()}
        )
        light_path.positions_m[name] = _Positions(piezo, axes)
        super().__init__(hardware, {"": piezo})


class _Positions(Mapping[str, float]):
    """Where a controller's axes are at the moment it is asked, in metres by their names on the bench."""

    def __init__(self, piezo: Gcs2Controller, axes: Mapping[str, _PiezoAxis]) -> None:
        self._piezo, self._axes = piezo, axes

    def __getitem__(self, axis: str) -> float:
        one = self._axes[axis]
        return self._piezo.position_um(one.id) * _UM - one.zero_m

    def __iter__(self) -> Iterator[str]:
        return iter(self._axes)

    def __len__(self) -> int:
        return len(self._axes)


class PM100Wire(Wire):
    """A power meter on the beam that the bench file names for it, behind `drivers.thorlabs_pm100.PM100`.

    Args:
        name: Name of the meter.
        clock: Not needed.
        settings: Where its head is overloaded.
        hardware: As the driver's.
        light_path: Whose light it sees.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: PowerMeterSettings,
        hardware: Mapping[str, Any],
        light_path: SimulatedTable,
    ) -> None:
        meter = PM100Meter(lambda: light_path.meter_power_w(name), settings.max_power_w)
        super().__init__(hardware, {"": meter})


def _server(instrument: Instrument) -> Server:
    """Return a server on a pseudo-terminal or, on Windows, a socket: pyserial rests 0.3 s whenever it closes one."""
    if sys.platform == "win32":
        return SocketServer(instrument)
    from sim_backends.instruments.pty_server import PtyServer

    return PtyServer(instrument)
