"""A Thorlabs SC10 with its shutter: `ens` toggles, the blade takes its time, and a sensor says when it is closed."""

from labctl.clock import Clock
from sim_backends.instruments.thorlabs_prompt import UNKNOWN, prompted


class SC10Controller:
    """The controller and a shutter.

    Args:
        clock: Time in which the blade moves.
        blade_s: How long it takes to open or close.
    """

    line_end = b"\r"

    def __init__(self, clock: Clock, blade_s: float = 0.01) -> None:
        self.enabled = False
        self.mode = 1
        self._clock, self.blade_s = clock, blade_s
        self._moved_s = clock.now_s() - blade_s

    @property
    def is_closed(self) -> bool:
        """Whether the blade covers the hole."""
        return not self.enabled and self._clock.now_s() - self._moved_s >= self.blade_s

    def handle(self, line: str) -> str:
        """Return echo, answer and prompt for one command."""
        return prompted(line, self._answer(line))

    def _answer(self, line: str) -> str:
        if line == "id?":
            return "THORLABS SC10 VERSION 1.07"
        if line == "ens?":
            return f"{self.enabled:d}"
        if line == "closed?":
            return f"{self.is_closed:d}"
        if line == "ens":
            self.enabled, self._moved_s = not self.enabled, self._clock.now_s()
            return ""
        if line in ("mode=1", "mode=2", "mode=3", "mode=4", "mode=5"):
            self.mode = int(line[-1])
            return ""
        return UNKNOWN
