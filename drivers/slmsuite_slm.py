"""Any phase panel slmsuite has a class for: Holoeye, Meadowlark, Santec, Hamamatsu, mirrored screens (Thorlabs).

slm_1:
  kind: slm
  driver: drivers.slmsuite_slm.SlmsuiteSLM
  hardware: {model: holoeye.Holoeye, serial: "6010-1234"}
"""

import importlib
import logging
import pkgutil
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.clock import Clock
from labctl.devices import SLM, Hardware, Levels, SLMSettings, read_hardware
from labctl.errors import ConfigError, ConnectError, DeviceError, DriverMissing

if TYPE_CHECKING:
    from slmsuite.hardware.slms import slm as slmsuite_slm

SLMS = "slmsuite.hardware.slms"


class SlmsuiteHardware(Hardware):
    """What a panel is told.

    Args:
        model: Module and class in `slmsuite.hardware.slms`, e.g. "meadowlark.Meadowlark".
        options: What that class is made with, in slmsuite's words: `{display_number: 2}`. Not its wavelength: what a
            level does at the bench's wavelength is calibrated in labctl.
        phase_rises: Whether a higher grey level makes more phase; by default what slmsuite says of its class.
    """

    model: str
    options: Mapping[str, Any] = {}
    phase_rises: bool | None = None


class SlmsuiteSLM(SLM):
    """A panel behind slmsuite's class for it; levels go to it as they are, none of slmsuite's corrections applied.

    In labctl a higher level is more phase. Most panels have it the other way round; those get the level's complement,
    so that a blaze lands on the side it should.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Panel geometry and timing.
        hardware: See `SlmsuiteHardware`.

    Raises:
        ConfigError: `hardware` is not as it should be.
    """

    def __init__(self, name: str, clock: Clock, settings: SLMSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        self.hardware = read_hardware(SlmsuiteHardware, name, hardware)

    @property
    def panel(self) -> "slmsuite_slm.SLM":
        """The object of slmsuite, while the device is open."""
        self._require_open()
        return self._panel

    def _do_open(self) -> None:
        made = _panel_class(self.name, self.hardware.model)
        try:
            self._panel = made(**self.hardware.options)
        except ImportError as error:
            reason = f"slmsuite's {self.hardware.model} needs a package that is not installed: {error}"
            raise DriverMissing(self.name, f"{reason}; install the vendor's software") from error
        except Exception as error:  # slmsuite raises whatever the vendor's code makes of it
            reason = f"slmsuite's {self.hardware.model} does not open: {type(error).__name__}: {error}"
            cure = "check the vendor's software, power, cable and `hardware: options`; close other programs that use it"
            raise ConnectError(self.name, f"{reason}; {cure}") from error
        try:
            self._set_up()
        except BaseException:
            self._panel.close()
            raise

    def _set_up(self) -> None:
        has = (tuple(self._panel.shape), self._panel.bitdepth)
        if has != (self.shape, self.bit_depth):
            reason = f"has {has[0]} pixels of {has[1]} bit, the bench file says {self.shape} of {self.bit_depth} bit"
            raise DeviceError(self.name, f"{reason}; correct its shape or bit_depth")
        rises = self.hardware.phase_rises
        self._rises = self._phase_rises() if rises is None else rises
        self._do_show(np.zeros(self.shape, self._panel.dtype))

    def _phase_rises(self) -> bool:
        """Return the sign slmsuite takes for this panel, from the phase it states for a quarter of the grey levels."""
        grey = np.zeros(self.shape, self._panel.dtype)
        grey[0, 0] = 2**self.bit_depth // 4
        self._panel.set_phase(grey)
        turn = np.exp(1j * (float(self._panel.phase[0, 0]) - float(self._panel.phase[0, 1])))
        return bool(turn.imag > 0)

    def _do_close(self) -> None:
        self._panel.close()

    def _do_state(self) -> dict[str, Any]:
        return {"model": self.hardware.model, "shape": list(self._panel.shape), "phase_rises": self._rises}

    def _do_show(self, frame: Levels) -> None:
        grey = frame if self._rises else np.negative(frame) & (2**self.bit_depth - 1)
        self._panel.set_phase(grey.astype(self._panel.dtype, copy=False), settle=False)


def _panel_class(device: str, model: str) -> type:
    """Return slmsuite's class `module.Class`."""
    try:
        slms, base = _quietly(SLMS), _quietly(f"{SLMS}.slm").SLM
    except ImportError as error:
        raise DriverMissing(device, "slmsuite is not installed; pip install 'labctl[hardware]'") from error
    modules = [one.name for one in pkgutil.iter_modules(slms.__path__)]
    module, _, name = model.partition(".")
    found = getattr(_quietly(f"{SLMS}.{module}"), name, None) if module in modules else None
    if not (isinstance(found, type) and issubclass(found, base)):
        known = ", ".join(modules)
        raise ConfigError(f"{device}: hardware: slmsuite has no panel '{model}'; write MODULE.CLASS of one of {known}")
    return found


def _quietly(module: str) -> ModuleType:
    """Return a module of slmsuite, which at import warns of everything this computer lacks, and logs at length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        imported = importlib.import_module(module)
    logging.getLogger("slmsuite").setLevel(logging.WARNING)
    return imported
