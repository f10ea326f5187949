"""What every test needs: no screen, few threads, and the small bench as something that light can be sent through.

At the end of a run it also says which classes of devices and adapters were tested by contract suites, and passed.
"""

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QT_API"] = "pyside6"
os.environ["PYQTGRAPH_QT_LIB"] = "PySide6"

import json
import math
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import ArrayLike, NDArray

from labctl.acquisition import Shots, measure
from labctl.bench import Bench, BenchFile, load_bench
from labctl.devices import Codebook, Pattern, PatternStack
from labctl.optics.imaging.sensor import electrons_per_unit, sum_modes
from labctl.optics.multiplier.elements import Regenerate, centred_origin
from labctl.optics.multiplier.network import Source, StageOptics, build_stages
from labctl.optics.parameters import believed
from sim_backends.noise import NoiseSet

torch.set_num_threads(1)

ByClass = dict[type, Counter[str]]

CONTRACTS = pytest.StashKey[ByClass]()
"""Outcomes of the contract suites' tests, by the class they test."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    tested = getattr(getattr(item, "cls", None), "TESTED", None)
    if tested and (report.when == "call" or report.failed):
        item.config.stash.setdefault(CONTRACTS, {}).setdefault(tested, Counter())[report.outcome] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in contract_lines(config.stash.get(CONTRACTS, {})):
        terminalreporter.write_line(line)


def contract_lines(outcomes: ByClass) -> Iterator[str]:
    """Yield what to print of contract suites: classes that passed all that ran, tests' own stand-ins left out."""
    ours = {tested: counts for tested, counts in outcomes.items() if not tested.__module__.startswith("tests.")}
    passed = {
        _short(tested): counts["passed"] for tested, counts in ours.items() if counts["passed"] and not counts["failed"]
    }
    failed = sorted(_short(tested) for tested, counts in ours.items() if counts["failed"])
    if passed:
        yield f"contract suites: {len(passed)} classes passed {sum(passed.values())} tests: {', '.join(sorted(passed))}"
    if failed:
        yield f"contract suites: {len(failed)} classes failed: {', '.join(failed)}"


def _short(tested: type) -> str:
    return f"{tested.__module__.rpartition('.')[2]}.{tested.__qualname__}"


SMALL_BENCH = Path(__file__).parent / "benches" / "small_cell.yaml"
CAMERAS = ("camera_z1", "camera_hidden_1", "camera_error_1", "camera_output")


@cache
def believed_stages(bench: str, overrides: str) -> tuple[StageOptics, ...]:
    """Return the optics a bench file believes in; they are only read, so that tests may share them."""
    file = load_bench(bench, json.loads(overrides))
    bits = {name: entry.settings.bit_depth for name, entry in file.devices.items() if entry.kind == "slm"}
    return build_stages(file, believed(file.parameters()), bits)


class Table:
    """An open bench, and the codes that write amplitudes on its modulators.

    Args:
        bench: Open bench whose beam `reference` is the reference.
        stages: What its file believes of its optics.
    """

    def __init__(self, bench: Bench, stages: Sequence[StageOptics]) -> None:
        self.bench = bench
        self.file: BenchFile = bench.file
        self.values = believed(self.file.parameters())
        self.stages = stages
        self.sources: dict[str, Source] = {stage.stage.source.device: stage.source for stage in self.stages}
        for stage in self.stages:
            if stage.injector:
                self.sources[stage.injector.device] = stage.injector
        self.multipliers = {stage.stage.multiply.device: stage.multiplier for stage in self.stages}
        codes = {name: (source.tiles, source.element.block) for name, source in self.sources.items()}
        self.codes = {name: Codebook(f"code of {name}", tiles, block) for name, (tiles, block) in codes.items()}

    def stack(self, dmd: str, amplitudes: ArrayLike) -> PatternStack:
        """Return amplitudes (n, modes) of all modes, pilots included, as patterns; fewer modes leave the rest dark."""
        source, given = self.sources[dmd], np.atleast_2d(np.asarray(amplitudes, float))
        every = np.zeros((len(given), source.modes))
        every[:, : given.shape[1]] = given
        origin = centred_origin(self.file.settings(dmd).shape, source.element.block, (1, source.modes))
        return PatternStack(source.indices(every)[:, None, :], self.codes[dmd], origin)

    def sent(self, dmd: str, amplitudes: ArrayLike) -> NDArray[np.float32]:
        """Return the amplitudes that `stack` really writes: the nearest levels."""
        return self.sources[dmd].amplitude(self.stack(dmd, amplitudes).indices[:, 0])

    def write(self, panel: str, modulation: ArrayLike) -> NDArray[np.complex64]:
        """Show real modulations (rows, columns) of all modes and return what the believed optics then are."""
        multiplier = self.multipliers[panel]
        indices = multiplier.inverse(np.broadcast_to(np.asarray(modulation, float), multiplier.shape))
        origin = centred_origin(self.file.settings(panel).shape, multiplier.block, multiplier.shape)
        code = Codebook("blazed", multiplier.tiles, multiplier.block, multiplier.rest)
        self.bench.slm(panel).show(Pattern(indices, code, origin))
        return np.asarray(multiplier.modulation(indices).numpy() * multiplier.amplitude, np.complex64)

    def counts(
        self,
        camera: str,
        beams: Sequence[str],
        stacks: Mapping[str, PatternStack],
        phases_rad: Mapping[str, float] | None = None,
    ) -> NDArray[np.float64]:
        """Return counts (n, modes) of one camera, shot k showing frame k of every stack."""
        order = np.arange(min(map(len, stacks.values())))
        phases = {beam: np.full(len(order), phase) for beam, phase in (phases_rad or {}).items()}
        shots = Shots((camera,), frozenset(beams), dict.fromkeys(stacks, order), phases)
        modes = next(stage.modes(camera) for stage in self.file.stages if camera in stage.cameras)
        counts = measure(self.bench, stacks, [shots]).frames[camera].counts
        return sum_modes(counts, modes, self.bench.camera(camera).top_count).astype(float)

    def fields(self, camera: str, beams: Sequence[str], stacks: Mapping[str, PatternStack]) -> NDArray[np.complex128]:
        """Return the complex fields (n, modes) at a camera in units of the saturation field, by four phase steps."""
        lit = ["reference", *beams]
        steps = [self.counts(camera, lit, stacks, {"reference": k * math.pi / 2}) for k in range(4)]
        settings = self.file.settings(camera)
        electrons_per_count = settings.full_well / 2**settings.bit_depth
        swing = 4 * math.sqrt(self.file.reference.electrons.value * self.electrons_per_unit(camera))
        return ((steps[0] - steps[2]) + 1j * (steps[1] - steps[3])) * electrons_per_count / swing

    def electrons_per_unit(self, camera: str) -> float:
        """Return the believed electrons per unit field squared and exposure."""
        stage = next(stage for stage in self.file.stages if camera in stage.cameras)
        port = stage.cameras[camera]
        prefix = port.device if isinstance(port, Regenerate) else camera
        settings = self.file.settings(camera)
        return electrons_per_unit(
            self.file.unit_power_w,
            self.values[f"{prefix}.fraction"],
            settings.quantum_efficiency,
            settings.exposure_s,
            self.file.laser.photon_energy_j,
        )


class OpenTable(Protocol):
    """Opens a simulated bench for the time of one test."""

    def __call__(self, overrides: Mapping[str, Any] | None = None, *, bench: str | Path = ..., **options: Any) -> Table:
        """Return the open bench.

        Args:
            overrides: Values by dotted path into the bench file.
            bench: Shipped name or path; the small bench by default.
            options: Passed to `Bench`.
        """
        ...


@pytest.fixture
def small_bench_file() -> Path:
    """Path of the small vapour-cell bench."""
    return SMALL_BENCH


@pytest.fixture
def open_table() -> Iterator[OpenTable]:
    with ExitStack() as benches:

        def open_one(
            overrides: Mapping[str, Any] | None = None, *, bench: str | Path = SMALL_BENCH, **options: Any
        ) -> Table:
            changes = dict(overrides or {})
            file = load_bench(bench, changes)
            # noise and spread change nothing that is believed
            kept = {path: one for path, one in changes.items() if path[:11] != "simulation." and path[-3:] != ".sd"}
            stages = believed_stages(str(bench), json.dumps(kept))
            return Table(benches.enter_context(Bench(file, **{"simulate": True, **options})), stages)

        yield open_one


@pytest.fixture
def quiet() -> dict[str, Any]:
    """Overrides for a bench that is what its file says: no noise, no imperfections, counts too fine to matter."""
    fine = {f"devices.{camera}.settings.bit_depth": 16 for camera in CAMERAS}
    return {"simulation.noise_scale": 0, "simulation.imperfections": False, **fine}


@pytest.fixture
def ideal(open_table: OpenTable, quiet: dict[str, Any]) -> Table:
    """The open small bench without noise and imperfections."""
    return open_table(quiet)


@pytest.fixture
def spotless() -> dict[str, Any]:
    """Overrides for a bench whose every deviation is 0, so that a test can bring in one; cameras keep their noise."""
    spreads = {f"{path}.sd": 0 for path in shipped_spreads()}
    terms = {name: {"value": _nothing(name), "source": "off in this test"} for name in NoiseSet.model_fields}
    return {**spreads, "simulation.terms": terms}


def shipped_spreads() -> dict[str, Any]:
    """Return the `sd` of every parameter of the small bench that has one, by dotted path, as it is written."""
    document = yaml.safe_load(SMALL_BENCH.read_text(encoding="utf-8"))
    return {path: parameter["sd"] for path, parameter in _parameters(document, ()) if "sd" in parameter}


def _parameters(part: Any, path: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield dotted path and content of every `{value, sd, source}` below `part`."""
    if isinstance(part, dict) and {"value", "source"} <= set(part):
        yield ".".join(path), part
        return
    below = enumerate(part) if isinstance(part, list) else part.items() if isinstance(part, dict) else ()
    for key, value in below:
        yield from _parameters(value, (*path, str(key)))


def _nothing(term: str) -> str | int:
    """Return the 0 of a noise term in its own unit."""
    units = {"phase": "0 rad", "flicker": "0 rad", "detuning": "0 Hz", "temperature": "0 K", "slit": "0 m"}
    return next((zero for word, zero in units.items() if word in term), 0)
