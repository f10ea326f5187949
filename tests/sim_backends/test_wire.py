"""Real drivers on instrument simulators move the same simulated light as twins do, and leave it dark."""

import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labctl.acquisition import Shots, measure
from labctl.bench import Bench, BenchFile, load_bench
from labctl.clock import ManualClock
from labctl.devices import PatternStack, identity_codebook
from labctl.errors import ConfigError, DeviceError
from labctl.plan import parse_settings
from labctl.records import Record
from labctl.training.gradient import cosine
from labctl.training.in_situ import train_in_situ
from tests.conftest import SMALL_BENCH, OpenTable, Table
from tests.training.test_resume import SETTINGS

SHORT = {**SETTINGS, "train_samples": 32, "epochs": 1, "checkpoint_every": 1, "agreement_every": 2}
BEAMS = {"pump": "250 uW", "pump_hidden": "6 mW", "probe": "50 uW", "reference": "12 mW"}


def _beam(channel: int, full_power: str) -> dict[str, Any]:
    modulator = {"carrier": "200 MHz", "passes": 2, "full_power": full_power, "full_rf_dbm": 33}
    return {
        "driver": "drivers.moglabs_rf.RfBeam",
        "wire": "sim_backends.wire.RfBeamWire",
        "connection": "rf",
        "hardware": {"channel": channel, **modulator},
    }


def wires() -> dict[str, Any]:
    """Return the overrides that give the small bench a real driver wherever there is an instrument simulator."""
    entries: dict[str, dict[str, Any]] = {
        name: _beam(channel, full_power) for channel, (name, full_power) in enumerate(BEAMS.items(), 1)
    }
    entries["pump"]["hardware"]["shutter"] = {"url": "COM6"}
    entries["cell"] = {
        "driver": "drivers.thorlabs_tc200.TC200Cell",
        "wire": "sim_backends.wire.TC200Wire",
        "hardware": {"url": "COM3"},
    }
    entries["slit_stage"] = {
        "driver": "drivers.pi_gcs2.GcsStage",
        "wire": "sim_backends.wire.GcsWire",
        "hardware": {"url": "COM7", "axes": {"x": {"id": "1", "zero": "100 um"}}},
    }
    entries["meter_pump"] = {
        "driver": "drivers.thorlabs_pm100.PM100",
        "wire": "sim_backends.wire.PM100Wire",
        "hardware": {"url": "COM4", "serial": "P0012345"},
    }
    box = {
        "driver": "drivers.moglabs_rf.RfBox",
        "wire": "sim_backends.wire.RfBoxWire",
        "hardware": {"url": "socket://192.168.1.20:7802"},
    }
    named = {f"devices.{name}.{key}": value for name, entry in entries.items() for key, value in entry.items()}
    settings = {"cell.settings.tolerance": 0.1, "cell.settings.settle": "30 s", "pump.settings.shutter": "15 ms"}
    return {"connections.rf": box, **named, **{f"devices.{path}": value for path, value in settings.items()}}


def wired_file(**overrides: Any) -> BenchFile:
    return load_bench(SMALL_BENCH, {**wires(), **overrides})


@pytest.fixture
def still(quiet: dict[str, Any]) -> BenchFile:
    """The wired small bench without noise and imperfections."""
    return wired_file(**quiet)


@pytest.fixture
def bench(still: BenchFile) -> Iterator[Bench]:
    with Bench(still, "wire") as bench:
        yield bench


def lights(bench: Bench) -> Any:
    """Return the light path's beams."""
    return vars(bench)["_light"].beams


# ---- which devices, and on what


def test_devices_with_a_wire_have_their_driver_and_all_others_their_twin(bench: Bench):
    wired = {*BEAMS, "cell", "slit_stage", "meter_pump"}
    assert bench.wired == wired
    assert bench.simulated == set(bench.file.devices)
    packages = {name: type(device).__module__.partition(".")[0] for name, device in bench.devices.items()}
    assert {name for name, package in packages.items() if package == "drivers"} == wired
    assert {package for name, package in packages.items() if name not in wired} == {"sim_backends"}
    assert isinstance(bench.clock, ManualClock)
    assert bench.light_is_simulated


def test_drivers_are_told_where_the_simulators_are_and_the_file_keeps_its_ports(bench: Bench):
    spec = vars(type(bench))["_driver_spec"](bench, "pump")
    assert spec.driver == "drivers.moglabs_rf.RfBeam"
    assert spec.hardware["channel"] == 1
    shutter = bench.file.devices["pump"].hardware["shutter"]["url"]
    box = bench.file.connections["rf"].hardware["url"]
    assert (shutter, box) == ("COM6", "socket://192.168.1.20:7802")
    assert spec.connection
    assert {spec.hardware["shutter"]["url"], spec.connection.hardware["url"]}.isdisjoint({shutter, box})


def test_its_calibrations_are_those_of_its_twins(still: BenchFile):
    assert Bench(still, "wire").identity == Bench(still, True).identity


def test_a_bench_without_a_wire_is_refused(small_bench_file: Path):
    with pytest.raises(ConfigError, match=r"small_cell names no `wire:`; write --simulate for twins"):
        Bench(load_bench(small_bench_file), "wire")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"devices.cell.driver": None}, r"cell: wire: there is no `driver:`"),
        ({"connections.rf.wire": None}, r"wire: its connection 'rf' has none; add `wire:` there"),
    ],
)
def test_a_wire_that_nothing_would_speak_to_is_refused(overrides: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        wired_file(**overrides)


@pytest.mark.parametrize("name", ["wire", "all"])
def test_a_device_must_not_be_called_what_simulate_means_something_by(name: str):
    axes = {"x": {"low": "0 um", "high": "1 um"}}
    stage = {"kind": "stage", "settings": {"axes": axes, "settle": "1 ms", "tolerance": "1 nm", "timeout": "1 s"}}
    with pytest.raises(ConfigError, match=f"a device cannot be called '{name}'"):
        load_bench(SMALL_BENCH, {f"devices.{name}": stage})


def test_a_wired_bench_opens_again_and_leaves_no_thread(still: BenchFile):
    before = set(threading.enumerate())
    bench = Bench(still, "wire")
    for _ in range(2):
        with bench:
            bench.beam("pump").on()
            assert lights(bench)["pump"].on
        assert not lights(bench)["pump"].on
        assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"devices.slit_stage.hardware.axes": {"y": {"id": "1"}}}, "axes y are named"),
        ({"devices.cell.settings.min_temperature": "10 degC"}, "a TC200 regulates 20 to 200 degC"),
        ({"devices.probe.hardware.channel": 1}, "channel 1 of 'rf' is that of"),
        ({"devices.pump.hardware.carrier": "1 GHz"}, "Frequency out of range"),
        ({"devices.pump.wire": "sim_backends.wire.Nothing"}, "device pump: no class 'sim_backends.wire.Nothing'"),
    ],
)
def test_what_a_driver_refuses_leaves_nothing_open(overrides: dict[str, Any], says: str):
    before = set(threading.enumerate())
    with pytest.raises((ConfigError, DeviceError), match=says):
        Bench(wired_file(**overrides), "wire").__enter__()
    assert set(threading.enumerate()) <= before


# ---- each driver moves the light


def test_a_channel_that_is_on_makes_light_of_the_power_it_was_asked_for(bench: Bench):
    for name in BEAMS:
        light, beam = lights(bench)[name], bench.beam(name)
        assert not light.on
        beam.on()
        assert light.on
        for share in (1.0, 0.5, 0.01):
            power_w = share * beam.settings.max_power_w
            beam.set_power(power_w)
            # the driver writes thousandths of a decibel: 2.3e-4 of the power at most
            assert light.power_w == pytest.approx(power_w, rel=3e-4)
        beam.off()
        assert not light.on


def test_detuning_and_phase_are_those_of_the_light(bench: Bench):
    probe, light = bench.beam("probe"), lights(bench)["probe"]
    probe.set_detuning(-30e6)
    assert light.detuning_hz == pytest.approx(-30e6, abs=2)
    probe.set_phase(2.0)
    assert light.phase_rad % (2 * math.pi) == pytest.approx(2.0, abs=1e-5)


def test_a_closed_shutter_keeps_the_light_out_whatever_the_rf_does(bench: Bench):
    pump, light = bench.beam("pump"), lights(bench)["pump"]
    pump.on()
    assert bench.power_meter("meter_pump").read_power() == pytest.approx(pump.power_w, rel=1e-3)
    shutter = vars(pump)["_shutter"]
    shutter.switch(False)
    bench.clock.wait(0.009)
    assert light.on
    bench.clock.wait(0.002)
    assert not light.on
    assert bench.power_meter("meter_pump").read_power() == 0.0


def test_the_cell_warms_in_bench_time_at_its_ramp(bench: Bench):
    cell, atoms = bench.cell("cell"), vars(bench)["_light"].temperatures_c["cell"]
    start_s = bench.clock.now_s()
    cell.set_temperature(60.0)
    cell.wait_for_temperature(60.0)
    assert atoms() == pytest.approx(60.0, abs=0.05)
    assert bench.clock.now_s() - start_s == pytest.approx(20 * 60, rel=0.1)


def test_the_stage_moves_the_slit_from_its_own_zero(bench: Bench):
    position = vars(bench)["_light"].positions_m["slit_stage"]
    assert position["x"] == 0.0
    bench.stage("slit_stage").move_to(x=-25e-6)
    assert dict(position) == {"x": pytest.approx(-25e-6)}


def stepped(table: Table) -> tuple[NDArray[np.float64], float]:
    """Return what a camera reads (shots, modes) of one pattern under a stepped reference, and the time that is then."""
    table.write("slm_1", 0.5)
    patterns = {"dmd_input": table.stack("dmd_input", np.ones(22))}
    phases, same = {"reference": np.array([0.0, math.pi / 2, math.pi, 0.3])}, {"dmd_input": np.zeros(4, int)}
    shots = Shots(("camera_z1",), frozenset({"pump", "reference"}), same, phases)
    counts = measure(table.bench, patterns, [shots]).frames["camera_z1"].counts
    return counts[:, 0].astype(float), table.bench.clock.now_s()


def test_a_loaded_table_steps_the_phase_at_triggers_as_a_twin_does(open_table: OpenTable, quiet: dict[str, Any]):
    overrides = {**wires(), **quiet}
    seen, now_s = stepped(open_table(overrides, simulate="wire"))
    expected, then_s = stepped(open_table(overrides))
    assert (expected.max(axis=0) - expected.min(axis=0)).max() > 0.1 * expected.max()
    # a power is written in thousandths of a decibel
    np.testing.assert_allclose(seen, expected, rtol=3e-4)
    assert now_s == then_s


def test_triggers_that_do_not_fit_a_loaded_table_are_refused(bench: Bench):
    reference, dmd = bench.beam("reference"), bench.dmd("dmd_input")
    reference.load_phases([0.0, 1.0, 2.0])
    sequence = dmd.load(PatternStack(np.zeros((2, *dmd.shape), np.uint16), identity_codebook(1)))
    with pytest.raises(DeviceError, match="reference: has 3 phases loaded, dmd_input triggers 2"):
        dmd.play(sequence)
    reference.clear_phases()
    dmd.play(sequence)


# ---- a training


def trained(file: BenchFile, simulate: bool | str) -> list[Record]:
    """Return the records of a training of one epoch."""
    settings = parse_settings(train_in_situ, SHORT)
    with Bench(file, simulate) as bench:
        return list(train_in_situ(bench, settings, np.random.default_rng(0)))


def gradients(records: Sequence[Record]) -> list[NDArray[np.float32]]:
    """Return the gradients, layer by layer, that were measured with the weights it began with."""
    first = next(record for record in records if record.kind == "agreement")
    return [first.arrays[name] for name in ("gradient_1", "gradient_2")]


def test_without_noise_its_gradients_are_those_of_twins(still: BenchFile):
    for wired, twins in zip(gradients(trained(still, "wire")), gradients(trained(still, True)), strict=True):
        assert cosine(wired, twins) > 0.99999
        # the controller's set point is in tenths: 0.05 K are 0.4 % of the optical depth
        assert np.linalg.norm(wired) == pytest.approx(np.linalg.norm(twins), rel=0.01)


def test_with_noise_it_trains_as_twins_do():
    wired, twins = trained(wired_file(), "wire"), trained(wired_file(), True)
    assert [record.kind for record in wired] == [record.kind for record in twins]
    for one, other in zip(gradients(wired), gradients(twins), strict=True):
        assert cosine(one, other) > 0.99
    for record in wired:
        if record.kind == "agreement":
            assert all(layer["cosine"] > 0.95 for layer in record.values["layers"])


def test_a_training_goes_on_from_a_checkpoint_as_it_does_on_a_table(still: BenchFile):
    settings = parse_settings(train_in_situ, SHORT)
    records = trained(still, "wire")
    place = next(k for k, record in enumerate(records) if record.kind == "checkpoint" and record.index)
    with Bench(still, "wire") as bench:
        assert bench.simulation_state() == {}
        rest = list(train_in_situ(bench, settings, np.random.default_rng(0), records[place]))
    kinds = [record.kind for record in records[place + 1 :]]
    assert [record.kind for record in rest] == kinds
    for name, weights in records[-1].arrays.items():
        assert cosine(rest[-1].arrays[name].astype(float), weights.astype(float)) > 0.999


# ---- faults


def test_a_fault_of_the_bench_file_hits_a_real_driver():
    fault = {"device": "pump", "fault": "disconnect", "at": 60}
    bench = Bench(wired_file(**{"simulation.faults": [fault]}), "wire").__enter__()
    pump, light = bench.beam("pump"), lights(bench)["pump"]
    pump.on()
    assert light.on
    with pytest.raises(DeviceError, match=r"pump: .*injected disconnect"):
        any(not pump.is_on for _ in range(60))
    assert not light.on
    bench.close()
