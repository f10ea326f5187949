"""A bench file is read strictly: every mistake is refused with file, line and cure, and overrides go where they say."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl.bench import Bench, load_bench, require_able
from labctl.documents import shipped_benches
from labctl.errors import ConfigError

from .conftest import line_of

Edit = Callable[[str], str]


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
