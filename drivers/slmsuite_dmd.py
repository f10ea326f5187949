"""A micromirror device that mirrors a screen (an evaluation board on HDMI or DisplayPort), through slmsuite.

dmd_input:
  kind: dmd
  driver: drivers.slmsuite_dmd.SlmsuiteDMD
  hardware: {options: {display_number: 1}, refresh: 60 Hz}

The board must show its input pixel by pixel, as mirrors on or off: white and black. Boards of DLP projectors first
scale, rotate or dither it; that has to be switched off in their own software.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drivers.slmsuite_panel import PanelHardware, open_panel
from labctl.clock import Clock
from labctl.devices import DMD, DMDSettings, Sequence, Trigger, read_hardware
from labctl.errors import ConfigError, DeviceError
from labctl.units import Hertz

if TYPE_CHECKING:
    from slmsuite.hardware.slms import slm as slmsuite_slm

ON = 255
"""Grey level of a mirror that is on."""


class ScreenHardware(PanelHardware):
    """What a mirrored screen is told.

    Args:
        model: Module and class in `slmsuite.hardware.slms`.
        options: What that class is made with, in slmsuite's words: `{display_number: 1}`.
        refresh_hz: How often the screen is drawn in a second.
    """

    model: str = "screenmirrored.ScreenMirrored"
    refresh_hz: Hertz


class SlmsuiteDMD(DMD):
    """A board without memory and without trigger input: patterns stay in this computer and are shown one by one.

    No picture can be shorter than two refreshes of the screen: one until the screen takes it, one through the board's
    own frame memory. When exactly mirrors turn nobody tells, so a camera cannot be triggered by it; a frame of 1920 x
    1080 mirrors takes 0.26 MB of this computer's memory, `max_frames` of them at most.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Mirror geometry and limits; `external_trigger: false`.
        hardware: See `ScreenHardware`.

    Raises:
        ConfigError: `hardware` is not as it should be, or the settings ask for what a screen cannot do.
    """

    def __init__(self, name: str, clock: Clock, settings: DMDSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        self.hardware = read_hardware(ScreenHardware, name, hardware)
        if settings.external_trigger:
            cure = "set external_trigger: false, and measure in software steps"
            raise ConfigError(f"{name}: a mirrored screen has no trigger input; {cure}")
        shortest_s = 2 / self.hardware.refresh_hz if self.hardware.refresh_hz > 0 else np.inf
        if settings.min_picture_s < shortest_s * (1 - 1e-6):
            asked, allowed = settings.min_picture_s, f"{shortest_s:g} s, two refreshes of its screen"
            raise ConfigError(f"{name}: min_picture {asked:g} s was asked for, allowed is at least {allowed}")
        self._memory: dict[int, NDArray[np.uint8]] = {}

    @property
    def panel(self) -> "slmsuite_slm.SLM":
        """The object of slmsuite, while the device is open."""
        self._require_open()
        return self._panel

    def _do_open(self) -> None:
        self._panel = open_panel(self.name, self.hardware)
        try:
            has = (tuple(self._panel.shape), self._panel.bitdepth)
            if has != (self.shape, 8):
                reason = f"the screen has {has[0]} pixels of {has[1]} bit, the bench file says {self.shape} mirrors"
                raise DeviceError(self.name, f"{reason}; correct its shape, or the screen's resolution")
            self._do_halt()
        except BaseException:
            self._panel.close()
            raise

    def _do_close(self) -> None:
        self._memory.clear()
        self._panel.close()

    def _do_state(self) -> dict[str, Any]:
        shown = int(np.count_nonzero(self._panel.display))
        return {"model": self.hardware.model, "shape": list(self._panel.shape), "mirrors_on": shown}

    # ---- patterns

    def _do_load(self, sequence: Sequence, frames: NDArray[np.uint8]) -> None:
        self._memory[sequence.id] = frames

    def _do_free(self, sequence: Sequence) -> None:
        del self._memory[sequence.id]

    def _do_show(self, frame: NDArray[np.uint8]) -> None:
        mirrors = np.unpackbits(frame, axis=1, count=self.shape[1])
        self._panel.set_phase(mirrors * np.uint8(ON), settle=False)

    def _do_halt(self) -> None:
        self._panel.set_phase(np.zeros(self.shape, np.uint8), settle=False)

    def _do_set_timing(self, picture_s: float) -> None:
        """Nothing to do yet: `play` waits so long after each frame."""

    def _do_set_trigger(self, trigger: Trigger) -> None:
        """Nothing to choose: the other trigger is refused."""

    def _do_play(self, sequence: Sequence, order: NDArray[np.integer]) -> None:
        frames = self._memory[sequence.id]
        for step in order:
            sent_s = self.clock.now_s()
            self._do_show(frames[step])  # which may take a refresh
            self.clock.wait(sent_s + self._picture_s - self.clock.now_s())
