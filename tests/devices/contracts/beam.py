"""What holds for every beam, lit at a hundredth of its power."""

import re
from typing import ClassVar

import numpy as np
import pytest

from labctl.devices import Beam
from labctl.errors import LimitError, StateError
from tests.devices.contracts.device import NOT_A_NUMBER, DeviceContract, Uses, beyond, refused

DIMMED = 0.01
"""Part of its power at which a beam is lit."""


def dim(beam: Beam) -> None:
    """Set a beam to little power before it is lit."""
    beam.set_power(DIMMED * beam.settings.power_w)


class BeamContract(DeviceContract):
    """What holds for every beam."""

    USES: ClassVar[Uses] = {
        "is_on": lambda beam: beam.is_on,
        "power": lambda beam: beam.power_w,
        "phase": lambda beam: beam.phase_rad,
        "detuning": lambda beam: beam.detuning_hz,
        "on": lambda beam: beam.on(),
        "off": lambda beam: beam.off(),
        "blank": lambda beam: beam.blank(),
        "set_power": lambda beam: beam.set_power(0.0),
        "set_phase": lambda beam: beam.set_phase(0.0),
        "load_phases": lambda beam: beam.load_phases([0.0]),
        "set_detuning": lambda beam: beam.set_detuning(0.0),
    }

    def test_it_opens_dark(self, opened: Beam):
        assert not opened.is_on

    def test_it_goes_on_and_off_in_its_time(self, opened: Beam):
        dim(opened)
        for switch, lit in ((opened.on, True), (opened.on, True), (opened.off, False), (opened.off, False)):
            start = opened.clock.now_s()
            switch()
            assert opened.is_on == lit
            assert opened.clock.now_s() - start >= opened.settings.switch_s - 1e-9

    def test_with_its_shutter_it_takes_longer_than_without(self, opened: Beam):
        dim(opened)
        settings, clock = opened.settings, opened.clock
        switches = [
            (opened.on, True, settings.both_s),
            (opened.blank, False, settings.switch_s),
            (opened.on, True, settings.switch_s),
            (opened.blank, False, settings.switch_s),
            (opened.off, False, settings.both_s),
            (opened.on, True, settings.both_s),
        ]
        for switch, lit, least_s in switches:
            start = clock.now_s()
            switch()
            assert clock.now_s() - start >= least_s - 1e-9
            assert opened.is_on == lit

    def test_blanked_it_is_made_safe_and_lit_again(self, opened: Beam):
        dim(opened)
        opened.on()
        opened.blank()
        opened.make_safe()
        assert not opened.is_on
        opened.on()
        assert opened.is_on

    def test_safe_is_off(self, opened: Beam):
        dim(opened)
        opened.on()
        opened.make_safe()
        assert not opened.is_on

    def test_closing_switches_it_off(self, device: Beam):
        with device:
            dim(device)
            device.on()
        with device:
            assert not device.is_on

    def test_a_beam_that_stays_lit_is_reported(self, device: Beam, monkeypatch: pytest.MonkeyPatch):
        with device:
            monkeypatch.setattr(device, "_do_is_on", lambda: True)
            with pytest.raises(StateError, match=re.escape(device.name)):
                device.make_safe()
            with pytest.raises(StateError, match=re.escape(device.name)):
                device.close()
            assert not device.is_open

    def test_power_goes_up_to_the_ceiling_and_no_further(self, opened: Beam):
        ceiling = opened.settings.max_power_w
        for power_w in (0.0, ceiling, 0.5 * ceiling):
            opened.set_power(power_w)
            assert opened.power_w == pytest.approx(power_w, rel=0.02)
            assert not opened.is_on
        for asked in beyond(0.0, ceiling):
            with refused(opened, LimitError, asked, ceiling, "W"):
                opened.set_power(asked)

    def test_it_opens_below_its_ceiling(self, opened: Beam):
        assert opened.power_w <= opened.settings.max_power_w

    def test_detuning_stays_within_its_range(self, opened: Beam):
        limit = opened.settings.max_detuning_hz
        for detuning_hz in (limit, -limit, 0.0):
            opened.set_detuning(detuning_hz)
            assert opened.detuning_hz == pytest.approx(detuning_hz, rel=1e-3)
        for asked in beyond(-limit, limit):
            with refused(opened, LimitError, asked, limit, "Hz"):
                opened.set_detuning(asked)

    def test_its_phase_is_what_was_set_where_it_has_one(self, opened: Beam):
        for phase_rad in (0.0, np.pi, -1.0):
            if opened.settings.has_phase:
                opened.set_phase(phase_rad)
                assert np.exp(1j * opened.phase_rad) == pytest.approx(np.exp(1j * phase_rad), abs=1e-2)
            else:
                with refused(opened, LimitError, "phase"):
                    opened.set_phase(phase_rad)

    def test_phases_for_a_sequence_are_taken_where_it_has_one(self, opened: Beam):
        if opened.settings.has_phase:
            opened.load_phases([0.0, np.pi])
            opened.set_phase(0.0)
        else:
            with refused(opened, LimitError, "phase"):
                opened.load_phases([0.0])

    def test_a_phase_must_be_finite(self, opened: Beam):
        for asked in (NOT_A_NUMBER, np.inf):
            with refused(opened, LimitError, "phase"):
                opened.set_phase(asked)
            with refused(opened, LimitError, "phase"):
                opened.load_phases([0.0, asked])
