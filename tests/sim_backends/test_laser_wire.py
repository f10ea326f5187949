"""A DLC pro on the wire shines into the light path as a twin would."""

from collections.abc import Iterator
from typing import Any

import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import StateError
from tests.conftest import SMALL_BENCH

LASER = {
    "url": "socket://192.168.1.20:1998",
    "laser": 2,
    "amplifier": True,
    "threshold": "0.9 A",
    "full_current": "2.9 A",
    "full_power": "1 mW",
    "piezo": {"zero": "70 V", "per_volt": "-0.1 GHz"},
}
OVERRIDES: dict[str, Any] = {
    "devices.pump.driver": "drivers.toptica_dlc_pro.DlcProBeam",
    "devices.pump.wire": "sim_backends.laser_wire.DlcProWire",
    "devices.pump.hardware": LASER,
    "devices.pump.settings.falls_dark": False,
}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench(load_bench(SMALL_BENCH, OVERRIDES), "wire") as bench:
        yield bench


def test_the_meter_sees_the_power_asked_for_while_the_laser_is_on(bench: Bench):
    meter, pump = bench.power_meter("meter_pump"), bench.beam("pump")
    for power_w in (50e-6, pump.settings.max_power_w):
        pump.set_power(power_w)
        assert meter.read_power() == 0
        pump.on()
        assert meter.read_power() == pytest.approx(power_w, rel=0.01)
        pump.off()
    assert meter.read_power() == 0


def test_its_detuning_is_that_of_the_light(bench: Bench):
    bench.beam("pump").set_detuning(150e6)
    light = vars(bench)["_light"].beams["pump"]
    assert light.detuning_hz == pytest.approx(150e6)
    assert not light.on


def test_a_diode_alone_sets_the_power_by_its_own_current():
    diode = {**LASER, "amplifier": False, "threshold": "40 mA", "full_current": "120 mA"}
    with Bench(load_bench(SMALL_BENCH, {**OVERRIDES, "devices.pump.hardware": diode}), "wire") as bench:
        bench.beam("pump").set_power(100e-6)
        bench.beam("pump").on()
        assert bench.power_meter("meter_pump").read_power() == pytest.approx(100e-6, rel=0.01)


def test_a_bench_on_the_wire_leaves_the_amplifier_whole_and_dark():
    with Bench(load_bench(SMALL_BENCH, OVERRIDES), "wire") as bench:
        bench.beam("pump").on()
        light = vars(bench)["_light"].beams["pump"]
        controller = vars(light)["_controller"]
        controller.interlock_open = True
        assert not light.on
        with pytest.raises(StateError, match="interlock is open"):
            bench.beam("pump").on()
    assert not controller.damaged
    assert not controller.emits("amp")
    assert not controller.emits("dl")
