"""A small Fourier bench with a stage, a sequence of 36 frames, and what a run of one leaves."""

from pathlib import Path
from typing import Any

import numpy as np
import yaozarrs
import zarr

from labctl.bench import Bench, load_bench
from labctl.experiments.mda.plan import mda
from labctl.plan import parse_settings
from labctl.recorder import Recorder
from labctl.records import Record
from labctl.runner import Outcome, Runner

FOURIER = Path(__file__).parents[2] / "benches" / "small_fourier.yaml"
TRAVEL = {"low": "-100 um", "high": "100 um"}
STAGE: dict[str, Any] = {
    "kind": "stage",
    "twin": "sim_backends.twins.TwinStage",
    "settings": {
        "axes": {"x": TRAVEL, "y": TRAVEL, "z": {"low": "0 um", "high": "100 um"}},
        "settle": "20 ms",
        "tolerance": "20 nm",
        "timeout": "2 s",
    },
}
PRESETS = {"weak": {"beam": "2 mW"}, "strong": {"beam": "10 mW"}}
SEQUENCE: dict[str, Any] = {
    "axis_order": "tpcz",
    "time_plan": {"interval": 2, "loops": 3},
    "stage_positions": [{"name": "left", "x": -20, "y": 1, "z": 50}, {"name": "right", "x": 20, "y": 0, "z": 60}],
    "z_plan": {"range": 4, "step": 2},
    "channels": [{"config": "weak", "exposure": 10}, {"config": "strong", "exposure": 20}],
    "metadata": {"labctl": {"presets": PRESETS}},
}
"""3 times x 2 positions x 2 channels x 3 planes = 36 frames."""


def small(**overrides: Any):
    return load_bench(FOURIER, {"devices.stage": STAGE, **overrides})


def run(
    folder: Path, sequence: dict[str, Any], stop_after: int | None = None, bench: Any = None, **given: Any
) -> tuple[Outcome, Path, list[Record]]:
    """Run a sequence and return how it ended, its folder and its records."""
    chosen = parse_settings(mda, {"sequence": sequence, **given})
    seen: list[Record] = []
    with Bench(bench or small(), True) as table, Recorder(folder, "mda", {"a": 1}, chosen.keep) as recorder:
        runner = Runner(mda, table, chosen, np.random.default_rng(0), [recorder, seen.append, lambda _: enough()])

        def enough() -> None:
            if stop_after and sum(record.kind == "frame" for record in seen) >= stop_after:
                runner.stop()

        outcome = runner.run()
        recorder.finish(outcome.status, outcome.summary, outcome.error)
    return outcome, recorder.folder, seen


def frames_of(records: list[Record]) -> list[Record]:
    return [record for record in records if record.kind == "frame"]


def images(folder: Path) -> dict[str, Any]:
    """Return the images of a run by name, read by zarr alone, after yaozarrs has found the file valid."""
    file = folder / "images.ome.zarr"
    yaozarrs.validate_zarr_store(str(file))
    root: Any = zarr.open_group(file, mode="r")
    ome = root.attrs["ome"]
    parts = [root] if "multiscales" in ome else [root[name] for name in root["OME"].attrs["ome"]["series"]]
    return {part.attrs["ome"]["multiscales"][0]["name"]: part for part in parts}
