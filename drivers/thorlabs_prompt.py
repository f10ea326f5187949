"""How Thorlabs' small controllers talk (TC200, SC10): each command is echoed, then answered, then follows a prompt."""

import re

from drivers.serial_line import Dialect, SerialLine


def prompt_dialect(model: str, baud: int) -> Dialect:
    """Return the dialect of `model`, a word of what it answers to `id?`."""
    # Some answers end in a carriage return before the prompt and some do not (`stat?`).
    return Dialect(b"\r", re.compile(rb"> "), "id?", re.compile(rf"(?is)id\?\s.*{model}.*>"), baud)


def ask_prompt(line: SerialLine, command: str, answer: str = "") -> re.Match[str]:
    """Return the match of the pattern `answer` with what `line` says between echo and prompt.

    Raises:
        DeviceError: It is no answer to this command, a refusal ("Command error CMD_NOT_DEFINED") among them.
    """
    return line.ask(command, rf"(?is){re.escape(command)}\s+(?:{answer})\s*>")
