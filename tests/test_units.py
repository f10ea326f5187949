"""A quantity is a number and its unit, in and out; whatever else is given, the answer is a ValueError."""

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from labctl.units import (
    FREQUENCY,
    LENGTH,
    PHASE,
    POWER,
    RAMP,
    RATIO_DB,
    TEMPERATURE,
    TEMPERATURE_STEP,
    TIME,
    UNITS,
    Fraction,
    Metres,
    Unit,
    parse_fraction,
    show,
    strip_suffix,
)

READ = [
    (LENGTH, "10.8 um", 10.8e-6),
    (LENGTH, "10.8 µm", 10.8e-6),
    (LENGTH, "  500mm ", 0.5),
    (LENGTH, "780.24 nm", 780.24e-9),
    (LENGTH, "3 pm", 3e-12),
    (LENGTH, "-1e-3 m", -1e-3),
    (LENGTH, "2 km", 2e3),
    (TIME, "20 ms", 0.02),
    (TIME, "+.5 s", 0.5),
    (TIME, "2 min", 120.0),
    (TIME, "1 h", 3600.0),
    (POWER, "0.19 uW", 0.19e-6),
    (POWER, "1 MW", 1e6),
    (POWER, "1 mW", 1e-3),
    (FREQUENCY, "0.3 MHz", 3e5),
    (FREQUENCY, "384 GHz", 384e9),
    (PHASE, "0.1 rad", 0.1),
    (PHASE, "180 deg", math.pi),
    (PHASE, "20 mrad", 0.02),
    (TEMPERATURE, "67 degC", 67.0),
    (TEMPERATURE, "-10.5 °C", -10.5),
    (TEMPERATURE, "20 C", 20.0),
    (TEMPERATURE_STEP, "50 mK", 0.05),
    (RAMP, "2 K/min", 2 / 60),
    (RAMP, "0.1 K/s", 0.1),
    (RATIO_DB, "30 dB", 30.0),
    (RATIO_DB, "1e1 dB", 10.0),
]


@pytest.mark.parametrize(("unit", "written", "si"), READ, ids=[written for _, written, _ in READ])
def test_a_quantity_is_read_in_si(unit: Unit, written: str, si: float):
    assert unit.parse(written) == pytest.approx(si, rel=1e-12)


REFUSED = [
    (LENGTH, 10.8),
    (LENGTH, "10.8"),
    (LENGTH, "um"),
    (LENGTH, ""),
    (LENGTH, None),
    (LENGTH, True),
    (LENGTH, ["1 m"]),
    (LENGTH, "1 s"),
    (LENGTH, "1 xm"),
    (LENGTH, "1 mum"),
    (LENGTH, "1,5 m"),
    (LENGTH, "1 m m"),
    (LENGTH, "1e999 m"),
    (LENGTH, "nan m"),
    (LENGTH, "inf m"),
    (TIME, "1 S"),
    (POWER, "1 w"),
    (FREQUENCY, "1 mhz"),
    (TEMPERATURE, "1 mC"),
    (TEMPERATURE, "300 K"),
    (TEMPERATURE_STEP, "1 degC"),
    (RAMP, "1 K"),
    (RATIO_DB, "1 mdB"),
    (RATIO_DB, "3 %"),
]


@pytest.mark.parametrize(("unit", "written"), REFUSED)
def test_a_quantity_without_its_unit_is_refused_with_an_example(unit: Unit, written: Any):
    with pytest.raises(ValueError, match=rf"{unit.name}") as error:
        unit.parse(written)
    assert repr(written) in str(error.value)


def test_prefixes_differ_by_case():
    assert POWER.parse("1 MW") == pytest.approx(1e9 * POWER.parse("1 mW"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_example_in_a_message_can_be_read(unit: Unit):
    assert math.isfinite(unit.parse(unit.example))


ordinary = st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12) | st.just(0.0)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@given(value=ordinary)
def test_what_is_shown_is_read_back_within_its_rounding(unit: Unit, value: float):
    assert unit.parse(show(value, unit)) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.9e-9, POWER, "3.9 nW"),
        (0.02, TIME, "20 ms"),
        (780.24e-9, LENGTH, "780.2 nm"),
        (0.0, LENGTH, "0 m"),
        (-1e-6, LENGTH, "-1 um"),
        (67.25, TEMPERATURE, "67.25 degC"),
        (1.2e9, FREQUENCY, "1.2 GHz"),
        (1e-15, POWER, "1e-15 W"),
    ],
)
def test_a_quantity_is_shown_short(value: float, unit: Unit, text: str):
    assert show(value, unit) == text


anything = st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.binary() | st.lists(st.integers())
nearly = st.builds("{}{}{}".format, st.floats() | st.integers(), st.text(" \t", max_size=2), st.text("mskW%dBHz°C/"))


@given(st.sampled_from(UNITS), anything | nearly)
def test_whatever_is_given_it_is_a_finite_number_or_a_value_error(unit: Unit, value: Any):
    with suppress(ValueError):
        assert math.isfinite(unit.parse(value))


@given(anything | nearly)
def test_a_fraction_is_a_number_or_a_value_error(value: Any):
    with suppress(ValueError):
        assert isinstance(parse_fraction(value), float)


def test_a_fraction_beyond_all_floats_is_a_value_error():
    with pytest.raises(ValueError, match="percentage"):
        parse_fraction(10**400)


FRACTIONS = [(0.5, 0.5), (2, 2.0), ("3 %", 0.03), ("0.25%", 0.0025), ("4.65e-5", 4.65e-5)]


@pytest.mark.parametrize(("value", "number"), FRACTIONS)
def test_a_fraction_is_a_number_or_a_percentage(value: Any, number: float):
    assert parse_fraction(value) == pytest.approx(number)


@pytest.mark.parametrize("value", [True, None, "3 dB", "half", "%", [0.5]])
def test_anything_else_is_no_fraction(value: Any):
    with pytest.raises(ValueError, match="percentage"):
        parse_fraction(value)


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("exposure_s", "exposure"),
        ("pitch_m", "pitch"),
        ("power_w", "power"),
        ("detuning_hz", "detuning"),
        ("phase_rad", "phase"),
        ("temperature_c", "temperature"),
        ("ramp_k_per_s", "ramp"),
        ("gain_db", "gain"),
        ("axes", "axes"),
        ("bit_depth", "bit_depth"),
        ("modes", "modes"),
    ],
)
def test_the_unit_of_a_field_is_not_written_in_its_key(field: str, key: str):
    assert strip_suffix(field) == key


class Slit(BaseModel):
    width_m: Metres
    share: Fraction = 1.0


def test_models_read_quantities_and_nothing_else():
    assert Slit.model_validate({"width_m": "14.4 um", "share": "5 %"}) == Slit.model_construct(
        width_m=14.4e-6, share=0.05
    )
    for wrong in ({"width_m": 14.4e-6}, {"width_m": "14.4 us"}, {"width_m": "1 m", "share": "1 m"}):
        with pytest.raises(ValidationError):
            Slit.model_validate(wrong)
