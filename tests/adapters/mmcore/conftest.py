"""A small Fourier bench with a stage as a core, a sequence of 24 frames, and what the core tells of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import useq

from labctl.adapters.mmcore import BenchCore, unicore
from labctl.bench import Bench, load_bench

ROOT = Path(__file__).parents[3]
FOURIER = ROOT / "tests" / "benches" / "small_fourier.yaml"
TRAVEL = {"low": "-100 um", "high": "100 um"}
STAGE: dict[str, Any] = {
    "kind": "stage",
    "twin": "sim_backends.twins.TwinStage",
    "settings": {
        "axes": {"x": TRAVEL, "y": TRAVEL, "z": TRAVEL},
        "settle": "20 ms",
        "tolerance": "20 nm",
        "timeout": "2 s",
    },
}
QUIET = {"simulation.noise_scale": 0, "simulation.imperfections": False}
PRESETS = {"weak": {"beam": "2 mW"}, "strong": {"beam": "8 mW"}}
SEQUENCE = useq.MDASequence(
    axis_order="tpcz",  # pyright: ignore[reportArgumentType]
    time_plan={"interval": 0.01, "loops": 2},  # pyright: ignore[reportArgumentType]
    stage_positions=[(-20, 1, 3), (20, 0, 5)],  # pyright: ignore[reportArgumentType]
    z_plan={"range": 4, "step": 2},  # pyright: ignore[reportArgumentType]
    channels=["weak", {"config": "strong", "exposure": 20}],  # pyright: ignore[reportArgumentType]
)
"""2 times x 2 positions x 2 channels x 3 planes = 24 frames."""


def small(**overrides: Any) -> Bench:
    return Bench(load_bench(FOURIER, {"devices.stage": STAGE, **QUIET, **overrides}), True)


@pytest.fixture
def core() -> Iterator[BenchCore]:
    with small() as bench, unicore(bench, PRESETS) as core:
        yield core


class Noted:
    """What a core tells of every frame, as it is taken: its counts, its event, and what was measured with it."""

    def __init__(self, core: BenchCore) -> None:
        self.frames: list[tuple[np.ndarray, useq.MDAEvent, Any]] = []
        core.mda.events.frameReady.connect(self.note)

    def note(self, image: np.ndarray, event: useq.MDAEvent, meta: Any) -> None:
        self.frames.append((image.copy(), event, meta))
