"""Puts a simulated instrument on a pseudo-terminal, a serial port but for its speed; to be imported on POSIX only."""

import os
import select
import threading
import tty
from types import TracebackType
from typing import Self

from sim_backends.instruments.conversation import Conversation, Instrument, WireFault


class PtyServer:
    """Serves one instrument on a pseudo-terminal from a thread of its own.

    Args:
        instrument: Who answers.
        late_s: How late a late answer is.
    """

    def __init__(self, instrument: Instrument, late_s: float = 0.5) -> None:
        self._conversation = Conversation(instrument, late_s)
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._ours)
        tty.setraw(self._theirs)
        self.url = os.ttyname(self._theirs)
        """Where pyserial finds the instrument."""
        self._woken, self._wake = os.pipe()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="simulated instrument", daemon=True)

    def misbehave(self, *faults: WireFault) -> None:
        """Let these faults befall the next answers."""
        self._conversation.faults.extend(faults)

    def unplug(self) -> None:
        """End the connection for good, as when the cable is pulled."""
        if not self._stopped.is_set():
            os.write(self._wake, b"!")  # the thread closes this when it has stopped, so it comes first
            self._stopped.set()
            self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            ready, _, _ = select.select([self._ours, self._woken], [], [])
            if self._ours in ready:
                for answer in self._conversation.receive(os.read(self._ours, 4096)):
                    self._stopped.wait(answer.delay_s)
                    os.write(self._ours, answer.data)
        # ours first: whoever holds the other end sees the line hang up
        for descriptor in (self._ours, self._theirs, self._wake, self._woken):
            os.close(descriptor)
