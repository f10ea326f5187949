"""Settings say what is wrong with them, live fields alone change, plans are found by name."""

from collections.abc import Callable, Generator
from enum import Enum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

import labctl.announced
from labctl.announced import announced
from labctl.errors import ConfigError
from labctl.plan import Plan, Settings, apply_changes, live, live_fields, load_plan, parse_settings, plan
from labctl.records import Budget, Changes, Record, Summary
from labctl.units import Seconds


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Optimiser(Settings):
    rate: float = live(0.1, gt=0, le=1)
    kind: Literal["adam", "sgd"] = "adam"


class TrainSettings(Settings):
    steps: int = Field(default=10, ge=1, le=100)
    """Number of steps."""
    exposure_s: Seconds = live(0.02, gt=0)
    """Exposure of the camera."""
    dwells_s: tuple[Seconds, ...] = ()
    optimiser: Optimiser = Optimiser()
    colour: Colour = Colour.RED
    sizes: list[int] = Field(default=[4], min_length=1)
    seed: int | str | None = None
    low: int = live(0)
    high: int = live(5)

    @model_validator(mode="after")
    def _ordered(self) -> "TrainSettings":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


class NeedySettings(Settings):
    name: str


def _budget(_bench: Any, settings: TrainSettings) -> Budget:
    return Budget(steps=settings.steps)


@plan(TrainSettings, budget=_budget, free_devices=["stage"])
def train(bench: str, settings: TrainSettings, rng: np.random.Generator) -> Generator[Record, Changes | None, Summary]:
    """Train on the bench.

    More about it.
    """
    yield Record("step", 0, 0.0, {"bench": bench, "draw": float(rng.random())})
    return {"steps": settings.steps}


def _needy(_bench: Any, _settings: NeedySettings, _rng: Any) -> Generator[Record, Changes | None, Summary]:
    yield Record("step", 0, 0.0)
    return {}


needy = plan(NeedySettings, budget=lambda _bench, _settings: Budget())(_needy)


def test_plan_describes_itself_and_runs_like_its_function() -> None:
    assert (train.name, train.doc, train.free_devices) == ("train", "Train on the bench.", ("stage",))
    assert train.settings_type is TrainSettings
    assert train.budget(None, TrainSettings()) == Budget(steps=10)
    records = list(train("table", TrainSettings(), np.random.default_rng(1)))
    assert records == [Record("step", 0, 0.0, {"bench": "table", "draw": np.random.default_rng(1).random()})]


def test_plan_refuses_settings_of_another_plan() -> None:
    with pytest.raises(ConfigError, match="train: settings are a NeedySettings; make a TrainSettings"):
        train("table", NeedySettings(name="x"), np.random.default_rng(1))  # type: ignore[arg-type]


def test_only_generator_functions_become_plans() -> None:
    with pytest.raises(ConfigError, match="must be a generator function"):
        plan(TrainSettings, budget=_budget)(lambda _bench, _settings, _rng: iter(()))  # type: ignore[arg-type]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainSettings().steps = 3  # type: ignore[misc]


def test_help_comes_from_field_docstrings() -> None:
    assert TrainSettings.model_fields["steps"].description == "Number of steps."


@pytest.mark.parametrize(
    ("values", "exposure_s"),
    [
        ({}, 0.02),
        ({"exposure": "5 ms"}, 0.005),
        ({"exposure_s": 0.1 + 0.2}, 0.1 + 0.2),
        ({"exposure_s": 3}, 3.0),
        ({"exposure_s": "5 ms"}, 0.005),
    ],
)
def test_quantity_needs_a_unit_unless_its_key_says_it(values: dict[str, Any], exposure_s: float) -> None:
    assert parse_settings(train, values).exposure_s == exposure_s


def test_full_names_take_lists_in_si() -> None:
    assert parse_settings(train, {"dwells_s": [0.1, "3 ms"]}).dwells_s == (0.1, 0.003)


def test_dumped_settings_parse_back() -> None:
    settings = parse_settings(train, {"exposure": "5 ms", "optimiser": {"rate": 0.3}, "dwells": ["1 s"]})
    assert parse_settings(train, settings.model_dump()) == settings


REFUSED = {
    "below": ({"steps": 0}, "train: steps: asked for 0; allowed: an integer >= 1 and <= 100"),
    "fraction": ({"steps": 1.5}, "train: steps: asked for 1.5; allowed: an integer >= 1 and <= 100"),
    "choice": ({"colour": "rad"}, "train: colour: asked for 'rad'; allowed: one of red, blue"),
    "nested choice": (
        {"optimiser": {"kind": "adm"}},
        "train: optimiser.kind: asked for 'adm'; allowed: one of adam, sgd",
    ),
    "nested range": ({"optimiser": {"rate": 2}}, "train: optimiser.rate: asked for 2; allowed: a number > 0 and <= 1"),
    "not a mapping": ({"optimiser": 3}, "train: optimiser: asked for 3; allowed: a mapping of rate, kind"),
    "infinite": (
        {"optimiser": {"rate": "nan"}},
        "train: optimiser.rate: asked for 'nan'; allowed: a finite number > 0 and <= 1",
    ),
    "element": ({"sizes": [1, "b"]}, "train: sizes.1: asked for 'b'; allowed: an integer"),
    "too short": ({"sizes": []}, "train: sizes: asked for []; allowed: a list, each an integer with length >= 1"),
    "union": ({"seed": [1]}, "train: seed: asked for [1]; allowed: an integer or text or null"),
    "unit missing": (
        {"exposure": 3},
        "train: exposure: a time with its unit is needed, like '20 ms'; got 3",
    ),
    "quantity range": ({"exposure": "-5 ms"}, "train: exposure: asked for '-5 ms'; allowed: a time > 0 s"),
    "unknown": (
        {"stps": 3},
        "train: unknown setting 'stps' (nearest: 'steps'); settings: "
        "steps, exposure, dwells, optimiser, colour, sizes, seed, low, high",
    ),
    "unknown nested": (
        {"optimiser": {"ratee": 1}},
        "train: unknown setting 'optimiser.ratee' (nearest: 'rate'); settings: rate, kind",
    ),
    "one quantity twice": (
        {"exposure": "5 ms", "exposure_s": 1},
        "train: unknown setting 'exposure_s' (nearest: 'exposure'); settings: "
        "steps, exposure, dwells, optimiser, colour, sizes, seed, low, high",
    ),
    "together": ({"low": 9}, "train: settings: low must not exceed high"),
    "two": (
        {"steps": 0, "sizes": 3},
        "train: steps: asked for 0; allowed: an integer >= 1 and <= 100\n"
        "train: sizes: asked for 3; allowed: a list, each an integer with length >= 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_settings_say_what_was_asked_and_what_is_allowed(case: str) -> None:
    values, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        parse_settings(train, values)
    assert str(caught.value) == message


def test_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^_needy: name: missing; allowed: text$"):
        parse_settings(needy, {})


class UnshowableSettings(Settings):
    shape: tuple[int, int] = (1, 1)
    law: Callable[[float], float] = abs


def test_settings_without_a_schema_still_name_the_field() -> None:
    unshowable = plan(UnshowableSettings, budget=lambda _bench, _settings: Budget())(_needy)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="shape: asked for 3: Input should be a valid tuple"):
        parse_settings(unshowable, {"shape": 3})


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=5) | st.none(), max_size=4))
def test_any_values_give_settings_or_one_line_for_each_failing_key(values: dict[str, Any]) -> None:
    lines = []
    try:
        parse_settings(train, values)
    except ConfigError as error:
        lines = str(error).splitlines()
    assert len(lines) <= len(values)
    assert all(line.startswith("train: ") for line in lines)


def test_live_fields_are_those_marked() -> None:
    assert live_fields(TrainSettings) == ("exposure_s", "low", "high")
    assert live_fields(NeedySettings) == ()


@pytest.mark.parametrize("changes", [{"exposure": "7 ms"}, {"exposure_s": 0.007}])
def test_live_fields_change_and_the_rest_stays(changes: dict[str, Any]) -> None:
    before = parse_settings(train, {"steps": 3, "colour": "blue", "optimiser": {"rate": 0.4}})
    assert apply_changes(before, Changes(changes)) == before.model_copy(update={"exposure_s": 0.007})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "TrainSettings: 'steps' cannot change in a run; can: exposure, low, high"),
        ({"lo": 3}, "TrainSettings: 'lo' cannot change in a run (nearest: 'low'); can: exposure, low, high"),
        ({"exposure": "-1 s"}, "TrainSettings: exposure: asked for '-1 s'; allowed: a time > 0 s"),
        ({"exposure": 1}, "TrainSettings: exposure: a time with its unit is needed, like '20 ms'; got 1"),
        ({"low": 6}, "TrainSettings: settings: low must not exceed high"),
    ],
)
def test_other_changes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_changes(TrainSettings(), Changes(changes))
    assert str(caught.value) == message


def _announce(monkeypatch: pytest.MonkeyPatch, **plans: str) -> None:
    entries = [EntryPoint(name.rstrip("_"), value, "labctl.plans") for name, value in plans.items()]
    monkeypatch.setattr(labctl.announced, "entry_points", lambda group: entries if group == "labctl.plans" else [])


def test_announced_plans_are_found_and_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    _announce(monkeypatch, train=f"{__name__}:train", other="nowhere:plan")
    assert list(announced("plans")) == ["other", "train"]
    assert load_plan("train") is train


def test_one_name_for_two_plans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _announce(monkeypatch, train="a:train", train_="b:train")
    with pytest.raises(ConfigError, match="'train' is announced twice: a:train and b:train"):
        announced("plans")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian", r"unknown plan 'trian' \(nearest: 'train'\); plans: broken, notplan, train; or write"),
        ("broken", "'broken': no_such_module_here:plan cannot be imported: No module named"),
        ("notplan", "is no plan but of type ModelMetaclass; decorate a function with @plan"),
        ("missing.py:train", "missing.py: there is no such file"),
    ],
)
def test_plans_that_cannot_be_loaded_say_why(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _announce(
        monkeypatch, train=f"{__name__}:train", broken="no_such_module_here:plan", notplan=f"{__name__}:TrainSettings"
    )
    with pytest.raises(ConfigError, match=message):
        load_plan(name)


PLAN_FILE = '''
from __future__ import annotations
from dataclasses import dataclass
from labctl.plan import Settings, plan
from labctl.records import Budget, Record

@dataclass
class Note:
    text: str

class ScanSettings(Settings):
    points: int = 3

@plan(ScanSettings, budget=lambda bench, settings: Budget(steps=settings.points))
def scan(bench, settings, rng):
    """Scan a line."""
    for index in range(settings.points):
        yield Record("step", index, 0.0)
    return {}

helper = 3
'''


def test_plan_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my plan.py"
    file.write_text(PLAN_FILE, encoding="utf-8")
    scan = load_plan(f"{file}:scan")
    assert isinstance(scan, Plan)
    assert len(list(scan(None, parse_settings(scan, {"points": 2}), np.random.default_rng(0)))) == 2


@pytest.mark.parametrize(
    ("text", "function", "message"),
    [
        (PLAN_FILE, "scam", r"no 'scam' \(nearest: 'scan'\); plans: scan"),
        (PLAN_FILE, "helper", "is no plan but of type int"),
        ("1 / 0", "scan", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def", "scan", "cannot be imported: SyntaxError"),
    ],
)
def test_plan_files_that_hold_no_such_plan_say_why(tmp_path: Path, text: str, function: str, message: str) -> None:
    file = tmp_path / "plans.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_plan(f"{file}:{function}")
