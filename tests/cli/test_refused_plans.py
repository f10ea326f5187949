"""What is refused before anything was switched on ends as refused, with exit code 2, in every plan alike."""

import json
from pathlib import Path

import pytest

from labctl.announced import announced
from labctl.recorder import read_records, read_summary

from .conftest import Labctl

BENCHES = Path(__file__).parents[1] / "benches"
BRIGHT = json.dumps({"channels": ["beam"], "metadata": {"labctl": {"presets": {"beam": {"beam": "9 W"}}}}})
LONG = json.dumps({"channels": [{"config": "beam", "exposure": 40_000}]})
FAR = json.dumps({"channels": ["beam"], "stage_positions": [{"x": 5}]})
MANY = json.dumps({"channels": ["beam"], "time_plan": {"interval": 1, "loops": 10**10}})

LIMITS = [
    # plan, bench, settings beyond what it allows, a part of the error
    ("compare_methods", "small_cell", ["data=sample", "hidden=[999]"], "the largest that fits"),
    ("evaluate", "small_cell", ["data=sample", "run=nowhere"], "nowhere"),
    ("evaluate", "small_cell", ["data=sample", "run=nowhere", "optical_depth=3"], "nowhere"),
    ("mda", "small_fourier", [f"sequence={LONG}"], "exposure 40000 ms was asked for, allowed: "),
    ("mda", "small_fourier", [f"sequence={BRIGHT}"], "power 9 W was asked for, allowed is 0 to "),
    ("mda", "small_fourier", [f"sequence={FAR}"], "no stage is known for it"),
    ("mda", "small_fourier", [f"sequence={MANY}"], "10,000,000,000 frames"),
    ("power_sweep", "small_fourier", [], "a bench of slit multipliers"),
    ("snap", "small_fourier", ["camera=camera", "exposure=1000 s"], "camera can do"),
    ("snap", "small_fourier", ["camera=camera", "beams=[bean]"], "beam 'bean' is not on bench"),
    ("train_in_silico", "small_cell", ["data=sample", "hidden=[999]"], "the largest that fits"),
    ("train_in_situ", "small_cell", ["data=sample", "hidden=[999]"], "the largest that fits"),
    ("train_in_situ", "small_cell", ["data=sample", "hidden=[8]", "initial_sd=[1, 2, 3]"], "2 layers need 2 of them"),
    ("train_masks", "small_cell", ["data=sample"], "a bench in free space"),
    ("train_masks", "small_diffractive", ["data=sample", "start=nowhere"], "nowhere"),
]
CALIBRATED = {
    "absorber": "small_fourier",
    "panel_response": "small_cell",
    "reference_phase": "small_diffractive",
    "tap_registration": "small_fourier",
}
"""Calibrations, each with a bench that has nothing for it."""


def test_every_shipped_plan_is_tried() -> None:
    assert {plan for plan, *_ in LIMITS} == set(announced("plans"))
    assert set(CALIBRATED) == set(announced("calibrations"))


@pytest.mark.parametrize(("plan", "bench", "sets", "said"), LIMITS, ids=[f"{one[0]}: {one[3]}" for one in LIMITS])
def test_a_plan_beyond_its_limits_is_refused(labctl: Labctl, plan: str, bench: str, sets: list[str], said: str) -> None:
    given = [arg for one in sets for arg in ("--set", one)]
    ended = labctl("run", plan, "--bench", str(BENCHES / f"{bench}.yaml"), "--simulate", "--json", *given)
    assert (ended.code, ended.answer["status"]) == (2, "refused")
    assert said in ended.answer["error"]
    assert sum(line.startswith("error: ") for line in ended.errors) == 1
    if "run" in ended.answer:  # what only the plan itself could see
        folder = Path(ended.answer["run"])
        assert read_summary(folder)["status"] == "refused"
        assert list(read_records(folder)) == []


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_calibration_without_its_device_is_refused(labctl: Labctl, name: str) -> None:
    ended = labctl("calibrate", name, "--bench", str(BENCHES / f"{CALIBRATED[name]}.yaml"), "--simulate", "--json")
    assert (ended.code, ended.answer["status"]) == (2, "refused")


@pytest.mark.parametrize(("event", "ending"), {"limit at first": (2, "refused"), "limit": (1, "failed")}.items())
def test_a_limit_refuses_a_run_that_has_not_begun_and_fails_one_that_has(
    labctl: Labctl, event: str, ending: tuple[int, str]
) -> None:
    run = ("run", "count", "--bench", "vapour_cell", "--simulate", "--json", "--set", f"event={event}")
    ended = labctl(*run)
    assert (ended.code, ended.answer["status"]) == ending
    assert ended.answer["error"] == "camera: too long"
    assert ended.answer["dark_after_s"] is not None
