"""What a plan yields: frozen records, the changes sent back to it, and the cost it declares beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Record:
    """One step of a plan as data, equal for equal seeds.

    Args:
        kind: What it reports: `setup`, `step`, `agreement`, `epoch`, `warning`, `weights`, `frame` or `change`; a
            `checkpoint` holds all that the plan needs to go on from there; a `stack` announces frames that are kept as
            images (see `labctl.recorder.stack`).
        index: Counts the records of this kind from 0.
        bench_time_s: Bench clock when it was made; never wall time.
        values: Plain numbers, strings, lists and dicts that JSON can hold.
        arrays: Named arrays that belong to the record.
    """

    kind: str
    index: int
    bench_time_s: float
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def split_tree(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return nested mappings as a record holds them: without their arrays, and the arrays by path (`a/b/c`)."""
    values: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, entry in tree.items():
        if isinstance(entry, np.ndarray):
            arrays[name] = entry
        elif isinstance(entry, Mapping):
            values[name], below = split_tree(entry)
            arrays |= {f"{name}/{path}": array for path, array in below.items()}
        else:
            values[name] = entry
    return values, arrays


def join_tree(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return what `split_tree` took apart."""
    tree = {name: join_tree(entry, {}) if isinstance(entry, Mapping) else entry for name, entry in values.items()}
    for path, array in arrays.items():
        *parts, last = path.split("/")
        place = tree
        for part in parts:
            place = place[part]
        place[last] = array
    return tree


@dataclass(frozen=True)
class Changes:
    """New values for live settings, sent into a running plan.

    Args:
        values: Field name to new value; only fields marked live may be named.
    """

    values: Mapping[str, Any]


Summary = Mapping[str, Any]
"""What a plan returns when it ends: plain values for the last line of `--json`.

People are shown two of them: `table`, a mapping of title, columns and rows of text, and `message`.
"""


@dataclass(frozen=True)
class Budget:
    """What a run will cost, known before it starts.

    Args:
        exposures: Camera exposure instants by heading (`training`, `evaluation`, `agreement`, `setup`).
        photons: Photons the cameras will detect, reference light included; None where nobody can tell beforehand.
        mask_writes: Frames written to panels.
        bench_seconds: Time the table will be busy.
        steps: Progress records (kind `step`) the plan will yield; 0 when it yields none.
        disk_bytes: Disk the run folder will need.
    """

    exposures: Mapping[str, int] = field(default_factory=dict)
    photons: float | None = None
    mask_writes: int = 0
    bench_seconds: float = 0.0
    steps: int = 0
    disk_bytes: int = 0

    @property
    def total_exposures(self) -> int:
        """All headings together."""
        return sum(self.exposures.values())
