"""`labctl export` finds trained plates and writes them beside themselves, or says in one line why not."""

import json
from pathlib import Path

import numpy as np
import pytest

from labctl.experiments.diffractive.plates import Plates, write_plates

from .conftest import Labctl

SMALL = Path(__file__).parents[1] / "benches" / "small_diffractive.yaml"


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """Return a folder that holds two trained plates."""
    folder = tmp_path / "table" / "cells" / "mse"
    folder.mkdir(parents=True)
    write_plates(Plates(np.ones((2, 4, 5), np.float32), 4e-4, 7.5e-4), folder / "plates.safetensors")
    return folder


@pytest.mark.parametrize(("form", "suffix"), [("stl", "stl"), ("csv", "csv"), ("png", "png"), ("levels", "png")])
def test_plates_are_written_beside_themselves(labctl: Labctl, cell: Path, form: str, suffix: str) -> None:
    ended = labctl("export", str(cell), "--format", form, "--json")
    assert ended.code == 0
    assert ended.answer["files"] == [str(cell / form / f"plate_{number}.{suffix}") for number in (1, 2)]
    assert all(Path(file).exists() for file in ended.answer["files"])


def test_index_base_and_folder_can_be_chosen(labctl: Labctl, cell: Path) -> None:
    labctl("export", str(cell), "--format", "csv", "--out", "made", "--index", "1.5", "--base", "1 mm")
    about = json.loads(Path("made/plates.json").read_text())
    assert (about["index"], about["base_m"]) == (1.5, 1e-3)
    assert np.loadtxt("made/plate_1.csv", delimiter=",") == pytest.approx(1 + 0.75 / 0.5 / (2 * np.pi), abs=1e-6)


def test_the_whole_table_is_searched(labctl: Labctl, cell: Path) -> None:
    assert labctl("export", str(cell.parents[1]), "--format", "csv", "--json").code == 0


def test_masks_trained_on_a_bench_are_exported_by_the_folder_of_their_run(labctl: Labctl) -> None:
    settings = {"data": "sample", "epochs": 0, "test_samples": 4, "method": "in_silico"}
    assigned = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    run = labctl("run", "train_masks", "--bench", str(SMALL), "--simulate", "--ledger", "none", *assigned, "--json")
    assert run.code == 0
    ended = labctl("export", run.answer["run"], "--format", "levels", "--json")
    assert ended.code == 0
    about = json.loads((Path(run.answer["run"]) / "levels" / "plates.json").read_text())
    assert (about["pitch_m"], about["wavelength_m"]) == (8e-6, 532e-9)


def test_levels_go_through_the_response_that_is_given(labctl: Labctl, cell: Path) -> None:
    Path("response.txt").write_text("0\n3\n")
    assert labctl("export", str(cell), "--format", "levels", "--response", "response.txt").code == 0
    assert json.loads((cell / "levels" / "plates.json").read_text())["levels"] == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "--format", "stl"], "nowhere: cannot be read"),
        ([".", "--format", "stl", "--base", "1"], "a length with its unit is needed"),
        (["table", "--format", "stl", "--index", "1"], "give a finite number above 1"),
        (["table", "--format", "stl", "--base", "0 mm"], "give a finite thickness above 0"),
        (["table", "--format", "obj"], "'obj' is not one of"),
        (["table", "--format", "levels", "--response", "nowhere"], "nowhere: no panel response"),
    ],
)
@pytest.mark.usefixtures("cell")
def test_refusals_are_one_line(labctl: Labctl, args: list[str], message: str) -> None:
    ended = labctl("export", *args, "--json")
    assert ended.code == 2
    assert message in ended.answer["error"]
