"""What holds for every device, and how contracts ask: what is refused leaves the hardware alone."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

from labctl.devices import Device
from labctl.errors import DeviceError, StateError

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
