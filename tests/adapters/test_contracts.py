"""Every adapter keeps its contract, on twins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pymmcore_plus.experimental.unicore import Device as PyDevice
from pymmcore_plus.experimental.unicore import UniMMCore
from slmsuite.hardware.cameras.camera import Camera
from slmsuite.hardware.slms.slm import SLM

from labctl.adapters import mmcore, mmcore_devices, slmsuite
from labctl.adapters.mmcore import BenchCore, unicore
from labctl.adapters.mmcore_devices import (
    Access,
    BenchAxis,
    BenchBeam,
    BenchCamera,
    BenchCell,
    BenchMeter,
    BenchPanel,
    BenchXYStage,
)
from labctl.bench import Bench, load_bench
from labctl.devices import Device
from tests.adapters.contracts import Adapted, AdapterContract
from tests.conftest import SMALL_BENCH

TRAVEL = {"low": "-100 um", "high": "100 um"}
STAGE = {
    "kind": "stage",
    "twin": "sim_backends.twins.TwinStage",
    "settings": {"axes": dict.fromkeys("xyz", TRAVEL), "settle": "20 ms", "tolerance": "20 nm", "timeout": "2 s"},
}


@pytest.fixture(scope="module")
def open_bench() -> Iterator[Bench]:
    with Bench(load_bench(SMALL_BENCH, {"devices.stage": STAGE}), True) as bench:
        yield bench


@pytest.fixture
def bench(open_bench: Bench) -> Bench:
    """The bench with all its devices open, whatever a test before this one has closed."""
    for device in open_bench.devices.values():
        if not device.is_open:
            device.open()
    return open_bench


# ---- slmsuite


def on_loan(device: Device, adapter: Any, **more: Any) -> Adapted:
    """Return what slmsuite holds: every use raises a fault that was kept."""
    return Adapted(
        device,
        adapter,
        again=more["use"],
        clear=lambda: setattr(adapter, "fault", None),
        leave=adapter.close,
        **more,
    )


class TestSlmsuitePanel(AdapterContract):
    TESTED = slmsuite.BenchSLM

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        panel = bench.slm("slm_1")
        adapter = slmsuite.BenchSLM(panel, bench.file.laser.wavelength_m)
        return on_loan(panel, adapter, use=lambda: adapter.set_phase(None), hook="_do_show_blocks")


class TestSlmsuiteCamera(AdapterContract):
    TESTED = slmsuite.BenchCamera

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        sensor = bench.camera("camera_z1")
        adapter = slmsuite.BenchCamera(sensor)
        return on_loan(
            sensor,
            adapter,
            use=adapter.get_image,
            hook="_do_collect",
            read=lambda: adapter.exposure_s,
            settings=((lambda: sensor.set_exposure(1e-3), 1e-3), (lambda: sensor.set_exposure(2e-3), 2e-3)),
        )


# ---- pymmcore-plus


def in_core(device: Device, wrapped: PyDevice, access: Access, label: str, **more: Any) -> Adapted:
    """Return what a core holds under `label`, on its own; `use` and `read` take the core."""
    core = UniMMCore()
    core.loadPyDevice(label, wrapped)
    core.initializeDevice(label)
    use, read = more.pop("use"), more.pop("read", lambda _: None)

    def again() -> None:
        if access.fault:
            raise access.fault

    return Adapted(
        device,
        wrapped,
        use=lambda: use(core),
        read=lambda: read(core),
        again=again,
        clear=lambda: setattr(access, "fault", None),
        leave=core.unloadAllDevices,
        **more,
    )


class TestBenchBeam(AdapterContract):
    TESTED = BenchBeam

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        beam, access = bench.beam("probe"), Access()
        return in_core(
            beam,
            BenchBeam(beam, access),
            access,
            "probe",
            use=lambda core: core.setProperty("probe", "Power_mW", 0.01),
            hook="_do_set_power",
            read=lambda core: float(core.getProperty("probe", "Power_mW")),
            settings=((lambda: beam.set_power(5e-6), 5e-3), (lambda: beam.set_power(9e-6), 9e-3)),
        )


class TestBenchCell(AdapterContract):
    TESTED = BenchCell

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        cell, access = bench.cell("cell"), Access()

        def warm(temperature_c: float) -> None:
            cell.set_temperature(temperature_c)
            cell.wait_for_temperature(temperature_c)

        return in_core(
            cell,
            BenchCell(cell, access),
            access,
            "cell",
            use=lambda core: core.getProperty("cell", "Temperature_C"),
            hook="_do_temperature_c",
            read=lambda core: round(float(core.getProperty("cell", "Temperature_C"))),
            settings=((lambda: warm(26.0), 26), (lambda: warm(27.0), 27)),
        )


class TestBenchMeter(AdapterContract):
    TESTED = BenchMeter

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        meter, access = bench.power_meter("meter_pump"), Access()
        return in_core(
            meter,
            BenchMeter(meter, access),
            access,
            "meter",
            use=lambda core: core.getProperty("meter", "Power_mW"),
            hook="_do_power_w",
        )


class TestBenchPanel(AdapterContract):
    TESTED = BenchPanel

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        panel, access = bench.slm("slm_1"), Access()

        def use(core: UniMMCore) -> None:
            core.setSLMImage("slm", np.zeros(panel.shape, np.uint8))
            core.displaySLMImage("slm")

        return in_core(panel, BenchPanel(panel, access), access, "slm", use=use, hook="_do_show_blocks")


class TestBenchAxis(AdapterContract):
    TESTED = BenchAxis

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        stage, access = bench.stage("stage"), Access()
        return in_core(
            stage,
            BenchAxis(stage, "z", access),
            access,
            "z",
            use=lambda core: core.setPosition("z", 3.0),
            hook="_do_move",
            read=lambda core: core.getPosition("z"),
            settings=((lambda: stage.move_to(z=10e-6), 10.0), (lambda: stage.move_to(z=-5e-6), -5.0)),
        )


class TestBenchXYStage(AdapterContract):
    TESTED = BenchXYStage

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        stage, access = bench.stage("stage"), Access()
        return in_core(
            stage,
            BenchXYStage(stage, access),
            access,
            "xy",
            use=lambda core: core.setXYPosition("xy", 1.0, 2.0),
            hook="_do_move",
            read=lambda core: core.getXYPosition("xy"),
            settings=((lambda: stage.move_to(x=1e-5, y=0.0), [10, 0]), (lambda: stage.move_to(x=0.0, y=2e-5), [0, 20])),
        )


class TestBenchCamera(AdapterContract):
    TESTED = BenchCamera

    @pytest.fixture
    def adapted(self, bench: Bench) -> Adapted:
        camera, access = bench.camera("camera_z1"), Access()

        def use(core: UniMMCore) -> None:
            core.setCameraDevice("camera")
            core.snapImage()
            core.getImage()

        return in_core(
            camera,
            BenchCamera(camera, access),
            access,
            "camera",
            use=use,
            hook="_do_collect",
            read=lambda core: core.getExposure("camera"),
            settings=((lambda: camera.set_exposure(1e-3), 1.0), (lambda: camera.set_exposure(2e-3), 2.0)),
        )


class TestBenchCore(AdapterContract):
    TESTED = BenchCore

    @pytest.fixture
    def adapted(self, bench: Bench) -> Iterator[Adapted]:
        beam = bench.beam("probe")
        with unicore(bench) as core:
            yield Adapted(
                beam,
                core,
                use=lambda: core.setProperty("probe", "Power_mW", 0.01),
                hook="_do_set_power",
                again=core.raise_fault,
                clear=core.clear_fault,
                leave=core.unloadAllDevices,
                read=lambda: float(core.getProperty("probe", "Power_mW")),
                settings=((lambda: beam.set_power(5e-6), 5e-3), (lambda: beam.set_power(9e-6), 9e-3)),
            )
            if not beam.is_open:
                beam.open()  # what ends here darkens it once more


def test_every_adapter_keeps_its_contract():
    foreign = (SLM, Camera, PyDevice, UniMMCore)
    defined = {
        one
        for module in (slmsuite, mmcore, mmcore_devices)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, foreign) and one.__module__ == module.__name__
    }
    assert defined == {suite.TESTED for suite in AdapterContract.__subclasses__()}
