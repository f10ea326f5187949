"""An instrument and its input buffer: bytes in, answers out, and the faults of a bad line."""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

logger = logging.getLogger(__name__)

WireFault = Literal["silent", "late", "held", "garbage", "half"]
"""What may become of an answer: never sent, late, held back until the next is sent, unreadable, or cut off."""


class Instrument(Protocol):
    """An instrument as its manual describes it."""

    line_end: bytes
    """What ends a command."""

    def handle(self, line: str) -> str:
        """Return all that is sent back for one command, ends of lines and prompts included; "" for nothing."""
        ...


@dataclass(frozen=True)
class Answer:
    """Bytes to send, `delay_s` seconds from now and before anything else."""

    data: bytes
    delay_s: float = 0.0


class Conversation:
    """Feeds an instrument with whole commands, however they come.

    Args:
        instrument: Who answers.
        late_s: How late a late answer is.
    """

    def __init__(self, instrument: Instrument, late_s: float = 0.5) -> None:
        self.faults: deque[WireFault] = deque()
        """Faults of the next answers, first to come first."""
        self._instrument, self._late_s = instrument, late_s
        self._waiting, self._held = b"", b""

    def greeting(self) -> bytes:
        """Return what the instrument says to whoever connects: nothing, unless it has a `greeting`."""
        return getattr(self._instrument, "greeting", "").encode("ascii")

    def receive(self, data: bytes) -> list[Answer]:
        """Return the answers to the commands that are complete now."""
        *lines, self._waiting = (self._waiting + data).split(self._instrument.line_end)
        answers = [self._instrument.handle(line.decode("ascii", "replace")) for line in lines]
        return [self._spoilt(answer.encode("ascii")) for answer in answers if answer]

    def _spoilt(self, answer: bytes) -> Answer:
        if not self.faults:
            answer, self._held = self._held + answer, b""
            return Answer(answer)
        fault = self.faults.popleft()
        logger.info("the answer %r is %s", answer, fault)
        if fault == "late":
            return Answer(answer, self._late_s)
        if fault == "held":
            self._held = answer
            return Answer(b"")
        if fault == "garbage":
            return Answer(bytes(byte ^ 0x55 if byte > 0x20 else byte for byte in answer))
        return Answer(answer[: len(answer) // 2] if fault == "half" else b"")
