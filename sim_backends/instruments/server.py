"""What serves a simulated instrument: a thread of its own, from when it is entered until the cable is pulled."""

import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from sim_backends.instruments.conversation import Conversation, Instrument, WireFault


class Server(ABC):
    """Serves one instrument while it is entered.

    Args:
        instrument: Who answers.
        late_s: How late a late answer is.
    """

    url: str
    """Where pyserial finds the instrument."""

    def __init__(self, instrument: Instrument, late_s: float) -> None:
        self._conversation = Conversation(instrument, late_s)
        self._wake, self._woken = socket.socketpair()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated instrument", daemon=True)

    def misbehave(self, *faults: WireFault) -> None:
        """Let these faults befall the next answers."""
        self._conversation.faults.extend(faults)

    def unplug(self) -> None:
        """End the connection for good, as when the cable is pulled."""
        if not self._stopped.is_set():
            self._wake.send(b"!")  # the thread closes this when it has stopped, so it comes first
            self._stopped.set()
            self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def _run(self) -> None:
        self._serve()
        self._wake.close()
        self._woken.close()

    @abstractmethod
    def _serve(self) -> None:
        """Answer until `_stopped` is set, which something to read from `_woken` tells, and close the connection."""
