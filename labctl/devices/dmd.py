"""Digital micromirror device: binary frames, preloaded as sequences and stepped by trigger."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labctl.clock import Clock
from labctl.devices.base import Device
from labctl.devices.pattern import Pattern, PatternStack, pattern_fault
from labctl.documents import StrictModel
from labctl.errors import LimitError, StateError
from labctl.units import Metres, Seconds

Trigger = Literal["internal", "external"]


class DMDSettings(StrictModel):
    """What a micromirror device is, for driver and twin alike.

    Args:
        shape: Mirror rows and columns.
        pitch_m: Mirror pitch.
        min_picture_s: Shortest time one frame can be shown (board's data sheet).
        max_frames: Frames the board's memory holds.
    """

    shape: tuple[int, int]
    pitch_m: Metres
    min_picture_s: Seconds
    max_frames: int = 10_000


@dataclass(frozen=True)
class Sequence:
    """A loaded sequence: handle and number of frames."""

    id: int
    frames: int


class DMD(Device):
    """Base of micromirror devices.

    A sequence is loaded once, told its timing and trigger, and played in any order of its frames.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Mirror geometry and board limits.
    """

    kind = "dmd"
    bit_depth = 1

    def __init__(self, name: str, clock: Clock, settings: DMDSettings) -> None:
        super().__init__(name, clock)
        self.settings = settings
        self.shape = settings.shape
        self.pitch_m = settings.pitch_m
        self._loaded: dict[int, Sequence] = {}
        self._last_id = 0

    def load(self, patterns: PatternStack) -> Sequence:
        """Put `patterns` into the board's memory and return their handle.

        Raises:
            StateError: The device is closed.
            LimitError: A pattern does not fit the mirrors, or memory is full; nothing was loaded.
        """
        self._require_open()
        fault = pattern_fault(patterns, self.shape, self.bit_depth)
        if fault:
            raise LimitError(self.name, fault)
        used = sum(sequence.frames for sequence in self._loaded.values())
        if used + len(patterns) > self.settings.max_frames:
            raise LimitError(
                self.name,
                f"{len(patterns)} frames were to be loaded beside {used}, "
                f"memory holds {self.settings.max_frames}; free a sequence first",
            )
        self._last_id += 1
        sequence = Sequence(self._last_id, len(patterns))
        self._do_load_blocks(sequence, patterns)
        self._loaded[sequence.id] = sequence
        return sequence

    def set_timing(self, picture_s: float) -> None:
        """Set how long each frame is shown when the device steps by itself.

        Raises:
            StateError: The device is closed.
            LimitError: Shorter than the board can.
        """
        self._require_open()
        self._require_within("picture time", picture_s, self.settings.min_picture_s, 10.0, "s")
        self._do_set_timing(picture_s)

    def set_trigger(self, trigger: Trigger) -> None:
        """Choose what steps the frames: the board's own timing, or pulses on its trigger input."""
        self._require_open()
        if trigger not in ("internal", "external"):
            raise LimitError(self.name, f"trigger '{trigger}' was asked for, allowed is internal or external")
        self._do_set_trigger(trigger)

    def play(self, sequence: Sequence, order: NDArray[np.integer] | None = None) -> None:
        """Show frame `order[k]` of `sequence` at step k, once through.

        With the internal trigger this returns when the last frame has been shown; the board's sync output
        then has triggered whatever waits for it. With the external trigger it arms and returns at once.

        Args:
            sequence: Handle from `load`.
            order: Frame numbers, shape (steps,); by default each frame once.

        Raises:
            StateError: Closed, or the sequence is not loaded.
            LimitError: A frame number is not in the sequence.
        """
        self._require_open()
        self._require_loaded(sequence)
        order = np.arange(sequence.frames) if order is None else np.asarray(order)
        whole = order.ndim == 1 and order.size > 0 and np.issubdtype(order.dtype, np.integer)
        if not whole or order.min() < 0 or order.max() >= sequence.frames:
            asked = f"{order.min():g} to {order.max():g}" if order.size else "none"
            raise LimitError(self.name, f"frame numbers {asked} were asked for, allowed is 0 to {sequence.frames - 1}")
        self._do_play(sequence, order)

    def halt(self) -> None:
        """Stop playing; all mirrors go to their off position."""
        self._require_open()
        self._do_halt()

    def free(self, sequence: Sequence) -> None:
        """Give the sequence's memory back.

        Raises:
            StateError: Closed, or the sequence is not loaded.
        """
        self._require_open()
        self._require_loaded(sequence)
        self._do_free(sequence)
        del self._loaded[sequence.id]

    def show(self, pattern: Pattern) -> None:
        """Show one pattern until the next command.

        Raises:
            StateError: The device is closed.
            LimitError: The pattern does not fit the mirrors.
        """
        self._require_open()
        fault = pattern_fault(pattern, self.shape, self.bit_depth)
        if fault:
            raise LimitError(self.name, fault)
        self._do_show_blocks(pattern)
        self.clock.wait(self.settings.min_picture_s)

    def close(self) -> None:
        """Stop playing, forget loaded sequences and disconnect; closing twice does nothing."""
        try:
            super().close()
        finally:
            self._loaded.clear()

    def _require_loaded(self, sequence: Sequence) -> None:
        if self._loaded.get(sequence.id) is not sequence:
            raise StateError(self.name, f"sequence {sequence.id} is not loaded; load it (again) before this")

    def _do_load_blocks(self, sequence: Sequence, patterns: PatternStack) -> None:
        """Load blocks; a twin that computes with blocks overrides this and never expands a frame."""
        frames = (patterns[k].expand(self.shape) for k in range(len(patterns)))
        self._do_load(sequence, np.stack([np.packbits(frame.astype(bool), axis=1) for frame in frames]))

    def _do_show_blocks(self, pattern: Pattern) -> None:
        self._do_show(np.packbits(pattern.expand(self.shape).astype(bool), axis=1))

    @abstractmethod
    def _do_load(self, sequence: Sequence, frames: NDArray[np.uint8]) -> None:
        """Load frames packed to one bit per mirror, shape (n, rows, ceil(cols / 8)), first column the highest bit."""

    @abstractmethod
    def _do_show(self, frame: NDArray[np.uint8]) -> None:
        """Show one packed frame."""

    @abstractmethod
    def _do_set_timing(self, picture_s: float) -> None: ...

    @abstractmethod
    def _do_set_trigger(self, trigger: Trigger) -> None: ...

    @abstractmethod
    def _do_play(self, sequence: Sequence, order: NDArray[np.integer]) -> None: ...

    @abstractmethod
    def _do_halt(self) -> None: ...

    @abstractmethod
    def _do_free(self, sequence: Sequence) -> None: ...
