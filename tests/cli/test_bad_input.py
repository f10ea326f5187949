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
        ["vapour_cell.yaml, --set bench.laser.power: laser.power: ", "got 2", "a power with its unit is needed, like "],
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
