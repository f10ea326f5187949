"""A bench opens all its devices or none: twins, drivers, or both side by side."""

import math
from pathlib import Path
from typing import Any

import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.clock import Clock, ManualClock, WallClock
from labctl.devices import Stage, StageSettings
from labctl.errors import ConfigError, ConnectError, DriverMissing, StateError
from labctl.optics.parameters import believed
from sim_backends.twins import TwinBeam, TwinCamera
from tests.bench.conftest import BEAMS

# ---- which devices


def test_all_twins_open_in_the_order_of_the_file(file: BenchFile):
    with Bench(file, True) as bench:
        assert list(bench.devices) == list(file.devices)
        assert all(device.is_open for device in bench.devices.values())
        assert bench.simulated == set(file.devices)
        assert isinstance(bench.clock, ManualClock)
    assert not bench.devices


def test_a_bench_opens_again(file: BenchFile):
    bench = Bench(file, True)
    for _ in range(2):
        with bench:
            assert bench.beam("pump").is_open
        with pytest.raises(StateError, match="pump"):
            bench.beam("pump")


GETTERS = {
    "slm_1": "slm",
    "dmd_input": "dmd",
    "camera_z1": "camera",
    "pump": "beam",
    "cell": "cell",
    "slit_stage": "stage",
    "meter_pump": "power_meter",
}


def test_devices_are_had_by_kind_and_another_kind_is_refused(file: BenchFile):
    with Bench(file, True) as bench:
        for name, kind in GETTERS.items():
            assert getattr(bench, kind)(name) is bench[name]
            for other in set(GETTERS.values()) - {kind}:
                with pytest.raises(ConfigError, match=rf"{name}: a {other} is needed.*a {kind}"):
                    getattr(bench, other)(name)
        for get in (bench.slm, bench.beam, bench.__getitem__):
            with pytest.raises(StateError, match=r"nothing.*small_cell"):
                get("nothing")


def test_its_state_is_that_of_every_device(file: BenchFile):
    with Bench(file, True) as bench:
        state = bench.state()
        assert list(state) == list(file.devices)
        assert state["pump"]["power_w"] == file.settings("pump").power_w
        bench.beam("pump").set_power(1e-6)
        assert bench.state()["pump"]["power_w"] == pytest.approx(1e-6)


def test_without_a_driver_a_device_does_not_open_on_the_table(file: BenchFile):
    with pytest.raises(DriverMissing, match=r"dmd_input: .*driver.*--simulate"), Bench(file):
        pass


@pytest.mark.parametrize(
    ("what", "named", "says"),
    [
        (
            "devices.pump.twin",
            "sim_backends.twins.TwinCamera",
            "device pump: 'sim_backends.twins.TwinCamera' is no beam",
        ),
        ("devices.camera_z1.twin", "os.system", "device camera_z1: 'os.system' is no class"),
        ("simulation.light_path", "os.getcwd", "simulation.light_path: 'os.getcwd' is no class"),
        ("simulation.light_path", "sim_backends.twins.TwinCamera", "makes no light of this bench"),
    ],
)
def test_a_twin_of_something_else_is_refused(small_bench_file: Path, what: str, named: str, says: str):
    with pytest.raises(ConfigError, match=says), Bench(load_bench(small_bench_file, {what: named}), True):
        pass


def test_a_driver_of_something_else_is_refused(small_bench_file: Path):
    pump = {"driver": "drivers.thorlabs_tc200.TC200Cell", "hardware": {"url": "COM1"}}
    changes = {f"devices.pump.{key}": value for key, value in pump.items()}
    file = load_bench(small_bench_file, changes)
    with pytest.raises(ConfigError, match=r"device pump: 'drivers.thorlabs_tc200.TC200Cell' is no beam"), Bench(file):
        pass


def test_part_of_the_light_path_alone_is_not_simulated(file: BenchFile):
    for names in (["slm_1"], ["cell", "pump"], sorted(file.light_devices)[1:]):
        missing = sorted(file.light_devices - set(names))
        with pytest.raises(ConfigError, match=", ".join(missing)):
            Bench(file, names)


def test_an_unknown_device_is_not_simulated(file: BenchFile):
    with pytest.raises(ConfigError, match=r"slm_9.*small_cell.*slm_1"):
        Bench(file, ["slm_9", *file.light_devices])


class TableStage(Stage):
    """A driver for a stage beside the light path."""

    def __init__(self, name: str, clock: Clock, settings: StageSettings, hardware: dict[str, Any]) -> None:
        super().__init__(name, clock, settings)
        self.hardware = hardware

    def _do_open(self) -> None:
        if self.hardware.get("port") == "COM9":
            raise ConnectError(self.name, "no answer on COM9")

    def _do_close(self) -> None: ...

    def _do_state(self) -> dict[str, Any]:
        return {}

    def _do_position_m(self) -> dict[str, float]:
        return {"z": 0.0}

    def _do_move(self, target_m: Any) -> None: ...

    def _do_stop(self) -> None: ...


def with_spare_stage(small_bench_file: Path, port: str = "COM3") -> BenchFile:
    travel = {"low": "0 mm", "high": "1 mm"}
    settings = {"axes": {"z": travel}, "settle": "1 ms", "tolerance": "1 um", "timeout": "1 s"}
    driver = f"{__name__}.TableStage"
    spare = {"kind": "stage", "driver": driver, "hardware": {"port": port}, "settings": settings}
    return load_bench(small_bench_file, {"devices.spare_stage": spare})


def test_drivers_and_twins_stand_side_by_side(small_bench_file: Path):
    file = with_spare_stage(small_bench_file)
    assert "spare_stage" not in file.light_devices
    with Bench(file, file.light_devices) as bench:
        stage = bench.stage("spare_stage")
        assert isinstance(stage, TableStage)
        assert stage.hardware == {"port": "COM3"}
        assert isinstance(bench.beam("pump"), TwinBeam)
        assert isinstance(bench.clock, WallClock)  # a driver needs real time


def test_a_clock_can_be_given(file: BenchFile):
    clock = ManualClock(start_s=7.0)
    with Bench(file, True, clock=clock) as bench:
        assert bench.clock is clock
        assert all(device.clock is clock for device in bench.devices.values())
        bench.beam("pump").on()
        assert clock.now_s() > 7.0


# ---- opening


class LostCamera(TwinCamera):
    """A camera that does not answer when it is opened."""

    def _do_open(self) -> None:
        raise ConnectError(self.name, "does not answer; check its cable")


@pytest.mark.parametrize("lost", ["camera_z1", "camera_output"])
def test_when_a_device_does_not_open_those_before_it_are_closed(small_bench_file: Path, closed: list[str], lost: str):
    file = load_bench(small_bench_file, {f"devices.{lost}.twin": f"{__name__}.LostCamera"})
    bench = Bench(file, True)
    with pytest.raises(ConnectError, match=f"{lost}: does not answer"), bench:
        pass
    before = list(file.devices)[: list(file.devices).index(lost)]
    assert closed == list(reversed(before))
    assert not bench.devices


class LitBeam(TwinBeam):
    """A beam that is found on when it is opened, as after a crash."""

    def _do_open(self) -> None:
        self._do_switch(True)


def test_a_failed_opening_leaves_beams_dark(small_bench_file: Path, monkeypatch: pytest.MonkeyPatch):
    plain = load_bench(small_bench_file, {f"devices.{name}.twin": f"{__name__}.LitBeam" for name in BEAMS})
    entries = dict(sorted(plain.devices.items(), key=lambda one: one[0] not in BEAMS))
    entries["slm_2"] = entries["slm_2"].model_copy(update={"twin": None})
    switched: list[tuple[str, bool]] = []
    monkeypatch.setattr(TwinBeam, "_do_switch", lambda beam, on: switched.append((beam.name, on)))
    with pytest.raises(DriverMissing), Bench(plain.model_copy(update={"devices": entries}), True):
        pass
    assert [name for name, on in switched if on] == list(BEAMS)
    assert [name for name, on in switched if not on] == list(BEAMS)


def test_a_driver_that_does_not_answer_closes_the_twins(small_bench_file: Path, closed: list[str]):
    file = with_spare_stage(small_bench_file, "COM9")
    with pytest.raises(ConnectError, match=r"spare_stage: .*COM9"), Bench(file, file.light_devices):
        pass
    assert sorted(closed) == sorted(file.light_devices)


# ---- truth


def test_the_truth_is_the_files_unless_another_is_asked_for(file: BenchFile):
    assert Bench(file, True).truth_seed == file.simulation.truth_seed
    assert Bench(file, True, truth_seed=5).truth_seed == 5
    assert Bench(file, True, truth_seed=0).truth_seed == 0


def test_what_is_believed_is_in_the_file_whatever_the_truth(file: BenchFile):
    before = believed(file.parameters())
    with Bench(file, True, truth_seed=5):
        assert believed(file.parameters()) == before
    assert all(math.isfinite(value) for value in before.values())
