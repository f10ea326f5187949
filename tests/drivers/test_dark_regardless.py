"""Beams behind real drivers go dark although something else on the bench fails at every wait."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from drivers.moglabs_rf import RfBeam
from drivers.toptica_dlc_pro import DlcProBeam
from labctl.clock import WallClock
from labctl.devices import Beam, BeamSettings
from labctl.errors import ConnectError
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.instruments.light import passes_light
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.sc10 import SC10Controller
from tests.drivers.test_contracts import BEAM, SHUTTER
from tests.drivers.wire import on_fastest


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def rf_beam(stack: ExitStack) -> tuple[Beam, list[Any]]:
    clock = WallClock()
    rf, shutter = MoglabsRf(), SC10Controller(clock)
    urls = [stack.enter_context(on_fastest(one)).url for one in (rf, shutter)]
    hardware = {"carrier": "200 MHz", "passes": 2, "full_power": "50 uW", "full_rf_dbm": 31, "url": urls[0]}
    settings = BeamSettings.model_validate(BEAM | SHUTTER)
    return RfBeam("probe", clock, settings, {**hardware, "shutter": {"url": urls[1]}}), [rf, shutter]


def laser(stack: ExitStack) -> tuple[Beam, list[Any]]:
    clock = WallClock()
    controller = DlcPro(clock)
    url = stack.enter_context(on_fastest(controller)).url
    settings = BeamSettings.model_validate({"power": "0.5 W", "max_power": "0.8 W", "switch": "20 ms"})
    currents = {"threshold": "0.9 A", "full_current": "2.9 A", "full_power": "1 W"}
    return DlcProBeam("pump", clock, settings, {"url": url, "amplifier": True, **currents}), [controller]


@pytest.mark.parametrize("build", [rf_beam, laser])
def test_a_beam_goes_dark_while_another_device_fails_at_every_wait(build: Any, stack: ExitStack):
    beam, instruments = build(stack)

    def heater() -> None:
        raise ConnectError("cell", "lost its connection")

    with beam:
        beam.on()
        beam.clock.on_wait.append(heater)
        with pytest.raises(ConnectError, match="cell"):
            beam.off()
        beam.make_safe()
        assert not any(light for one in instruments for light in passes_light(one).values())
        assert beam.clock.on_wait == [heater]
        beam.clock.on_wait.clear()
        assert not beam.is_on
