"""`pytest --bench FILE` as a user types it, on instrument simulators in processes of their own."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from labctl.bench import parse_bench
from labctl.documents import Document
from tests.conftest import SMALL_BENCH
from tests.hardware.announcement import deeds
from tests.hardware.plugin import driver_specs, pytest_configure, refusal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instrument() -> Iterator[Callable[[str], str]]:
    """Starts an instrument simulator as a process and returns its URL."""
    with ExitStack() as processes:

        def start(name: str) -> str:
            command = [sys.executable, "-m", "sim_backends.instruments", name]
            process = processes.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdin is not None
            assert process.stdout is not None
            processes.callback(process.stdin.close)
            return process.stdout.readline().strip()

        yield start


def with_drivers(folder: Path, **hardware: dict[str, Any]) -> Path:
    """Return the small bench as a file in which these devices have drivers."""
    document = yaml.safe_load(SMALL_BENCH.read_text(encoding="utf-8"))
    for name, entry in hardware.items():
        document["devices"][name] |= entry
    path = folder / "my_bench.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def meter(url: str) -> dict[str, Any]:
    return {"driver": "drivers.thorlabs_pm100.PM100", "hardware": {"url": url}}


def laser(url: str) -> dict[str, Any]:
    told = {
        "url": url,
        "amplifier": True,
        "threshold": "500 mA",
        "full_current": "2.5 A",
        "full_power": "200 uW",
        "piezo": {"zero": "70 V", "per_volt": "-0.1 GHz"},
    }
    return {"driver": "drivers.toptica_dlc_pro.DlcProBeam", "hardware": told}


PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def pytest_on(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTEST, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )


def test_confirmed_by_name_every_device_with_a_driver_keeps_its_contract(
    tmp_path: Path, instrument: Callable[[str], str]
):
    bench = with_drivers(tmp_path, meter_pump=meter(instrument("pm100")), pump=laser(instrument("dlc_pro")))
    done = pytest_on(f"--bench={bench}", "--bench-confirmed=small_cell", "-k", "meter_pump or on_and_off or closing")
    assert done.returncode == 0, done.stdout
    assert "Contract suites on the REAL hardware of bench 'small_cell', one device open at a time:" in done.stdout
    assert "meter_pump (drivers.thorlabs_pm100.PM100 at socket://127.0.0.1:" in done.stdout
    assert "LIT at 1.1 uW; while dark, set to up to 200 uW and detuned by up to 200 MHz" in done.stdout
    assert "left alone, not chosen or without a driver: dmd_input, slm_1," in done.stdout
    assert "contract suites: 2 classes passed" in done.stdout


def test_without_a_terminal_nothing_is_opened(tmp_path: Path):
    bench = with_drivers(tmp_path, meter_pump=meter("socket://127.0.0.1:1"))
    done = pytest_on(f"--bench={bench}")
    assert done.returncode == 2
    assert "no terminal to ask on; give --bench-confirmed small_cell where somebody watches it. Nothing" in done.stdout
    assert "passed" not in done.stdout
    assert "failed" not in done.stdout


def test_the_name_that_confirms_must_be_the_benchs():
    assert refusal("small_cell", "small_cell", terminal=False) is None
    assert refusal("small_cell", "vapour_cell", terminal=True) == (
        "--bench-confirmed says 'vapour_cell', the bench is 'small_cell'"
    )
    assert refusal("small_cell", None, terminal=True) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
@pytest.mark.parametrize(("typed", "code"), [("yes", 0), ("y", 2)])
def test_on_a_terminal_only_a_typed_yes_goes_on(
    tmp_path: Path, instrument: Callable[[str], str], typed: str, code: int
):
    import os
    import pty

    bench = with_drivers(tmp_path, meter_pump=meter(instrument("pm100")))
    master, slave = pty.openpty()
    command = [*PYTEST, f"--bench={bench}", "-k", "opens_once"]
    with subprocess.Popen(command, cwd=ROOT, stdin=slave, stdout=subprocess.PIPE, text=True) as process:
        os.write(master, f"{typed}\n".encode())
        said, _ = process.communicate(timeout=120)
    os.close(slave)
    os.close(master)
    assert process.returncode == code, said
    assert "Type yes to go on" in said
    assert ("1 passed" in said) == (code == 0)
    assert (f"'{typed}' is not yes. Nothing was opened." in said) == (code == 2)


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot ask another one to end on Windows")
def test_a_run_that_is_ended_from_outside_leaves_the_beam_dark(tmp_path: Path, instrument: Callable[[str], str]):
    url = instrument("dlc_pro")
    lit_for_long = {"settings": {"power": "110 uW", "max_power": "200 uW", "max_detuning": "200 MHz", "switch": "3 s"}}
    bench = with_drivers(tmp_path, pump={**laser(url), **lit_for_long})
    command = [*PYTEST, "-s", f"--bench={bench}", "--bench-confirmed=small_cell", "-k", "on_and_off"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "No watchdog" in line:
                break
        with pytest.raises(subprocess.TimeoutExpired):  # it is in the middle of the test
            process.wait(2.0)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 2
    for current in ("amp", "dl"):
        assert asked(url, f"(param-ref 'laser1:{current}:cc:emission)") == "#f"


def asked(url: str, command: str) -> str:
    """Return a DLC pro's answer to somebody else."""
    host, _, port = url.removeprefix("socket://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as line:
        line.sendall(f"{command}\n".encode())
        received = b""
        while received.count(b"\n> ") < 2:  # the greeting, then the answer
            received += line.recv(4096)
    return received.decode().splitlines()[-2].removeprefix("> ")


def configured(bench: str | Path) -> None:
    """Do what pytest does with the option before it collects anything."""
    pytest_configure(cast("pytest.Config", SimpleNamespace(getoption=lambda _: str(bench))))


def test_a_bench_that_cannot_be_tested_is_a_usage_error():
    with pytest.raises(pytest.UsageError, match=r"--bench: .*nowhere"):
        configured("nowhere")
    with pytest.raises(pytest.UsageError, match=r"small_cell\.yaml names no `driver:` for any of its devices"):
        configured(SMALL_BENCH)


def test_what_a_driver_refuses_is_said_before_anything_is_asked(tmp_path: Path):
    heater = {"driver": "drivers.thorlabs_tc200.TC200Cell", "hardware": {"url": "socket://127.0.0.1:1"}}
    with pytest.raises(pytest.UsageError, match=r"cell: tolerance 0\.02 K .* TC200 shows; set tolerance: 0\.1 or more"):
        configured(with_drivers(tmp_path, cell=heater))


def test_only_devices_with_a_driver_are_tested_each_with_its_connection():
    document = yaml.safe_load(SMALL_BENCH.read_text(encoding="utf-8"))
    document["connections"] = {"scope": {"driver": "drivers.mmcore.MMCore", "hardware": {"config": "demo.cfg"}}}
    document["devices"]["camera_z1"] |= {"driver": "drivers.mmcore_camera.MMCoreCamera", "connection": "scope"}
    document["devices"]["meter_pump"] |= meter("COM3")
    specs = list(driver_specs(parse_bench(Document("my_bench.yaml", yaml.safe_dump(document)))))
    assert [spec.device for spec in specs] == ["camera_z1", "meter_pump"]
    assert specs[0].connection is not None
    assert specs[0].connection.hardware == {"config": "demo.cfg"}
    assert specs[1].connection is None


def test_what_will_be_done_is_said_in_numbers_of_the_settings():
    document = Document(str(SMALL_BENCH), SMALL_BENCH.read_text(encoding="utf-8"))
    file = parse_bench(document)
    assert deeds(file.settings("cell")) == "RAMPED to its safe 25 degC, then up to 28 degC, at 2 K/min; takes long"
    assert deeds(file.settings("slit_stage")) == "MOVED from where it is, x by 2 um, and back"
    assert deeds(file.settings("camera_z1")) == "takes single frames of up to 10 ms; no light is needed"
    assert deeds(file.settings("meter_pump")) == "read"
    assert deeds(file.settings("slm_1")) == "shows patterns of few pixels"
