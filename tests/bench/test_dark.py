"""Every way out of a bench ends dark, whatever fails on the way."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.errors import DeviceError, LimitError, RunStopped, StateError
from sim_backends.twins import TwinBeam
from tests.bench.conftest import BEAMS, break_, light, lit

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


def test_a_bench_was_lit_once_a_beam_was_switched_on(bench: Bench):
    beam = bench.beam("pump")
    with pytest.raises(LimitError):
        beam.set_power(1e3)
    beam.set_power(0.5 * beam.settings.max_power_w)
    bench.make_safe()
    assert not bench.was_lit
    beam.on()
    beam.off()
    assert bench.was_lit
