"""A document is plain data that knows its lines; what is wrong in it is refused with file, line and the nearest key."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from labctl.documents import Document, StrictModel, nearest
from labctl.errors import ConfigError
from labctl.units import Metres, Seconds

TEXT = """\
# a comment
name: bench
camera:
  exposure: 20 ms
  lens: {pitch: 6.5 um, focus: 1}
steps:
  - move: {by: 1 um}
  - wait: {by: 2 um}
  - move: {by: 3 um}
taps: [1, 2, 3]
gain: {value: 2, sd: 10 %, source: measured}
"""


class Lens(StrictModel):
    pitch_m: Metres
    focus: int = Field(ge=0)


class CameraPart(StrictModel):
    exposure_s: Seconds
    lens: Lens
    kind: Literal["fast", "slow"] = "fast"


class Whole(StrictModel):
    name: str
    camera: CameraPart
    steps: list[dict[str, Any]]
    taps: list[int]
    gain: Mapping[str, Any]


@pytest.fixture
def document() -> Document:
    return Document("bench.yaml", TEXT)


def test_every_key_knows_its_line(document: Document):
    expected = {
        ("name",): 2,
        ("camera",): 3,
        ("camera", "exposure"): 4,
        ("camera", "lens", "focus"): 5,
        ("steps", 1): 8,
        ("steps", 1, "wait", "by"): 8,
        ("taps", 2): 10,
        ("gain", "sd"): 11,
    }
    assert {path: document.line(path) for path in expected} == expected


def test_what_has_no_line_is_looked_for_where_it_would_stand(document: Document):
    assert document.line(("camera", "lens", "colour")) == 5
    assert document.line(("camera", "colour")) == 3


def test_a_document_becomes_its_model(document: Document):
    whole = document.validate(Whole)
    assert whole.camera.exposure_s == pytest.approx(0.02)
    assert whole.camera.lens == Lens.model_validate({"pitch": "6.5 um", "focus": 1})


def test_a_part_of_a_document_keeps_its_lines(document: Document):
    with pytest.raises(ConfigError, match=r"^bench\.yaml, line 5: .*focus"):
        document.validate(Lens, {"pitch": "1 um", "focus": -1}, ("camera", "lens"))


NOT_A_DOCUMENT = {
    "nothing": ("", "mapping"),
    "a comment": ("# nothing here\n", "mapping"),
    "a list": ("- a\n- b\n", "mapping"),
    "a word": ("bench", "mapping"),
    "an open bracket": ("a: [1, 2\nb: 3\n", r"line \d"),
    "a tab": ("a:\n\t- 1\n", "line 2"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "line 3.*'a'.*twice"),
    "a key twice below": ("a:\n  b: 1\n  b: 2\n", "line 3.*'b'.*twice"),
    "an unknown alias": ("a: *b\n", "line 1"),
    "a tag that runs code": ("a: !!python/object/apply:os.getcwd []\n", "line 1"),
    "a control character": ("a: \x07\n", "YAML"),
    "a list as key": ("? [a, b]\n: 1\n", r"line \d|YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", r"line \d"),
}


@pytest.mark.parametrize("case", NOT_A_DOCUMENT)
def test_what_is_no_document_is_refused_with_its_line(case: str):
    text, message = NOT_A_DOCUMENT[case]
    with pytest.raises(ConfigError, match=rf"^bench\.yaml.*(?:{message})"):
        Document("bench.yaml", text)


@pytest.mark.parametrize("text", ["a: 2026-13-45\n", "a: &a [*a]\n"])
def test_a_value_that_yaml_itself_cannot_hold_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"bench\.yaml"):
        Document("bench.yaml", text)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`? \n\t01.,~<\\"))
def test_any_text_is_a_document_or_a_config_error(text: str):
    try:
        assert isinstance(Document("bench.yaml", text).data, dict)
    except ConfigError as error:
        message = str(error)
    else:
        return
    assert message.startswith("bench.yaml")


MISTAKES: dict[str, tuple[Callable[[str], str], str]] = {
    "an unknown key": (
        lambda text: text.replace("exposure", "exposre"),
        r"line 4: unknown key 'camera\.exposre'; did you mean 'exposure'\?",
    ),
    "an unknown key far from all": (
        lambda text: text.replace("focus", "zzz"),
        r"line 5: camera\.lens: key 'focus' is missing; key 'zzz' is unknown; known here: pitch, focus",
    ),
    "a missing key": (lambda text: text.replace(", focus: 1", ""), r"line 5: key 'camera\.lens\.focus' is missing"),
    "no unit": (lambda text: text.replace("20 ms", "20"), r"line 4: camera\.exposure: .*'20 ms'.*got 20"),
    "out of range": (lambda text: text.replace("focus: 1", "focus: -1"), r"line 5: camera\.lens\.focus: .*0"),
    "not a number": (lambda text: text.replace("[1, 2, 3]", "[1, two, 3]"), r"line 10: taps\.1: "),
    "not one of": (
        lambda text: text.replace("  lens", "  kind: quick\n  lens"),
        r"line 5: camera.kind: asked for 'quick'; allowed: one of fast, slow",
    ),
    "the suffix written": (
        lambda text: text.replace("exposure", "exposure_s"),
        r"unknown key 'camera\.exposure_s'; did you mean 'exposure'\?",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_file_line_key_and_cure(case: str):
    change, message = MISTAKES[case]
    with pytest.raises(ConfigError) as error:
        Document("bench.yaml", change(TEXT)).validate(Whole)
    lines = str(error.value).splitlines()
    assert all(line.startswith("bench.yaml, line ") for line in lines)
    with pytest.raises(ConfigError, match=message):
        raise error.value


def test_a_model_is_frozen_and_holds_no_infinity():
    lens = Lens.model_validate({"pitch": "1 um", "focus": 1})
    with pytest.raises(ValidationError):
        lens.focus = 2
    with pytest.raises(ValidationError):
        StrictFloat.model_validate({"value": float("nan")})


class StrictFloat(StrictModel):
    value: float


OVERRIDES: dict[str, tuple[str, Any, Callable[[dict[str, Any]], Any]]] = {
    "a value": ("name", "other", lambda data: data["name"]),
    "a value below": ("camera.exposure", "30 ms", lambda data: data["camera"]["exposure"]),
    "a new key": ("camera.kind", "slow", lambda data: data["camera"]["kind"]),
    "a new section": ("lamp.colour", "red", lambda data: data["lamp"]["colour"]),
    "an entry by index": ("steps.0", {"stop": {}}, lambda data: data["steps"][0]),
    "below an entry by index": ("steps.2.move.by", "9 um", lambda data: data["steps"][2]["move"]["by"]),
    "below an entry by its only key": ("steps.wait.by", "9 um", lambda data: data["steps"][1]["wait"]["by"]),
    "an entry by its only key": ("steps.wait", {"by": "9 um"}, lambda data: data["steps"][1]["wait"]),
    "a plain entry": ("taps.1", 9, lambda data: data["taps"][1]),
    "a parameter whole": ("gain", {"value": 3, "source": "new"}, lambda data: data["gain"]),
    "a part of a parameter": ("gain.sd", 0, lambda data: data["gain"]["sd"]),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_an_override_goes_where_it_says(case: str, document: Document):
    path, value, read = OVERRIDES[case]
    document.override(path, value)
    assert read(document.data) == value


def test_a_parameter_given_its_value_alone_keeps_its_deviation_and_changes_its_source(document: Document):
    document.override("gain", 3)
    assert document.data["gain"]["value"] == 3
    assert document.data["gain"]["sd"] == "10 %"
    assert document.data["gain"]["source"] != "measured"


NOWHERE = {
    "through a value": ("name.first", r"'name\.first' cannot be set, 'name' holds a plain value"),
    "through a value, far": ("camera.exposure.of.what", "plain value"),
    "several entries": ("steps.move.by", r"stands 2 times.*\[0, 2\]"),
    "no such entry": ("steps.wiat.by", "did you mean 'wait'"),
    "beyond the list": ("steps.3.move", r"steps\.3"),
    "among plain entries": ("taps.first", r"taps\.first"),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_an_override_to_nowhere_is_refused_and_changes_nothing(case: str, document: Document):
    path, message = NOWHERE[case]
    with pytest.raises(ConfigError, match=rf"^bench\.yaml: .*{message}"):
        document.override(path, 1)
    assert document.data == Document("bench.yaml", TEXT).data


def test_a_mistake_that_an_override_brought_is_found(document: Document):
    document.override("camera.lens.colour", "red")
    with pytest.raises(ConfigError, match=r"unknown key 'camera\.lens\.colour'"):
        document.validate(Whole)


@pytest.mark.parametrize(
    ("word", "known", "ending"),
    [
        ("exposre", ["gain", "exposure"], "; did you mean 'exposure'?"),
        ("x", ["gain", "exposure", "gain"], "; known here: gain, exposure"),
        ("x", [], ""),
    ],
)
def test_the_nearest_key_ends_a_message(word: str, known: list[str], ending: str):
    assert nearest(word, known) == ending
