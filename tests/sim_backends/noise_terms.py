"""The shipped noise set, one term of it as an override, and what a camera of the small bench then counts."""

from typing import Any

import numpy as np

from sim_backends.noise import load_noise_set
from tests.conftest import Table

PIXELS = 15
STEP = 30000 / 2**12
"""Electrons per count of the small bench's cameras."""

SHIPPED = load_noise_set("reference", {})


def term(name: str, value: str | float) -> dict[str, Any]:
    """Return the override that sets one noise term."""
    return {f"simulation.terms.{name}": {"value": value, "source": "this test"}}


def reference_electrons(table: Table, frames: int) -> np.ndarray:
    """Return the electrons (frames, modes) that the reference alone leaves on a camera."""
    table.bench.beam("reference").on()
    return table.bench.camera("camera_z1").acquire(frames).counts[:, 0] * STEP
