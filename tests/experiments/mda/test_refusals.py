"""What a sequence cannot ask for is refused by name, before anything moves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.bench import Bench, load_bench
from labctl.errors import ConfigError, LimitError
from labctl.experiments.mda.frames import make_job
from labctl.experiments.mda.plan import mda
from labctl.experiments.mda.settings import MdaSettings
from labctl.experiments.mda.survey import survey
from labctl.plan import parse_settings
from tests.experiments.mda.small import FOURIER, PRESETS, SEQUENCE, small


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"z_plan": {"rnge": 4, "step": 2}}, r"z_plan\.range: is missing"),
        ({"z_plan": {"range": 4}}, r"z_plan\.step: is missing"),
        ({"z_plan": {"range": -4, "step": 1}}, r"z_plan: range: got -4 um"),
        ({"z_plan": {"range": 4, "step": 0}}, r"z_plan: step: got 0 um"),
        ({"z_plan": {"range": math.nan, "step": 1}}, r"z_plan: range: got nan"),
        ({"z_plan": {"absolute": [1.0, math.inf]}}, r"z_plan: absolute: got \[1.0, inf\]"),
        ({"z_plan": {"relative": []}}, r"z_plan: relative: has no planes"),
        ({"z_plan": {"top": 1, "bottom": 5, "step": 1}}, r"z_plan: top, 1 um, lies below bottom, 5 um"),
        (
            {"stage_positions": [], "grid_plan": {"top": 0, "bottom": math.inf, "left": 0, "right": 3}},
            r"grid_plan: bottom: got inf",
        ),
        ({"grid_plan": {"rows": 2}}, r"grid_plan\.columns: is missing"),
        ({"grid_plan": {"rows": 0, "columns": 2}}, r"grid_plan\.rows: got 0"),
        (
            {"stage_positions": [{"x": 1, "sequence": {"grid_plan": {"rows": 2}}}]},
            r"stage_positions\.0\.sequence\.grid_plan\.columns: is missing",
        ),
        ({"time_plan": {"interval": 1}}, r"time_plan\.duration or loops: is missing"),
        ({"time_plan": {"interval": 1, "loops": 0}}, r"time_plan\.loops: got 0"),
        ({"metadata": {"labctl": 3}}, r"metadata\.labctl: asked for 3"),
        ({"z_plan": {"range": 4, "step": 2, "go_upp": True}}, "unknown key 'go_upp'; did you mean 'go_up'"),
        ({"chanels": ["weak"]}, "unknown key 'chanels'; did you mean 'channels'"),
        ({"channels": ["dapi"]}, "channel 'dapi' is no preset and no beam.*metadata: labctl: presets: {dapi:"),
        ({"channels": [{"config": "weak", "group": "Laser"}]}, "group 'Laser' is not known"),
        ({"channels": [{"config": "weak", "camera": "camera"}]}, "camera is not supported"),
        ({"autofocus_plan": {"autofocus_motor_offset": 3, "axes": ["p"]}}, "autofocus_plan is not supported"),
        ({"setup": {"properties": [["Camera", "Binning", "2"]]}}, "setup: properties cannot be set up"),
        ({"time_plan": {"interval": 0, "duration": 4}}, "time_plan"),
        ({"grid_plan": {"num_points": 3}}, "give a random_seed"),
        ({"grid_plan": {"rows": 2, "columns": 2, "overlap": 100}}, "an overlap of 100 % does not move on"),
        (
            {"stage_positions": [{"z": 9, "sequence": {"time_plan": {"interval": 1, "loops": 2}}}]},
            "stage_positions.0: sequence: its time_plan would be taken again at each time",
        ),
        ({"stage_positions": [{"name": "a", "z": 9}, {"name": "a", "z": 8}]}, "the name 'a' stands twice"),
        ({"stage_positions": [{"x": 1, "properties": [["beam", "on", "1"]]}]}, "properties are not supported"),
        ({"metadata": {"labctl": {"presets": {"weak": {"beam": 2}, "strong": {}}}}}, "beam: a power with its unit"),
        ({"metadata": {"labctl": {"presets": {**PRESETS, "weak": {"bean": "1 mW"}}}}}, "did you mean 'beam'"),
        ({"metadata": {"labctl": {"presets": {**PRESETS, "weak": {"slm": 300}}}}}, "levels from 0 to 255"),
        ({"metadata": {"labctl": {"presets": {**PRESETS, "weak": {"slm": 3}}}}}, "preset strong says nothing of slm"),
        ({"metadata": {"labctl": {"presets": PRESETS, "cammera": "camera"}}}, "unknown setting 'cammera'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(changes: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        survey(make_job(small(), parse_settings(mda, {"sequence": {**SEQUENCE, **changes}})))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stage_positions": [{"x": 0, "z": 9}, {"x": 150, "z": 9}]},
            "stage: frame t=0 p=1 c=0 z=0: x at 150 um.*-100 to",
        ),
        ({"z_plan": {"top": 110, "bottom": 90, "step": 10}}, "z at 110 um.*0 to 100 um"),
        ({"channels": [{"config": "weak", "exposure": 20_000}]}, "camera: frame .*exposure 20000 ms"),
        ({"metadata": {"labctl": {"presets": {**PRESETS, "weak": {"beam": "1 W"}}}}}, "beam: preset weak: power 1 W"),
    ],
)
def test_limits_are_checked_for_the_whole_sequence_first(changes: dict[str, Any], said: str):
    with Bench(small(), True) as bench:
        before = bench.state()
        with pytest.raises(LimitError, match=said):
            next(mda(bench, parse_settings(mda, {"sequence": {**SEQUENCE, **changes}}), np.random.default_rng(0)))
        assert bench.state() == before


def test_an_axis_no_stage_has_is_refused_with_the_cure():
    with pytest.raises(ConfigError, match=r"along x is asked for.*the bench has none; choose one with axes"):
        survey(make_job(load_bench(FOURIER), parse_settings(mda, {"sequence": SEQUENCE})))


def test_a_stage_in_the_light_path_moves_only_where_it_is_asked_for(small_bench_file: Path):
    file = load_bench(small_bench_file)
    stage = next(name for name, entry in file.devices.items() if entry.kind == "stage")
    sequence, camera = {"stage_positions": [{"x": 5}]}, "camera_output"
    with pytest.raises(ConfigError, match=f"the bench has {stage}.x"):
        survey(make_job(file, MdaSettings(sequence=sequence, camera=camera)))
    asked = MdaSettings(sequence=sequence, camera=camera, axes={"x": f"{stage}.x"})
    assert survey(make_job(file, asked)).frames == 1


def test_a_bench_of_several_cameras_wants_one_named(small_bench_file: Path):
    with pytest.raises(ConfigError, match="several cameras; set camera to one of: camera_z1"):
        make_job(load_bench(small_bench_file), MdaSettings(sequence={"time_plan": {"interval": 1, "loops": 2}}))


def test_a_run_without_a_sequence_says_what_it_needs():
    for values in ({}, {"sequence": 3}, {"sequence": None}):
        with pytest.raises(ConfigError, match=r"--set sequence=plan\.yaml"):
            parse_settings(mda, values)
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        parse_settings(mda, {"sequence": "nowhere.yaml"})
