"""The small bench, what of it is lit, and in which order its devices are closed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labctl.bench import Bench, BenchFile, load_bench
from labctl.devices import Device

BEAMS = ("reference", "probe", "pump_hidden", "pump")


@pytest.fixture(scope="module")
def file() -> BenchFile:
    return load_bench(Path(__file__).parent.parent / "benches" / "small_cell.yaml")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of devices in the order in which they are closed."""
    order: list[str] = []
    close = Device.close

    def noted(device: Device) -> None:
        if device.is_open:
            order.append(device.name)
        close(device)

    monkeypatch.setattr(Device, "close", noted)
    return order


def break_(monkeypatch: pytest.MonkeyPatch, bench: Bench, name: str, hook: str, error: BaseException) -> None:
    """Let one hook of one device raise `error`."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(bench[name], hook, fail)


def lit(bench: Bench) -> set[str]:
    return {beam.name for beam in bench.beams if beam.is_on}


def light(bench: Bench) -> dict[str, Any]:
    """Switch all beams on and return their devices, to be asked when the bench is closed."""
    for name in BEAMS:
        bench.beam(name).on()
    return {name: bench.beam(name) for name in BEAMS}


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
