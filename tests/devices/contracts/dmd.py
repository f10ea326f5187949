"""What holds for every micromirror device."""

from typing import ClassVar

import numpy as np
import pytest

from labctl.devices import DMD, PatternStack, Sequence, identity_codebook
from labctl.errors import LimitError, StateError
from tests.devices.contracts.device import NOT_A_NUMBER, DeviceContract, Uses, refused
from tests.devices.contracts.panel import patterns_that_do_not_fit, plain_pattern


class DMDContract(DeviceContract):
    """What holds for every micromirror device."""

    USES: ClassVar[Uses] = {
        "load": lambda dmd: dmd.load(stack_of(dmd, 1)),
        "set_timing": lambda dmd: dmd.set_timing(dmd.settings.min_picture_s),
        "set_trigger": lambda dmd: dmd.set_trigger("internal"),
        "play": lambda dmd: dmd.play(Sequence(1, 1)),
        "halt": lambda dmd: dmd.halt(),
        "free": lambda dmd: dmd.free(Sequence(1, 1)),
        "show": lambda dmd: dmd.show(plain_pattern(dmd)),
    }

    def test_it_is_as_declared(self, device: DMD):
        assert (device.shape, device.pitch_m) == (device.settings.shape, device.settings.pitch_m)
        assert device.bit_depth == 1

    def test_a_pattern_that_does_not_fit_is_refused(self, opened: DMD):
        for pattern in patterns_that_do_not_fit(opened.shape, 1).values():
            with refused(opened, LimitError):
                opened.show(pattern)
            with refused(opened, LimitError):
                opened.load(PatternStack(pattern.indices[None], pattern.codebook, pattern.origin))

    def test_an_empty_stack_is_refused(self, opened: DMD):
        with refused(opened, LimitError):
            opened.load(stack_of(opened, 0))

    def test_each_sequence_has_a_handle_of_its_own(self, opened: DMD):
        handles = [opened.load(stack_of(opened, n)) for n in (1, 3, 2)]
        assert len({handle.id for handle in handles}) == 3
        assert [handle.frames for handle in handles] == [1, 3, 2]
        for handle in handles:
            opened.free(handle)

    def test_memory_has_an_end(self, opened: DMD, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(opened, "settings", opened.settings.model_copy(update={"max_frames": 5 * opened.copies}))
        first = opened.load(stack_of(opened, 3))
        with refused(opened, LimitError, 3, 5):
            opened.load(stack_of(opened, 3))
        second = opened.load(stack_of(opened, 2))
        opened.free(first)
        opened.free(opened.load(stack_of(opened, 3)))
        opened.free(second)

    def test_a_freed_sequence_is_gone(self, opened: DMD):
        sequence = opened.load(stack_of(opened, 2))
        opened.free(sequence)
        with refused(opened, StateError, sequence.id):
            opened.play(sequence)
        with refused(opened, StateError, sequence.id):
            opened.free(sequence)

    def test_closing_forgets_all_sequences_for_good(self, device: DMD):
        with device:
            old = device.load(stack_of(device, 1))
        with device:
            new = device.load(stack_of(device, 1))
            assert new.id != old.id
            with refused(device, StateError):
                device.play(old)

    def test_it_plays_frames_in_any_order(self, opened: DMD):
        sequence = opened.load(stack_of(opened, 3))
        opened.set_trigger("internal")
        for order in (None, np.array([2]), np.array([0, 0, 2, 1, 1, 0])):
            opened.play(sequence, order)

    @pytest.mark.parametrize("order", [[3], [-1], [0, 1, 3], [], [[0, 1]]])
    def test_an_order_beyond_the_sequence_is_refused(self, opened: DMD, order: list):
        sequence = opened.load(stack_of(opened, 3))
        with refused(opened, LimitError, 2):
            opened.play(sequence, np.array(order, int))

    @pytest.mark.parametrize("order", [[0.5], [NOT_A_NUMBER], [True, False, True]])
    def test_an_order_of_anything_but_whole_numbers_is_refused(self, opened: DMD, order: list):
        sequence = opened.load(stack_of(opened, 3))
        with refused(opened, LimitError, 2):
            opened.play(sequence, np.array(order))

    def test_pictures_shorter_than_the_board_can_are_refused(self, opened: DMD):
        shortest = opened.settings.min_picture_s
        for asked in (0.5 * shortest, 0.0, -1.0, np.inf, NOT_A_NUMBER):
            with refused(opened, LimitError, asked, shortest, "s"):
                opened.set_timing(asked)
        opened.set_timing(shortest)

    def test_a_picture_stays_as_long_as_was_set(self, opened: DMD):
        picture_s = max(0.1, opened.settings.min_picture_s)
        sequence = opened.load(stack_of(opened, 3))
        opened.set_trigger("internal")
        opened.set_timing(picture_s)
        start = opened.clock.now_s()
        opened.play(sequence)
        assert opened.clock.now_s() - start >= 3 * picture_s - 1e-9

    def test_an_unknown_trigger_is_refused(self, opened: DMD):
        with refused(opened, LimitError, "software", "internal", "external"):
            opened.set_trigger("software")  # type: ignore[arg-type]

    def test_waiting_for_triggers_where_it_can_it_returns_at_once(self, opened: DMD):
        sequence = opened.load(stack_of(opened, 2))
        if not opened.settings.external_trigger:
            with refused(opened, LimitError, "trigger"):
                opened.set_trigger("external")
            return
        opened.set_trigger("external")
        start = opened.clock.now_s()
        opened.play(sequence)
        assert opened.clock.now_s() - start < 0.2 + self.SLACK_S
        opened.halt()

    def test_it_can_be_halted_at_any_time(self, opened: DMD):
        opened.halt()
        opened.show(plain_pattern(opened))
        opened.halt()
        opened.halt()


def stack_of(dmd: DMD, frames: int) -> PatternStack:
    """Return `frames` different patterns that every micromirror device can show."""
    indices = (np.arange(frames)[:, None, None] >> np.arange(4)[None, None, :] & 1).astype(np.uint16)
    return PatternStack(indices, identity_codebook(dmd.bit_depth))
