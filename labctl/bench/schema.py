"""The bench file: one strict YAML for table and twin."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from labctl.devices import (
    BeamSettings,
    CameraSettings,
    CellSettings,
    DMDSettings,
    PowerMeterSettings,
    SLMSettings,
    StageSettings,
)
from labctl.devices.tag import TAG_BLOCKS
from labctl.documents import Document, StrictModel, read_bench_document
from labctl.errors import ConfigError
from labctl.optics.free_space.elements import FreeSpacePath, ObjectPlane
from labctl.optics.free_space.superpixel import SIDE
from labctl.optics.layout import Layout
from labctl.optics.multiplier.elements import Encode, centred_origin
from labctl.optics.multiplier.stages import Stage
from labctl.units import Seconds


class DeviceEntry(StrictModel):
    """What every device entry has.

    Args:
        twin: Simulated class, as `package.module.Class`.
        driver: Real class; without one the device opens only simulated.
        wire: Instrument simulator that answers the driver under `--simulate wire`; without one its twin opens there.
        connection: Entry of `connections` that its driver shares with others.
        hardware: What only the driver sees: serial number, port.
    """

    twin: str | None = None
    driver: str | None = None
    wire: str | None = None
    connection: str | None = None
    hardware: Mapping[str, Any] = Field(default_factory=dict)


class ConnectionEntry(StrictModel):
    """What drivers of several devices share: one MMCore and its configuration, one port.

    Args:
        driver: Its class, as `package.module.Class`; the first device that opens opens it, the last one closes it.
        wire: Simulator of what it connects to, for `--simulate wire`.
        hardware: What only that class sees.
    """

    driver: str
    wire: str | None = None
    hardware: Mapping[str, Any] = Field(default_factory=dict)


class SLMEntry(DeviceEntry):
    """A phase panel."""

    kind: Literal["slm"]
    settings: SLMSettings


class DMDEntry(DeviceEntry):
    """A micromirror device."""

    kind: Literal["dmd"]
    settings: DMDSettings


class CameraEntry(DeviceEntry):
    """A camera."""

    kind: Literal["camera"]
    settings: CameraSettings


class StageEntry(DeviceEntry):
    """A stage."""

    kind: Literal["stage"]
    settings: StageSettings


class BeamEntry(DeviceEntry):
    """A beam."""

    kind: Literal["beam"]
    settings: BeamSettings


class CellEntry(DeviceEntry):
    """A vapour cell."""

    kind: Literal["cell"]
    settings: CellSettings


class PowerMeterEntry(DeviceEntry):
    """A power meter."""

    kind: Literal["power_meter"]
    settings: PowerMeterSettings


AnyEntry = Annotated[
    SLMEntry | DMDEntry | CameraEntry | StageEntry | BeamEntry | CellEntry | PowerMeterEntry,
    Field(discriminator="kind"),
]


class Acquisition(StrictModel):
    """How frames are taken.

    Args:
        retries: How often shots are taken again whose frames are lost, repeated or torn.
    """

    retries: int = Field(default=2, ge=0)


class WatchdogSettings(StrictModel):
    """The process that switches beams off when the one that has the bench dies or hangs.

    Args:
        enabled: Whether there is one for beams behind drivers.
        deadline_s: Longest time, while there is light, that may pass without a wait of the bench clock.
    """

    enabled: bool = True
    deadline_s: Seconds = Field(default=2.0, ge=0.2)


class Simulation(StrictModel):
    """How the twins behave.

    Args:
        light_path: Class of the simulated light path.
        fidelity: `matrix` computes whole modes, `wave` the pixels of panels, mirrors and cameras.
        noise: Named noise set.
        noise_scale: Factor on everything that changes between exposures; 0 switches it off.
        imperfections: Whether the truth differs from what the bench file says.
        imperfection_scale: Factor on every deviation.
        truth_seed: Which hidden truth, unless the command line says otherwise.
        terms: Changes to terms of the noise set, `{flicker: {value: 0.1 rad, source: ...}}`.
        faults: What goes wrong on purpose, `[{device: camera_z1, fault: torn, rate: 1e-3}]`; the light path's package
            says which faults there are.
    """

    light_path: str
    fidelity: Literal["matrix", "wave"] = "matrix"
    noise: str = "reference"
    noise_scale: float = Field(default=1.0, ge=0)
    imperfections: bool = True
    imperfection_scale: float = Field(default=1.0, ge=0)
    truth_seed: int = Field(default=1, ge=0)
    terms: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    faults: tuple[Mapping[str, Any], ...] = ()


class BenchFile(Layout):
    """A whole bench: devices, the light between them, and how to simulate it.

    Args:
        name: Name of the bench, also that of its folder in a ledger.
        description: One line for lists.
        devices: Devices by name, in the order they open; they close in reverse, beams first.
        connections: What drivers share, by name; twins have no use for it.
        acquisition: How frames are taken.
        watchdog: Who switches beams off when this process cannot.
        simulation: How the twins behave.
    """

    name: str = Field(pattern=r"^\w[\w .-]*$")
    description: str
    devices: Mapping[str, AnyEntry] = Field(min_length=1)
    connections: Mapping[str, ConnectionEntry] = Field(default_factory=dict)
    acquisition: Acquisition = Acquisition()
    watchdog: WatchdogSettings = WatchdogSettings()
    simulation: Simulation

    def settings(self, device: str) -> Any:
        """Return the settings of a device."""
        return self.devices[device].settings

    @cached_property
    def all_settings(self) -> dict[str, Any]:
        """Settings of every device, by name."""
        return {name: entry.settings for name, entry in self.devices.items()}

    @property
    def wired_devices(self) -> frozenset[str]:
        """Devices whose driver an instrument simulator can answer."""
        return frozenset(name for name, entry in self.devices.items() if entry.wire)

    @property
    def panel_bits(self) -> dict[str, int]:
        """Bit depth of every phase panel, by name."""
        return {name: entry.settings.bit_depth for name, entry in self.devices.items() if entry.kind == "slm"}

    @property
    def light_devices(self) -> frozenset[str]:
        """Devices whose state enters the light path; they are simulated together or not at all."""
        named = {*self.beams, *self.meters, *(self.reference_beam.cameras if self.reference_beam else ())}
        if self.in_free_space:
            return frozenset(named | self.path.devices | set(self.path.views))
        for stage in self.stages:
            named |= {stage.source.device, stage.multiply.device, *stage.cameras}
            named |= {stage.absorb.device} if stage.absorb else set()
            named |= {stage.multiply.slit_stage} if stage.multiply.slit_stage else set()
            named |= {stage.injector.device} if stage.injector else set()
        return frozenset(named)


SIMULATE_WORDS = ("all", "wire")
"""What `--simulate` may say besides names of devices."""

_ROLE_KINDS: dict[str, str] = {
    "device of encode": "dmd",
    "device of regenerate": "dmd",
    "inject": "dmd",
    "device of backward": "dmd",
    "device of multiply": "slm",
    "device of object": "dmd",
    "device of mask": "slm",
    "device of absorb": "cell",
    "beam": "beam",
    "camera": "camera",
    "slit_stage": "stage",
    "meter": "power_meter",
}


def load_bench(bench: str | Path, overrides: Mapping[str, Any] | None = None) -> BenchFile:
    """Return the bench file `bench`, a shipped name or a path, with overrides by dotted path.

    Raises:
        ConfigError: With file, line, key and what is allowed; or the light list names a device that is not there.
    """
    return parse_bench(read_bench_document(bench, overrides))


def parse_bench(document: Document) -> BenchFile:
    """Return the bench that a document describes.

    Raises:
        ConfigError: As `load_bench`.
    """
    file = document.validate(BenchFile)
    for role, name in _roles(file):
        wanted = _ROLE_KINDS[role]
        if name not in file.devices or file.devices[name].kind != wanted:
            known = ", ".join(n for n, entry in file.devices.items() if entry.kind == wanted) or "none"
            where = document.where(document.find(name, "light", "reference", "meters"))
            raise ConfigError(f"{where}: {role} '{name}' is not a {wanted} of this bench; it has: {known}")
    for name, entry in file.devices.items():
        where = document.where(("devices", name))
        if name in SIMULATE_WORDS:
            raise ConfigError(f"{where}: a device cannot be called '{name}': --simulate means something by it")
        if entry.connection is not None and entry.connection not in file.connections:
            known = ", ".join(file.connections) or "none"
            raise ConfigError(f"{where}: {name}: connection '{entry.connection}' is not among: {known}")
        if entry.wire and entry.driver is None:
            raise ConfigError(f"{where}: {name}: wire: there is no `driver:` that it could answer; add one")
        if entry.wire and entry.connection and not file.connections[entry.connection].wire:
            raise ConfigError(f"{where}: {name}: wire: its connection '{entry.connection}' has none; add `wire:` there")
        for dmd in entry.settings.tags if entry.kind == "camera" else ():
            if dmd not in file.devices or not getattr(file.settings(dmd), "tag_block", None):
                where = document.where(("devices", name, "settings", "tags"))
                raise ConfigError(f"{where}: {name} is to see the tag of '{dmd}', no DMD with a tag_block")
    for dmd, block, blocks in _written_blocks(file):
        settings = file.settings(dmd)
        rows, columns = settings.tag_block or (0, 0)
        top, left = centred_origin(settings.shape, block, blocks)
        if 0 <= top < rows and 0 <= left < TAG_BLOCKS * columns:  # what does not fit at all, the power table refuses
            where = document.where(("devices", dmd, "settings", "tag_block"))
            raise ConfigError(
                f"{where}: {dmd}: its tag of {rows} x {TAG_BLOCKS * columns} mirrors lies over its modes, "
                f"which begin at {(top, left)}; make their block or tag_block smaller"
            )
    return file


def _written_blocks(file: BenchFile) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Yield every DMD of the light list with its block and its blocks (rows, cols), pilots included."""
    if file.in_free_space:
        source, inject = file.path.source, file.path.detect.inject
        if isinstance(source, ObjectPlane):
            yield source.device, (SIDE, SIDE), source.samples
        if inject:
            yield inject.device, (SIDE, SIDE), file.path.samples
        return
    for stage in file.stages:
        yield stage.source.device, stage.source.block, (1, stage.columns)
        if stage.injector:
            yield stage.injector.device, stage.injector.block, (1, stage.rows)


def _roles(file: BenchFile) -> list[tuple[str, str]]:
    roles = [("beam", beam) for beam in sorted(file.beams)]
    if file.reference_beam:
        roles += [("camera", camera) for camera in file.reference_beam.cameras]
    for meter, beam in file.meters.items():
        roles += [("meter", meter), ("beam", beam)]
    return roles + (_free_space_roles(file.path) if file.in_free_space else _stage_roles(file.stages))


def _free_space_roles(path: FreeSpacePath) -> list[tuple[str, str]]:
    roles = [("device of mask", mask.device) for mask in path.masks] + [("camera", camera) for camera in path.views]
    roles += [("device of object", path.source.device)] if isinstance(path.source, ObjectPlane) else []
    return roles + ([("inject", path.detect.inject.device)] if path.detect.inject else [])


def _stage_roles(stages: tuple[Stage, ...]) -> list[tuple[str, str]]:
    roles = []
    for stage in stages:
        kind = "encode" if isinstance(stage.source, Encode) else "regenerate"
        roles.append((f"device of {kind}", stage.source.device))
        roles += [("device of multiply", stage.multiply.device), *(("camera", name) for name in stage.cameras)]
        roles += [("device of absorb", stage.absorb.device)] if stage.absorb else []
        roles += [("slit_stage", stage.multiply.slit_stage)] if stage.multiply.slit_stage else []
        if stage.injector:
            roles.append(("inject" if stage is stages[-1] else "device of backward", stage.injector.device))
    return roles
