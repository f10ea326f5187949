"""Instruments simulated in a process of their own, which sees and times the light it lets pass."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from labctl.errors import LabError

Output = tuple[int, str]
"""Instrument, counted from 0, and an output of it: an RF channel, a shutter, a beam."""


@dataclass(frozen=True)
class Change:
    """Whether light passes an output, and since when on `time.monotonic_ns`."""

    light: bool
    time_ns: int


class InstrumentProcess:
    """Instruments served by `python -m MODULE ARGUMENTS`; they end with the block.

    Args:
        module: Serves simulators; writes lines that say where, and then every change of light as a line of JSON.
        arguments: What it is told.
        lines: How many lines say where.
    """

    def __init__(self, module: str, arguments: Sequence[str], lines: int) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin  # both were asked for
        assert self._process.stdout
        self._orders, self._words = self._process.stdin, self._process.stdout
        self.where = [self._words.readline().strip() for _ in range(lines)]
        """What it says of where they are: URLs."""
        self._changed = threading.Condition()
        self._outputs: dict[Output, Change] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def dark_since_ns(self, outputs: Sequence[Output] = (), timeout_s: float = 0.0) -> int | None:
        """Return since when no light passes the last of these outputs to close; of all that ever opened by default.

        None when light passes one of them still after `timeout_s` seconds.
        """
        with self._changed:
            dark = self._changed.wait_for(
                lambda: not any(self._of(one).light for one in self._chosen(outputs)), timeout_s
            )
            return max((self._of(one).time_ns for one in self._chosen(outputs)), default=0) if dark else None

    def _chosen(self, outputs: Sequence[Output]) -> Sequence[Output]:
        return outputs or tuple(self._outputs)

    def _of(self, output: Output) -> Change:
        return self._outputs.get(output, Change(False, 0))

    def unplug(self, instrument: int) -> None:
        """End the connection of one instrument for good."""
        self._orders.write(f"unplug {instrument}\n")
        self._orders.flush()

    def __enter__(self) -> Self:
        if not all(self.where):
            self.__exit__(None, None, None)
            raise LabError("the simulated instruments did not start; what they wrote is on stderr")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.close()
        self._reader.join()
        self._words.close()
        self._process.wait()

    def _read(self) -> None:
        for line in self._words:
            change: dict[str, Any] = json.loads(line)
            with self._changed:
                self._outputs[change["instrument"], change["output"]] = Change(change["light"], change["time_ns"])
                self._changed.notify_all()
