"""The soak in small: what `make soak` does with 100,000 frames holds for a few thousand."""

from pathlib import Path

import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_every_injected_fault_of_a_frame_is_found_and_no_bad_frame_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from soak import soak  # pyright: ignore[reportMissingImports]  # a script, not a package

    assert soak(3000, 1, Console(quiet=True))
