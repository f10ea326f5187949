"""Every wire-simulated driver keeps the contract of its kind."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from drivers.moglabs_rf import RfBeam
from drivers.pi_gcs2 import GcsStage
from drivers.thorlabs_pm100 import PM100
from drivers.thorlabs_tc200 import TC200Cell
from drivers.toptica_dlc_pro import DlcProBeam
from labctl.clock import ManualClock
from labctl.devices import BeamSettings, CellSettings, Device, PowerMeterSettings, StageSettings
from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.instruments.gcs2 import Axis, Gcs2Controller
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.pm100 import PM100Meter
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.tc200 import TC200Heater
from tests.devices.contracts.beam import BeamContract
from tests.devices.contracts.cell import CellContract
from tests.devices.contracts.power_meter import PowerMeterContract
from tests.devices.contracts.stage import StageContract
from tests.drivers.wire import SteppedClock, on_fastest, on_pty, on_socket

STAGE = {
    "axes": {"x": {"low": "-100 um", "high": "100 um"}, "z": {"low": "0 um", "high": "50 um"}},
    "settle": "20 ms",
    "tolerance": "20 nm",
    "timeout": "2 s",
}
BEAM = {
    "power": "20 uW",
    "max_power": "40 uW",
    "has_phase": True,
    "max_detuning": "200 MHz",
    "switch": "15 ms",
    "falls_dark": False,
}
SHUTTER = {"switch": "1 ms", "shutter": "15 ms"}
LASER = {"power": "20 mW", "max_power": "1 W", "max_detuning": "2 GHz", "switch": "50 ms"}
AMPLIFIED = {
    "amplifier": True,
    "threshold": "500 mA",
    "full_current": "2.5 A",
    "full_power": "1 W",
    "piezo": {"zero": "70 V", "per_volt": "-0.1 GHz"},
}
DIODE = {"amplifier": False, "threshold": "40 mA", "full_current": "180 mA", "full_power": "1 W"}
METER = {"wavelength": "780.24 nm", "max_power": "20 mW", "averaging": "50 ms"}
# The contract reads the temperature each second, and the TC200 shows tenths of a kelvin: at less than 0.1 K/s its
# reading would jump by more than the ramp allows in a second however well it is led.
CELL = {
    "min_temperature": "20 degC",
    "max_temperature": "90 degC",
    "ramp": "12 K/min",
    "tolerance": 0.15,
    "timeout": "1 h",
    "safe_temperature": "25 degC",
}


@pytest.fixture
def served() -> Iterator[ExitStack]:
    """Servers and devices of one test; devices are closed first."""
    with ExitStack() as stack:
        yield stack


def url(served: ExitStack, instrument: Instrument, link: str = "fastest") -> str:
    serve = {"socket": on_socket, "pty": on_pty, "fastest": on_fastest}[link]
    return served.enter_context(serve(instrument)).url


def closed_at_end(served: ExitStack, device: Device) -> Device:
    served.callback(device.close)
    return device


class TestGcsStage(StageContract):
    TESTED = GcsStage

    @pytest.fixture(params=["socket", "pty"])
    def device(self, served: ExitStack, request: pytest.FixtureRequest) -> Device:
        clock = ManualClock()
        controller = Gcs2Controller(clock, {"1": Axis(), "3": Axis(100.0)})
        hardware = {
            "url": url(served, controller, request.param),
            "axes": {"x": {"id": "1", "zero": "100 um"}, "z": {"id": "3"}},
        }
        return closed_at_end(served, GcsStage("stage", clock, StageSettings.model_validate(STAGE), hardware))


class TestRfBeam(BeamContract):
    TESTED = RfBeam

    @pytest.fixture(params=["modulator", "modulator and shutter"])
    def device(self, served: ExitStack, request: pytest.FixtureRequest) -> Device:
        clock = ManualClock()
        hardware = {
            "url": url(served, MoglabsRf()),
            "channel": 2,
            "carrier": "200 MHz",
            "passes": 2,
            "order": -1,
            "full_power": "50 uW",
            "full_rf_dbm": 31,
        }
        settings = BEAM
        if "shutter" in request.param:
            hardware["shutter"] = {"url": url(served, SC10Controller(clock))}
            settings = BEAM | SHUTTER
        return closed_at_end(served, RfBeam("probe", clock, BeamSettings.model_validate(settings), hardware))


class TestDlcProBeam(BeamContract):
    TESTED = DlcProBeam

    @pytest.fixture(params=["seed and amplifier", "diode", "diode, echoed"])
    def device(self, served: ExitStack, request: pytest.FixtureRequest) -> Iterator[Device]:
        clock = ManualClock()
        laser = DlcPro(clock, echo="echoed" in request.param)
        hardware, detuning = (AMPLIFIED, "2 GHz") if "amplifier" in request.param else (DIODE, "0 Hz")
        settings = BeamSettings.model_validate({**LASER, "max_detuning": detuning})
        beam = DlcProBeam("pump", clock, settings, {"url": url(served, laser), **hardware})
        yield beam
        beam.close()
        assert not laser.damaged


class TestPM100(PowerMeterContract):
    TESTED = PM100

    @pytest.fixture
    def device(self, served: ExitStack) -> Device:
        hardware = {"url": url(served, PM100Meter(lambda: 3e-3))}
        return closed_at_end(served, PM100("meter", ManualClock(), PowerMeterSettings.model_validate(METER), hardware))


class TestTC200Cell(CellContract):
    TESTED = TC200Cell

    @pytest.fixture
    def device(self, served: ExitStack) -> Device:
        clock = SteppedClock()
        hardware = {"url": url(served, TC200Heater(clock, loop_s=0.3))}
        return closed_at_end(served, TC200Cell("cell", clock, CellSettings.model_validate(CELL), hardware))
