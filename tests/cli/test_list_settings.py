"""`labctl list settings` names what `--set` takes: the same names, defaults that can be set, and what each is."""

from pathlib import Path
from typing import Any

import pytest

from labctl.announced import announced
from labctl.calibrations import load_calibration
from labctl.cli.options import parse_assignments
from labctl.errors import ConfigError
from labctl.forms import listed_settings
from labctl.plan import Plan, load_plan, parse_settings

from .conftest import PLANS, Labctl

NAMES = [*announced("plans"), *announced("calibrations")]
NEEDED: dict[str, dict[str, Any]] = {
    "snap": {"camera": "eye"},
    "evaluate": {"run": Path("run")},
    "mda": {"sequence": {"channels": ["beam"]}},
}
"""What must be given."""


def plan_of(name: str) -> Plan:
    return load_calibration(name).measure if name in announced("calibrations") else load_plan(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_listed_is_what_set_takes(labctl: Labctl, name: str) -> None:
    ended = labctl("list", "settings", name, "--json")
    assert ended.code == 0
    listed, plan = ended.answer["settings"], plan_of(name)
    with pytest.raises(ConfigError) as refused:
        parse_settings(plan, {**NEEDED.get(name, {}), "no such setting": 1})
    _, _, known = str(refused.value).partition("settings: ")
    assert known.split(", ") == [one["name"] for one in listed]
    for one in listed:
        assert one["allowed"]
        assert one["description"]


@pytest.mark.parametrize("name", NAMES)
def test_every_default_can_be_set_as_it_is_listed(name: str) -> None:
    plan, needed = plan_of(name), NEEDED.get(name, {})
    given, _ = parse_assignments(
        [f"{one.name}={one.default}" for one in listed_settings(plan.settings_type) if one.default is not None]
    )
    assert parse_settings(plan, {**needed, **given}) == parse_settings(plan, needed)


def test_settings_are_shown_as_a_table(labctl: Labctl) -> None:
    ended = labctl("list", "settings", "snap")
    shown = "\n".join(" ".join(line.split()) for line in ended.out)
    assert "settings of snap" in shown
    assert "name allowed default description" in shown
    assert "camera text must be given camera of the bench file" in shown
    assert "frames an integer >= 1 and <= 10000 1 frames taken" in shown
    assert "exposure a time such as 20 ms or null null exposure, the bench file's by default" in shown
    assert "keep one of summary, sampled, all all arrays that are stored" in shown


def test_a_sequence_may_be_a_path(labctl: Labctl) -> None:
    (sequence, *_) = labctl("list", "settings", "mda", "--json").answer["settings"]
    assert (sequence["name"], sequence["allowed"], sequence["default"]) == ("sequence", "a path or a mapping", None)


def test_settings_of_a_plan_in_a_file_are_listed_with_their_units(labctl: Labctl) -> None:
    rows = labctl("list", "settings", f"{PLANS}:tabulate", "--json").answer["settings"]
    assert [row["name"] for row in rows] == ["steps", "exposure", "hidden", "event", "keep"]
    assert rows[1]["default"] == "0.02 s"
    assert rows[2]["default"] == "[4]"


def test_settings_of_a_table_are_listed_by_scale(labctl: Labctl) -> None:
    rows = labctl("list", "settings", "d2nn_imager", "--json").answer["settings"]
    assert {"name": "geometry.grid.shape", "quick": "[100, 100]", "paper": "[300, 300]"} in rows
    assert all(row.keys() == {"name", "quick", "paper"} for row in rows)


def test_no_name_stands_for_two_things() -> None:
    names = [*announced("plans"), *announced("calibrations"), *announced("tables")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["settings"], "Name a plan"),
        (["settings", "snp"], "nearest: 'snap'"),
        (["plans", "snap"], "list settings snap"),
    ],
)
def test_a_list_of_nothing_is_refused(labctl: Labctl, args: list[str], said: str) -> None:
    ended = labctl("list", *args, "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert said in ended.answer["error"]
