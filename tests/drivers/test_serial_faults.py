"""What a bad line does to each serial driver: an error that names device, command and cure, then the right answer."""

import gc
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from drivers.moglabs_rf import RfBeam
from drivers.pi_gcs2 import GcsStage
from drivers.thorlabs_pm100 import PM100
from drivers.thorlabs_tc200 import TC200Cell
from drivers.toptica_dlc_pro import DlcProBeam
from labctl.clock import Clock, WallClock
from labctl.devices import BeamSettings, CellSettings, Device, PowerMeterSettings, StageSettings
from labctl.errors import ConnectError, DeviceError, DeviceTimeout, RunStopped
from sim_backends.instruments.conversation import Instrument, WireFault
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.instruments.gcs2 import Gcs2Controller
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.pm100 import PM100Meter
from sim_backends.instruments.server import Server
from sim_backends.instruments.socket_server import SocketServer
from sim_backends.instruments.tc200 import TC200Heater
from tests.drivers.test_contracts import AMPLIFIED, BEAM, CELL, LASER, METER, STAGE
from tests.drivers.wire import LATE_S, TIMEOUT_S, on_fastest, on_pty, on_socket


@dataclass(frozen=True)
class Case:
    """One driver: its instrument, how to build it, a call with the command it sends, and another with its answer."""

    instrument: Callable[[Clock], Instrument]
    build: Callable[[str, Clock], Device]
    call: Callable[[Any], object]
    command: str
    other: Callable[[Any], object]
    answer: object


def _stage(url: str, clock: Clock) -> Device:
    settings = StageSettings.model_validate({**STAGE, "axes": {"x": {"low": "0 um", "high": "100 um"}}})
    hardware = {"url": url, "timeout": f"{TIMEOUT_S} s", "axes": {"x": {"id": "1"}}}
    return GcsStage("stage", clock, settings, hardware)


def _beam(url: str, clock: Clock) -> Device:
    modulator = {"carrier": "80 MHz", "full_power": "50 uW", "full_rf_dbm": 31}
    hardware = {"url": url, "timeout": f"{TIMEOUT_S} s", **modulator}
    return RfBeam("beam", clock, BeamSettings.model_validate(BEAM), hardware)


def _laser(url: str, clock: Clock) -> Device:
    hardware = {"url": url, "timeout": f"{TIMEOUT_S} s", **AMPLIFIED}
    return DlcProBeam("laser", clock, BeamSettings.model_validate(LASER), hardware)


def _meter(url: str, clock: Clock) -> Device:
    hardware = {"url": url, "timeout": f"{TIMEOUT_S} s"}
    return PM100("meter", clock, PowerMeterSettings.model_validate(METER), hardware)


def _cell(url: str, clock: Clock) -> Device:
    return TC200Cell("cell", clock, CellSettings.model_validate(CELL), {"url": url, "timeout": f"{TIMEOUT_S} s"})


CASES = {
    "stage": Case(
        Gcs2Controller, _stage, lambda stage: stage.position_m, "POS? 1", lambda s: s.state()["servo"], {"x": True}
    ),
    "beam": Case(
        lambda _: MoglabsRf(), _beam, lambda beam: beam.power_w, "POW,1", lambda beam: beam.detuning_hz, 0.0
    ),
    "laser": Case(
        DlcPro,
        _laser,
        lambda laser: laser.power_w,
        "(param-ref 'laser1:amp:cc:current-set)",
        lambda laser: laser.state()["interlock_open"],
        False,
    ),
    "meter": Case(
        lambda _: PM100Meter(lambda: 3e-3),
        _meter,
        lambda meter: meter.read_power(),
        "MEAS:POW?",
        lambda meter: meter.state()["wavelength_m"],
        pytest.approx(780.24e-9),
    ),
    "cell": Case(
        TC200Heater, _cell, lambda cell: cell.temperature_c, "tact?", lambda c: c.state()["set_point_c"], 20.0
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack, case: Case, serve: Callable[[Instrument], Server] = on_fastest) -> tuple[Server, Any]:
    """Return a server and an open device on it."""
    clock = WallClock()
    server = stack.enter_context(serve(case.instrument(clock)))
    device = case.build(server.url, clock)
    device.open()
    stack.callback(_close, device)
    return server, device


def _close(device: Device) -> None:
    with suppress(DeviceError):  # of a port that is gone
        device.close()


def fails(device: Device, case: Case, error: type[DeviceError]) -> str:
    """Return what a call says that fails as it must, in its time."""
    start = time.monotonic()
    with pytest.raises(error) as raised:
        case.call(device)
    # half a second for a machine that is busy otherwise; the meter averages for 50 ms before it asks
    assert time.monotonic() - start <= TIMEOUT_S + 0.5
    message = str(raised.value)
    assert message.startswith(f"{device.name}: ")
    assert f"'{case.command}'" in message
    assert "check" in message.rpartition(";")[2]
    return message


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("silent", DeviceTimeout, "nothing came"),
        ("held", DeviceTimeout, "nothing came"),
        ("half", DeviceTimeout, "only b'"),
        ("garbage", DeviceError, ""),
    ],
)
def test_a_spoilt_answer_is_an_error_and_the_next_is_right(
    case: Case, stack: ExitStack, fault: WireFault, error: type[DeviceError], says: str
):
    server, device = opened(stack, case)
    expected = case.call(device)
    server.misbehave(fault)
    assert says in fails(device, case, error)
    assert case.other(device) == case.answer
    assert case.call(device) == expected


def test_an_answer_that_comes_when_nobody_waits_any_more_is_thrown_away(case: Case, stack: ExitStack):
    server, device = opened(stack, case)
    server.misbehave("late")
    fails(device, case, DeviceTimeout)
    device.clock.wait(LATE_S)
    assert case.other(device) == case.answer


@pytest.mark.parametrize("serve", [on_socket, on_pty])
def test_an_answer_that_came_while_the_process_was_held_up_is_not_late(
    stack: ExitStack, serve: Callable[[Instrument], Server]
):
    case = CASES["beam"]
    server, device = opened(stack, case, serve)
    expected = case.call(device)
    held_until = time.monotonic() + LATE_S + 0.2

    def hold_up() -> None:
        while time.monotonic() < held_until:
            pass

    server.misbehave("late")
    device.clock.on_wait.append(hold_up)
    assert case.call(device) == expected


def test_an_instrument_that_stays_silent_is_found_again_when_it_speaks(case: Case, stack: ExitStack):
    server, device = opened(stack, case)
    server.misbehave("silent", "silent")
    fails(device, case, DeviceTimeout)
    assert "was not sent" in fails(device, case, DeviceTimeout)
    assert case.other(device) == case.answer


@pytest.mark.parametrize("serve", [on_socket, on_pty])
def test_a_port_that_is_gone_stays_gone_until_it_is_opened_again(
    case: Case, stack: ExitStack, serve: Callable[[Instrument], Server]
):
    server, device = opened(stack, case, serve)
    server.unplug()
    fails(device, case, ConnectError)
    if serve is on_socket:
        port = int(server.url.rpartition(":")[2])
        stack.enter_context(SocketServer(case.instrument(device.clock), port))
        assert "close and open it again" in fails(device, case, ConnectError)
        _close(device)
        device.open()
        assert case.other(device) == case.answer


@pytest.mark.parametrize("serve", [on_socket, on_pty])
def test_a_second_opener_is_refused_and_the_first_goes_on(
    case: Case, stack: ExitStack, serve: Callable[[Instrument], Server]
):
    server, device = opened(stack, case, serve)
    second = case.build(server.url, device.clock)
    with pytest.raises(ConnectError, match=rf"{re.escape(server.url)}.*no other program has it open"):
        second.open()
    assert not second.is_open
    assert case.other(device) == case.answer


def test_a_connection_that_is_reset_leaves_no_socket_open():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            client, _ = listener.accept()
            client.recv(1)
            client.close()  # with something unread this is a reset

        threading.Thread(target=reset, daemon=True).start()
        with pytest.raises(ConnectError, match="lost its connection"):
            _meter(f"socket://127.0.0.1:{listener.getsockname()[1]}", WallClock()).open()
    for thread in threading.enumerate():
        if thread.name == "closing meter":
            thread.join()
    gc.collect()  # warns of a socket that was not closed


def test_where_nothing_is_there_is_a_connect_error(case: Case):
    with SocketServer(MoglabsRf()) as server:
        url = server.url
    with pytest.raises(ConnectError, match=rf"cannot open {re.escape(url)}.*check its power, cable and port name"):
        case.build(url, WallClock()).open()


def test_another_instrument_on_the_port_is_a_connect_error(stack: ExitStack):
    server = stack.enter_context(on_socket(MoglabsRf()))
    with pytest.raises(ConnectError, match="the instrument the bench file says"):
        _meter(server.url, WallClock()).open()


def test_another_serial_number_is_a_connect_error(stack: ExitStack):
    server = stack.enter_context(on_socket(PM100Meter(serial="M0001")))
    hardware = {"url": server.url, "serial": "M0002"}
    meter = PM100("meter", WallClock(), PowerMeterSettings.model_validate(METER), hardware)
    with pytest.raises(ConnectError, match=r"M0002.*M0001"):
        meter.open()


def test_a_stop_while_an_answer_is_awaited_leaves_the_line_usable(case: Case, stack: ExitStack):
    server, device = opened(stack, case)

    def stop() -> None:
        if time.monotonic() > start + 0.1:  # the meter averages first
            device.clock.on_wait.remove(stop)
            raise RunStopped("the operator asked for it")

    server.misbehave("late")
    start = time.monotonic()
    device.clock.on_wait.append(stop)
    with pytest.raises(RunStopped):
        case.call(device)
    device.clock.wait(LATE_S)
    assert case.other(device) == case.answer


def test_while_an_answer_is_awaited_the_clock_is_waited_on(case: Case, stack: ExitStack):
    server, device = opened(stack, case)
    server.misbehave("silent")
    times = [time.monotonic()]
    device.clock.on_wait.append(lambda: times.append(time.monotonic()))
    fails(device, case, DeviceTimeout)
    gaps = sorted(late - early for early, late in pairwise(times))
    assert gaps[-2] <= 0.2  # the longest may be the scheduler's, where other processes run beside
