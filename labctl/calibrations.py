"""What a calibration is: a plan that measures, a pure fit of what it measured, and how long the result holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from labctl.announced import announced, load_announced
from labctl.bench import Bench, BenchFile
from labctl.errors import ConfigError
from labctl.ledger import Entry, Fit, new_id
from labctl.plan import Plan, Settings

MEASURED = "measurement"
"""Kind of the record of a measuring plan that holds all its fit needs."""


@dataclass(frozen=True)
class Calibration:
    """A procedure that finds parameters of `labctl.optics` on a bench.

    Args:
        name: Name on the command line and in the ledger.
        measure: Plan that ends with one record of kind `measurement`.
        fit: Pure function of that record's values and arrays; raises FitRejected when they do not determine the
            parameters.
        valid_for_s: Age in seconds at which the result expires.
        valid_because: Where that age is from.
        applies_to: Whether a bench has what it finds.
    """

    name: str
    measure: Plan[Any]
    fit: Callable[[Mapping[str, Any]], Fit]
    valid_for_s: float
    valid_because: str
    applies_to: Callable[[BenchFile], bool]

    def entry(self, bench: Bench, settings: Settings, fit: Fit, made_at: datetime) -> Entry:
        """Return the ledger entry of `fit`, made on `bench` with `settings`."""
        return Entry(
            id=new_id(self.name, made_at),
            calibration=self.name,
            made_at=made_at,
            bench=bench.file.name,
            simulated=bench.light_is_simulated,
            made_on=bench.identity,
            settings=settings.model_dump(mode="json"),
            valid_for_s=self.valid_for_s,
            fit=fit,
        )


def calibrations_of(file: BenchFile) -> list[Calibration]:
    """Return every announced calibration that finds something on a bench, by name.

    Raises:
        ConfigError: There is none.
    """
    found = [one for one in map(load_calibration, announced("calibrations")) if one.applies_to(file)]
    if not found:
        raise ConfigError(f"bench {file.name} has nothing that a calibration finds; labctl list calibrations shows all")
    return found


def load_calibration(name: str) -> Calibration:
    """Return the calibration of that name.

    Raises:
        ConfigError: There is none, or its module cannot be imported.
    """
    return load_announced("calibrations", name)
