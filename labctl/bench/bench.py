"""The bench as an open thing: its devices, its clock, and the way every use of it ends dark."""

import json
import logging
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from labctl.bench.light_guard import LightGuard
from labctl.bench.schema import BenchFile
from labctl.bench.wires import served_wires
from labctl.clock import Clock, ManualClock, WallClock
from labctl.devices import DMD, SLM, Beam, Camera, Device, PowerMeter, Stage, VapourCell, twin_serial
from labctl.devices.building import ConnectionSpec, DriverSpec, build_driver, import_class, import_device
from labctl.errors import ConfigError, DriverMissing, StateError
from labctl.ledger import Belief, believe, read_entries
from labctl.optics.parameters import Parameter

logger = logging.getLogger(__name__)
D = TypeVar("D", bound=Device)


class Bench:
    """All devices of a bench file, on the table or simulated.

    Entering opens every device in the file's order; leaving, for whatever reason, switches beams off first, then
    closes all devices in reverse order, and reports every failure together. Meanwhile a watchdog process stands by
    where a beam has a driver.

    Args:
        file: What `load_bench` gave.
        simulate: True for all twins, names for those only, False for the table; "wire" for real drivers on instrument
            simulators where the file names a `wire:`, and twins elsewhere.
        seed: Drives measurement noise of twins.
        truth_seed: Draws the twins' hidden truth; the bench file's by default.
        clock: Bench time; by default manual when everything is simulated, else the wall clock.
        ledger: Folder whose valid calibrations are believed in place of the file's values; none by default.
        calibrations: Ids of the only ones that may be believed, for a run that is resumed; twins do not age meanwhile.

    Raises:
        ConfigError: The devices to simulate are not in the file, split the light path, or are to be on a wire that the
            file does not name; or the ledger is damaged.
        StaleCalibration: The ledger was made on other devices or another truth.
    """

    def __init__(
        self,
        file: BenchFile,
        simulate: bool | Collection[str] = False,
        *,
        seed: int = 0,
        truth_seed: int | None = None,
        clock: Clock | None = None,
        ledger: Path | None = None,
        calibrations: Collection[str] | None = None,
    ) -> None:
        self.as_written = file
        self.wired = _wired(file) if simulate == "wire" else frozenset[str]()
        self.simulated = _simulated(file, simulate == "wire" or simulate)
        self.seed = seed
        self.truth_seed = file.simulation.truth_seed if truth_seed is None else truth_seed
        all_twins = self.simulated == frozenset(file.devices)
        self.clock: Clock = clock or (ManualClock() if all_twins else WallClock())
        self.devices: dict[str, Device] = {}
        self.ledger = ledger
        self.belief = self._read_ledger(ledger, calibrations) if ledger else Belief()
        self.file = _believing(file, self.belief)
        self._plugged = self.file
        self._wires = ExitStack()
        self.dark_after_s: float | None = None
        self._lit_before_pause: list[str] = []
        self._light: Any = None
        self._guard: LightGuard | None = None

    # ---- identity and belief

    @property
    def light_is_simulated(self) -> bool:
        """Whether the light path is that of twins."""
        return bool(self.simulated & self.as_written.light_devices)

    @property
    def identity(self) -> dict[str, str]:
        """What a calibration is bound to: devices by serial number, absorber law, and what twins are drawn from."""
        simulation = self.as_written.simulation
        scale = simulation.imperfection_scale if simulation.imperfections else 0.0
        twin = twin_serial(self.truth_seed, scale)
        serials = {
            name: twin if name in self.simulated else str(entry.hardware.get("serial", "without a serial number"))
            for name, entry in self.as_written.devices.items()
            if name in self.as_written.light_devices
        }
        if self.light_is_simulated:
            drawn = {name: [one.value, one.sd] for name, one in self.as_written.parameters().items()}
            text = json.dumps([drawn, simulation.model_dump(mode="json")["terms"]], sort_keys=True)
            serials["bench file of the twins"] = f"{zlib.crc32(text.encode()):08x}"
        return {**serials, "absorber_law": self.as_written.absorber_law}

    @property
    def calibrated_values(self) -> dict[str, Any]:
        """What the ledger put in place of the bench file's values, by name; one number or one per mode."""
        return {name: np.asarray(one.value).tolist() for name, one in self.belief.estimates.items()}

    def _read_ledger(self, root: Path, only: Collection[str] | None) -> Belief:
        entries, now = read_entries(root, self.as_written.name, self.light_is_simulated), datetime.now(UTC)
        if only is not None:
            entries = [entry for entry in entries if entry.id in only]
            if self.light_is_simulated:
                now = max((entry.made_at for entry in entries), default=now)
        return believe(entries, self.identity, now)

    # ---- devices

    def __getitem__(self, name: str) -> Device:
        if name not in self.devices:
            raise StateError(name, f"is not an open device of bench {self.file.name}")
        return self.devices[name]

    def _of(self, kind: type[D], name: str) -> D:
        device = self[name]
        if not isinstance(device, kind):
            raise ConfigError(f"{name}: a {kind.kind} is needed here, the bench file has a {device.kind}")
        return device

    def slm(self, name: str) -> SLM:
        """Return the phase panel `name`."""
        return self._of(SLM, name)

    def dmd(self, name: str) -> DMD:
        """Return the micromirror device `name`."""
        return self._of(DMD, name)

    def camera(self, name: str) -> Camera:
        """Return the camera `name`."""
        return self._of(Camera, name)

    def beam(self, name: str) -> Beam:
        """Return the beam `name`."""
        return self._of(Beam, name)

    def cell(self, name: str) -> VapourCell:
        """Return the vapour cell `name`."""
        return self._of(VapourCell, name)

    def stage(self, name: str) -> Stage:
        """Return the stage `name`."""
        return self._of(Stage, name)

    def power_meter(self, name: str) -> PowerMeter:
        """Return the power meter `name`."""
        return self._of(PowerMeter, name)

    @property
    def beams(self) -> list[Beam]:
        """All open beams."""
        return [device for device in self.devices.values() if isinstance(device, Beam)]

    def has_driver(self, name: str) -> bool:
        """Return whether a device has its driver here, on the table or on a simulated instrument, and is no twin."""
        return name not in self.simulated or name in self.wired

    def state(self) -> dict[str, dict[str, Any]]:
        """Return what every device reports now, by name."""
        return {name: device.state() for name, device in self.devices.items()}

    def simulation_state(self) -> dict[str, Any]:
        """Return what `restore_simulation` needs, plain values and arrays; empty unless all devices are twins."""
        if not isinstance(self.clock, ManualClock) or self.wired or self.simulated != frozenset(self.file.devices):
            return {}
        return {"clock_s": self.clock.now_s(), "light_path": self._light.state()}

    def restore_simulation(self, state: Mapping[str, Any]) -> None:
        """Continue a simulation where `state` was taken, on an open bench of the same file, truth and seed.

        Raises:
            ConfigError: Not all of its devices are twins.
        """
        if not isinstance(self.clock, ManualClock) or self.wired or self._light is None:
            raise ConfigError(f"bench {self.file.name}: only a simulation can be restored; open all of it as twins")
        self.clock.set(state["clock_s"])
        self._light.restore(state["light_path"])

    # ---- open and close

    def __enter__(self) -> Self:
        try:
            self._guard = guard = self._light_guard()
            for name, device in self._build():
                self.devices[name] = device
                if isinstance(device, Beam):
                    guard.watch(device, has_driver=self.has_driver(name))
                device.open()
            guard.require_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = self._close_all()
        if failures and error is None:
            raise ExceptionGroup(f"bench {self.file.name} did not close cleanly; check beams by eye", failures)

    def close(self) -> None:
        """Darken and close everything; failures are logged, for use when another error is already on its way."""
        self._close_all()

    def _close_all(self) -> list[Exception]:
        try:
            return self._end(lambda device: device.close())
        finally:
            self.devices.clear()
            guard, self._guard = self._guard, None
            if guard:
                guard.end()
            self._wires.close()

    def make_safe(self) -> float:
        """Bring every device to its safe state, beams first, and return the seconds until the beams were dark.

        Raises:
            ExceptionGroup: Devices that could not be made safe; all others were.
        """
        failures = self._end(lambda device: device.make_safe())
        if failures:
            which = "; ".join(map(str, failures))
            what = "is not safe, block the beams by hand" if self.dark_after_s is None else "is dark, but not safe"
            raise ExceptionGroup(f"bench {self.file.name} {what}: {which}", failures)
        return self.dark_after_s or 0.0

    def _end(self, finish: Callable[[Device], None]) -> list[Exception]:
        """Apply `finish` to beams, then to all other devices in reverse order; return what failed.

        A Ctrl-C that comes in between is raised when all devices have had their turn.
        """
        self._lit_before_pause = []  # a pause that was not resumed must not light beams in the next run
        self.dark_after_s = None
        start = self.clock.now_s()
        beams = list(self.beams)
        others = [device for device in reversed(self.devices.values()) if device not in beams]
        failures = [failure for beam in beams for failure in _attempt(finish, beam)]
        if not any(isinstance(failure, Exception) for failure in failures):
            self.dark_after_s = self.clock.now_s() - start
        failures += [failure for device in others for failure in _attempt(finish, device)]
        for failure in failures:
            if not isinstance(failure, Exception):
                raise failure
        return [failure for failure in failures if isinstance(failure, Exception)]

    def _light_guard(self) -> LightGuard:
        beams = [name for name, entry in self.file.devices.items() if entry.kind == "beam" and entry.driver]
        driven = [self._driver_spec(name) for name in beams if name not in self.simulated]
        return LightGuard(self.file, self.clock, driven, not self.wired.isdisjoint(beams))

    # ---- light

    def darken(self) -> None:
        """Switch every beam off and remember which were on."""
        self._lit_before_pause += [beam.name for beam in self.beams if beam.is_on]
        self._all_off()

    def restore(self) -> None:
        """Switch on again what `darken` switched off."""
        for name in self._lit_before_pause:
            self.beam(name).on()
        self._lit_before_pause = []

    @property
    def was_lit(self) -> bool:
        """Whether any beam was switched on since the bench was opened."""
        return any(beam.was_lit for beam in self.beams)

    @contextmanager
    def dark_at_end(self) -> Iterator[None]:
        """Switch every beam off when the block ends, however it ends."""
        try:
            yield
        finally:
            self._all_off()

    @contextmanager
    def computing(self, longest_s: float = 60.0) -> Iterator[None]:
        """Let the block, which waits for no device, last longer while there is light than the watchdog allows.

        Args:
            longest_s: How much longer.
        """
        with self._guard.patience(longest_s) if self._guard else nullcontext():
            yield

    def _all_off(self) -> None:
        """Switch every beam off; one that fails, or a stop while it switches, does not keep the others lit."""
        with ExitStack() as beams:
            for beam in self.beams:
                beams.callback(beam.off)

    def _build(self) -> Iterator[tuple[str, Device]]:
        light_path = self._light = self._light_path() if self.simulated else None
        self._plugged = self._wires.enter_context(served_wires(self.file, self.wired, self.clock, light_path))
        connections: dict[str, Any] = {}
        for name, entry in self.file.devices.items():
            if name not in self.simulated:
                yield name, build_driver(self._driver_spec(name), self.clock, connections)
            elif name in self.wired:
                device = build_driver(self._driver_spec(name), self.clock, connections)
                self._light.injector.attach(device)
                yield name, device
            elif entry.twin is None:
                raise DriverMissing(name, "the bench file names no twin for it; add `twin:` or do not simulate it")
            else:
                twin: Any = import_device(entry.twin, name, entry.kind)
                yield name, twin(name, self.clock, entry.settings, light_path=light_path)

    def _driver_spec(self, name: str) -> DriverSpec:
        """Return how the driver of a device is made: with the `hardware:` of the file, or what stands in for it."""
        entry = self._plugged.devices[name]
        if entry.driver is None:
            raise DriverMissing(name, "the bench file names no driver for it; add `driver:` or use --simulate")
        import_device(entry.driver, name, entry.kind)
        connection = None
        if entry.connection:
            shared = self._plugged.connections[entry.connection]
            connection = ConnectionSpec(entry.connection, shared.driver, shared.hardware)
        return DriverSpec(name, entry.driver, entry.settings, entry.hardware, connection)

    def _light_path(self) -> Any:
        simulation = self.file.simulation
        light_path = import_class(simulation.light_path, "simulation.light_path")
        options = simulation.model_dump(by_alias=True)
        file = self.as_written  # twins draw their truth around what it says, whatever has been calibrated since
        try:
            return light_path(file, file.all_settings, self.clock, options, self.truth_seed, self.seed)
        except (AttributeError, TypeError) as error:
            cure = "name one of sim_backends, or a class of yours in their manner"
            raise ConfigError(
                f"simulation.light_path: '{simulation.light_path}' makes no light of this bench ({error}); {cure}"
            ) from error


def _believing(file: BenchFile, belief: Belief) -> BenchFile:
    """Return the file with calibrated values, whose spread is the calibration's, in place of its own."""
    source = {name: entry.id for entry in belief.used for name in entry.fit.parameters}
    return file.with_parameters({
        name: Parameter(value=float(one.value), sd=float(one.sd), source=f"calibration {source[name]}")
        for name, one in belief.estimates.items()
        if name in file.parameters()
    })  # fmt: skip


def _simulated(file: BenchFile, simulate: bool | Collection[str]) -> frozenset[str]:
    names = frozenset(file.devices) if simulate is True else frozenset(simulate or ())
    unknown = sorted(names - set(file.devices))
    if unknown:
        raise ConfigError(
            f"--simulate {', '.join(unknown)}: not in bench {file.name}; it has {', '.join(file.devices)}; or write "
            "`wire` alone, for real drivers on simulated instruments"
        )
    joined = names & file.light_devices
    if joined and joined != file.light_devices:
        missing = ", ".join(sorted(file.light_devices - joined))
        raise ConfigError(f"--simulate: no light joins half a table; simulate these with it: {missing}")
    return names


def _wired(file: BenchFile) -> frozenset[str]:
    if not file.wired_devices:
        raise ConfigError(f"--simulate wire: bench {file.name} names no `wire:`; write --simulate for twins only")
    return file.wired_devices


def _attempt(action: Callable[[Device], None], device: Device) -> list[BaseException]:
    """Return what `action` raised; after an interrupt it is tried once more, as it may not have come far."""
    raised: list[BaseException] = []
    for _ in range(2):
        try:
            action(device)
            return raised
        except Exception as error:  # whatever a vendor's code raises, the other devices must still be made safe
            logger.exception("%s could not be made safe", device.name)
            return [*raised, error]
        except BaseException as interrupt:  # Ctrl-C or the end of the interpreter: raised again by the caller
            raised.append(interrupt)
    return raised
