"""A bench file's `driver:` and `hardware:` open real drivers beside twins."""

from contextlib import ExitStack
from typing import Any

import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.clock import ManualClock
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
