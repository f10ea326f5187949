"""What is shown while something takes longer than people expect."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Timer

from labctl.cli import show

AFTER_S = 1.0
"""Silence after which people are told what they are waiting for."""


@contextmanager
def told(what: str, after_s: float = AFTER_S) -> Iterator[None]:
    """Tell on stderr what is being done if the block takes longer: what moves on a terminal, else one line.

    Args:
        what: What is being done.
        after_s: Wall time until it is told.
    """
    console = show.console(stderr=True)
    spinner = console.status(f"{what} ...")
    moves = console.is_terminal and not console.is_dumb_terminal
    tell = spinner.start if moves else partial(console.print, f"{what} ...", soft_wrap=True)
    timer = Timer(after_s, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it may be about to show what must be taken away again
        spinner.stop()
