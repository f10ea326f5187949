"""Quantities with units as they stand in YAML and on the command line, turned into SI floats and back."""

import math
import re
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
_QUANTITY = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")


@dataclass(frozen=True)
class Unit:
    """One physical dimension: how it is written and which suffix its float fields carry.

    Args:
        name: What it measures, for messages.
        symbols: Accepted unit symbols and their factor to SI; prefixes k, M, G, m, u, n, p apply where `prefixed`.
        suffix: Ending of field names that hold it, e.g. `_s`.
        example: A quantity to show in messages.
        prefixed: Whether SI prefixes may stand before a symbol.
    """

    name: str
    symbols: dict[str, float] = field(hash=False)
    suffix: str
    example: str
    prefixed: bool = True

    def factor(self, symbol: str) -> float | None:
        """Return the factor from `symbol` to SI, or None when it is not of this dimension."""
        if symbol in self.symbols:
            return self.symbols[symbol]
        if self.prefixed and symbol[:1] in _PREFIXES and symbol[1:] in self.symbols:
            return _PREFIXES[symbol[:1]] * self.symbols[symbol[1:]]
        return None

    def parse(self, value: Any) -> float:
        """Return `value` ("20 ms") as an SI float.

        Raises:
            ValueError: The unit is missing or of another dimension, or the number is not finite.
        """
        match = _QUANTITY.match(value) if isinstance(value, str) else None
        factor = self.factor(match[2]) if match else None
        if match is None or factor is None:
            raise ValueError(f"a {self.name} with its unit is needed, like '{self.example}'; got {value!r}")
        number = float(match[1]) * factor
        if not math.isfinite(number):
            raise ValueError(f"a finite {self.name} is needed; got {value!r}")
        return number

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of a field of this unit with its name, for messages that say what is allowed."""
        return {**handler(schema), "unit": self.name}


LENGTH = Unit("length", {"m": 1.0}, "_m", "10.8 um")
TIME = Unit("time", {"s": 1.0, "min": 60.0, "h": 3600.0}, "_s", "20 ms")
POWER = Unit("power", {"W": 1.0}, "_w", "0.19 uW")
FREQUENCY = Unit("frequency", {"Hz": 1.0}, "_hz", "0.3 MHz")
PHASE = Unit("phase", {"rad": 1.0, "deg": math.pi / 180}, "_rad", "0.1 rad")
TEMPERATURE = Unit("temperature", {"degC": 1.0, "C": 1.0, "°C": 1.0}, "_c", "67 degC", prefixed=False)
TEMPERATURE_STEP = Unit("temperature difference", {"K": 1.0}, "_k", "0.05 K")
RAMP = Unit("temperature ramp", {"K/s": 1.0, "K/min": 1 / 60}, "_k_per_s", "2 K/min", prefixed=False)
RATIO_DB = Unit("ratio in decibels", {"dB": 1.0}, "_db", "30 dB", prefixed=False)
CURRENT = Unit("current", {"A": 1.0}, "_a", "150 mA")
VOLTAGE = Unit("voltage", {"V": 1.0}, "_v", "70 V")

UNITS = (LENGTH, TIME, POWER, FREQUENCY, PHASE, TEMPERATURE, TEMPERATURE_STEP, RAMP, RATIO_DB, CURRENT, VOLTAGE)


def parse_fraction(value: Any) -> float:
    """Return a plain number, or "3 %" as 0.03.

    Raises:
        ValueError: Neither a number nor a percentage.
    """
    if isinstance(value, bool):
        raise ValueError(f"a number or a percentage is needed; got {value!r}")
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    if match is None or match[2] not in ("", "%"):
        raise ValueError(f"a number or a percentage is needed, like '3 %'; got {value!r}")
    return float(match[1]) * (0.01 if match[2] == "%" else 1.0)


def strip_suffix(field: str) -> str:
    """Return the YAML name of a float field: `exposure_s` is written `exposure`."""
    for unit in sorted(UNITS, key=lambda unit: -len(unit.suffix)):
        if field.endswith(unit.suffix):
            return field.removesuffix(unit.suffix)
    return field


def show(value: float, unit: Unit) -> str:
    """Return `value` in SI as a short quantity with a fitting prefix, e.g. `3.9 nW`."""
    symbol = next(iter(unit.symbols))
    if not unit.prefixed or value == 0 or not math.isfinite(value):
        return f"{value:.4g} {symbol}"
    for prefix in ("G", "M", "k", "", "m", "u", "n", "p"):
        if abs(value) >= _PREFIXES[prefix]:
            return f"{value / _PREFIXES[prefix]:.4g} {prefix}{symbol}"
    return f"{value:.3g} {symbol}"


Metres = Annotated[float, BeforeValidator(LENGTH.parse), LENGTH]
Seconds = Annotated[float, BeforeValidator(TIME.parse), TIME]
Watts = Annotated[float, BeforeValidator(POWER.parse), POWER]
Hertz = Annotated[float, BeforeValidator(FREQUENCY.parse), FREQUENCY]
Radians = Annotated[float, BeforeValidator(PHASE.parse), PHASE]
Celsius = Annotated[float, BeforeValidator(TEMPERATURE.parse), TEMPERATURE]
KelvinPerSecond = Annotated[float, BeforeValidator(RAMP.parse), RAMP]
Decibels = Annotated[float, BeforeValidator(RATIO_DB.parse), RATIO_DB]
Amperes = Annotated[float, BeforeValidator(CURRENT.parse), CURRENT]
Volts = Annotated[float, BeforeValidator(VOLTAGE.parse), VOLTAGE]
Fraction = Annotated[float, BeforeValidator(parse_fraction)]
