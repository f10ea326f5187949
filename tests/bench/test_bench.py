"""A bench opens all its devices or none, and every way out of it ends dark, whatever fails on the way."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.clock import Clock, ManualClock, WallClock
from labctl.devices import Device, Stage, StageSettings
from labctl.errors import ConfigError, ConnectError, DeviceError, DriverMissing, RunStopped, StateError
from labctl.optics.parameters import believed
from sim_backends.twins import TwinBeam, TwinCamera

BEAMS = ("reference", "probe", "pump_hidden", "pump")


@pytest.fixture(scope="module")
def file() -> BenchFile:
    return load_bench(Path(__file__).parent.parent / "benches" / "small_cell.yaml")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of devices in the order in which they are closed."""
    order: list[str] = []
    close = Device.close

    def noted(device: Device) -> None:
        if device.is_open:
            order.append(device.name)
        close(device)

    monkeypatch.setattr(Device, "close", noted)
    return order


def break_(monkeypatch: pytest.MonkeyPatch, bench: Bench, name: str, hook: str, error: BaseException) -> None:
    """Let one hook of one device raise `error`."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(bench[name], hook, fail)


def lit(bench: Bench) -> set[str]:
    return {beam.name for beam in bench.beams if beam.is_on}


def light(bench: Bench) -> dict[str, Any]:
    """Switch all beams on and return their devices, to be asked when the bench is closed."""
    for name in BEAMS:
        bench.beam(name).on()
    return {name: bench.beam(name) for name in BEAMS}


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


# ---- closing


def test_beams_close_first_and_the_rest_in_reverse_order(file: BenchFile, closed: list[str]):
    with Bench(file, True) as bench:
        light(bench)
    assert set(closed[: len(BEAMS)]) == set(BEAMS)
    assert closed[len(BEAMS) :] == [name for name in reversed(list(file.devices)) if name not in BEAMS]


def test_beams_close_first_wherever_they_stand_in_the_file(small_bench_file: Path, closed: list[str]):
    plain = load_bench(small_bench_file)
    entries = dict(sorted(plain.devices.items(), key=lambda one: one[0] not in BEAMS))
    file = plain.model_copy(update={"devices": entries})
    assert tuple(file.devices)[:4] == BEAMS
    with Bench(file, True):
        pass
    assert set(closed[:4]) == set(BEAMS)
    assert closed[4:] == [name for name in reversed(list(file.devices)) if name not in BEAMS]


def test_leaving_switches_every_beam_off(file: BenchFile):
    with Bench(file, True) as bench:
        beams = light(bench)
    for beam in beams.values():
        with beam:
            assert not beam.is_on


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), DeviceError("slm_1", "broke")])
def test_a_failing_run_ends_dark_and_keeps_its_error(file: BenchFile, closed: list[str], error: BaseException):
    def run() -> None:
        with Bench(file, True) as bench:
            light(bench)
            raise error

    with pytest.raises(type(error)):
        run()
    assert sorted(closed) == sorted(file.devices)


FORESEEN = [StateError("pump", "stuck"), OSError("port gone"), RuntimeError("vendor code -3")]
UNFORESEEN = [ValueError("vendor wrapper"), KeyError("handle"), AttributeError("no library")]


@pytest.mark.parametrize("error", [*FORESEEN, *UNFORESEEN], ids=lambda error: type(error).__name__)
def test_every_failure_on_closing_is_gathered_and_nothing_is_left_open(
    file: BenchFile, closed: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
):
    leaving = ExitStack()
    bench = leaving.enter_context(Bench(file, True))
    beams, devices = light(bench), dict(bench.devices)
    for name in ("reference", "cell", "slm_1"):  # the first beam of all and two others
        break_(monkeypatch, bench, name, "_do_close", error)
    with pytest.raises(ExceptionGroup, match="small_cell") as raised:
        leaving.close()
    devices_named = [failure.device for failure in raised.value.exceptions if isinstance(failure, DeviceError)]
    assert isinstance(error, DeviceError) or devices_named == ["reference", "cell", "slm_1"]
    assert all(error in (failure, failure.__cause__) for failure in raised.value.exceptions)
    assert sorted(closed) == sorted(file.devices)
    assert not any(device.is_open for device in devices.values())
    monkeypatch.undo()
    for beam in beams.values():
        with beam:
            assert not beam.is_on


def test_a_failure_on_closing_does_not_hide_the_error_that_ended_the_run(
    file: BenchFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def run() -> None:
        with Bench(file, True) as bench:
            break_(monkeypatch, bench, "cell", "_do_close", OSError("port gone"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert "cell" in caplog.text


class StuckBeam(TwinBeam):
    """A beam whose shutter does not move any more once it is open."""

    def _do_switch(self, on: bool) -> None:
        if on:
            super()._do_switch(on)


def test_a_beam_that_stays_lit_is_reported_and_all_others_are_dark(small_bench_file: Path):
    file = load_bench(small_bench_file, {"devices.reference.twin": f"{__name__}.StuckBeam"})
    leaving = ExitStack()
    bench = leaving.enter_context(Bench(file, True))
    light(bench)
    with pytest.raises(ExceptionGroup, match="block the beams") as raised:
        bench.make_safe()
    assert lit(bench) == {"reference"}
    with pytest.raises(ExceptionGroup, match="check beams by eye") as closing:
        leaving.close()
    for group in (raised, closing):
        (failure,) = group.value.exceptions
        assert isinstance(failure, StateError)
        assert failure.device == "reference"


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


# ---- safe and dark


@pytest.fixture
def bench(file: BenchFile) -> Iterator[Bench]:
    with Bench(file, True) as bench:
        yield bench


def test_made_safe_it_is_dark_and_says_how_long_that_took(bench: Bench):
    light(bench)
    took_s = bench.make_safe()
    assert not lit(bench)
    assert took_s == bench.dark_after_s
    assert 0 <= took_s < 0.5
    assert all(device.is_open for device in bench.devices.values())


def test_beams_are_made_safe_before_anything_slow(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    light(bench)
    monkeypatch.setattr(bench["cell"], "_do_make_safe", lambda: bench.clock.wait(100.0))
    assert bench.make_safe() < 0.5


def test_what_cannot_be_made_safe_is_gathered_and_all_else_is_safe(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    light(bench)
    errors = [OSError("cell"), OSError("stage")]
    for name, error in zip(("cell", "slit_stage"), errors, strict=True):
        break_(monkeypatch, bench, name, "_do_make_safe", error)
    with pytest.raises(ExceptionGroup) as raised:
        bench.make_safe()
    assert {failure.__cause__ for failure in raised.value.exceptions} == set(errors)
    assert not lit(bench)
    monkeypatch.undo()


def test_a_pause_darkens_and_brings_back_only_what_was_lit(bench: Bench):
    bench.beam("pump").on()
    bench.beam("probe").on()
    bench.darken()
    assert not lit(bench)
    bench.restore()
    assert lit(bench) == {"pump", "probe"}
    bench.restore()
    assert lit(bench) == {"pump", "probe"}


@pytest.mark.parametrize("error", [None, ZeroDivisionError(), KeyboardInterrupt()])
def test_a_block_ends_dark_however_it_ends(bench: Bench, error: BaseException | None):
    def block() -> None:
        with bench.dark_at_end():
            light(bench)
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            block()
    else:
        block()
    assert not lit(bench)


@pytest.mark.parametrize("way", ["darken", "dark_at_end"])
@pytest.mark.parametrize("cause", ["a broken beam", "a stop"])
def test_all_beams_go_dark_even_when_one_of_them_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, way: str, cause: str
):
    def stop() -> None:
        raise RunStopped("the operator asked for it")

    def go_dark() -> None:
        if way == "darken":
            bench.darken()
        else:
            with bench.dark_at_end():
                pass

    light(bench)
    if cause == "a stop":
        bench.clock.on_wait.append(stop)
    else:
        break_(monkeypatch, bench, "reference", "_do_switch", OSError("port gone"))
    with pytest.raises((RunStopped, DeviceError, ExceptionGroup)):
        go_dark()
    bench.clock.on_wait.clear()
    monkeypatch.undo()
    assert lit(bench) <= ({"reference"} if cause == "a broken beam" else set())


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
