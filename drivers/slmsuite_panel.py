"""What all drivers of slmsuite's panels share: which class of slmsuite's it is, and how that is opened."""

import importlib
import logging
import pkgutil
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from labctl.devices import Hardware
from labctl.errors import ConfigError, ConnectError, DriverMissing

if TYPE_CHECKING:
    from slmsuite.hardware.slms import slm as slmsuite_slm

SLMS = "slmsuite.hardware.slms"


class PanelHardware(Hardware):
    """What a panel is told.

    Args:
        model: Module and class in `slmsuite.hardware.slms`, e.g. "meadowlark.Meadowlark".
        options: What that class is made with, in slmsuite's words: `{display_number: 2}`. Not its wavelength: what a
            level does at the bench's wavelength is calibrated in labctl.
    """

    model: str
    options: Mapping[str, Any] = {}


def open_panel(device: str, hardware: PanelHardware) -> "slmsuite_slm.SLM":
    """Return slmsuite's object for a panel, open.

    Raises:
        ConfigError: slmsuite has no such class.
        DriverMissing: slmsuite, or what its class needs, is not installed.
        ConnectError: The panel does not open.
    """
    made = _panel_class(device, hardware.model)
    try:
        return made(**hardware.options)
    except ImportError as error:
        reason = f"slmsuite's {hardware.model} needs a package that is not installed: {error}"
        raise DriverMissing(device, f"{reason}; install the vendor's software") from error
    except Exception as error:  # slmsuite raises whatever the vendor's code makes of it
        reason = f"slmsuite's {hardware.model} does not open: {type(error).__name__}: {error}"
        cure = "check the vendor's software, power, cable and `hardware: options`; close other programs that use it"
        raise ConnectError(device, f"{reason}; {cure}") from error


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
