"""Thorlabs SC10 shutter controller: the shutter of a beam, no device of its own."""

from typing import Any

from drivers.serial_line import SerialHardware, SerialLine
from drivers.thorlabs_prompt import ask_prompt, prompt_dialect
from labctl.clock import Clock


class SC10Shutter:
    """A shutter behind an SC10, in its manual mode.

    Args:
        beam: Name of the device it belongs to, for messages.
        clock: Bench time.
        hardware: Port; 9600 baud unless the controller was set to 115200.
    """

    def __init__(self, beam: str, clock: Clock, hardware: SerialHardware) -> None:
        self._line = SerialLine(beam, clock, hardware, prompt_dialect("SC10", 9600))

    def connect(self) -> None:
        """Open the port and choose manual mode, in which the shutter stays where it is put."""
        self._line.open()
        try:
            ask_prompt(self._line, "mode=1")
        except BaseException:
            self._line.close()
            raise

    def disconnect(self) -> None:
        """Close the port."""
        self._line.close()

    def state(self) -> dict[str, Any]:
        """Return whether the controller holds the shutter open, and whether its sensor says that it is closed."""
        return {"enabled": self._flag("ens?"), "closed": self._flag("closed?")}

    @property
    def is_closed(self) -> bool:
        """Whether the shutter's own sensor says so."""
        return self._flag("closed?")

    def switch(self, light: bool) -> None:
        """Let light through, or not; the blade moves after this returns."""
        # `ens` toggles, so it is sent only after the state has been read
        if self._flag("ens?") != light:
            ask_prompt(self._line, "ens")

    def _flag(self, query: str) -> bool:
        return ask_prompt(self._line, query, "([01])")[1] == "1"
