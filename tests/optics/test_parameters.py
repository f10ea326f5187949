"""Parameters as they stand in a bench file: value, spread and source, in SI."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from labctl.documents import StrictModel
from labctl.optics.parameters import (
    DecibelParameter,
    LengthParameter,
    Number,
    Parameter,
    PhaseParameter,
    PositiveParameter,
    PowerParameter,
    believed,
    parameters_of,
)


def read(kind: Any, **entry: Any) -> Parameter:
    return TypeAdapter(kind).validate_python({"source": "test", **entry})


@pytest.mark.parametrize(
    ("kind", "value", "sd", "si"),
    [
        (Number, 0.65, 0.01, (0.65, 0.01)),
        (Number, "65 %", "2 %", (0.65, 0.013)),
        (Number, -2, "10 %", (-2, 0.2)),
        (LengthParameter, "2.2 um", "0.1 um", (2.2e-6, 1e-7)),
        (PhaseParameter, "-3 rad", "50%", (-3, 1.5)),
        (PowerParameter, "0.19 uW", "10 %", (0.19e-6, 0.019e-6)),
        (PhaseParameter, "0 rad", "0.1 rad", (0, 0.1)),
        (PhaseParameter, "180 deg", 0, (math.pi, 0)),
        (DecibelParameter, "30 dB", "1 dB", (30, 1)),
    ],
)
def test_value_and_spread_are_read_with_their_unit(kind: Any, value: Any, sd: Any, si: tuple[float, float]):
    parameter = read(kind, value=value, sd=sd)
    assert (parameter.value, parameter.sd) == pytest.approx(si)


def test_without_a_spread_the_truth_is_the_value():
    assert read(PowerParameter, value="1 mW").sd == 0


@given(value=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3), percent=st.floats(0, 1000).map(lambda p: round(p, 3)))
def test_a_percentage_is_a_share_of_the_values_magnitude(value: float, percent: float):
    assert read(Number, value=value, sd=f"{percent:.3f} %").sd == pytest.approx(abs(value) * percent / 100)


@pytest.mark.parametrize(("kind", "value"), [(Number, 0), (Number, "0 %"), (PhaseParameter, "0 rad")])
def test_a_percentage_of_nothing_is_refused_and_no_spread_around_nothing_is_not(kind: Any, value: Any):
    with pytest.raises(ValidationError, match="sd 3 % of a value of 0 is 0; write it as a quantity"):
        read(kind, value=value, sd="3 %")
    assert read(kind, value=value, sd="0 %").sd == 0


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        (Number, {"value": 1, "source": ""}),
        (Number, {"value": 1, "source": None}),
        (Number, {"sd": 0.1}),
        (Number, {"value": 1, "sd": -0.1}),
        (Number, {"value": 1, "sd": "-2 %"}),
        (Number, {"value": 1, "sd": "2 um"}),
        (Number, {"value": "1 um"}),
        (Number, {"value": True}),
        (Number, {"value": None}),
        (Number, {"value": math.nan}),
        (Number, {"value": math.inf}),
        (Number, {"value": 1, "deviation": 2}),
        (LengthParameter, {"value": 2.2}),
        (LengthParameter, {"value": "2.2 uW"}),
        (LengthParameter, {"value": "2.2 um", "sd": 0.1}),
        (LengthParameter, {"value": "2.2 um", "sd": "0.1 rad"}),
        (PowerParameter, {"value": "1e400 W"}),
        (DecibelParameter, {"value": "30 %"}),
    ],
)
def test_what_is_no_parameter_of_its_kind_is_refused(kind: Any, entry: dict[str, Any]):
    with pytest.raises(ValidationError):
        read(kind, **entry)


@pytest.mark.parametrize("entry", [0.65, "65 %", None, [0.65]])
def test_a_bare_value_without_a_source_is_refused(entry: Any):
    with pytest.raises(ValidationError):
        TypeAdapter(Number).validate_python(entry)


class Panel(StrictModel):
    device: str
    reflectivity: Number
    focus_m: LengthParameter


def test_parameters_are_named_as_written_in_the_bench_file():
    panel = Panel.model_validate(
        {
            "device": "slm_1",
            "reflectivity": {"value": "65 %", "source": "a"},
            "focus": {"value": "500 mm", "sd": "1 %", "source": "b"},
        }
    )
    named = dict(parameters_of(panel, "slm_1"))
    assert named == {
        "slm_1.reflectivity": Parameter(value=0.65, source="a"),
        "slm_1.focus": PositiveParameter(value=0.5, sd=0.005, source="b"),
    }
    assert believed(named) == {"slm_1.reflectivity": 0.65, "slm_1.focus": 0.5}


def test_what_is_believed_is_a_copy_that_may_be_changed_alone():
    named = {"a": Parameter(value=1.0, source="test")}
    values = believed(named)
    values["a"] = 2.0
    assert believed(named) == {"a": 1.0}
