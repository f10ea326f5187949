"""What holds for every phase panel."""

from typing import ClassVar

import numpy as np

from labctl.devices import SLM, Pattern, identity_codebook
from labctl.errors import LimitError
from tests.devices.contracts.device import DeviceContract, Uses, refused
from tests.devices.contracts.panel import patterns_that_do_not_fit, plain_pattern


class SLMContract(DeviceContract):
    """What holds for every phase panel."""

    USES: ClassVar[Uses] = {"show": lambda slm: slm.show(plain_pattern(slm))}

    def test_it_is_as_declared(self, device: SLM):
        declared = device.settings
        assert (device.shape, device.pitch_m, device.bit_depth) == (
            declared.shape,
            declared.pitch_m,
            declared.bit_depth,
        )

    def test_showing_returns_when_the_panel_has_settled(self, opened: SLM):
        start = opened.clock.now_s()
        opened.show(plain_pattern(opened))
        assert opened.clock.now_s() - start >= opened.latency_s + opened.settle_s - 1e-9

    def test_it_shows_its_corners_and_its_highest_level(self, opened: SLM):
        top = 2**opened.bit_depth - 1
        last = (opened.shape[0] - 1, opened.shape[1] - 1)
        opened.show(Pattern(np.full((1, 1), top, np.uint16), identity_codebook(opened.bit_depth), last))

    def test_a_pattern_that_does_not_fit_is_refused(self, opened: SLM):
        for pattern in patterns_that_do_not_fit(opened.shape, opened.bit_depth).values():
            with refused(opened, LimitError):
                opened.show(pattern)

    def test_a_refusal_says_what_was_asked_and_what_is_allowed(self, opened: SLM):
        patterns = patterns_that_do_not_fit(opened.shape, opened.bit_depth)
        with refused(opened, LimitError, opened.shape[0] + 1, str(opened.shape)):
            opened.show(patterns["pushed out below"])
        with refused(opened, LimitError, 2**opened.bit_depth, 2**opened.bit_depth - 1):
            opened.show(patterns["unknown index"])
