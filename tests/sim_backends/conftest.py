"""Random masks on an open small bench, and when two fields are the same."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.conftest import Table

EXACT = 2e-4
"""Share of full scale by which a field may be off: rounding of the counts, averaged over four exposures."""


def masks(table: "Table", seed: int = 1) -> dict[str, np.ndarray]:
    """Write random masks on all panels and return the field matrices that the bench believes they are."""
    rng = np.random.default_rng(seed)
    return {panel: table.write(panel, rng.uniform(-1, 1, one.shape)) for panel, one in table.multipliers.items()}


def assert_close(measured: np.ndarray, expected: np.ndarray, share: float = EXACT) -> None:
    """Compare fields; what is expected must be well above what is let through."""
    scale = np.abs(expected).max()
    assert scale > 0.005
    assert np.abs(measured - expected).max() <= share * scale
