"""Checkpoints of a cell's training: arrays and what belongs to them in one file, whole or not there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from labctl.files import replace_file

Arrays = Mapping[str, np.ndarray]


def keep(path: Path, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        path: Its file.
        arrays: By name.
        about: What belongs to them and JSON can hold.
    """
    replace_file(path, safetensors.numpy.save(dict(arrays), {"about": json.dumps(about)}))


def kept(path: Path) -> tuple[Arrays, dict[str, Any]] | None:
    """Return arrays and what belongs to them; None where there is no checkpoint."""
    if not path.exists():
        return None
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["about"])
    return safetensors.numpy.load_file(path), about
