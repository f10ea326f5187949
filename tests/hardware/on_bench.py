"""One contract suite for each device of the bench that `pytest --bench` names, which alone collects this file."""

from collections.abc import Iterator

import pytest

from labctl.clock import WallClock
from labctl.devices import Device
from labctl.devices.building import DriverSpec, build_driver, import_class
from labctl.errors import LabError
from tests.devices.contracts import device as contract
from tests.hardware.mild import MILD
from tests.hardware.plugin import Selected, driver_specs


def suite(kind: str, spec: DriverSpec) -> type:
    """Return the test class of one device."""

    @pytest.fixture
    def device(_self: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
        monkeypatch.setattr(contract, "READINGS_WANDER", True)
        one = build_driver(spec, WallClock(), {})
        yield one
        monkeypatch.undo()  # a hook that a test replaced is the driver's own again
        try:
            one.close()
        except LabError as error:
            pytest.exit(f"{error}. It did not close; look at the bench now.", returncode=1)

    tested = import_class(spec.driver, f"device {spec.device}")
    return type(f"Test_{spec.device}", (MILD[kind],), {"TESTED": tested, "SPEC": spec, "device": device})


if Selected.file is not None:
    for one in driver_specs(Selected.file):
        globals()[f"Test_{one.device}"] = suite(Selected.file.devices[one.device].kind, one)
