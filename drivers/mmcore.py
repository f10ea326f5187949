"""Micro-Manager's core with its configuration, shared by the cameras and stages in it.

A bench names the core once, and its devices by their labels in the configuration file:

    connections:
      microscope: {driver: drivers.mmcore.MMCore, hardware: {config: table.cfg}}
    devices:
      camera:
        driver: drivers.mmcore_camera.MMCoreCamera
        connection: microscope
        hardware: {label: Camera}
"""

import atexit
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labctl.devices import Hardware, read_hardware
from labctl.errors import ConfigError, ConnectError, DriverMissing, StateError

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus


class CoreHardware(Hardware):
    """What a core is told.

    Args:
        config: Configuration file (.cfg) of Micro-Manager's hardware wizard; a relative path is taken from the folder
            labctl runs in, then from Micro-Manager's.
        adapters: Folders of device adapters; by default those of the Micro-Manager that is installed.
    """

    config: str
    adapters: tuple[str, ...] = ()


class MMCore:
    """One MMCore with its configuration, shared by the devices in it.

    The first device that opens loads the configuration, the last one that closes unloads it. MMCore has one buffer,
    which it clears whenever a camera starts: so one camera takes frames at a time. Cameras that are read together
    need a core each.

    Args:
        name: Name in the bench file.
        hardware: See `CoreHardware`.

    Raises:
        ConfigError: `hardware` is not as it should be.
    """

    def __init__(self, name: str, hardware: Mapping[str, Any]) -> None:
        self.name = name
        self.hardware = read_hardware(CoreHardware, name, hardware)
        self._core: CMMCorePlus | None = None
        self._users: set[str] = set()
        self._taking: str | None = None

    def join(self, device: str, label: str, kind: str) -> "CMMCorePlus":
        """Return the loaded core to `device`, which is Micro-Manager's device `label` of `kind`, e.g. "Camera".

        Raises:
            DriverMissing: pymmcore-plus is not installed.
            ConnectError: The configuration cannot be loaded.
            ConfigError: It has no such device of that kind.
        """
        core = self._core or self._load(device)
        labels = [one for one in core.getLoadedDevices() if str(core.getDeviceType(one)) == kind]
        if label not in labels:
            if not self._users:
                self._unload()
            known = ", ".join(labels) or "none"
            raise ConfigError(f"{device}: no {kind} '{label}' in {self.hardware.config}; it has: {known}")
        self._users.add(device)
        return core

    def leave(self, device: str) -> None:
        """Forget `device`; when none is left the hardware is let go."""
        self.rest(device)
        self._users.discard(device)
        if not self._users:
            self._unload()

    def take(self, device: str) -> None:
        """Reserve the frame buffer for camera `device`.

        Raises:
            StateError: Another camera has it.
        """
        if self._taking not in (None, device):
            other = f"'{self._taking}' takes frames through the same MMCore '{self.name}'"
            raise StateError(device, f"{other}, which serves one camera at a time; give each a connection of its own")
        self._taking = device

    def rest(self, device: str) -> None:
        """Give the frame buffer back."""
        if self._taking == device:
            self._taking = None

    def _load(self, device: str) -> "CMMCorePlus":
        try:
            from pymmcore_plus import CMMCorePlus
        except ImportError as error:
            raise DriverMissing(device, "pymmcore-plus is not installed; pip install 'labctl[hardware]'") from error
        self._core = core = CMMCorePlus()
        atexit.register(self._unload)
        try:
            if self.hardware.adapters:
                core.setDeviceAdapterSearchPaths(list(self.hardware.adapters))
            core.loadSystemConfiguration(self.hardware.config)
        except (RuntimeError, OSError) as error:
            self._unload()
            reason = f"MMCore cannot load {self.hardware.config}: {error}"
            raise ConnectError(device, f"{reason}; try the file in Micro-Manager, then close that") from error
        return core

    def _unload(self) -> None:
        """Let the hardware go; without both steps in this order the process may end by SIGABRT.

        Adapters and MMCore's event thread must be gone before the interpreter is: what is unloaded sends events, and a
        thread that calls into an interpreter which is ending takes the process with it.
        """
        if self._core is None:
            return
        from pymmcore import CMMCore

        core, self._core = self._core, None
        atexit.unregister(self._unload)
        if core.isSequenceRunning():  # nothing unloads while a camera runs
            core.stopSequenceAcquisition()
        CMMCore.registerCallback(core, None)  # pymmcore-plus lets only its base class do this
        core.unloadAllDevices()


def named_core(device: str, connection: MMCore | None) -> MMCore:
    """Return the core that the bench file names for `device`.

    Raises:
        ConfigError: It names none, or a connection of another kind.
    """
    if not isinstance(connection, MMCore):
        raise ConfigError(f"{device}: connection: its driver needs one of drivers.mmcore.MMCore among `connections`")
    return connection
