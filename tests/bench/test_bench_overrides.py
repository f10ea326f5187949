"""Overrides go where they say and nowhere else; what a bench file does not allow is said in one line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labctl.bench import BenchFile, load_bench
from labctl.errors import ConfigError
from labctl.optics.multiplier.elements import Absorb

from .conftest import line_of


def absorb_of(file: BenchFile) -> Absorb:
    return next(element for element in file.elements if isinstance(element, Absorb))


OVERRIDES: dict[str, tuple[str, Any, Callable[[BenchFile], Any], Any]] = {
    "a plain value": ("simulation.noise_scale", 0.5, lambda f: f.simulation.noise_scale, 0.5),
    "a quantity": ("devices.pump.settings.power", "90 uW", lambda f: f.settings("pump").power_w, 90e-6),
    "a list": ("devices.slm_1.settings.shape", [300, 400], lambda f: f.settings("slm_1").shape, (300, 400)),
    "a list entry by index": ("light.1.multiply.period", 4, lambda f: f.stages[0].multiply.period, 4),
    "a list entry by its only key": ("light.encode.modes", 12, lambda f: f.stages[0].source.modes, 12),
    "a parameter whole": (
        "light.absorb.depth_at_70c",
        {"value": 3, "sd": 0.5, "source": "measured"},
        lambda f: absorb_of(f).depth_at_70c.model_dump(),
        {"value": 3.0, "sd": 0.5, "source": "measured"},
    ),
    "a parameter's value alone": ("light.absorb.depth_at_70c", 10, lambda f: absorb_of(f).depth_at_70c.value, 10.0),
    "a parameter's value alone, with unit": (
        "light.absorb.leak_rejection",
        "27 dB",
        lambda f: absorb_of(f).leak_rejection.value,
        27.0,
    ),
    "what a percentage is of": ("light.absorb.depth_at_70c", 10, lambda f: absorb_of(f).depth_at_70c.sd, 0.5),
    "a part of a parameter": ("light.absorb.depth_at_70c.sd", 0, lambda f: absorb_of(f).depth_at_70c.sd, 0.0),
    "what was not there": (
        "simulation.terms.flicker",
        {"value": "0.1 rad"},
        lambda f: f.simulation.terms,
        {"flicker": {"value": "0.1 rad"}},
    ),
    "below what was not there": (
        "devices.pump.hardware.serial",
        "A12",
        lambda f: f.devices["pump"].hardware,
        {"serial": "A12"},
    ),
    "an index in a list of plain values": (
        "reference.cameras.0",
        "camera_output",
        lambda f: f.reference.cameras[0],
        "camera_output",
    ),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_an_override_sets_what_it_names_and_nothing_else(case: str, small_bench_file: Path):
    path, value, read, expected = OVERRIDES[case]
    plain, changed = load_bench(small_bench_file), load_bench(small_bench_file, {path: value})
    assert read(changed) == pytest.approx(expected) if isinstance(expected, float) else read(changed) == expected
    assert read(plain) != read(changed)
    assert load_bench(small_bench_file) == plain


def test_an_overridden_value_says_so_in_its_source(small_bench_file: Path):
    file = load_bench(small_bench_file, {"light.absorb.depth_at_70c": 10})
    assert "override" in absorb_of(file).depth_at_70c.source


BAD_VALUES: dict[str, tuple[str, Any, str]] = {
    # what is wrong: (path, value, what the message says after the path)
    "no wavelength": ("laser.wavelength", "0 nm", "asked for '0 nm'; allowed: a length > 0 m"),
    "a laser that takes light": ("laser.power", "-1 W", "asked for '-1 W'; allowed: a power >= 0 W"),
    "bits beyond a pattern's": (
        "devices.slm_1.settings.bit_depth",
        99,
        "asked for 99; allowed: an integer >= 1 and <= 16",
    ),
    "no bits": ("devices.camera_z1.settings.bit_depth", 0, "asked for 0; allowed: an integer >= 1 and <= 16"),
    "a word for a number": ("simulation.noise_scale", "much", "asked for 'much'; allowed: a number >= 0"),
    "a panel of one length": (
        "devices.slm_1.settings.shape",
        5,
        "asked for 5; allowed: a list of 2, each an integer > 0",
    ),
    "a panel too many": (
        "devices.slm_1.settings.shape",
        [1, 2, 3],
        "asked for [1, 2, 3]; allowed: a list of 2, each an integer > 0",
    ),
    "pixels of no size": ("devices.slm_1.settings.pitch", "0 um", "asked for '0 um'; allowed: a length > 0 m"),
    "settled before it began": ("devices.slm_1.settings.settle", "-1 ms", "asked for '-1 ms'; allowed: a time >= 0 s"),
    "more electrons than photons": (
        "devices.camera_z1.settings.quantum_efficiency",
        4.5,
        "asked for 4.5; allowed: a number > 0 and <= 1",
    ),
    "a well of nothing": ("devices.camera_z1.settings.full_well", 0, "asked for 0; allowed: a number > 0"),
    "a cell that cannot move": (
        "devices.cell.settings.ramp",
        "0 K/min",
        "asked for '0 K/min'; allowed: a temperature ramp > 0 K/s",
    ),
    "a stage without axes": (
        "devices.slit_stage.settings.axes",
        {},
        "asked for {}; allowed: a mapping with length >= 1",
    ),
    "a slit that is shut": ("light.1.multiply.slit", "0 um", "asked for '0 um'; allowed: a length > 0 m"),
    "a deadline too short": ("watchdog.deadline", "1 ms", "asked for '1 ms'; allowed: a time >= 200 ms"),
    "a choice that is none": ("simulation.fidelity", "wavy", "asked for 'wavy'; allowed: one of matrix, wave"),
    "a name that is a path": ("name", "../elsewhere", "asked for '../elsewhere'; allowed: text like "),
    "light out of nothing": (
        "light.encode.efficiency",
        5,
        "light.0.encode.efficiency.value: asked for 5; allowed: a number > 0 and <= 1",
    ),
    "no devices": ("devices", {}, "asked for {}; allowed: a mapping with length >= 1"),
    "not finite": ("simulation.noise_scale", float("nan"), "asked for nan; allowed: a finite number >= 0"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_says_what_was_asked_what_is_allowed_and_that_an_override_brought_it(
    case: str, small_bench_file: Path
):
    path, value, message = BAD_VALUES[case]
    with pytest.raises(ConfigError) as error:
        load_bench(small_bench_file, {path: value})
    assert str(error.value).startswith(f"small_cell.yaml, --set bench.{path}: {message}")
    assert "\n" not in str(error.value)


SPOILT = {
    # what is wrong: (line replaced, by what, what the message says after the line's number)
    "shared by an anchor": (
        "settings: &slm",
        "settings: &slm {shape: [176, 120], pitch: 3.74 um, bit_depth: 99, latency: 16.7 ms, settle: 40 ms}",
        "devices.slm_1.settings.bit_depth and devices.slm_2.settings.bit_depth: asked for 99; allowed: an integer >= 1",
    ),
    "shared by a merge": (
        "full_well: 30000",
        "full_well: -1",
        "devices.camera_z1.settings.full_well, devices.camera_hidden_1.settings.full_well, "
        "devices.camera_error_1.settings.full_well and devices.camera_output.settings.full_well: asked for -1; allowed",
    ),
    "an unknown kind": (
        "kind: cell",
        "kind: sell",
        "devices.cell.kind: asked for 'sell'; allowed: one of beam, camera, ",
    ),
    "a number for a parameter": (
        "efficiency: {value: 0.5",
        "efficiency: 0.5",
        "light.0.encode.efficiency: asked for 0.5; allowed: a mapping of value, sd, source",
    ),
    "nothing": ("carrier: 8", "carrier:", "light.2.regenerate.carrier: asked for None; allowed: an integer >= 4"),
    "a list too short": (
        "block: [16, 5]",
        "block: [16]",
        "light.1.multiply.block: asked for [16]; allowed: a list of 2, each an integer > 0",
    ),
    "a device of another kind": ("device: dmd_input", "device: slm_1", "device of encode 'slm_1' is not a dmd of this"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_line_is_one_mistake_however_many_devices_share_it(case: str, edited: Callable[[str, str], Path]):
    line, by, message = SPOILT[case]
    path = edited(line, by)
    with pytest.raises(ConfigError) as error:
        load_bench(path)
    assert str(error.value).startswith(f"edited.yaml, line {line_of(path, by)}: {message}")
    assert "\n" not in str(error.value)


def test_another_kind_for_a_device_is_one_mistake(small_bench_file: Path):
    with pytest.raises(ConfigError) as error:
        load_bench(small_bench_file, {"devices.camera_z1.kind": "slm"})
    message = str(error.value)
    assert message.startswith("small_cell.yaml, --set bench.devices.camera_z1.kind: devices.camera_z1.settings: keys ")
    assert "keys 'latency', 'settle' are missing; keys 'exposure', 'min_exposure', " in message
    assert message.endswith(
        "are unknown; known here: call_timeout, max_light, shape, pitch, bit_depth, latency, settle"
    )
    assert "\n" not in message


def test_an_override_of_a_device_that_is_not_there_names_the_one_that_was_meant(small_bench_file: Path):
    with pytest.raises(ConfigError) as error:
        load_bench(small_bench_file, {"devices.pmup.settings.power": "1 mW"})
    assert re.fullmatch(
        r"small_cell\.yaml, line \d+, --set bench\.devices\.pmup\.settings\.power: no 'devices\.pmup' in this file; "
        r"did you mean 'pump'\?",
        str(error.value),
    )


BAD_OVERRIDES = {
    "a key that several entries have": (
        "light.multiply.period",
        4,
        r"light\.multiply.*stands 2 times.*\[1, 6\]",
    ),
    "a key that no entry has": ("light.absorp.aperture", "1 mm", r"absorp.*'absorb'"),
    "an index beyond the list": ("light.99.encode", {}, r"no 'light\.99\.encode'.*the list has 8 entries"),
    "a path with a hole": ("devices..pump", 1, r"'devices\.\.pump' cannot be set"),
    "through a plain value": ("name.first", "x", r"name\.first.*'name' holds a plain value"),
    "a key the schema has not": ("simulation.noise_scal", 1, "noise_scal'.*'noise_scale'"),
    "a section the schema has not": ("simulatoin.noise_scale", 1, "simulatoin'.*'simulation'"),
    "a value without its unit": ("devices.pump.settings.power", 1, "with its unit"),
}


@pytest.mark.parametrize("case", BAD_OVERRIDES)
def test_an_override_that_leads_nowhere_is_refused(case: str, small_bench_file: Path):
    path, value, message = BAD_OVERRIDES[case]
    with pytest.raises(ConfigError, match=message):
        load_bench(small_bench_file, {path: value})


def test_an_override_leaves_devices_alone_that_share_settings_by_alias(small_bench_file: Path):
    plain = load_bench(small_bench_file)
    file = load_bench(small_bench_file, {"devices.camera_hidden_1.settings.exposure": "30 us"})
    assert file.settings("camera_hidden_1").exposure_s == pytest.approx(30e-6)
    assert file.settings("camera_z1") == plain.settings("camera_z1")
