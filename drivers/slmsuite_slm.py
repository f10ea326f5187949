"""Any phase panel slmsuite has a class for: Holoeye, Meadowlark, Santec, Hamamatsu, mirrored screens (Thorlabs).

slm_1:
  kind: slm
  driver: drivers.slmsuite_slm.SlmsuiteSLM
  hardware: {model: holoeye.Holoeye, serial: "6010-1234"}
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.slmsuite_panel import PanelHardware, open_panel
from labctl.clock import Clock
from labctl.devices import SLM, Levels, SLMSettings, read_hardware
from labctl.errors import DeviceError

if TYPE_CHECKING:
    from slmsuite.hardware.slms import slm as slmsuite_slm


class SlmsuiteHardware(PanelHardware):
    """What a phase panel is told.

    Args:
        phase_rises: Whether a higher grey level makes more phase; by default what slmsuite says of its class.
    """

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
        self._panel = open_panel(self.name, self.hardware)
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
        self._do_show(np.zeros(self.shape, np.uint16))

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
