import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("labctl", "drivers", "sim_backends", "calibration")

FORBIDDEN = [
    # contract, importer, the line that breaks it
    ("layers", "labctl/errors.py", "import labctl.records"),
    ("layers", "labctl/errors.py", "def late(): import labctl.records"),
    ("drivers", "drivers/__init__.py", "import labctl.records"),
    ("drivers", "drivers/__init__.py", "import sim_backends"),
    ("sim_backends", "sim_backends/__init__.py", "import labctl.records"),
    ("sim_backends", "sim_backends/__init__.py", "import drivers"),
    ("calibration", "calibration/__init__.py", "import sim_backends"),
    ("labctl", "labctl/records.py", "import calibration"),
    ("torch", "drivers/__init__.py", "import torch"),
    ("qt", "labctl/records.py", "from qtpy import QtCore"),
]


def lint_imports(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo", *options],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_imports_keep_to_the_layers():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("contract", "importer", "line"), FORBIDDEN)
def test_a_forbidden_import_is_found(contract: str, importer: str, line: str, tmp_path: Path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.yaml", "__pycache__"))
    with (tmp_path / importer).open("a") as source:
        source.write(f"\n{line}\n")

    result = lint_imports(tmp_path, "--contract", contract)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 broken" in result.stdout


def run_python(command: str) -> str:
    return subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_importing_labctl_loads_no_heavy_package():
    heavy = {"torch", "qtpy", "pyqtgraph", "PySide6", "slmsuite", "pymmcore", "pymmcore_plus"}
    assert not heavy & set(run_python("import labctl, sys; print(*sys.modules)").split())


def test_importing_labctl_takes_under_half_a_second():
    timed = "import time; t = time.perf_counter(); import labctl; print(time.perf_counter() - t)"
    assert min(float(run_python(timed)) for _ in range(3)) < 0.5  # the least of three: other processes run beside


def test_drivers_load_no_vendor_package_before_they_are_opened():
    drivers = [f"drivers.{path.stem}" for path in sorted((ROOT / "drivers").glob("[!_]*.py"))]
    vendors = {"slmsuite", "pymmcore", "pymmcore_plus", "ALP4", "torch"}
    assert drivers
    assert not vendors & set(run_python(f"import sys, {', '.join(drivers)}; print(*sys.modules)").split())
