"""Bad input is refused in one line that names what, where and what is allowed, before anything is written."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Labctl

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(*shape: int) -> bytes:
    """Return a whole IDX file of zeros."""
    size = 1
    for length in shape:
        size *= length
    return bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape) + bytes(size)


def write_mnist(folder: Path, lost: int, pack: Callable[[bytes], bytes], suffix: str) -> None:
    """Write the four files, the training images without their last `lost` bytes."""
    folder.mkdir()
    for name in IDX_FILES:
        content = pack(idx(3, 28, 28) if "images" in name else idx(3))
        kept = len(content) - (lost if name == IDX_FILES[0] else 0)
        (folder / f"{name}{suffix}").write_bytes(content[:kept])


def whole(content: bytes) -> bytes:
    return content


def refused(labctl: Labctl, tmp_path: Path, *sets: str, plan: str = "train_in_situ", bench: str = "vapour_cell") -> str:
    """Return the one line a run is refused with; nothing is written."""
    before = set(tmp_path.rglob("*"))
    given = [arg for one in sets for arg in ("--set", one)]
    ended = labctl("run", plan, "--bench", bench, "--simulate", "--out", "runs", *given)
    assert (ended.code, ended.out) == (2, [])
    (line,) = ended.errors
    assert line.startswith("error: ")
    assert set(tmp_path.rglob("*")) == before
    return line


REFUSED = {
    # settings: what the line names, where, and what is allowed
    "unknown bench key": (
        ["bench.devices.pump.settings.powr=1 W"],
        ["vapour_cell.yaml, --set bench.devices.pump.settings.powr: unknown key ", "did you mean 'power'"],
    ),
    "missing unit": (
        ["bench.laser.power=2"],
        ["vapour_cell.yaml, --set bench.laser.power: ", "got 2", "a power with its unit is needed, like "],
    ),
    "beam power above its ceiling": (
        ["bench.devices.pump.settings.power=900 W"],
        ["vapour_cell.yaml, line ", "devices.pump.settings", "power 900 W", "not within 0 to max_power 1.2 W"],
    ),
    "missing data folder": (
        ["data=mnist", "data_dir=nowhere"],
        ["mnist: ", "nowhere lacks all four", "Expected train-images-idx3-ubyte", "data_dir"],
    ),
    "negative epochs": (["epochs=-1"], ["train_in_situ: epochs", "asked for -1", "allowed: an integer >= 1"]),
    "no neurons": (["hidden=[0]"], ["train_in_situ: hidden.0: asked for 0; allowed: an integer > 0"]),
    "more samples than there are": (
        ["train_samples=5001"],
        ["train_samples: asked for 5001; allowed: 1 to 5000, as many as the data have of the 10 classes", "or null"],
    ),
    "more test samples than there are": (["test_samples=5000"], ["test_samples: asked for 5000; allowed: 1 to 1000"]),
    "a rate that is no number": (
        ["learning_rate=.nan"],
        ["learning_rate: asked for nan; allowed: a finite number > 0"],
    ),
    "misspelt setting": (
        ["epcohs=1"],
        ["train_in_situ: unknown setting 'epcohs'", "nearest: 'epochs'", "settings: data, "],
    ),
}


@pytest.mark.parametrize(("settings", "parts"), REFUSED.values(), ids=REFUSED)
def test_a_bad_setting_is_refused(labctl: Labctl, tmp_path: Path, settings: list[str], parts: list[str]) -> None:
    data = [] if settings[0].startswith("data=") else ["data=sample"]
    line = refused(labctl, tmp_path, *data, *settings)
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("pack", "suffix", "found"),
    [(whole, "", "data truncated: 2347 bytes, expected 2352 bytes"), (gzip.compress, ".gz", "damaged gzip data")],
    ids=["plain", "gzip"],
)
def test_a_truncated_file_is_refused(
    labctl: Labctl, tmp_path: Path, pack: Callable[[bytes], bytes], suffix: str, found: str
) -> None:
    write_mnist(tmp_path / "mnist", 5, pack, suffix)
    line = refused(labctl, tmp_path, "data=mnist", "data_dir=mnist")
    assert f"{IDX_FILES[0]}{suffix}: found {found}" in line
    assert "expected" in line
    assert "fetch the file again" in line


def test_an_unknown_plan_is_refused(labctl: Labctl, tmp_path: Path) -> None:
    line = refused(labctl, tmp_path, plan="trian_in_situ")
    assert "unknown plan 'trian_in_situ' (nearest: 'train_in_situ'); plans: " in line
    assert "evaluate, " in line


def test_an_unknown_bench_is_refused(labctl: Labctl, tmp_path: Path) -> None:
    line = refused(labctl, tmp_path, bench="vapor_cell")
    assert "vapor_cell: not a bench file that can be read (no such file), nor one of: diffractive, fourier, " in line
    assert line.endswith("; did you mean 'vapour_cell'?")


# ---- bench files

NOT_A_BENCH = {
    # content: what the line says
    "empty": (b"", "bad.yaml: a mapping of keys is needed at the top, it is empty"),
    "a list": (b"- a\n- b\n", "bad.yaml: a mapping of keys is needed at the top, it holds ['a', 'b']"),
    "tabs": (
        b"name: x\n\tdescription: y\n",
        "bad.yaml, line 2: not readable as YAML: a tab stands where only spaces may",
    ),
    "a key twice": (b"name: x\nname: y\n", "bad.yaml, line 2: key 'name' stands twice"),
    "no text": (b"\x89PNG\r\n\xff\xfe", "bad.yaml: not a bench file that can be read (not UTF-8 text)"),
    "a zero byte": (b"name: x\x00\n", "bad.yaml: not readable as YAML: unacceptable character"),
    "an alias of itself": (
        b"name: &a [*a]\n",
        "bad.yaml: not readable as YAML: an alias stands within what it stands for",
    ),
}


@pytest.mark.parametrize(("content", "message"), NOT_A_BENCH.values(), ids=NOT_A_BENCH)
def test_what_is_no_bench_file_is_refused(labctl: Labctl, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    ended = labctl("check", "bad.yaml")
    assert ended.code == 2
    (line,) = ended.errors
    assert line.startswith(f"error: {message}")


# ---- files and folders


def header(text: str) -> Callable[[Path], object]:
    """Return what writes `text` as the header of a table into a folder `given`."""
    return lambda folder: [(folder / "given").mkdir(), (folder / "given" / "table.json").write_text(text)]


def nothing(_: Path) -> None:
    """Leave the folder empty."""


def a_file(folder: Path) -> None:
    (folder / "given").write_text("a file\n")


def a_run(text: str) -> Callable[[Path], object]:
    """Return what writes `text` as run.yaml into a folder `given`."""
    return lambda folder: [(folder / "given").mkdir(), (folder / "given" / "run.yaml").write_text(text)]


SNAP = ("run", "snap", "--bench", "vapour_cell", "--simulate", "--set", "camera=camera_z1")
CALIBRATE = ("calibrate", "reference_phase", "--bench", "vapour_cell", "--simulate")
D2NN = ("reproduce", "d2nn_mnist", "--resume", "given")
WRONG_PLACES = {
    # what is wrong: (what there is, command line, what the line says)
    "runs into a file": (a_file, (*SNAP, "--out", "given"), "--out given: given is not a folder"),
    "runs below a file": (a_file, (*SNAP, "--out", "given/runs"), "given is not a folder"),
    "a ledger that is a file": (a_file, (*CALIBRATE, "--ledger", "given"), "--ledger given: given is not a folder"),
    "a table into a file": (
        a_file,
        ("reproduce", "d2nn_mnist", "--out", "given"),
        "--out given: given is not a folder",
    ),
    "a bench that is a folder": (nothing, ("check", "."), ".: not a bench file that can be read (a folder)"),
    "a file to resume": (a_file, ("resume", "given"), "there is no such file; give the folder of a run"),
    "a foreign folder to resume": (
        nothing,
        ("resume", "."),
        "run.yaml: there is no such file; give the folder of a",
    ),
    "an empty run": (a_run(""), ("resume", "given"), "run.yaml: a mapping of keys is needed at the top, it is empty"),
    "a run of half a line": (a_run("a: [b"), ("resume", "given"), "run.yaml, line 1: not readable as YAML"),
    "a run of another kind": (
        a_run("settings: {}"),
        ("resume", "given"),
        "holds no plan_source, bench_document, simul",
    ),
    "no run to report": (a_run("a: [b"), ("report", "given"), "run.yaml, line 1: not readable as YAML"),
    "half a table": (
        header('{"table": "d2nn_mnist"}'),
        D2NN,
        "given: holds no readable table.json (table, scale, seed)",
    ),
    "a table that is a list": (header("[1]"), D2NN, "given: holds no readable table.json (table, scale, seed)"),
    "another table": (
        header('{"table": "t", "scale": "quick", "seed": 0}'),
        D2NN,
        "given: is a reproduction of t, not",
    ),
    "no such scale": (
        header('{"table": "d2nn_mnist", "scale": "huge", "seed": 0}'),
        D2NN,
        "scale 'huge' is none of d2nn_mnist: quick, paper",
    ),
    "plates in no form": (nothing, ("export", "."), "Choose from: stl, csv, png, levels; see"),
    "plates from a foreign folder": (nothing, ("export", "--format", "stl", "."), ".: holds no plates.safetensors"),
    "plates from text": (a_file, ("export", "--format", "stl", "given"), "given: cannot be read as safetensors"),
    "a base without unit": (
        a_file,
        ("export", "--format", "stl", "--base", "0.5", "given"),
        "--base: a length with its unit",
    ),
    "a response of words": (
        a_file,
        ("export", "--format", "levels", "--response", "given", "."),
        "given: no panel response (could not convert string to float: 'a file')",
    ),
    "an option that is no number": (nothing, (*SNAP, "--seed", "x"), "'--seed': Input should be a valid integer"),
}


@pytest.mark.parametrize(("there", "args", "message"), WRONG_PLACES.values(), ids=WRONG_PLACES)
def test_a_wrong_place_is_refused_before_anything_is_opened(
    labctl: Labctl, tmp_path: Path, there: Callable[[Path], object], args: tuple[str, ...], message: str
) -> None:
    there(tmp_path)
    before = set(tmp_path.rglob("*"))
    ended = labctl(*args)
    assert ended.code == 2
    (line,) = ended.errors
    assert message in line
    assert set(tmp_path.rglob("*")) == before


def test_plates_are_looked_for_no_deeper_than_a_table_keeps_them(labctl: Labctl, tmp_path: Path) -> None:
    deep = tmp_path / "2026-01-01" / "table" / "cells" / "mse"
    deep.mkdir(parents=True)
    (deep / "plates.safetensors").write_bytes(b"never read")
    (line,) = labctl("export", "--format", "stl", ".").errors
    assert "holds no plates.safetensors" in line
    (line,) = labctl("export", "--format", "stl", "2026-01-01/table").errors
    assert f"{Path('mse') / 'plates.safetensors'}: cannot be read as safetensors" in line
