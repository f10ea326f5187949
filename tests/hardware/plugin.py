"""`pytest --bench FILE`: the contract suites on the real hardware of a bench, after a typed yes.

Loaded by `addopts` in pyproject.toml. Without `--bench` it does nothing, and nothing here is ever collected.
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from labctl.bench import BenchFile, load_bench
from labctl.clock import WallClock
from labctl.devices.building import ConnectionSpec, DriverSpec, build_driver
from labctl.errors import ConfigError
from tests.hardware.announcement import announcement

SUITES = Path(__file__).with_name("on_bench.py")

REFUSED = 2


class Selected:
    """The bench whose hardware is tested, for `on_bench`."""

    file: BenchFile | None = None


def driver_specs(file: BenchFile) -> Iterator[DriverSpec]:
    """Yield how the driver of each device is made, of those that have one."""
    for name, entry in file.devices.items():
        if entry.driver is None:
            continue
        shared = file.connections[entry.connection] if entry.connection else None
        connection = ConnectionSpec(entry.connection or "", shared.driver, shared.hardware) if shared else None
        yield DriverSpec(name, entry.driver, entry.settings, entry.hardware, connection)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labctl")
    group.addoption("--bench", metavar="FILE", help="run the contract suites on the real hardware of this bench file")
    group.addoption(
        "--bench-confirmed", metavar="NAME", help="name of that bench, in place of a yes typed on the terminal"
    )


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--bench")
    if wanted is None:
        return
    try:
        file = load_bench(wanted)
        specs = list(driver_specs(file))
        for spec in specs:  # what a driver refuses of its settings is said before anything is asked
            build_driver(spec, WallClock(), {})
    except ConfigError as error:
        raise pytest.UsageError(f"--bench: {error}") from error
    if not specs:
        raise pytest.UsageError(
            f"--bench: {wanted} names no `driver:` for any of its devices; there is nothing to test"
        )
    Selected.file = file
    config.args = [str(SUITES)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    file = Selected.file
    if file is None or session.config.option.collectonly or not session.items:
        return
    chosen = dict.fromkeys(getattr(item, "cls").SPEC.device for item in session.items)  # noqa: B009  suites only
    _confirm(session.config, file, announcement(file, list(chosen)))
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):  # whoever ends the run leaves the bench dark, as Ctrl-C does
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)


def _confirm(config: pytest.Config, file: BenchFile, text: str) -> None:
    """Go on with the bench's name or a typed yes, and with nothing else."""
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.suspend_global_capture(in_=True)
    try:
        terminal.write_line(f"\n{text}")
        named = config.getoption("--bench-confirmed")
        if reason := refusal(file.name, named, sys.stdin.isatty()):
            _refuse(reason)
        if named is None:
            answer = _ask("Type yes to go on, anything else to leave the bench alone: ")
            if answer != "yes":
                _refuse(f"'{answer}' is not yes")
    finally:
        capture.resume_global_capture()


def refusal(bench: str, named: str | None, terminal: bool) -> str | None:
    """Return why a bench must not even be asked for: its name was given wrongly, or there is nobody to ask."""
    if named is not None:
        return None if named == bench else f"--bench-confirmed says '{named}', the bench is '{bench}'"
    return None if terminal else f"no terminal to ask on; give --bench-confirmed {bench} where somebody watches it"


def _ask(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""


def _refuse(reason: str) -> NoReturn:
    pytest.exit(f"--bench: {reason}. Nothing was opened.", returncode=REFUSED)
