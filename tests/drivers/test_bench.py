"""A bench file's `driver:` and `hardware:` open real drivers beside twins."""

from contextlib import ExitStack
from typing import Any

import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.clock import ManualClock, WallClock
from labctl.devices import Device
from labctl.devices.building import ConnectionSpec, DriverSpec, build_driver
from labctl.documents import shipped_benches
from labctl.errors import ConfigError
from sim_backends.instruments.gcs2 import Gcs2Controller
from tests.conftest import SMALL_BENCH
from tests.drivers.wire import on_fastest


def with_objective(hardware: dict[str, Any]) -> tuple[BenchFile, list[str]]:
    """Return the small bench with an objective's stage that has a driver, and the names of all its other devices."""
    settings = {
        "axes": {"z": {"low": "0 um", "high": "100 um"}},
        "settle": "20 ms",
        "tolerance": "20 nm",
        "timeout": "2 s",
    }
    entry = {"kind": "stage", "driver": "drivers.pi_gcs2.GcsStage", "hardware": hardware, "settings": settings}
    file = load_bench(SMALL_BENCH, {"devices.objective": entry})
    return file, [name for name in file.devices if name != "objective"]


def test_a_stage_on_the_wire_moves_beside_twins():
    clock = ManualClock()
    controller = Gcs2Controller(clock)
    with ExitStack() as stack:
        url = stack.enter_context(on_fastest(controller)).url
        file, twins = with_objective({"url": url, "axes": {"z": {"id": "1"}}})
        bench = stack.enter_context(Bench(file, twins, clock=clock))
        bench.stage("objective").move_to(z=30e-6)
        assert controller.position_um("1") == pytest.approx(30.0)


def test_a_hardware_entry_that_is_wrong_names_its_device():
    file, twins = with_objective({"axes": {"z": {"id": "1"}}})
    with pytest.raises(ConfigError, match="hardware of objective: key 'url' is missing"):
        Bench(file, twins, clock=ManualClock()).__enter__()


@pytest.mark.parametrize("name", shipped_benches())
def test_what_a_shipped_bench_says_of_its_drivers_is_what_they_take(name: str):
    file, connections = load_bench(name), dict[str, Any]()
    for device, entry in file.devices.items():
        if entry.driver:
            shared = file.connections[entry.connection] if entry.connection else None
            connection = ConnectionSpec(str(entry.connection), shared.driver, shared.hardware) if shared else None
            spec = DriverSpec(device, entry.driver, entry.settings, entry.hardware, connection)
            assert isinstance(build_driver(spec, WallClock(), connections), Device)


@pytest.mark.parametrize("name", shipped_benches())
def test_a_shipped_bench_opens_with_its_real_drivers_on_simulated_instruments(name: str):
    with Bench(load_bench(name), "wire") as bench:
        beams = {beam.name: beam for beam in bench.beams}
        assert beams.keys() <= bench.wired
        for beam in beams.values():
            beam.on()
        assert all(light.on for light in vars(bench)["_light"].beams.values())
    assert not any(light.on for light in vars(bench)["_light"].beams.values())
