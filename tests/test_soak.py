"""The soak in small: what `make soak` does with 100,000 frames holds for a few thousand."""

import runpy
from pathlib import Path

from rich.console import Console

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


def test_every_injected_fault_of_a_frame_is_found_and_no_bad_frame_is_used():
    assert runpy.run_path(str(SOAK))["soak"](3000, 1, Console(quiet=True))
