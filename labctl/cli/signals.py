"""What Ctrl-C and other signals do to a run."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labctl.runner import Runner


class Interruptions:
    """What signals do to a run: Ctrl-C once stops it at the next safe point, twice at once; SIGTERM stops it now.

    As long as there is no runner, any of them ends the program the way Ctrl-C does.
    """

    def __init__(self) -> None:
        self.runner: Runner | None = None
        self._asked = False

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Handle Ctrl-C.

        Raises:
            KeyboardInterrupt: There is nothing to stop yet, or it was asked for before.
        """
        if self.runner is None or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self.runner.stop()
        with suppress(OSError):  # written past Python's buffers, which the signal may have found in use
            os.write(2, b"\nstopping at the next safe point; Ctrl-C again stops now\n")

    def demand(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM, a closed terminal and Ctrl-Break.

        Raises:
            KeyboardInterrupt: There is nothing to stop yet.
        """
        if self.runner is None:
            raise KeyboardInterrupt
        self.runner.stop(now=True)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals while the block runs, except those that are ignored, as under nohup."""
        handlers = {"SIGINT": self.ask, **dict.fromkeys(("SIGTERM", "SIGHUP", "SIGBREAK"), self.demand)}
        numbers = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
        for number in before:
            signal.signal(number, numbers[number])
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)
