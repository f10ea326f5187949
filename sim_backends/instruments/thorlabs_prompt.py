"""What Thorlabs' small controllers have in common on the wire: the echo, the prompt, the words for an error."""

UNKNOWN = "Command error CMD_NOT_DEFINED"
OUT_OF_RANGE = "Command error CMD_ARG_RANGE_ERR"


def prompted(line: str, answer: str) -> str:
    """Return what is sent for a command: its echo, the answer on a line of its own where there is one, the prompt."""
    return f"{line}\r{answer}\r> " if answer else f"{line}\r> "
