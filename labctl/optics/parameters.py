"""Optics parameters of a bench: a value that trainers believe, how far the truth may lie off, and where it is from."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from labctl.documents import StrictModel
from labctl.units import LENGTH, PHASE, POWER, RATIO_DB, parse_fraction

Values = Mapping[str, float]
"""Parameter values by name, e.g. `{"slm_1.fringing": 0.6}`: one set is the truth, another what is believed."""


class Parameter(StrictModel):
    """One optics parameter, in SI.

    Args:
        value: What trainers believe until a valid ledger entry replaces it.
        sd: Standard deviation of the hidden truth around it; in YAML a quantity or a percentage of the value.
        source: Where the value comes from.
    """

    value: float
    sd: float = Field(default=0.0, ge=0)
    source: str = Field(min_length=1)


class PositiveParameter(Parameter):
    """A parameter above 0."""

    value: float = Field(gt=0)


class NotNegativeParameter(Parameter):
    """A parameter of 0 or above: the size of an error or a blur."""

    value: float = Field(ge=0)


class ShareParameter(Parameter):
    """A share of the light above 0 and at most 1: an efficiency, a pick-off."""

    value: float = Field(gt=0, le=1)


def _with_unit(parse: Callable[[Any], float], raw: Any) -> Any:
    """Return the raw mapping with `value` and `sd` as SI floats."""
    if not isinstance(raw, dict):
        return raw  # a Parameter already, or a fault for pydantic to report
    read = dict(raw)
    if "value" in raw:
        read["value"] = parse(raw["value"])
    sd = raw.get("sd", 0.0)
    if isinstance(sd, str) and sd.rstrip().endswith("%"):
        read["sd"] = abs(read.get("value", 0.0)) * parse_fraction(sd)
        if read.get("value") == 0 and parse_fraction(sd) != 0:
            raise ValueError(f"sd {sd} of a value of 0 is 0; write it as a quantity")
    elif sd != 0:
        read["sd"] = parse(sd)
    return read


Number = Annotated[Parameter, BeforeValidator(partial(_with_unit, parse_fraction))]
PositiveNumber = Annotated[PositiveParameter, BeforeValidator(partial(_with_unit, parse_fraction))]
NotNegativeNumber = Annotated[NotNegativeParameter, BeforeValidator(partial(_with_unit, parse_fraction))]
Share = Annotated[ShareParameter, BeforeValidator(partial(_with_unit, parse_fraction))]
LengthParameter = Annotated[PositiveParameter, BeforeValidator(partial(_with_unit, LENGTH.parse))]
PowerParameter = Annotated[PositiveParameter, BeforeValidator(partial(_with_unit, POWER.parse))]
PhaseParameter = Annotated[Parameter, BeforeValidator(partial(_with_unit, PHASE.parse))]
DecibelParameter = Annotated[Parameter, BeforeValidator(partial(_with_unit, RATIO_DB.parse))]


def parameters_of(model: BaseModel, prefix: str) -> Iterator[tuple[str, Parameter]]:
    """Yield every parameter of one element as (`prefix.name`, parameter), `name` as written in YAML."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, Parameter):
            yield f"{prefix}.{field.alias or name}", value


def believed(parameters: Mapping[str, Parameter]) -> dict[str, float]:
    """Return what trainers believe: every parameter's value."""
    return {name: parameter.value for name, parameter in parameters.items()}
