"""The base of every device: open and close, state read back, and a safe state."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from pydantic import Field, PositiveInt

from labctl.clock import Clock
from labctl.documents import StrictModel
from labctl.errors import DeviceError, DeviceTimeout, LabError, LimitError, StateError
from labctl.units import Seconds, Watts

Shape = tuple[PositiveInt, PositiveInt]
"""Rows and columns of a panel, mirrors or a sensor."""

P = ParamSpec("P")
T = TypeVar("T")


def _plain(hook: Callable[..., object]) -> str:
    """Return a hook's name as a person would say it: "load blocks"."""
    return getattr(hook, "__name__", "call").removeprefix("_do_").replace("_", " ")


class DeviceSettings(StrictModel):
    """What every device has.

    Args:
        call_timeout_s: Longest one call of its driver may wait, beyond the time the work itself takes.
    """

    call_timeout_s: Seconds = Field(default=5.0, gt=0)


class LitSettings(DeviceSettings):
    """What every device has that light passes through or falls on.

    Args:
        max_light_w: Most power of all beams together that reach it, each as it enters the light path; losses on the way
            do not count. No limit by default.
    """

    max_light_w: Watts | None = Field(default=None, gt=0)


def twin_serial(truth_seed: int, imperfection_scale: float) -> str:
    """Return what stands in as the serial number of every twin: `twin-3`, or `twin-3@2` at another scale than 1."""
    return f"twin-{truth_seed}" + (f"@{imperfection_scale:g}" if imperfection_scale != 1 else "")


class Device(ABC):
    """One device of the bench; the public method validates, the `_do_*` hook of a driver or twin acts.

    No hook blocks longer than 200 ms without a `clock.wait`. Every hook is called through `_ask`, which ends it when
    it waits for longer than the settings allow, and names the device in whatever a vendor's code raises.

    Args:
        name: Name in the bench file, used in every message.
        clock: Time as the bench sees it.
        settings: Settings of its kind.
    """

    kind = "device"

    def __init__(self, name: str, clock: Clock, settings: DeviceSettings) -> None:
        self.name = name
        self.clock = clock
        self._call_timeout_s = settings.call_timeout_s
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether the device has been opened and not closed since."""
        return self._open

    def open(self) -> None:
        """Connect to the device.

        Raises:
            StateError: It is open already.
            ConnectError: It does not answer.
            DriverMissing: The vendor package is not installed.
        """
        if self._open:
            raise StateError(self.name, "is open already; close it before opening it again")
        self._ask(self._do_open)
        self._open = True

    def close(self) -> None:
        """Bring the device to its safe state and disconnect; closing twice does nothing."""
        if not self._open:
            return
        try:
            self._ask(self._do_make_safe)
        finally:
            self._open = False
            self._ask(self._do_close)

    def state(self) -> dict[str, Any]:
        """Return the settings the hardware reports now, as plain values.

        Raises:
            StateError: The device is closed.
        """
        self._require_open()
        return self._ask(self._do_state)

    def make_safe(self) -> None:
        """Bring the device to its safe state; a closed device is left alone."""
        if self._open:
            self._ask(self._do_make_safe)

    def __enter__(self) -> Self:
        if not self._open:
            self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, hook: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return what a hook returns.

        Raises:
            DeviceTimeout: It waited longer than a call may.
            DeviceError: It raised something that is no error of labctl's; that is chained.
        """
        return self._ask_lasting(0.0, hook, *args, **options)

    def _ask_lasting(self, work_s: float, hook: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return what a hook returns whose work itself takes `work_s` seconds; raises as `_ask` does."""
        clock, longest_s = self.clock, self._call_timeout_s + work_s
        end = clock.now_s() + longest_s

        def check() -> None:
            if clock.now_s() > end:
                raise DeviceTimeout(
                    self.name, f"gave no answer to '{_plain(hook)}' within {longest_s:g} s; check its power and cable"
                )

        clock.on_wait.append(check)
        try:
            return hook(*args, **options)
        except LabError:
            raise
        except Exception as error:
            reason = f"failed in '{_plain(hook)}': {type(error).__name__}: {error}"
            raise DeviceError(self.name, f"{reason}; check its power and cable") from error
        finally:
            clock.on_wait.remove(check)

    def _require_open(self) -> None:
        if not self._open:
            raise StateError(self.name, "is closed; open the bench (or the device) first")

    def _require_within(self, what: str, value: float, low: float, high: float, unit: str) -> None:
        if not low <= value <= high:  # also refuses NaN
            raise LimitError(self.name, f"{what} {value:g} {unit} was asked for, allowed is {low:g} to {high:g} {unit}")

    @abstractmethod
    def _do_open(self) -> None: ...

    @abstractmethod
    def _do_close(self) -> None: ...

    @abstractmethod
    def _do_state(self) -> dict[str, Any]: ...

    def _do_make_safe(self) -> None:  # noqa: B027  most devices are safe as they are
        """Bring the hardware to its safe state."""
