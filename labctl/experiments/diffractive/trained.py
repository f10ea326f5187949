"""Trained plates wherever they are: a file, a cell of a table, or a run that trained phase masks on a bench."""

from pathlib import Path

import numpy as np

from labctl.bench import parse_bench
from labctl.documents import Document
from labctl.errors import ConfigError
from labctl.experiments.diffractive.plates import PLATES_FILE, Plates, read_plates
from labctl.optics.free_space.planes import plane_grid
from labctl.recorder import read_run, read_weights

SHOWN = 5
"""Folders that a message lists."""


def read_trained(run: Path) -> tuple[Plates, Path]:
    """Return the plates that `run` names, and the folder they lie in.

    Args:
        run: A file of plates, the folder of a run that trained masks, or a folder that holds one file of plates.

    Raises:
        ConfigError: It names none, or several.
        LabError: The run ended before its masks were written.
    """
    if (run / "run.yaml").is_file():
        return plates_of_run(run), run
    path = _file(run) if run.is_dir() else run
    return read_plates(path), path.parent


def plates_of_run(run: Path) -> Plates:
    """Return the phase masks of a run of `train_masks` as plates.

    Raises:
        ConfigError: Another plan was run, or it was not started with `labctl run`.
        LabError: It ended before its masks were written.
    """
    header = read_run(run)
    document = header.get("bench_document")
    file = parse_bench(Document.of(f"{run / 'run.yaml'}", document)) if document else None
    if file is None or not file.in_free_space:
        raise ConfigError(f"{run}: is no run of phase masks in free space; give one of plan train_masks")
    weights, grid = read_weights(run), plane_grid(file.path, file.all_settings)
    phase = np.stack([weights[f"phase.{mask.device}"] for mask in file.path.masks])
    return Plates(phase.astype(np.float32), grid.pitch_m, file.laser.wavelength_m)


def _file(folder: Path) -> Path:
    # no deeper than from a table to its cells: a folder of everything is searched for minutes, and in vain
    found = sorted({path for depth in ("", "*/", "cells/*/") for path in folder.glob(depth + PLATES_FILE)})
    if len(found) != 1:
        several = f"several: {', '.join(str(path.parent.relative_to(folder)) for path in found[:SHOWN])}"
        several += f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        several += "; name the folder of one"
        none = f"no {PLATES_FILE}; name a cell of a table that trains diffractive plates, or a file of plates"
        raise ConfigError(f"{folder}: holds {several if found else none}")
    return found[0]
