"""A bench file is read strictly: every mistake is refused with file, line and cure, and overrides go where they say."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl.bench import Bench, BenchFile, load_bench, require_able
from labctl.documents import shipped_benches
from labctl.errors import ConfigError
from labctl.optics.multiplier.elements import Absorb

Edit = Callable[[str], str]


@pytest.fixture
def edited(small_bench_file: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes the small bench with one line replaced, found by how it begins."""

    def edit(line: str, by: str) -> Path:
        text = small_bench_file.read_text(encoding="utf-8")
        found = re.search(rf"^ *{re.escape(line)}.*$", text, re.MULTILINE)
        assert found, f"no line begins with {line!r}"
        indent = found[0][: len(found[0]) - len(found[0].lstrip())]
        path = tmp_path / "edited.yaml"
        path.write_text(text[: found.start()] + indent + by + text[found.end() :], encoding="utf-8")
        return path

    return edit


def line_of(path: Path, begin: str) -> int:
    """Return the number of the line of `path` that begins with `begin`, indentation aside."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.lstrip().startswith(begin))


# ---- what is shipped


@pytest.mark.parametrize("bench", sorted(shipped_benches()))
def test_a_shipped_bench_loads_and_can_do_what_it_declares(bench: str):
    file = load_bench(bench)
    assert file.name == bench
    assert file.description
    require_able(file)


@pytest.mark.parametrize("bench", sorted(shipped_benches()))
def test_every_parameter_of_a_shipped_bench_names_its_source(bench: str):
    parameters = load_bench(bench).parameters()
    assert parameters
    assert all(parameter.source.strip() for parameter in parameters.values())


def test_a_bench_is_found_by_name_and_by_path(small_bench_file: Path):
    assert load_bench(small_bench_file).name == load_bench(str(small_bench_file)).name == "small_cell"
    assert load_bench("vapour_cell") == load_bench(shipped_benches()["vapour_cell"])


def test_an_unknown_bench_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"no_such_bench.*vapour_cell"):
        load_bench("no_such_bench")


def test_a_folder_or_a_picture_is_no_bench(tmp_path: Path):
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    for path in (tmp_path, tmp_path / "picture.yaml", tmp_path / "missing.yaml"):
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            load_bench(path)


def test_a_bench_file_cannot_be_changed(small_bench_file: Path):
    file = load_bench(small_bench_file)
    with pytest.raises(ValueError, match="frozen"):
        file.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        file.settings("pump").max_power_w = 1e3


# ---- mistakes

UNKNOWN_KEYS = {
    # what is wrong: (line replaced, by what, the key that was meant)
    "at the top": ("description:", "descripton: x", "description"),
    "in the laser": ("power: 20 mW", "powr: 20 mW", "power"),
    "in an element": ("weight_range: 0.8", "weight_rage: 0.8", "weight_range"),
    "in the simulation": ("noise_scale: 1", "noise_scal: 1", "noise_scale"),
    "with the suffix of its field": ("slit: 512 um", "slit_m: 14.4 um", "slit"),
    "in a device": ("kind: camera", "kind: camera\n    hardwear: {}", "hardware"),
}


@pytest.mark.parametrize("where", UNKNOWN_KEYS)
def test_an_unknown_key_is_refused_with_file_line_and_the_nearest_key(where: str, edited: Callable[[str, str], Path]):
    line, by, meant = UNKNOWN_KEYS[where]
    path = edited(line, by)
    typo = by.splitlines()[-1].strip().partition(":")[0]
    with pytest.raises(ConfigError) as error:
        load_bench(path)
    explained = next(one for one in str(error.value).splitlines() if f"{typo}'" in one)
    assert explained.startswith("edited.yaml, line ")
    assert f"'{meant}'" in explained


@pytest.mark.parametrize("where", list(UNKNOWN_KEYS)[:5])
def test_an_unknown_key_is_reported_at_its_own_line(where: str, edited: Callable[[str, str], Path]):
    line, by, _ = UNKNOWN_KEYS[where]
    path = edited(line, by)
    with pytest.raises(ConfigError, match=rf"edited\.yaml, line {line_of(path, by)}: unknown key"):
        load_bench(path)


@pytest.mark.parametrize(
    ("line", "by"), [("exposure: 20 us", "exposre: 20 us"), ("min_temperature: 20 degC", "min_temprature: 20 degC")]
)
def test_an_unknown_key_in_the_settings_of_a_device_is_reported_at_its_own_line(
    line: str, by: str, edited: Callable[[str, str], Path]
):
    path = edited(line, by)
    with pytest.raises(ConfigError, match=rf"edited\.yaml, line {line_of(path, by)}: unknown key"):
        load_bench(path)


WITHOUT_UNIT = {
    "length": ("slit: 512 um", "slit: 14.4e-6"),
    "power": ("power: 20 mW", "power: 0.02"),
    "decibels": ("gain: 20 dB", "gain: 20"),
    "parameter": ("saturation_power:", 'saturation_power: {value: 0.19, source: "x"}'),
    "phase": ("phase: {value: 0 rad", 'phase: {value: 0, source: "x"}'),
    "time": ("timeout: 1 h", "timeout: 3600"),
    "of another dimension": ("slit: 512 um", "slit: 14.4 us"),
    "misspelt": ("slit: 512 um", "slit: 14.4 microns"),
    "ramp": ("ramp: 2 K/min", "ramp: 2 K"),
}


@pytest.mark.parametrize("what", WITHOUT_UNIT)
def test_a_quantity_needs_its_unit(what: str, edited: Callable[[str, str], Path]):
    line, by = WITHOUT_UNIT[what]
    key = by.partition(":")[0]
    with pytest.raises(ConfigError, match=rf"edited\.yaml, line \d+: .*{key}.*with its unit is needed, like '"):
        load_bench(edited(line, by))


MISTAKES = {
    "a missing key": ("focal_length: 500 mm", "# gone", r"line \d+: key 'light\.1\.multiply\.focal_length' is missing"),
    "a key twice": ("carrier: 8", "carrier: 8\n      carrier: 4", r"line \d+: key 'carrier' stands twice"),
    "no YAML": ("name: small_cell", "name: [small_cell", r"line \d+: not readable as YAML"),
    "a source of nothing": ("gain: 20 dB", "gain: .inf dB", "decibels"),
    "a parameter without source": ("depth_at_70c:", "depth_at_70c: {value: 12.5}", "source"),
    "a parameter with an empty source": ("depth_at_70c:", 'depth_at_70c: {value: 12.5, source: ""}', "source"),
    "a negative deviation": ("depth_at_70c:", 'depth_at_70c: {value: 12.5, sd: -1, source: "x"}', "sd"),
    "an unknown kind": ("kind: cell", "kind: sell", "sell"),
    "an unknown law": ("absorber_law: published", "absorber_law: pubished", "published"),
    "a list too short": ("roi_per_mode: [1, 15]", "roi_per_mode: [15]", "roi_per_mode"),
    "an element of two kinds": ("- read:", "- tap: {}\n    read:", "light"),
    "a tap both ways": (
        "backward: camera_error_1",
        "backward: camera_error_1\n      forward: camera_z1",
        "exactly one",
    ),
    "a device that is not there": ("device: dmd_input", "device: dmd_inptu", "dmd_inptu.*dmd_input"),
    "a device of another kind": ("device: dmd_input", "device: slm_1", "slm_1.*not a dmd.*dmd_input"),
    "a beam that is a camera": ("beam: probe", "beam: camera_z1", "camera_z1.*not a beam.*probe"),
    "an unknown fidelity": ("fidelity: matrix", "fidelity: exact", "matrix"),
    "noise below zero": ("noise_scale: 1", "noise_scale: -1", "noise_scale"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_by_name(mistake: str, edited: Callable[[str, str], Path]):
    line, by, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message) as error:
        load_bench(edited(line, by))
    assert "edited.yaml" in str(error.value)


def test_all_mistakes_are_reported_together(small_bench_file: Path):
    overrides = {"laser.power": "20", "simulation.seed": 1, "devices.pump.settings.power": "1 m"}
    with pytest.raises(ConfigError) as error:
        load_bench(small_bench_file, overrides)
    lines = str(error.value).splitlines()
    for key in ("laser.power", "simulation.seed", "devices.pump.settings.power"):
        assert any(key in line for line in lines), key


BROKEN_CHAINS: dict[str, tuple[Callable[[list[dict[str, Any]]], list[dict[str, Any]]], str]] = {
    "no end": (lambda light: light[:-1], "must end with 'read'"),
    "no beginning": (lambda light: light[1:], "begins with"),
    "no multiplier": (lambda light: light[:1] + light[2:], "one 'multiply'"),
    "a cell that nobody looks behind": (lambda light: light[:5] + light[6:], "one forward and one backward"),
    "no light": (lambda _light: [], "must end with 'read'"),
}


@pytest.mark.parametrize("case", BROKEN_CHAINS)
def test_a_light_list_that_is_no_chain_is_refused(case: str, small_bench_file: Path):
    change, message = BROKEN_CHAINS[case]
    light = yaml.safe_load(small_bench_file.read_text(encoding="utf-8"))["light"]
    with pytest.raises(ConfigError, match=rf"small_cell\.yaml, --set bench\.light: .*{message}"):
        load_bench(small_bench_file, {"light": change(light)})


UNSOUND_SETTINGS = {
    "a beam above its ceiling": {"devices.pump.settings.power": "1 mW"},
    "an exposure the camera cannot do": {"devices.camera_z1.settings.exposure": "1 us"},
    "an axis upside down": {"devices.slit_stage.settings.axes.x.low": "200 um"},
    "a cell that is safe out of its range": {"devices.cell.settings.safe_temperature": "120 degC"},
}


@pytest.mark.parametrize("case", UNSOUND_SETTINGS)
def test_settings_that_contradict_each_other_are_refused(case: str, small_bench_file: Path):
    with pytest.raises(ConfigError):
        require_able(load_bench(small_bench_file, UNSOUND_SETTINGS[case]))


# ---- overrides


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


# ---- classes that the file names

BAD_CLASSES = ["no_such_package.Class", "sim_backends.twins.NoSuchTwin", "TwinSLM", "", ".Twin"]


@pytest.mark.parametrize("path", BAD_CLASSES)
def test_a_class_that_cannot_be_imported_is_named_with_its_device(path: str, small_bench_file: Path):
    file = load_bench(small_bench_file, {"devices.slm_2.twin": path})
    with pytest.raises(ConfigError, match=rf"slm_2.*'{re.escape(path)}'"), Bench(file, True):
        pass


@pytest.mark.parametrize(("key", "value"), [("noise", "referense"), ("terms.flickr", {"value": "1 rad"})])
def test_an_unknown_noise_set_or_term_is_refused(key: str, value: Any, small_bench_file: Path):
    file = load_bench(small_bench_file, {f"simulation.{key}": value})
    with pytest.raises(ConfigError, match=r"reference|flicker"), Bench(file, True):
        pass


def test_a_tag_stays_clear_of_the_modes():
    with pytest.raises(ConfigError, match=r"dmd_error: its tag of 8 x 140 mirrors lies over its modes.*\(\d+, \d+\)"):
        load_bench("vapour_cell", {"devices.dmd_error.settings.tag_block": [8, 10]})


def test_a_camera_sees_only_tags_that_are_there():
    with pytest.raises(ConfigError, match="camera_z1 is to see the tag of 'dmd_input', no DMD with a tag_block"):
        load_bench("vapour_cell", {"devices.dmd_input.settings.tag_block": None})


def test_cameras_of_a_path_see_one_margin_and_none_behind_a_lens():
    folder = Path(__file__).parents[1] / "benches"
    with pytest.raises(ConfigError, match="same 'margin'"):
        load_bench(folder / "small_diffractive.yaml", {"light.2.mask.forward.margin": 3})
    with pytest.raises(ConfigError, match="no 'margin'"):
        load_bench(folder / "small_fourier.yaml", {"light.3.detect.view.margin": 3})
