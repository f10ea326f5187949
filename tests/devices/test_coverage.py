"""Nothing that can stand in a bench file as a device, and no adapter, is without its contract."""

import importlib
import inspect
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from labctl.devices import Device
from sim_backends import twins
from tests.conftest import contract_lines
from tests.devices.contracts.device import DeviceContract

ROOT = Path(__file__).parents[2]


def subclasses(base: type) -> set[type]:
    return {one for direct in base.__subclasses__() for one in (direct, *subclasses(direct))}


@pytest.fixture(scope="module")
def tested() -> set[type]:
    """Every class that a contract suite of the tests of devices and drivers names."""
    for folder in ("devices", "drivers"):
        for path in (ROOT / "tests" / folder).glob("test_*.py"):
            importlib.import_module(f"tests.{folder}.{path.stem}")
    return {suite.__dict__["TESTED"] for suite in subclasses(DeviceContract) if "TESTED" in suite.__dict__}


def test_every_driver_that_is_announced_keeps_its_contract(tested: set[type]):
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    announced = {path.replace(":", ".") for path in entries["labctl.drivers"].values()}
    assert announced
    assert announced <= {f"{one.__module__}.{one.__qualname__}" for one in tested}


def test_every_device_class_in_drivers_is_announced(tested: set[type]):
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    modules = [importlib.import_module(f"drivers.{path.stem}") for path in (ROOT / "drivers").glob("[a-z]*.py")]
    devices = {f"{one.__module__}:{one.__qualname__}" for module in modules for one in device_classes(module)}
    assert devices == set(entries["labctl.drivers"].values())


def test_every_twin_keeps_its_contract(tested: set[type]):
    assert device_classes(twins) <= tested
    assert device_classes(twins)


def device_classes(module: object) -> set[type]:
    """Return the kinds of devices a module itself defines, those that can be made."""
    return {
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Device) and one.__module__ == getattr(module, "__name__", "") and not inspect.isabstract(one)
    }


class Tried:
    """Stands for a driver."""

    __module__ = "drivers.tried"


class Failing:
    """Stands for another."""

    __module__ = "drivers.failing"


class StandIn:
    """Stands for a device that only tests know."""


def test_what_is_printed_is_what_passed():
    outcomes = {Tried: Counter(passed=3), Failing: Counter(passed=9, failed=1), StandIn: Counter(passed=1)}
    assert list(contract_lines(outcomes)) == [
        "contract suites: 1 classes passed 3 tests: tried.Tried",
        "contract suites: 1 classes failed: failing.Failing",
    ]
    assert list(contract_lines({})) == []
