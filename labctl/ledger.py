"""The ledger: what calibrations found, when, on which devices, and what of it may be believed now.

An entry is one YAML file in `<root>/<bench>/{table,simulated}/`, with a safetensors file of the same name beside it
where a parameter is an array. Trainers believe the latest valid entry of every parameter in place of the bench file's
value; an expired one is reported and not believed; one made on other devices, or on another truth, is refused.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
import yaml
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError

from labctl.documents import Document, StrictModel
from labctl.errors import ConfigError, StaleCalibration
from labctl.files import replace_file
from labctl.units import Seconds

NORMAL_95 = 1.959964
"""Half width of the interval that holds 95 % of a normal distribution, in standard deviations."""

Number = float | NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A fitted parameter.

    Args:
        value: Its value in SI, one number or one per mode.
        sd: Standard deviation of the same shape; the 95 % interval is value +- 1.96 sd.
    """

    value: Number
    sd: Number

    @property
    def interval(self) -> tuple[Number, Number]:
        """Ends of the 95 % interval."""
        half = NORMAL_95 * self.sd
        return self.value - half, self.value + half


@dataclass(frozen=True)
class Fit:
    """What a calibration's fit found.

    Args:
        parameters: Estimates by parameter name, `device.parameter`.
        goodness: How well the model fits, by name of the figure.
    """

    parameters: Mapping[str, Estimate]
    goodness: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """One dated calibration.

    Args:
        id: Name of its files.
        calibration: Name of the calibration.
        made_at: When, with time zone.
        bench: Name of the bench.
        simulated: Whether twins were calibrated.
        made_on: Serial number by device, and what else must be the same where the entry is used.
        settings: Settings of the measurement.
        valid_for_s: Age in seconds at which it expires.
        fit: What was found.
    """

    id: str
    calibration: str
    made_at: datetime
    bench: str
    simulated: bool
    made_on: Mapping[str, str]
    settings: Mapping[str, Any]
    valid_for_s: float
    fit: Fit

    def standing(self, made_on: Mapping[str, str], now: datetime) -> Literal["valid", "stale", "foreign"]:
        """Return whether the entry may be believed on a bench of these serial numbers at time `now`."""
        if self.difference(made_on):
            return "foreign"
        return "stale" if now - self.made_at > timedelta(seconds=self.valid_for_s) else "valid"

    def difference(self, made_on: Mapping[str, str]) -> str | None:
        """Return the first thing that is not as it was when the entry was made, in words."""
        for name, was in self.made_on.items():
            now = made_on.get(name, "not there")
            if now != was:
                return f"made on {name} {was}, here it is {now}"
        return None


@dataclass(frozen=True)
class Belief:
    """What a ledger says of one bench.

    Args:
        estimates: Latest valid estimate by parameter name.
        used: Entries they are from.
        warnings: What could not be believed, in words.
    """

    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    used: Sequence[Entry] = ()
    warnings: Sequence[str] = ()

    def describe(self) -> str:
        """Return one line on what is believed, for the opening message of a plan."""
        made = [f"{entry.calibration} of {entry.made_at:%Y-%m-%d %H:%M} UTC" for entry in self.used]
        parts = [f"calibrated by {', '.join(made)}" if made else "nothing calibrated, the bench file is believed"]
        return "; ".join([*parts, *self.warnings])

    def modes(self, name: str) -> NDArray[np.float64] | None:
        """Return the values of a parameter that has one per mode, or None when nothing was calibrated."""
        estimate = self.estimates.get(name)
        return None if estimate is None else np.asarray(estimate.value, float)


def new_id(calibration: str, made_at: datetime) -> str:
    """Return a name for an entry; names sort by time."""
    return f"{made_at:%Y%m%dT%H%M%S}_{calibration}_{secrets.token_hex(3)}"


def folder(root: Path, bench: str, simulated: bool) -> Path:
    """Return where the entries of a bench are."""
    return root / bench / ("simulated" if simulated else "table")


def believe(entries: Sequence[Entry], made_on: Mapping[str, str], now: datetime) -> Belief:
    """Return the latest valid estimate of every parameter that any entry knows.

    Args:
        entries: From `read_entries`, oldest first.
        made_on: Serial numbers of the bench at hand.
        now: With time zone.

    Raises:
        StaleCalibration: A parameter was calibrated on other devices or another truth only.
    """
    estimates: dict[str, Estimate] = {}
    used: dict[str, Entry] = {}
    warnings: dict[str, None] = {}
    for name in dict.fromkeys(name for entry in entries for name in entry.fit.parameters):
        holders = [entry for entry in entries if name in entry.fit.parameters]
        own = [entry for entry in holders if entry.difference(made_on) is None]
        if not own:
            entry = holders[-1]
            raise StaleCalibration(
                f"ledger of bench {entry.bench}: calibration {entry.id} of {name} is foreign, "
                f"{entry.difference(made_on)}; calibrate again (labctl calibrate {entry.calibration}), "
                f"or go without (--ledger none)"
            )
        latest = own[-1]
        if latest.standing(made_on, now) == "stale":
            age_h, limit_h = (now - latest.made_at).total_seconds() / 3600, latest.valid_for_s / 3600
            warnings[
                f"calibration {latest.calibration} is {age_h:.1f} h old, {limit_h:.1f} h is allowed: the bench "
                f"file is believed instead; calibrate again (labctl calibrate {latest.calibration})"
            ] = None
            continue
        estimates[name] = latest.fit.parameters[name]
        used[latest.id] = latest
    return Belief(estimates, tuple(used.values()), tuple(warnings))


# ---- files


class _Scalar(StrictModel):
    value: float
    sd: float = Field(ge=0)


class _EntryFile(StrictModel):
    calibration: str
    made_at: datetime
    bench: str
    simulated: bool
    made_on: dict[str, str]
    settings: dict[str, Any]
    valid_for_s: Seconds
    goodness: dict[str, float]
    parameters: dict[str, _Scalar]
    arrays: list[str]


def write_entry(root: Path, entry: Entry) -> Path:
    """Write an entry and return its YAML file, which is there whole or not at all; arrays are written first.

    Raises:
        ConfigError: The folder cannot be written.
    """
    scalars = {name: one for name, one in entry.fit.parameters.items() if np.ndim(one.value) == 0}
    arrays = {name: one for name, one in entry.fit.parameters.items() if name not in scalars}
    content = {
        "calibration": entry.calibration,
        "made_at": entry.made_at.isoformat(),
        "bench": entry.bench,
        "simulated": entry.simulated,
        "made_on": dict(entry.made_on),
        "settings": dict(entry.settings),
        "valid_for": f"{entry.valid_for_s!r} s",
        "goodness": {name: float(value) for name, value in entry.fit.goodness.items()},
        "parameters": {name: {"value": float(one.value), "sd": float(one.sd)} for name, one in scalars.items()},
        "arrays": list(arrays),
    }
    path = folder(root, entry.bench, entry.simulated) / f"{entry.id}.yaml"
    tensors = {name: np.ascontiguousarray(one.value, float) for name, one in arrays.items()}
    tensors |= {f"{name}.sd": np.ascontiguousarray(one.sd, float) for name, one in arrays.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if tensors:
            replace_file(path.with_suffix(".safetensors"), safetensors.numpy.save(tensors))
        replace_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
    except OSError as error:
        raise ConfigError(f"ledger {root}: cannot be written ({error}); name another with --ledger DIR") from error
    return path


def read_entries(root: Path, bench: str, simulated: bool) -> list[Entry]:
    """Return the entries of a bench, oldest first; none when there is no ledger.

    Raises:
        ConfigError: A file is damaged; names file and line.
    """
    paths = sorted(folder(root, bench, simulated).glob("*.yaml"))
    return sorted((_read(path) for path in paths), key=lambda entry: entry.made_at)


def _read(path: Path) -> Entry:
    try:
        read = Document(str(path), path.read_text(encoding="utf-8")).validate(_EntryFile)
        tensors = safetensors.numpy.load(path.with_suffix(".safetensors").read_bytes()) if read.arrays else {}
        found = {name: Estimate(tensors[name], tensors[f"{name}.sd"]) for name in read.arrays}
    except (OSError, UnicodeDecodeError, SafetensorError, KeyError) as error:
        raise ConfigError(f"ledger entry {path}: not readable ({error}); delete it and calibrate again") from error
    if read.made_at.tzinfo is None:
        raise ConfigError(f"ledger entry {path}: made_at {read.made_at} has no time zone; write +00:00 for UTC")
    scalars = {name: Estimate(one.value, one.sd) for name, one in read.parameters.items()}
    return Entry(
        id=path.stem,
        calibration=read.calibration,
        made_at=read.made_at,
        bench=read.bench,
        simulated=read.simulated,
        made_on=read.made_on,
        settings=read.settings,
        valid_for_s=read.valid_for_s,
        fit=Fit({**scalars, **found}, read.goodness),
    )
