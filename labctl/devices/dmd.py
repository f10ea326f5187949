"""Digital micromirror device: binary frames, preloaded as sequences and stepped by trigger."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from labctl.clock import Clock
from labctl.devices.base import Device, LitSettings, Shape
from labctl.devices.pattern import Pattern, PatternStack, pattern_fault
from labctl.devices.tag import NUMBER_BITS, TAG_BLOCKS, paint_tag
from labctl.errors import LimitError, StateError
from labctl.units import Metres, Seconds

Trigger = Literal["internal", "external"]

LOAD_S = 0.01
"""Time one frame may take into the board's memory: 260 kB of a 1080p board at a tenth of USB 3."""

LONGEST_PICTURE_S = 10.0
"""Longest time one frame of a sequence can be shown."""


class DMDSettings(LitSettings):
    """What a micromirror device is, for driver and twin alike.

    Args:
        shape: Mirror rows and columns.
        pitch_m: Mirror pitch.
        min_picture_s: Shortest time one frame can be shown (board's data sheet).
        max_frames: Frames the board's memory holds.
        tag_block: Mirrors (rows, cols) of one block of the optical tag, which overwrites 14 of them in the first and in
            the last corner of every frame (see `labctl.devices.tag`); none without it.
        external_trigger: Whether pulses on a trigger input can step its frames.
    """

    shape: Shape
    pitch_m: Metres = Field(gt=0)
    min_picture_s: Seconds = Field(gt=0)
    max_frames: int = Field(default=10_000, ge=1)
    tag_block: Shape | None = None
    external_trigger: bool = True

    @model_validator(mode="after")
    def _tag_fits(self) -> Self:
        if self.tag_block and (2 * self.tag_block[0] > self.shape[0] or TAG_BLOCKS * self.tag_block[1] > self.shape[1]):
            raise ValueError(f"two tags of {TAG_BLOCKS} blocks of {self.tag_block} do not fit {self.shape} mirrors")
        return self


@dataclass(frozen=True)
class Sequence:
    """A loaded sequence.

    Args:
        id: Handle.
        frames: Patterns in it; with a tag the board holds each of them twice, under two numbers.
        first_number: Tag number of the first frame in the board's memory.
    """

    id: int
    frames: int
    first_number: int = 0

    def numbers(self, board_frames: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the tag numbers of frames in the board's memory."""
        return (self.first_number + board_frames.astype(np.int64)) % 2**NUMBER_BITS


class DMD(Device):
    """Base of micromirror devices.

    A sequence is loaded once, told its timing and trigger, and played in any order of its frames. With a tag every
    frame shown carries a number, never that of the frame before: a pattern is loaded twice, and steps take turns.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Mirror geometry and board limits.
    """

    kind = "dmd"
    bit_depth = 1

    def __init__(self, name: str, clock: Clock, settings: DMDSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings
        self.shape = settings.shape
        self.pitch_m = settings.pitch_m
        self._loaded: dict[int, Sequence] = {}
        self._last_id = 0
        self._next_number = 0
        self._steps = 0
        self._picture_s = settings.min_picture_s

    @property
    def copies(self) -> int:
        """How often the board holds each pattern."""
        return 2 if self.settings.tag_block else 1

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
        room = self.settings.max_frames // self.copies
        if used + len(patterns) > room:
            raise LimitError(
                self.name,
                f"{len(patterns)} frames were to be loaded beside {used}, memory holds {room}; free a sequence first",
            )
        self._last_id += 1
        sequence = Sequence(self._last_id, len(patterns), self._next_number)
        self._next_number = (self._next_number + self.copies * len(patterns)) % 2**NUMBER_BITS
        self._ask_lasting(LOAD_S * self.copies * len(patterns), self._do_load_blocks, sequence, patterns)
        self._loaded[sequence.id] = sequence
        return sequence

    def set_timing(self, picture_s: float) -> None:
        """Set how long each frame is shown when the device steps by itself.

        Raises:
            StateError: The device is closed.
            LimitError: Shorter than the board can.
        """
        self._require_open()
        self._require_within("picture time", picture_s, self.settings.min_picture_s, LONGEST_PICTURE_S, "s")
        self._ask(self._do_set_timing, picture_s)
        self._picture_s = picture_s

    def set_trigger(self, trigger: Trigger) -> None:
        """Choose what steps the frames: the board's own timing, or pulses on its trigger input."""
        self._require_open()
        if trigger not in ("internal", "external"):
            raise LimitError(self.name, f"trigger '{trigger}' was asked for, allowed is internal or external")
        if trigger == "external" and not self.settings.external_trigger:
            raise LimitError(self.name, "has no trigger input; step it frame by frame with show")
        self._ask(self._do_set_trigger, trigger)

    def play(self, sequence: Sequence, order: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
        """Show frame `order[k]` of `sequence` at step k, once through, and return the tag number of every step.

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
        turns = (self._steps + np.arange(len(order))) % self.copies
        self._steps += len(order)
        shown = self.copies * order.astype(np.int64) + turns
        self._ask_lasting(self._picture_s * len(order), self._do_play, sequence, shown)
        return sequence.numbers(shown)

    def halt(self) -> None:
        """Stop playing; all mirrors go to their off position."""
        self._require_open()
        self._ask(self._do_halt)

    def free(self, sequence: Sequence) -> None:
        """Give the sequence's memory back.

        Raises:
            StateError: Closed, or the sequence is not loaded.
        """
        self._require_open()
        self._require_loaded(sequence)
        self._ask(self._do_free, sequence)
        del self._loaded[sequence.id]

    def show(self, pattern: Pattern) -> int:
        """Show one pattern until the next command and return its tag number.

        Raises:
            StateError: The device is closed.
            LimitError: The pattern does not fit the mirrors.
        """
        self._require_open()
        fault = pattern_fault(pattern, self.shape, self.bit_depth)
        if fault:
            raise LimitError(self.name, fault)
        number = self._next_number
        self._next_number = (number + 1) % 2**NUMBER_BITS
        self._ask(self._do_show_blocks, pattern, number)
        self.clock.wait(self.settings.min_picture_s)
        return number

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
        numbers = sequence.numbers(np.arange(self.copies * len(patterns)))
        packed = [self._packed(patterns[k // self.copies], int(number)) for k, number in enumerate(numbers)]
        self._ask(self._do_load, sequence, np.stack(packed))

    def _do_show_blocks(self, pattern: Pattern, number: int) -> None:
        self._ask(self._do_show, self._packed(pattern, number))

    def _packed(self, pattern: Pattern, number: int) -> NDArray[np.uint8]:
        frame = pattern.expand(self.shape)
        if self.settings.tag_block:
            paint_tag(frame, number, self.settings.tag_block)
        return np.packbits(frame.astype(bool), axis=1)

    @abstractmethod
    def _do_load(self, sequence: Sequence, frames: NDArray[np.uint8]) -> None:
        """Load frames packed to one bit per mirror, shape (n, rows, ceil(cols / 8)), first column the highest bit.

        With a tag, n is twice the patterns of the sequence: frames 2 k and 2 k + 1 both show pattern k.
        """

    @abstractmethod
    def _do_show(self, frame: NDArray[np.uint8]) -> None:
        """Show one packed frame."""

    @abstractmethod
    def _do_set_timing(self, picture_s: float) -> None: ...

    @abstractmethod
    def _do_set_trigger(self, trigger: Trigger) -> None: ...

    @abstractmethod
    def _do_play(self, sequence: Sequence, order: NDArray[np.integer]) -> None:
        """Show frame `order[k]` of those `_do_load` was given at step k."""

    @abstractmethod
    def _do_halt(self) -> None: ...

    @abstractmethod
    def _do_free(self, sequence: Sequence) -> None: ...
