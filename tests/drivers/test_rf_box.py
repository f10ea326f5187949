"""Several beams on one MOGLabs box: one port, a channel each, and every one of them dark whatever befalls another."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.moglabs_rf import RfBeam, RfBox
from drivers.pi_gcs2 import GcsStage
from labctl.clock import ManualClock
from labctl.devices import BeamSettings
from labctl.errors import ConfigError, ConnectError, DeviceError, DeviceTimeout, LimitError
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.sc10 import SC10Controller
from sim_backends.instruments.server import Server
from sim_backends.instruments.socket_server import SocketServer
from tests.drivers.test_contracts import BEAM, SHUTTER
from tests.drivers.wire import on_fastest, on_socket

MODULATOR = {"carrier": "200 MHz", "passes": 2, "full_power": "50 uW", "full_rf_dbm": 31}


@dataclass
class Bed:
    """A box of four channels, its server, and beams on it."""

    rf: MoglabsRf
    server: Server
    box: RfBox
    clock: ManualClock = field(default_factory=ManualClock)

    def beam(self, channel: int, **hardware: Any) -> RfBeam:
        settings = BeamSettings.model_validate(BEAM | SHUTTER if "shutter" in hardware else BEAM)
        told = {**MODULATOR, "channel": channel, **hardware}
        return RfBeam(f"beam_{channel}", self.clock, settings, told, connection=self.box)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def bed(stack: ExitStack) -> Bed:
    rf = MoglabsRf(channels=4)
    server = stack.enter_context(on_fastest(rf))
    return Bed(rf, server, RfBox("rf", {"url": server.url}))


def test_each_beam_moves_its_own_channel(bed: Bed):
    with bed.beam(1) as one, bed.beam(4) as four:
        one.on()
        assert (bed.rf.channels[1].on, bed.rf.channels[4].on) == (True, False)
        four.set_detuning(10e6)
        assert bed.rf.channels[1].frequency_mhz == pytest.approx(200.0)
        assert bed.rf.channels[4].frequency_mhz == pytest.approx(205.0)
        one.load_phases([0.0, 1.0])
        four.on()
        assert one.is_on
        assert bed.rf.channels[1].armed
        assert not bed.rf.channels[4].table
    assert not any(channel.on for channel in bed.rf.channels.values())


def test_the_port_is_open_as_long_as_one_beam_is(bed: Bed):
    alone = RfBeam("alone", bed.clock, BeamSettings.model_validate(BEAM), {**MODULATOR, "url": bed.server.url})
    first, second = bed.beam(1), bed.beam(2)
    first.open()
    second.open()
    first.close()
    assert not second.is_on
    with pytest.raises(ConnectError, match="no other program has it open"):
        alone.open()
    second.close()
    with alone:
        assert not alone.is_on


def test_two_beams_must_not_have_one_channel(bed: Bed):
    first = bed.beam(2)
    with pytest.raises(ConfigError, match="hardware of other: channel 2 of 'rf' is that of beam_2"):
        RfBeam("other", bed.clock, first.settings, {**MODULATOR, "channel": 2}, connection=bed.box)


def test_a_connection_of_another_kind_is_refused(bed: Bed):
    with pytest.raises(ConfigError, match=r"needs one of drivers.moglabs_rf.RfBox, or none"):
        RfBeam("beam", bed.clock, BeamSettings.model_validate(BEAM), MODULATOR, connection=GcsStage)  # pyright: ignore


def test_the_port_is_named_once(bed: Bed):
    with pytest.raises(ConfigError, match="hardware of beam_1: unknown key 'url'"):
        bed.beam(1, url="COM9")
    with pytest.raises(ConfigError, match="hardware of beam: key 'url' is missing"):
        RfBeam("beam", bed.clock, BeamSettings.model_validate(BEAM), MODULATOR)


def test_an_error_names_the_beam_it_befell(bed: Bed):
    with bed.beam(1), bed.beam(2) as second:
        bed.server.misbehave("silent")
        with pytest.raises(DeviceTimeout, match=r"beam_2: .*'POW,2'"):
            assert second.power_w
        assert second.power_w == pytest.approx(20e-6, rel=1e-3)


def test_a_beam_that_cannot_be_closed_keeps_no_other_lit(bed: Bed):
    first, second = bed.beam(1), bed.beam(2)
    for beam in (first, second):
        beam.open()
        beam.on()
    bed.server.misbehave("garbage")
    with pytest.raises(DeviceError, match="'OFF,1'"):
        first.close()
    second.close()
    assert not bed.rf.channels[2].on
    with bed.beam(1):  # the port was let go, and a beam that is opened is dark
        assert not bed.rf.channels[1].on


def test_shutters_close_when_the_box_is_gone_and_all_beams_open_again_together(stack: ExitStack):
    rf, clock = MoglabsRf(channels=4), ManualClock()
    server = stack.enter_context(on_socket(rf))
    bed = Bed(rf, server, RfBox("rf", {"url": server.url}), clock)
    shutters = [SC10Controller(clock, blade_s=0.0) for _ in range(2)]
    urls = [stack.enter_context(on_fastest(shutter)).url for shutter in shutters]
    beams = [bed.beam(channel, shutter={"url": url}) for channel, url in enumerate(urls, 1)]
    for beam in beams:
        beam.open()
        beam.on()
    server.unplug()
    with pytest.raises(ConnectError, match="'OFF,1'"):
        beams[0].close()
    assert not shutters[0].enabled
    stack.enter_context(SocketServer(rf, int(server.url.rpartition(":")[2])))
    with pytest.raises(ConnectError, match=r"connection of 'rf' is lost.*then close beam_2 as well"):
        beams[0].open()
    with suppress(DeviceError):
        beams[1].close()
    assert not shutters[1].enabled
    for beam in beams:
        beam.open()
    assert not any(channel.on for channel in rf.channels.values())
    for beam in beams:
        beam.close()


def test_more_phases_than_a_table_holds_are_refused_before_the_box_hears_of_them(bed: Bed):
    with bed.beam(1) as beam:
        beam.load_phases([0.0, 1.0])
        with pytest.raises(LimitError, match="8192 phases were asked for, a channel's table holds 8191"):
            beam.load_phases([0.0] * 8192)
        assert len(bed.rf.channels[1].table) == 2
