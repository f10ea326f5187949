"""Instrument simulators keep the quirks of the manuals, without a wire."""

import pytest

from labctl.clock import ManualClock
from sim_backends.instruments.conversation import Answer, Conversation
from sim_backends.instruments.gcs2 import Axis, Gcs2Controller
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.pm100 import PM100Meter
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.tc200 import TC200Heater


def test_gcs_ends_all_lines_but_the_last_in_a_space():
    controller = Gcs2Controller(ManualClock(), {"1": Axis(), "2": Axis()})
    assert controller.handle("SVO? 1 2") == "1=0 \n2=0\n"
    assert controller.handle("SAI?") == "1 \n2\n"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MOV 1 10", 5),
        ("SVO 7 1", 15),
        ("POS? 7", 15),
        ("JUMP 1 2", 2),
        ("JUMP?", 2),
        ("MOV 1 far", 1),
        ("STP", 10),
    ],
)
def test_gcs_says_what_is_wrong_once_and_only_when_asked(line: str, code: int):
    controller = Gcs2Controller(ManualClock())
    assert controller.handle(line) == ""
    assert controller.handle("ERR?") == f"{code}\n"
    assert controller.handle("ERR?") == "0\n"


def test_a_gcs_move_out_of_limits_moves_no_axis():
    controller = Gcs2Controller(ManualClock(), {"1": Axis(100.0), "2": Axis(100.0)})
    controller.handle("SVO 1 1 2 1")
    controller.handle("MOV 1 50 2 100.1")
    assert controller.handle("ERR?") == "7\n"
    assert controller.handle("MOV?") == "1=0.000000 \n2=0.000000\n"


def test_a_gcs_axis_travels_at_its_speed_and_stops_where_it_is():
    clock = ManualClock()
    controller = Gcs2Controller(clock, velocity_um_per_s=100.0)
    for line in ("SVO 1 1", "MOV 1 100"):
        controller.handle(line)
    clock.wait(0.25)
    assert controller.handle("POS?") == "1=25.000000\n"
    assert controller.handle("ONT?") == "1=0\n"
    controller.handle("STP")
    clock.wait(1.0)
    assert controller.handle("POS?") == "1=25.000000\n"
    assert controller.handle("ONT?") == "1=1\n"


def test_the_tc200_echoes_prompts_and_toggles():
    heater = TC200Heater(ManualClock())
    assert heater.handle("tset?") == "tset?\r20.0 Celsius\r> "
    assert heater.handle("stat?") == "stat?\r14 > "
    assert heater.handle("ens") == "ens\r> "
    assert heater.handle("stat?") == "stat?\r15 > "
    assert heater.handle("ens") == "ens\r> "
    assert heater.handle("stat?") == "stat?\r14 > "
    assert "CMD_ARG_RANGE_ERR" in heater.handle("mode=normal")
    assert "CMD_NOT_DEFINED" in heater.handle("fly")


def test_the_tc200_refuses_set_points_beyond_its_limit():
    heater = TC200Heater(ManualClock())
    assert "ERR" not in heater.handle("tmax=80")
    assert "CMD_ARG_RANGE_ERR" in heater.handle("tset=80.1")
    assert heater.set_point_c == 20.0


def test_the_oven_follows_its_set_point_and_cools_in_the_room():
    clock = ManualClock()
    heater = TC200Heater(clock, room_c=20.0, loop_s=10.0, oven_s=100.0)
    heater.handle("tset=60")
    clock.wait(100.0)
    assert heater.temperature_c() == pytest.approx(20.0)
    heater.handle("ens")
    clock.wait(10.0)
    assert heater.temperature_c() == pytest.approx(60 - 40 / 2.718282, abs=1e-3)
    clock.wait(1000.0)
    heater.handle("ens")
    clock.wait(100.0)
    assert heater.temperature_c() == pytest.approx(20 + 40 / 2.718282, abs=1e-3)


def test_the_sc10_says_closed_only_when_its_blade_has_arrived():
    clock = ManualClock()
    shutter = SC10Controller(clock, blade_s=0.01)
    assert shutter.handle("closed?") == "closed?\r1\r> "
    shutter.handle("ens")
    assert not shutter.is_closed
    shutter.handle("ens")
    assert not shutter.is_closed
    clock.wait(0.011)
    assert shutter.is_closed


def test_moglabs_answers_ok_or_err_and_numbers_with_their_units():
    rf = MoglabsRf()
    assert rf.handle("POW,1,10dBm") == "OK: 10.000 dBm\r\n"
    assert rf.handle("POW,1") == "10.000 dBm\r\n"
    assert rf.handle("FREQ,1,90000kHz") == "OK: 90.000000 MHz\r\n"
    for line in ("FREQ,9,80MHz", "FREQ,1,1GHz", "FREQ,1,500MHz", "FLY,1", "TABLE,ARM,1", ""):
        assert rf.handle(line).startswith("ERR: ")


def test_a_moglabs_limit_lowers_the_power_and_keeps_it_there():
    rf = MoglabsRf()
    rf.handle("POW,1,30dBm")
    rf.handle("LIMIT,1,20dBm")
    assert rf.handle("POW,1") == "20.000 dBm\r\n"
    assert rf.handle("POW,1,20.1dBm").startswith("ERR: ")


def test_scpi_commands_are_silent_and_errors_wait():
    meter = PM100Meter()
    assert meter.handle("SENS:CORR:WAV 2000NM") == ""
    assert meter.handle("SENS:FLY 1") == ""
    assert meter.handle("SYST:ERR?").startswith("-222")
    assert meter.handle("SYST:ERR?").startswith("-113")
    assert meter.handle("SYST:ERR?") == '+0,"No error"\n'


def test_a_command_may_come_in_pieces_and_two_at_once():
    conversation = Conversation(Gcs2Controller(ManualClock()))
    assert conversation.receive(b"SVO 1 1\nPO") == []
    assert conversation.receive(b"S?\nERR?\n") == [Answer(b"1=0.000000\n"), Answer(b"0\n")]


def test_a_held_answer_comes_before_the_next():
    conversation = Conversation(Gcs2Controller(ManualClock()))
    conversation.faults.extend(["held", "half"])
    assert conversation.receive(b"POS?\n") == [Answer(b"")]
    assert conversation.receive(b"SVO?\n") == [Answer(b"1=")]
    assert conversation.receive(b"ERR?\n") == [Answer(b"1=0.000000\n0\n")]
