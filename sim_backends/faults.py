"""Faults injected into twins on purpose: what a bench file's `simulation.faults` lists, when it says, and a log of it.

A fault comes `at` one call or frame of its device, counted from 1, or at a `rate`, drawn from the measurement seed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, NoReturn, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from labctl.clock import Clock
from labctl.devices import Camera, Device, Frames
from labctl.documents import Document, StrictModel, nearest
from labctl.errors import ConfigError
from sim_backends.truth import stream

logger = logging.getLogger(__name__)

FrameFault = Literal["stale", "dropped", "repeated", "torn", "saturated"]
CallFault = Literal["hang", "exception", "disconnect", "phase_jump", "slit_jump"]

HANG_STEP_S = 0.2
"""How often a hanging call looks at the clock: the longest any hook may block without."""


class Fault(StrictModel):
    """One kind of fault of one device.

    Args:
        device: Whose calls or frames are hit.
        fault: For cameras `stale` (the frame before once more, under a new number and time), `dropped` (never
            delivered), `repeated` (delivered twice), `torn` (its first half is of the frame before) or `saturated`
            (all pixels at their highest count). For all devices `hang` (the call waits forever), `exception` (it raises
            what a vendor's code might), `disconnect` (so does every later one), and, happening to the light at that
            moment, `phase_jump` (of the reference) and `slit_jump` (the beam jumps off the slit).
        at: Which call of its driver, or frame delivered, from 1 on.
        rate: Probability for each call or frame.
    """

    device: str
    fault: Literal[FrameFault, CallFault]
    at: int | None = Field(default=None, ge=1)
    rate: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _comes_some_time(self) -> Self:
        if (self.at is None) == (self.rate == 0):
            raise ValueError("a fault has either 'at', a number from 1 on, or a 'rate' above 0")
        return self

    def hits(self, first: int, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which of `n` calls or frames are hit, the first of them being number `first`."""
        if self.at is not None:
            return np.arange(first, first + n) == self.at
        return rng.random(n) < self.rate


@dataclass(frozen=True)
class Injected:
    """A fault that happened: device, kind, and number of the call, or the camera's number of the frame."""

    device: str
    fault: str
    number: int


def read_faults(listed: Sequence[Mapping[str, Any]], devices: Sequence[str]) -> tuple[Fault, ...]:
    """Return a bench file's list of faults.

    Raises:
        ConfigError: An unknown key, fault or device, or neither `at` nor `rate`.
    """
    faults = tuple(Document.of(f"simulation.faults.{k}", one).validate(Fault) for k, one in enumerate(listed))
    for fault in faults:
        if fault.device not in devices:
            raise ConfigError(f"simulation.faults: no device '{fault.device}'{nearest(fault.device, devices)}")
    return faults


class Injector:
    """Makes the faults of one simulated bench happen.

    Args:
        faults: What shall happen.
        clock: Bench time, on which hanging calls wait.
        seed: Draws faults that have a rate.
        events: What a fault does to the light besides, by its name; called with the device's name.
    """

    def __init__(
        self, faults: Sequence[Fault], clock: Clock, seed: int, events: Mapping[str, Callable[[str], None]]
    ) -> None:
        self.log: list[Injected] = []
        self._came: list[Fault] = []
        self._faults, self._clock, self._events = faults, clock, events
        self._rng = stream(seed, "faults")

    def attach(self, device: Device) -> None:
        """Let faults hit the hooks of a twin that has just been made.

        Raises:
            ConfigError: A fault of frames is asked for, and the device is no camera.
        """
        mine = [fault for fault in self._faults if fault.device == device.name]
        of_frames = [fault for fault in mine if fault.fault in get_args(FrameFault)]
        of_calls = [fault for fault in mine if fault.fault in get_args(CallFault)]
        if of_frames and isinstance(device, Camera):
            tampered = _Tampered(device, of_frames, self._rng, self.log, self._came)
            _wrap(device, "_do_collect", lambda hook: lambda: tampered.frames(hook()))
        elif of_frames:
            raise ConfigError(f"simulation.faults: {device.name} gives no frames that could be {of_frames[0].fault}")
        if of_calls:
            calls = _Calls(device.name, of_calls, self)
            for name in _own_hooks(device):
                _wrap(device, name, calls.through)
        if mine:
            _wrap(device, "_do_close", lambda hook: lambda: (self._tell_missing(mine), hook()))

    def happen(self, device: str, fault: CallFault, number: int) -> None:
        """Make one fault of a call happen: raise, hang, or change the light."""
        self.log.append(Injected(device, fault, number))
        self._events.get(fault, lambda _: None)(device)
        if fault == "hang":
            self._hang()
        elif fault == "exception":
            raise RuntimeError("injected exception")
        elif fault == "disconnect":
            raise ConnectionError("injected disconnect")

    def due(self, fault: Fault, number: int) -> bool:
        """Return whether a fault hits call `number`."""
        hit = bool(fault.hits(number, 1, self._rng)[0])
        if hit and fault not in self._came:
            self._came.append(fault)
        return hit

    def _tell_missing(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault not in self._came:
                when = f"rate {fault.rate:g}" if fault.at is None else f"at {fault.at}"
                logger.warning("simulation.faults: %s of %s, %s, never came", fault.fault, fault.device, when)

    def _hang(self) -> NoReturn:
        while True:
            self._clock.wait(HANG_STEP_S)


class _Calls:
    """Counts the calls of one device's driver and lets faults hit them."""

    def __init__(self, device: str, faults: Sequence[Fault], injector: Injector) -> None:
        self._device, self._faults, self._injector = device, faults, injector
        self._made = 0
        self._gone = False

    def through(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if self._gone:
                raise ConnectionError("injected disconnect")
            self._made += 1
            for fault in self._faults:
                if self._injector.due(fault, self._made):
                    self._gone = self._gone or fault.fault == "disconnect"
                    self._injector.happen(self._device, _call_fault(fault), self._made)
            return hook(*args, **options)

        return called


def _call_fault(fault: Fault) -> CallFault:
    return next(name for name in get_args(CallFault) if name == fault.fault)


class _Tampered:
    """What faults make of one camera's frames."""

    def __init__(
        self,
        camera: Camera,
        faults: Sequence[Fault],
        rng: np.random.Generator,
        log: list[Injected],
        came: list[Fault],
    ) -> None:
        self._camera, self._faults, self._rng, self._log, self._came = camera, faults, rng, log, came
        self._delivered = 0
        self._last: NDArray[np.unsignedinteger] | None = None

    def frames(self, taken: Frames) -> Frames:
        """Return the frames as they come out of a camera that has these faults; each frame has one at most."""
        n, counts = len(taken), taken.counts.copy()
        if not n:
            return taken
        before = np.zeros_like(counts[:1]) if self._last is None else self._last
        before = np.concatenate([before, taken.counts[:-1]])
        times, free = np.ones(n, int), np.ones(n, bool)
        for fault in self._faults:
            hit = fault.hits(self._delivered + 1, n, self._rng) & free
            free &= ~hit
            if hit.any() and fault not in self._came:
                self._came.append(fault)
            self._log.extend(Injected(self._camera.name, fault.fault, int(k)) for k in taken.ids[hit])
            times[hit] = {"dropped": 0, "repeated": 2}.get(fault.fault, 1)
            if fault.fault == "saturated":
                counts[hit] = self._camera.top_count
            elif fault.fault == "stale":
                counts[hit] = before[hit]
            elif fault.fault == "torn":
                flat, half = counts.reshape(n, -1), counts[0].size // 2
                flat[hit, :half] = before.reshape(n, -1)[hit, :half]
        self._delivered += n
        self._last = taken.counts[-1:].copy()
        came = np.repeat(np.arange(n), times)
        return Frames(counts[came], taken.ids[came], taken.times_s[came])


def _own_hooks(device: Device) -> list[str]:
    """Return the hooks that the twin itself has written; those of base classes are made of them."""
    hooks = (name for name in dir(device) if name.startswith("_do_"))
    return [name for name in hooks if not getattr(device, name).__module__.startswith("labctl.")]


def _wrap(device: Device, hook: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    inner = getattr(device, hook)
    setattr(device, hook, wraps(inner)(around(inner)))
