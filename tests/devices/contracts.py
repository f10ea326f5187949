"""What every device of a kind promises, driver or twin alike.

A test class derives from the contract of its kind, names the class it tests as `TESTED` and supplies `device`: built,
on its own clock, not open. What a contract cannot know of a device (a pattern it can show, a move it may make) it takes
from the device's settings, and it asks for little, as it also runs on real hardware (`tests/hardware`): beams are lit
at a hundredth of their power, a cell is warmed a few kelvin above its safe temperature.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pytest

from labctl.devices import (
    DMD,
    SLM,
    Beam,
    Camera,
    CellSettings,
    Codebook,
    Device,
    Frames,
    Pattern,
    PatternStack,
    PowerMeter,
    Sequence,
    Stage,
    Trigger,
    VapourCell,
    identity_codebook,
)
from labctl.errors import DeviceError, DeviceTimeout, FrameLost, LimitError, StateError

NOT_A_NUMBER = float("nan")

READINGS_WANDER = False
"""Whether two readings of the same thing may differ, as on real hardware."""

Uses = dict[str, Callable[[Any], object]]


@contextmanager
def hardware_untouched(device: Device) -> Iterator[None]:
    """Fail when anything inside the block reaches the hardware, and compare its state before and after."""

    def refuse(*_: object) -> None:
        raise AssertionError(f"{device.name}: the hardware was reached")

    before = _lasting(device) if device.is_open else None
    with pytest.MonkeyPatch.context() as patch:
        for hook in (name for name in dir(device) if name.startswith("_do_")):
            patch.setattr(device, hook, refuse)
        yield
    assert device.is_open == (before is not None)
    if before is not None:
        assert _lasting(device) == before


def _lasting(device: Device) -> dict[str, Any]:
    """Return what a device's state must keep: all of it, but no numbers where readings wander."""
    state = device.state()
    return {name: value for name, value in state.items() if not READINGS_WANDER or isinstance(value, bool | str)}


@contextmanager
def refused(device: Device, error: type[DeviceError], *mentions: str | float) -> Iterator[None]:
    """Expect `error` before hardware is reached, naming the device and, numbers to six digits, all `mentions`."""
    with hardware_untouched(device), pytest.raises(error) as raised:
        yield
    message = str(raised.value)
    assert raised.value.device == device.name
    assert message.startswith(f"{device.name}: ")
    for mention in mentions:
        word = mention if isinstance(mention, str) else f"{mention:g}"
        assert re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", message), f"'{word}' is missing in: {message}"


def beyond(low: float, high: float) -> list[float]:
    """Return values that lie outside `low` to `high`, however close or absurd."""
    step = 1e-3 * max(abs(low), abs(high), 1e-9)
    return [low - step, high + step, -np.inf, np.inf, NOT_A_NUMBER]


class DeviceContract:
    """What holds for every device."""

    TESTED: ClassVar[type]
    """The class of the device."""
    SLACK_S: ClassVar[float] = 0.0
    """How much longer than said a call may take, as on a real line."""
    USES: ClassVar[Uses] = {}
    """Calls that a closed device must refuse, by name."""

    @pytest.fixture
    def opened(self, device: Device) -> Iterator[Device]:
        with device:
            yield device

    def test_it_is_of_the_class_that_is_said_to_be_tested(self, device):
        assert type(device) is self.TESTED

    def test_it_opens_once(self, device):
        assert not device.is_open
        device.open()
        assert device.is_open
        with pytest.raises(StateError, match=re.escape(device.name)):
            device.open()
        assert device.is_open
        device.close()

    def test_closing_twice_is_fine_and_it_opens_again(self, device):
        for _ in range(2):
            device.open()
            device.close()
            device.close()
            assert not device.is_open

    def test_it_closes_when_its_block_fails(self, device):
        with pytest.raises(ZeroDivisionError), device:
            raise ZeroDivisionError
        assert not device.is_open

    def test_closed_it_refuses_every_use(self, device):
        for use in (lambda one: one.state(), *self.USES.values()):
            with refused(device, StateError, "closed"):
                use(device)

    def test_closed_it_is_left_alone_when_the_bench_is_made_safe(self, device):
        with hardware_untouched(device):
            device.make_safe()

    def test_its_state_is_plain_data(self, opened):
        state = opened.state()
        assert isinstance(state, dict)
        assert json.loads(json.dumps(state, allow_nan=False)) == state

    def test_made_safe_it_stays_open(self, opened):
        opened.make_safe()
        opened.make_safe()
        assert opened.is_open

    def test_its_kind_is_a_word_of_the_bench_file(self, device):
        assert device.kind in {"slm", "dmd", "camera", "stage", "beam", "cell", "power_meter"}


def _patterns_that_do_not_fit(shape: tuple[int, int], bit_depth: int) -> dict[str, Pattern]:
    plain = identity_codebook(bit_depth)
    rows, cols = shape
    full = np.zeros(shape, np.uint16)
    two = Codebook("pairs of pixels", plain.tiles, (1, 2))
    return {
        "one row too many": Pattern(np.zeros((rows + 1, cols), np.uint16), plain),
        "one column too many": Pattern(np.zeros((rows, cols + 1), np.uint16), plain),
        "pushed out below": Pattern(full, plain, (1, 0)),
        "pushed out right": Pattern(full, plain, (0, 1)),
        "begins above": Pattern(full[:1, :1], plain, (-1, 0)),
        "begins left": Pattern(full[:1, :1], plain, (0, -1)),
        "blocks too wide": Pattern(np.zeros((1, cols // 2 + 1), np.uint16), two),
        "unknown index": Pattern(np.full((1, 1), len(plain), np.uint16), plain),
        "level too high": Pattern(full[:1, :1], identity_codebook(bit_depth + 1)),
        "not uint16": Pattern(full.astype(np.int32), plain),  # type: ignore[arg-type]
        "not a grid": Pattern(full[0], plain),
        "a stack": Pattern(full[None], plain),
        "nothing": Pattern(full[:0], plain),
    }


def plain_pattern(device: SLM | DMD, level: int = 1) -> Pattern:
    """Return a pattern of one pixel that every panel can show."""
    return Pattern(np.full((1, 1), level, np.uint16), identity_codebook(device.bit_depth))


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
        for pattern in _patterns_that_do_not_fit(opened.shape, opened.bit_depth).values():
            with refused(opened, LimitError):
                opened.show(pattern)

    def test_a_refusal_says_what_was_asked_and_what_is_allowed(self, opened: SLM):
        patterns = _patterns_that_do_not_fit(opened.shape, opened.bit_depth)
        with refused(opened, LimitError, opened.shape[0] + 1, str(opened.shape)):
            opened.show(patterns["pushed out below"])
        with refused(opened, LimitError, 2**opened.bit_depth, 2**opened.bit_depth - 1):
            opened.show(patterns["unknown index"])


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
        for pattern in _patterns_that_do_not_fit(opened.shape, 1).values():
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


class StageContract(DeviceContract):
    """What holds for every stage."""

    USES: ClassVar[Uses] = {
        "position": lambda stage: stage.position_m,
        "move_to": lambda stage: stage.move_to(**{stage.axes[0]: stage.limits_m[stage.axes[0]][0]}),
    }

    def targets_m(self, stage: Stage, axis: str) -> tuple[float, ...]:
        """Return where an axis is sent: both ends of its travel, then the middle."""
        low, high = stage.limits_m[axis]
        return low, high, (low + high) / 2

    def test_it_has_the_axes_it_declares(self, opened: Stage):
        assert opened.axes == tuple(opened.settings.axes)
        assert set(opened.position_m) == set(opened.limits_m) == set(opened.axes)

    def test_it_arrives_and_settles(self, opened: Stage):
        for axis in opened.axes:
            for target in self.targets_m(opened, axis):
                others = {name: where for name, where in opened.position_m.items() if name != axis}
                start = opened.clock.now_s()
                opened.move_to(**{axis: target})
                assert opened.clock.now_s() - start >= opened.settings.settle_s - 1e-9
                reached = opened.position_m
                assert abs(reached.pop(axis) - target) <= opened.settings.tolerance_m
                assert reached == pytest.approx(others, abs=opened.settings.tolerance_m)

    def test_beyond_its_travel_nothing_moves(self, opened: Stage):
        for axis, (low, high) in opened.limits_m.items():
            for asked in beyond(low, high):
                within = {other: limits[0] for other, limits in opened.limits_m.items() if other != axis}
                with refused(opened, LimitError, axis, asked, low, high, "m"):
                    opened.move_to(**within, **{axis: asked})

    def test_an_unknown_axis_is_refused_and_nothing_moves(self, opened: Stage):
        known = {axis: limits[0] for axis, limits in opened.limits_m.items()}
        with refused(opened, LimitError, "sideways", *opened.axes):
            opened.move_to(**known, sideways=0.0)

    def test_a_move_that_does_not_end_is_stopped(self, opened: Stage, monkeypatch: pytest.MonkeyPatch):
        axis, limits = next(iter(opened.limits_m.items()))
        here = opened.position_m[axis]
        far = max(limits, key=lambda end: abs(end - here))
        stopped: list[bool] = []
        monkeypatch.setattr(opened, "settings", opened.settings.model_copy(update={"timeout_s": 0.1}))
        monkeypatch.setattr(opened, "_do_move", lambda _target: None)
        monkeypatch.setattr(opened, "_do_stop", lambda: stopped.append(True))
        start = opened.clock.now_s()
        with pytest.raises(DeviceTimeout, match=re.escape(opened.name)):
            opened.move_to(**{axis: far})
        assert stopped
        assert opened.clock.now_s() - start == pytest.approx(0.1, abs=0.05 + self.SLACK_S)


class CellContract(DeviceContract):
    """What holds for every heated vapour cell."""

    USES: ClassVar[Uses] = {
        "temperature": lambda cell: cell.temperature_c,
        "set_temperature": lambda cell: cell.set_temperature(cell.settings.min_temperature_c),
        "wait": lambda cell: cell.wait_for_temperature(cell.settings.min_temperature_c),
    }

    READING_K: ClassVar[float] = 0.0
    """How far a reading may lie from the temperature."""
    LAG_S: ClassVar[float] = 0.0
    """How long the reservoir takes to follow its ramp."""

    @pytest.fixture
    def warm(self, opened: VapourCell) -> VapourCell:
        """The cell at the temperature it ramps to when it is made safe."""
        safe_c = opened.settings.safe_temperature_c
        opened.set_temperature(safe_c)
        opened.wait_for_temperature(safe_c)
        return opened

    def test_a_temperature_takes_its_ramp(self, warm: VapourCell):
        limits, rise_k = warm.settings, rise_of(warm.settings)
        start_c, start_s = warm.temperature_c, warm.clock.now_s()
        warm.set_temperature(start_c + rise_k)
        assert warm.clock.now_s() == pytest.approx(start_s, abs=0.2 + self.SLACK_S)
        warm.wait_for_temperature(start_c + rise_k)
        assert warm.temperature_c == pytest.approx(start_c + rise_k, abs=limits.tolerance_k + self.READING_K)
        least_s = (rise_k - limits.tolerance_k - self.READING_K) / limits.ramp_k_per_s
        assert least_s - 0.1 <= warm.clock.now_s() - start_s <= limits.timeout_s

    def test_it_never_changes_faster_than_its_ramp(self, warm: VapourCell):
        limits = warm.settings
        for part in (2 / 3, -1 / 3, 1 / 3):  # each before the one before is reached
            warm.set_temperature(warm.temperature_c + part * rise_of(warm.settings))
            readings = []
            for _ in range(11):
                readings.append((warm.clock.now_s(), warm.temperature_c))
                warm.clock.wait(1.0)
            for (early_s, early_c), (late_s, late_c) in combinations(readings, 2):
                allowed_k = limits.ramp_k_per_s * 1.1 * (late_s - early_s) + self.READING_K
                assert abs(late_c - early_c) <= allowed_k + 1e-9

    def test_out_of_range_it_is_refused(self, opened: VapourCell):
        low, high = opened.settings.min_temperature_c, opened.settings.max_temperature_c
        for asked in beyond(low, high):
            with refused(opened, LimitError, asked, low, high, "degC"):
                opened.set_temperature(asked)

    def test_what_is_not_reached_in_time_is_an_error(self, warm: VapourCell, monkeypatch: pytest.MonkeyPatch):
        rise_k = rise_of(warm.settings)
        goal, timeout_s = warm.temperature_c + rise_k, round(0.5 * rise_k / warm.settings.ramp_k_per_s)
        warm.set_temperature(goal)
        monkeypatch.setattr(warm, "settings", warm.settings.model_copy(update={"timeout_s": float(timeout_s)}))
        start = warm.clock.now_s()
        with pytest.raises(DeviceTimeout, match=rf"{re.escape(warm.name)}: .*{goal:g}.*\b{timeout_s} s"):
            warm.wait_for_temperature(goal)
        assert warm.clock.now_s() - start == pytest.approx(timeout_s, abs=2 * warm.poll_s + self.SLACK_S)

    @pytest.mark.parametrize("leave", ["make_safe", "close"])
    def test_safe_is_a_ramp_down_and_not_a_drop(self, warm: VapourCell, leave: str):
        limits, rise_k = warm.settings, rise_of(warm.settings)
        warm.set_temperature(limits.safe_temperature_c + rise_k)
        warm.wait_for_temperature(limits.safe_temperature_c + rise_k)
        start_c, start_s = warm.temperature_c, warm.clock.now_s()
        getattr(warm, leave)()
        if leave == "close":
            warm.open()
        passed_s = warm.clock.now_s() - start_s
        fallen_k = limits.ramp_k_per_s * 1.1 * passed_s + self.READING_K
        assert warm.temperature_c == pytest.approx(start_c, abs=0.1 + fallen_k)
        warm.clock.wait(rise_k / limits.ramp_k_per_s + 1.0 + self.LAG_S)
        within_k = limits.tolerance_k + self.READING_K
        assert warm.temperature_c == pytest.approx(limits.safe_temperature_c, abs=within_k)


def rise_of(limits: CellSettings) -> float:
    """Return how far above its safe temperature a cell is warmed, in kelvin."""
    return min(3.0, limits.max_temperature_c - limits.safe_temperature_c)


class PowerMeterContract(DeviceContract):
    """What holds for every power meter."""

    USES: ClassVar[Uses] = {"read_power": lambda meter: meter.read_power()}

    def test_a_reading_is_a_power(self, opened: PowerMeter):
        power_w = opened.read_power()
        assert isinstance(power_w, float)
        assert 0 <= power_w <= opened.settings.max_power_w

    def test_a_reading_takes_its_averaging_time(self, opened: PowerMeter):
        start = opened.clock.now_s()
        opened.read_power()
        assert opened.clock.now_s() - start >= opened.settings.averaging_s - 1e-9
