"""What the command line says of calibrations and their ledger."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from labctl.cli.show import duration, table
from labctl.errors import ConfigError
from labctl.files import require_folder
from labctl.ledger import Entry, Estimate

NO_LEDGER = "none"
"""Word for no ledger: the bench file's values are believed."""

OWN_LEDGER = "ledger"
"""Folder of the ledger where none is named; it is made by the first calibration."""


def ledger_folder(text: str) -> Path | None:
    """Return the folder that `--ledger` names, or None for no ledger.

    Raises:
        ConfigError: There is no such folder.
    """
    return None if text == NO_LEDGER else folder_to_read(text)


def folder_to_read(text: str) -> Path:
    """Return the folder that `--ledger` names.

    Raises:
        ConfigError: There is no such folder.
    """
    if text != OWN_LEDGER and not Path(text).is_dir():
        raise ConfigError(
            f"--ledger {text}: there is no such folder; name one that labctl calibrate has written, or "
            f"'{NO_LEDGER}' to run without"
        )
    return Path(text)


def folder_to_write(text: str) -> Path:
    """Return the folder that `--ledger` names.

    Raises:
        ConfigError: It names none, or one that cannot be written.
    """
    if text == NO_LEDGER:
        raise ConfigError("--ledger none: a calibration is written to a ledger; name its folder, ./ledger by default")
    return require_folder(Path(text), "--ledger")


def entry_values(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain values for `--json`."""
    parameters = {
        name: {"value": one.value, "sd": one.sd, "interval_95": list(one.interval)}
        for name, one in entry.fit.parameters.items()
    }
    return {
        "id": entry.id,
        "calibration": entry.calibration,
        "made_at": entry.made_at.isoformat(),
        "simulated": entry.simulated,
        "parameters": parameters,
        "goodness": dict(entry.fit.goodness),
    }


def entry_table(entry: Entry) -> Table:
    """Return what a calibration found."""
    rows = [(name, *_value(one)) for name, one in entry.fit.parameters.items()]
    return table(f"{entry.id}", ("parameter", "value (SI)", "95 % interval"), rows)


def entries_table(bench: str, entries: Sequence[Entry], made_on: Mapping[bool, Mapping[str, str]]) -> Table:
    """Return the entries of a bench, newest first, with their age and standing.

    Args:
        bench: Name of the bench.
        entries: Its entries.
        made_on: Serial numbers of the twins (True) and of the table (False).
    """
    now, rows = datetime.now(UTC), []
    for entry in sorted(entries, key=lambda one: one.made_at, reverse=True):
        age = duration((now - entry.made_at).total_seconds())
        standing = entry.standing(made_on[entry.simulated], now)
        first = (entry.calibration, "twins" if entry.simulated else "table", f"{entry.made_at:%Y-%m-%d %H:%M}", age)
        for name, one in entry.fit.parameters.items():
            rows.append((*first, standing, name, *_value(one)))
            first, standing = ("", "", "", ""), ""
    columns = ("calibration", "of", "made (UTC)", "age", "standing", "parameter", "value (SI)", "95 % interval")
    return table(f"calibrations of {bench}", columns, rows)


def _value(estimate: Estimate) -> tuple[str, str]:
    value, sd = np.asarray(estimate.value), np.asarray(estimate.sd)
    low, high = (np.asarray(end) for end in estimate.interval)
    if value.ndim == 0:
        return f"{value:.4g}", f"{low:.4g} to {high:.4g}"
    half = float(np.mean(high - low)) / 2
    return f"{value.size} modes, rms {np.sqrt(np.mean(value**2)):.3g}", f"each +- {half:.2g}" if sd.size else ""
