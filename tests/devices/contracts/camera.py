"""What holds for every camera."""

import re
from typing import ClassVar

import numpy as np
import pytest

from labctl.devices import Camera, Frames, Trigger
from labctl.errors import FrameLost, LimitError, StateError
from tests.devices.contracts.device import DeviceContract, Uses, beyond, refused


class CameraContract(DeviceContract):
    """What holds for every camera."""

    USES: ClassVar[Uses] = {
        "exposure": lambda camera: camera.exposure_s,
        "set_exposure": lambda camera: camera.set_exposure(camera.settings.min_exposure_s),
        "acquire": lambda camera: camera.acquire(1),
        "arm": lambda camera: camera.arm(1),
        "collect": lambda camera: camera.collect(),
        "disarm": lambda camera: camera.disarm(),
    }

    def test_frames_are_integers_of_the_shape_it_says(self, opened: Camera):
        for n in (1, 3):
            frames = opened.acquire(n)
            assert frames.counts.shape == (n, *opened.shape)
            assert frames.counts.dtype in (np.uint16, np.uint32)
            assert frames.ids.shape == frames.times_s.shape == (n,)
            assert len(frames) == n
            assert frames.counts.max() <= opened.top_count

    def test_its_words_hold_its_highest_count(self, opened: Camera):
        assert opened.bit_depth == opened.settings.bit_depth
        assert opened.top_count >= 2**opened.bit_depth - 1
        assert opened.top_count <= np.iinfo(opened.acquire(1).counts.dtype).max

    def test_frame_numbers_have_no_gap_from_one_acquisition_to_the_next(self, opened: Camera):
        ids = np.concatenate([opened.acquire(n).ids for n in (2, 1, 3)])
        assert np.array_equal(np.diff(ids), np.ones(5))

    def test_every_frame_carries_the_time_it_was_taken(self, opened: Camera):
        start = opened.clock.now_s()
        times = np.concatenate([opened.acquire(n).times_s for n in (3, 2)])
        assert times[0] >= start
        assert np.all(np.diff(times) >= opened.exposure_s * (1 - 1e-9))
        assert times[-1] <= opened.clock.now_s()

    def test_frames_take_their_exposures(self, opened: Camera):
        limits = opened.settings
        opened.set_exposure(max(limits.min_exposure_s, min(0.01, limits.max_exposure_s)))
        start = opened.clock.now_s()
        opened.acquire(3)
        assert opened.clock.now_s() - start >= 3 * opened.exposure_s - 1e-9

    def test_it_reports_the_exposure_that_was_set(self, opened: Camera):
        limits = opened.settings
        for exposure_s in (limits.min_exposure_s, limits.max_exposure_s, limits.exposure_s):
            opened.set_exposure(exposure_s)
            assert opened.exposure_s == pytest.approx(exposure_s, rel=0.01)

    def test_an_exposure_out_of_range_is_refused(self, opened: Camera):
        low, high = opened.settings.min_exposure_s, opened.settings.max_exposure_s
        for asked in beyond(low, high):
            with refused(opened, LimitError, asked, low, high, "s"):
                opened.set_exposure(asked)

    @pytest.mark.parametrize("n", [0, -1])
    def test_at_least_one_frame_must_be_asked_for(self, opened: Camera, n: int):
        with refused(opened, LimitError, n, 1):
            opened.arm(n)
        with refused(opened, LimitError, n, 1):
            opened.acquire(n)
        assert len(opened.acquire(1)) == 1

    def test_an_unknown_trigger_is_refused(self, opened: Camera):
        with refused(opened, LimitError, "sometimes", "internal", "external"):
            opened.arm(1, "sometimes")  # type: ignore[arg-type]

    def test_armed_it_takes_no_other_order(self, opened: Camera):
        opened.arm(2, trigger_of(opened))
        with refused(opened, StateError, 2):
            opened.arm(1)
        with refused(opened, StateError, 2):
            opened.acquire(1)
        opened.disarm()

    def test_not_armed_it_has_nothing_to_collect(self, opened: Camera):
        with refused(opened, StateError, "not armed"):
            opened.collect()
        opened.acquire(1)
        with refused(opened, StateError, "not armed"):
            opened.collect()

    def test_disarmed_it_is_as_before(self, opened: Camera):
        opened.disarm()
        opened.arm(3, trigger_of(opened))
        opened.disarm()
        opened.disarm()
        assert len(opened.acquire(2)) == 2

    def test_without_triggers_the_frames_are_lost(self, opened: Camera):
        if opened.settings.external_trigger:
            opened.arm(2, "external")
            with pytest.raises(FrameLost, match=rf"{re.escape(opened.name)}: .*\b2\b"):
                opened.collect()
        else:
            with refused(opened, LimitError, "trigger"):
                opened.arm(2, "external")
        assert len(opened.acquire(1)) == 1

    def test_a_frame_less_or_a_number_left_out_is_an_error(self, opened: Camera, monkeypatch: pytest.MonkeyPatch):
        hook = "_do_collect"
        collect = getattr(opened, hook)
        gap, double, less = (np.array(numbers) for numbers in ([0, 1, 3], [0, 1, 1], [0, 1]))
        for numbers in (gap, double, less):

            def bad(ids: np.ndarray = numbers) -> Frames:
                frames = collect()
                return Frames(frames.counts[: len(ids)], ids, frames.times_s[: len(ids)])

            monkeypatch.setattr(opened, hook, bad)
            with pytest.raises(FrameLost, match=re.escape(opened.name)):
                opened.acquire(3)
        monkeypatch.undo()
        assert len(opened.acquire(1)) == 1

    def test_closing_disarms(self, device: Camera):
        with device:
            device.arm(2, trigger_of(device))
        with device:
            assert len(device.acquire(1)) == 1


def trigger_of(camera: Camera) -> Trigger:
    """Return what a camera can be armed for: pulses where it has an input for them."""
    return "external" if camera.settings.external_trigger else "internal"
