"""What single drivers promise beyond the contract of their kind."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from drivers.moglabs_rf import RfBeam, light_fraction, rf_for_fraction
from drivers.pi_gcs2 import GcsStage
from drivers.thorlabs_pm100 import PM100
from drivers.thorlabs_tc200 import TC200Cell
from labctl.clock import ManualClock
from labctl.devices import BeamSettings, CellSettings, PowerMeterSettings, StageSettings
from labctl.errors import ConfigError, DeviceError, DeviceTimeout, LimitError, StateError
from sim_backends.instruments.gcs2 import Axis, Gcs2Controller
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.pm100 import PM100Meter
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.server import Server
from sim_backends.instruments.tc200 import TC200Heater
from tests.drivers.test_contracts import BEAM, CELL, METER, SHUTTER, STAGE
from tests.drivers.wire import SteppedClock, on_fastest

MODULATOR = {"carrier": "200 MHz", "passes": 2, "full_power": "50 uW", "full_rf_dbm": 31}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


# ---- stage


def stage_on(stack: ExitStack, controller: Gcs2Controller, clock: ManualClock | None = None, **axes: Any) -> GcsStage:
    hardware = {"url": stack.enter_context(on_fastest(controller)).url, "axes": axes}
    return GcsStage("stage", clock or ManualClock(), StageSettings.model_validate(STAGE), hardware)


def test_a_stage_moves_the_axis_it_is_told_from_its_own_zero(stack: ExitStack):
    clock = ManualClock()
    controller = Gcs2Controller(clock, {"1": Axis(), "3": Axis()})
    with stage_on(stack, controller, clock, x={"id": "3", "zero": "100 um"}, z={"id": "1"}) as stage:
        stage.move_to(x=-25e-6, z=10e-6)
        assert controller.position_um("3") == 75.0
        assert controller.position_um("1") == 10.0


def test_a_stage_without_the_travel_of_the_bench_file_is_refused_and_let_go(stack: ExitStack):
    controller = Gcs2Controller(ManualClock(), {"1": Axis(150.0), "2": Axis()})
    stage = stage_on(stack, controller, x={"id": "1", "zero": "100 um"}, z={"id": "2"})
    with pytest.raises(LimitError, match=r"axis x .* -0.0001 to 0.0001 m, it can -0.0001 to 5e-05 m"):
        stage.open()
    assert not stage.is_open
    controller.axes["1"].travel_um = 200.0
    with stage:
        assert stage.is_open


def test_an_axis_the_controller_does_not_have_is_a_config_error(stack: ExitStack):
    stage = stage_on(stack, Gcs2Controller(ManualClock()), x={"id": "1", "zero": "100 um"}, z={"id": "B"})
    with pytest.raises(ConfigError, match="no axis B; the controller has: 1"):
        stage.open()


def test_axes_of_hardware_and_settings_must_be_the_same(stack: ExitStack):
    with pytest.raises(ConfigError, match=r"axes y are named, its settings have: x, z"):
        stage_on(stack, Gcs2Controller(ManualClock()), y={"id": "1"})


def test_a_refused_move_names_its_error_and_nothing_is_hidden(stack: ExitStack):
    controller = Gcs2Controller(ManualClock(), {"1": Axis(), "2": Axis()})
    with stage_on(stack, controller, x={"id": "1", "zero": "100 um"}, z={"id": "2"}) as stage:
        controller.axes["2"].servo = False
        with pytest.raises(
            DeviceError, match=r"'MOV 2 10.000000' with error 5 \(the axis moves only with its servo on"
        ):
            stage.move_to(z=10e-6)
        assert stage.state()["servo"] == {"x": True, "z": False}


# ---- beam


def beam_on(stack: ExitStack, rf: MoglabsRf, shutter: SC10Controller | None = None) -> tuple[Server, RfBeam]:
    server = stack.enter_context(on_fastest(rf))
    hardware: dict[str, Any] = {**MODULATOR, "url": server.url}
    settings = BEAM
    if shutter:
        hardware["shutter"] = {"url": stack.enter_context(on_fastest(shutter)).url}
        settings = BEAM | SHUTTER
    return server, RfBeam("probe", ManualClock(), BeamSettings.model_validate(settings), hardware)


def test_half_the_light_takes_a_quarter_of_the_full_rf():
    assert light_fraction(31.0, 31.0) == pytest.approx(1.0)
    assert light_fraction(31.0 + 10 * math.log10(0.25), 31.0) == pytest.approx(0.5)
    for fraction in (1e-6, 0.1, 0.5, 0.999, 1.0):
        assert light_fraction(rf_for_fraction(fraction, 31.0), 31.0) == pytest.approx(fraction, rel=1e-9)
    assert rf_for_fraction(0.0, 31.0) == -50.0


def test_a_double_pass_detunes_twice_and_steps_its_phase_twice(stack: ExitStack):
    rf = MoglabsRf()
    _, beam = beam_on(stack, rf)
    with beam:
        beam.set_detuning(-10e6)
        beam.set_phase(math.pi)
        assert rf.channels[1].frequency_mhz == pytest.approx(195.0)
        assert rf.channels[1].phase_deg == pytest.approx(90.0)


def test_the_ceiling_is_the_instruments_own_limit_too(stack: ExitStack):
    rf = MoglabsRf()
    _, beam = beam_on(stack, rf)
    with beam:
        assert rf.channels[1].limit_dbm == pytest.approx(rf_for_fraction(0.8, 31.0), abs=1e-3)


def test_phases_of_a_sequence_become_a_table_that_waits_for_triggers(stack: ExitStack):
    rf = MoglabsRf()
    _, beam = beam_on(stack, rf)
    with beam:
        beam.load_phases([0.0, math.pi])
        assert rf.channels[1].armed
        assert [entry[2:] for entry in rf.channels[1].table] == [(0.0, 0.0), (90.0, 0.0)]
        assert {entry[0] for entry in rf.channels[1].table} == {200.0}
        beam.clear_phases()
        assert not rf.channels[1].armed
        assert rf.channels[1].mode == "NSB"


def test_a_beam_found_lit_is_dark_once_opened(stack: ExitStack):
    rf, shutter = MoglabsRf(), SC10Controller(ManualClock(), blade_s=0.0)
    rf.channels[1].on = shutter.enabled = True
    _, beam = beam_on(stack, rf, shutter)
    with beam:
        assert not rf.channels[1].on
        assert not shutter.enabled


def test_off_is_rf_off_and_shutter_closed(stack: ExitStack):
    rf, shutter = MoglabsRf(), SC10Controller(ManualClock(), blade_s=0.0)
    _, beam = beam_on(stack, rf, shutter)
    with beam:
        beam.on()
        assert rf.channels[1].on
        assert shutter.enabled
        beam.off()
        assert not rf.channels[1].on
        assert not shutter.enabled


def test_blanked_the_rf_is_off_and_the_shutter_open_until_the_beam_is_safe(stack: ExitStack):
    rf, shutter = MoglabsRf(), SC10Controller(ManualClock(), blade_s=0.0)
    _, beam = beam_on(stack, rf, shutter)
    with beam:
        for _ in range(2):
            beam.on()
            assert rf.channels[1].on
            beam.blank()
            assert not rf.channels[1].on
            assert shutter.enabled
        beam.make_safe()
        assert not shutter.enabled
        beam.blank()
        beam.on()
        assert shutter.enabled


@pytest.mark.parametrize("has_shutter", [True, False])
def test_a_shutter_and_its_time_come_together(has_shutter: bool):
    hardware = {**MODULATOR, "url": "COM1", **({"shutter": {"url": "COM2"}} if has_shutter else {})}
    settings = BeamSettings.model_validate(BEAM if has_shutter else BEAM | SHUTTER)
    with pytest.raises(ConfigError, match=r"probe: shutter: give both .*15 ms"):
        RfBeam("probe", ManualClock(), settings, hardware)


def test_the_shutter_closes_when_the_rf_driver_does_not_answer(stack: ExitStack):
    rf, shutter = MoglabsRf(), SC10Controller(ManualClock(), blade_s=0.0)
    server, beam = beam_on(stack, rf, shutter)
    beam.open()
    beam.on()
    server.unplug()
    with pytest.raises(DeviceError, match="'OFF,1'"):
        beam.make_safe()
    assert not shutter.enabled
    with pytest.raises(DeviceError):
        beam.close()


def test_the_shutter_closes_in_time_when_the_rf_driver_hangs(stack: ExitStack):
    shutter = SC10Controller(ManualClock(), blade_s=0.0)
    server, beam = beam_on(stack, MoglabsRf(), shutter)
    with beam:
        beam.on()
        server.misbehave("held")
        start = time.monotonic()
        with pytest.raises(DeviceTimeout, match="'OFF,1'"):
            beam.make_safe()
        assert time.monotonic() - start < 0.5
        assert not shutter.enabled
        beam.make_safe()
        assert not beam.is_on


def test_a_shutter_that_sticks_is_reported(stack: ExitStack):
    rf, shutter = MoglabsRf(), SC10Controller(ManualClock(), blade_s=math.inf)
    _, beam = beam_on(stack, rf, shutter)
    beam.open()
    beam.on()
    with pytest.raises(StateError, match="still reports light; block it by hand"):
        beam.close()
    assert not rf.channels[1].on


def test_more_light_than_the_modulator_gives_is_a_config_error():
    settings = BeamSettings.model_validate({**BEAM, "max_power": "60 uW"})
    with pytest.raises(ConfigError, match=r"max_power 6e-05 W .* 5e-05 W \(full_power\)"):
        RfBeam("probe", ManualClock(), settings, {**MODULATOR, "url": "COM9"})


# ---- power meter


def meter_on(stack: ExitStack, instrument: PM100Meter) -> PM100:
    hardware = {"url": stack.enter_context(on_fastest(instrument)).url}
    return PM100("meter", ManualClock(), PowerMeterSettings.model_validate(METER), hardware)


def test_a_meter_corrects_for_the_wavelength_of_the_bench(stack: ExitStack):
    instrument = PM100Meter(lambda: 3.2e-3)
    with meter_on(stack, instrument) as meter:
        assert instrument.wavelength_nm == 780.24
        assert meter.read_power() == pytest.approx(3.2e-3)


def test_a_head_that_does_not_know_the_wavelength_is_refused(stack: ExitStack):
    meter = meter_on(stack, PM100Meter(wavelengths_nm=(900.0, 1700.0)))
    with pytest.raises(DeviceError, match=r"'SENS:CORR:WAV 780.24NM' with error -222 \(Data out of range\)"):
        meter.open()
    assert not meter.is_open


def test_an_overloaded_head_gives_no_number(stack: ExitStack):
    with meter_on(stack, PM100Meter(lambda: 1.0)) as meter, pytest.raises(DeviceError, match="overloaded"):
        meter.read_power()


# ---- cell


def cell_on(stack: ExitStack, heater: TC200Heater, clock: ManualClock) -> TC200Cell:
    hardware = {"url": stack.enter_context(on_fastest(heater)).url}
    return TC200Cell("cell", clock, CellSettings.model_validate(CELL), hardware)


def test_a_heater_that_is_on_is_not_toggled_off(stack: ExitStack):
    clock = SteppedClock()
    heater = TC200Heater(clock)
    heater.heating = True
    with cell_on(stack, heater, clock) as cell:
        cell.set_temperature(30.0)
        assert heater.heating


def test_a_cold_heater_is_switched_on_where_the_cell_is_and_led_from_there(stack: ExitStack):
    clock = SteppedClock()
    heater = TC200Heater(clock, room_c=24.0)
    heater.set_point_c = 150.0
    with cell_on(stack, heater, clock) as cell:
        cell.set_temperature(30.0)
        assert heater.heating
        assert heater.set_point_c == 24.0
        clock.wait(10.0)
        assert heater.set_point_c == pytest.approx(26.0, abs=0.15)
        clock.wait(60.0)
        assert heater.set_point_c == 30.0


def test_the_set_point_never_runs_ahead_of_the_ramp(stack: ExitStack):
    clock = SteppedClock()
    heater = TC200Heater(clock)
    with cell_on(stack, heater, clock) as cell:
        cell.set_temperature(25.0)
        start_s = clock.now_s()
        while heater.set_point_c < 25.0:
            clock.wait(0.3)
            allowed_k = cell.settings.ramp_k_per_s * (clock.now_s() - start_s)
            assert allowed_k - 0.2 <= heater.set_point_c - 20.0 <= allowed_k + 1e-9


def test_a_heater_that_is_off_stays_off_when_made_safe(stack: ExitStack):
    clock = SteppedClock()
    heater = TC200Heater(clock)
    with cell_on(stack, heater, clock) as cell:
        cell.make_safe()
    assert not heater.heating


def test_the_highest_temperature_is_the_controllers_own_limit_too(stack: ExitStack):
    clock = SteppedClock()
    heater = TC200Heater(clock)
    with cell_on(stack, heater, clock):
        assert heater.max_c == 90.0


def test_closed_on_its_way_the_heater_is_held_and_that_is_said(stack: ExitStack, caplog: pytest.LogCaptureFixture):
    clock = SteppedClock()
    heater = TC200Heater(clock, loop_s=0.3)
    with cell_on(stack, heater, clock) as cell:
        cell.set_temperature(30.0)
        cell.wait_for_temperature(30.0)
    assert "closed on its way to 25 degC" in caplog.text
    clock.wait(100.0)
    assert heater.temperature_c() == pytest.approx(30.0, abs=0.2)
    assert heater.heating


@pytest.mark.parametrize(
    ("changed", "says"), [({"min_temperature": "10 degC"}, "20 to 200 degC"), ({"tolerance": 0.02}, "0.1 K")]
)
def test_what_a_tc200_cannot_do_is_a_config_error(changed: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        TC200Cell("cell", ManualClock(), CellSettings.model_validate({**CELL, **changed}), {"url": "COM9"})


# ---- hardware entries


def test_a_misspelt_key_of_the_hardware_is_named():
    with pytest.raises(ConfigError, match=r"hardware of meter: unknown key 'ulr'; did you mean 'url'"):
        PM100("meter", ManualClock(), PowerMeterSettings.model_validate(METER), {"ulr": "COM9"})
