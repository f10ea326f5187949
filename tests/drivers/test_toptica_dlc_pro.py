"""What a DLC pro promises beyond the contract of beams: an amplifier is never without its seed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from drivers.toptica_dlc_pro import DlcProBeam
from labctl.clock import ManualClock
from labctl.devices import BeamSettings
from labctl.errors import ConfigError, ConnectError, DeviceError, LimitError, StateError
from sim_backends.instruments.dlc_pro import DlcPro
from tests.drivers.test_contracts import AMPLIFIED, DIODE, LASER
from tests.drivers.wire import on_fastest, on_socket

SEED, AMPLIFIER = "laser1:dl:cc:enabled", "laser1:amp:cc:enabled"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def laser(clock: ManualClock) -> Iterator[DlcPro]:
    one = DlcPro(clock)
    yield one
    assert not one.damaged


@pytest.fixture
def url(laser: DlcPro) -> Iterator[str]:
    with on_fastest(laser) as server:
        yield server.url


def beam(url: str, clock: ManualClock, hardware: dict[str, Any] | None = None, **settings: Any) -> DlcProBeam:
    told = {"url": url, **AMPLIFIED, **(hardware or {})}
    return DlcProBeam("pump", clock, BeamSettings.model_validate({**LASER, **settings}), told)


def switched(laser: DlcPro, action: Callable[[], object]) -> list[tuple[str, str]]:
    """Return what an action ordered on and off."""
    laser.orders.clear()
    action()
    return [order for order in laser.orders if order[0] in (SEED, AMPLIFIER)]


def test_seed_before_amplifier_and_amplifier_off_before_seed(url: str, clock: ManualClock, laser: DlcPro):
    with beam(url, clock) as pump:
        assert switched(laser, pump.on) == [(SEED, "#t"), (AMPLIFIER, "#t")]
        assert switched(laser, pump.off) == [(AMPLIFIER, "#f"), (SEED, "#f")]
        pump.on()
        assert switched(laser, pump.make_safe) == [(AMPLIFIER, "#f"), (SEED, "#f")]
        pump.on()
    assert not laser.emits("amp")
    assert not laser.emits("dl")


def test_opening_a_laser_that_emits_darkens_it_in_the_safe_order(url: str, clock: ManualClock, laser: DlcPro):
    for parameter in (SEED, AMPLIFIER):
        laser.handle(f"(param-set! '{parameter} #t)")
        clock.wait(1.0)
    with ExitStack() as stack:
        assert switched(laser, lambda: stack.enter_context(beam(url, clock))) == [(AMPLIFIER, "#f"), (SEED, "#f")]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("button", False, "emission button is off; press the button"),
        ("interlock_open", True, "interlock is open; close the doors"),
        ("key_locked", True, "key is locked; turn the key"),
    ],
)
def test_without_permission_nothing_is_switched_on(
    url: str, clock: ManualClock, laser: DlcPro, name: str, value: bool, message: str
):
    with beam(url, clock) as pump:
        setattr(laser, name, value)
        with pytest.raises(StateError, match=f"pump: does not switch on, its {message}"):
            switched(laser, pump.on)
        assert laser.orders == []


def test_an_interlock_that_opens_while_lit_is_read_as_dark(url: str, clock: ManualClock, laser: DlcPro):
    with beam(url, clock) as pump:
        pump.on()
        laser.interlock_open = True
        assert not pump.is_on
        assert pump.state()["interlock_open"] is True
        assert switched(laser, pump.off) == [(AMPLIFIER, "#f"), (SEED, "#f")]


def test_a_seed_without_current_never_gets_an_amplifier(clock: ManualClock):
    laser = DlcPro(clock, start_s=60.0)
    with on_fastest(laser) as server, beam(server.url, clock) as pump:
        with pytest.raises(StateError, match=r"pump: .*laser1:dl:cc:emission stays otherwise for 2 s"):
            switched(laser, pump.on)
        assert (AMPLIFIER, "#t") not in laser.orders
        assert laser.orders[-1] == (SEED, "#f")
    assert not laser.damaged


def test_a_seed_that_misses_the_amplifier_is_seen_by_its_photodiode(url: str, clock: ManualClock, laser: DlcPro):
    with beam(url, clock, {"seed_power": "10 mW"}) as pump:
        pump.on()
        pump.off()
        laser.seed_power_mw = 2.0
        with pytest.raises(StateError, match=r"gets 0\.002 W of seed, at least 0\.01 W is needed; check"):
            switched(laser, pump.on)
        assert (AMPLIFIER, "#t") not in laser.orders
        assert not pump.is_on


def test_an_amplifier_that_does_not_go_off_keeps_its_seed(
    url: str, clock: ManualClock, laser: DlcPro, monkeypatch: pytest.MonkeyPatch
):
    with beam(url, clock) as pump:
        pump.on()
        emits = laser.emits
        monkeypatch.setattr(laser, "emits", lambda gain: gain == "amp" or emits(gain))
        with pytest.raises(StateError, match="laser1:amp:cc:emission stays otherwise"):
            switched(laser, pump.off)
        assert (SEED, "#f") not in laser.orders
        monkeypatch.undo()


@pytest.mark.parametrize("max_power", ["0.9 W", "1.1 W"])
def test_the_controllers_own_limit_must_be_the_ceiling(url: str, clock: ManualClock, laser: DlcPro, max_power: str):
    pump = beam(url, clock, max_power=max_power)
    with pytest.raises(
        LimitError, match=r"current-clip of 2\.5 A lets 1 W through, max_power is .*; set the clip to 2"
    ):
        pump.open()
    assert not pump.is_open
    with beam(url, clock) as let_go:
        assert let_go.is_open


def test_power_is_the_amplifiers_current(url: str, clock: ManualClock, laser: DlcPro):
    with beam(url, clock) as pump:
        pump.set_power(0.5)
        assert laser.parameters["laser1:amp:cc:current-set"] == "1500.000"
        pump.set_power(0.0)
        assert laser.parameters["laser1:amp:cc:current-set"] == "0.000"
        assert laser.parameters["laser1:dl:cc:current-set"] == "120.0"


def test_a_current_the_controller_does_not_take_is_an_error(url: str, clock: ManualClock, laser: DlcPro):
    with beam(url, clock) as pump:
        laser.parameters["laser1:amp:cc:current-clip"] = "1000.0"  # turned down while the bench is open
        with pytest.raises(
            DeviceError, match=r"refused '\(param-set! 'laser1:amp:cc:current-set 1500\.000\)': status -"
        ):
            pump.set_power(0.5)


def test_detuning_is_the_piezos_voltage(url: str, clock: ManualClock, laser: DlcPro):
    with beam(url, clock) as pump:
        assert float(laser.parameters["laser1:dl:pc:voltage-set"]) == 70.0
        pump.set_detuning(1.5e9)
        assert float(laser.parameters["laser1:dl:pc:voltage-set"]) == 55.0


def test_a_piezo_without_the_range_is_refused(url: str, clock: ManualClock):
    with pytest.raises(
        LimitError, match=r"max_detuning 8e\+09 Hz takes -10 to 150 V on the piezo, allowed is -1 to 140 V"
    ):
        beam(url, clock, max_detuning="8 GHz").open()


def test_another_laser_of_the_controller_can_be_named(clock: ManualClock):
    second = DlcPro(clock, laser=2)
    with on_fastest(second) as server, beam(server.url, clock, {"laser": 2}) as pump:
        pump.on()
        assert second.emits("amp")
    assert not second.damaged


def test_a_laser_the_controller_does_not_have_is_named(url: str, clock: ManualClock):
    with pytest.raises(DeviceError, match=r"refused '\(param-set! 'laser2:amp:cc:enabled #f\)': Error: "):
        beam(url, clock, {"laser": 2}).open()


@pytest.mark.parametrize(
    ("hardware", "settings", "message"),
    [
        ({}, {"has_phase": True}, "a DLC pro steps no phase; set has_phase: false"),
        ({"piezo": None}, {}, r"max_detuning 2e\+09 Hz needs a calibrated piezo"),
        ({"piezo": {"zero": "70 V", "per_volt": "0 Hz"}}, {}, "detunes nothing"),
        ({"full_current": "0.4 A"}, {}, r"full_current 0\.4 A is not above threshold 0\.5 A"),
        ({"full_current": "2.5"}, {}, "a current with its unit is needed"),
        ({"ampliffier": True}, {}, "unknown key 'ampliffier'; did you mean 'amplifier'"),
    ],
)
def test_what_a_laser_cannot_do_is_a_config_error(
    clock: ManualClock, hardware: dict[str, Any], settings: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        beam("socket://localhost:1", clock, hardware, **settings)


def test_a_greeting_is_no_answer_and_the_serial_number_must_agree(clock: ManualClock):
    laser = DlcPro(clock)
    with on_socket(laser) as server:
        with beam(server.url, clock, {"serial": "DLC PRO_020295"}) as pump:
            assert not pump.is_on
        with pytest.raises(ConnectError, match=r"DLC PRO_000001.*DLC PRO_020295"):
            beam(server.url, clock, {"serial": "DLC PRO_000001"}).open()


def test_a_diode_alone_is_switched_and_set_by_its_own_current(url: str, clock: ManualClock, laser: DlcPro):
    settings = BeamSettings.model_validate({**LASER, "max_detuning": "0 Hz"})
    with DlcProBeam("probe", clock, settings, {"url": url, **DIODE}) as probe:
        probe.set_power(0.5)
        probe.on()
        assert probe.state()["current_a"] == {"diode": pytest.approx(0.11)}
        assert not laser.emits("amp")


def test_the_simulator_counts_an_amplifier_without_seed_as_damage(clock: ManualClock):
    for misuse in ([(AMPLIFIER, "#t")], [(SEED, "#t"), (AMPLIFIER, "#t"), (SEED, "#f")]):
        ruined = DlcPro(clock)
        for parameter, value in misuse:
            assert ruined.handle(f"(param-set! '{parameter} {value})") == "0\r\n> "
            clock.wait(1.0)
        assert ruined.damaged


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("(param-ref 'interlock-open)", "#f\r\n> "),
        ("(param-ref 'serial-number)", '"DLC PRO_020295"\r\n> '),
        ("(param-ref 'laser1:amp:cc:current-clip)", "2500.0\r\n> "),
        ("(param-set! 'laser1:amp:cc:current-set 2500.1)", "-7\r\n> "),
        ("(param-set! 'interlock-open #f)", "Error: -5 parameter cannot be set\r\n> "),
        ("(param-set! 'laser1:amp:cc:current-set 100)", "Error: -2 wrong type\r\n> "),
    ],
)
def test_the_simulator_answers_as_a_decof_command_line(clock: ManualClock, line: str, reply: str):
    assert DlcPro(clock).handle(line) == reply
