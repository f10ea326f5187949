"""Puts a simulated instrument on a pseudo-terminal, a serial port but for its speed; to be imported on POSIX only."""

import os
import select
import tty

from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.server import Server


class PtyServer(Server):
    """Serves one instrument on a pseudo-terminal.

    Args:
        instrument: Who answers.
        late_s: How late a late answer is.
    """

    def __init__(self, instrument: Instrument, late_s: float = 0.5) -> None:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._ours)
        tty.setraw(self._theirs)
        self.url = os.ttyname(self._theirs)
        super().__init__(instrument, late_s)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            ready, _, _ = select.select([self._ours, self._woken], [], [])
            if self._ours in ready:
                for answer in self._conversation.receive(os.read(self._ours, 4096)):
                    self._stopped.wait(answer.delay_s)
                    os.write(self._ours, answer.data)
        # ours first: whoever holds the other end sees the line hang up
        for descriptor in (self._ours, self._theirs):
            os.close(descriptor)
