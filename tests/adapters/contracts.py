"""What every adapter promises: labctl devices as another package knows them, nothing remembered and no fault lost.

A test class derives from `AdapterContract`, names the adapter's class as `TESTED` and supplies `adapted`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from labctl.devices import Device
from labctl.errors import DeviceError, StateError


@dataclass(frozen=True)
class Adapted:
    """One device of an open bench, in another package's hands.

    Args:
        device: The device itself, open.
        wrapped: The other package's object for it.
        use: A use through the other package that reaches the device.
        hook: The hook of the device which that use calls.
        again: Raises the fault that was kept, if there is one: a later use, or a question.
        clear: Forgets that fault.
        leave: Takes the device out of the other package's hands.
        read: What the other package says of a setting of the device.
        settings: Ways to change that setting on the device itself, each with what must be read then; none where the
            hardware has nothing to read.
    """

    device: Device
    wrapped: object
    use: Callable[[], object]
    hook: str
    again: Callable[[], object]
    clear: Callable[[], object]
    leave: Callable[[], object]
    read: Callable[[], Any] = lambda: None
    settings: tuple[tuple[Callable[[], object], Any], ...] = ()


class AdapterContract:
    """What holds for every adapter."""

    TESTED: ClassVar[type]
    """The class of the adapter."""

    def test_it_is_of_the_class_that_is_said_to_be_tested(self, adapted: Adapted):
        assert type(adapted.wrapped) is self.TESTED

    def test_it_can_be_used_again_and_again(self, adapted: Adapted):
        for _ in range(2):
            adapted.use()
        adapted.again()  # no fault is kept

    def test_what_it_says_is_read_back_from_the_device(self, adapted: Adapted):
        for change, expected in (*adapted.settings, *adapted.settings):
            change()
            assert adapted.read() == pytest.approx(expected)

    def test_a_fault_is_raised_and_kept_although_the_device_is_well_again(
        self, adapted: Adapted, monkeypatch: pytest.MonkeyPatch
    ):
        def fail(*_: object, **__: object) -> None:
            raise OSError("the cable is out")

        with monkeypatch.context() as patch:
            patch.setattr(adapted.device, adapted.hook, fail)
            with pytest.raises(DeviceError, match=f"^{adapted.device.name}: .*the cable is out"):
                adapted.use()
        for _ in range(2):
            with pytest.raises(DeviceError, match="the cable is out"):
                adapted.again()

    def test_a_fault_that_was_cured_and_cleared_is_forgotten(self, adapted: Adapted, monkeypatch: pytest.MonkeyPatch):
        with monkeypatch.context() as patch:
            patch.setattr(adapted.device, adapted.hook, lambda *_, **__: 1 / 0)
            with pytest.raises(DeviceError):
                adapted.use()
        adapted.clear()
        adapted.use()
        adapted.again()

    def test_a_device_that_is_closed_is_no_silence(self, adapted: Adapted):
        adapted.device.close()
        with pytest.raises(StateError, match="closed"):
            adapted.use()

    def test_left_alone_again_the_device_stays_open(self, adapted: Adapted):
        adapted.use()
        adapted.leave()
        assert adapted.device.is_open
