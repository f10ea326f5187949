"""Spatial light modulator: a panel of phase levels that settles after each frame."""

from abc import abstractmethod

from pydantic import Field

from labctl.clock import Clock
from labctl.devices.base import Device, LitSettings, Shape
from labctl.devices.pattern import Levels, Pattern, pattern_fault
from labctl.errors import LimitError
from labctl.units import Metres, Seconds


class SLMSettings(LitSettings):
    """What a phase panel is, for driver and twin alike.

    Args:
        shape: Panel rows and columns.
        pitch_m: Pixel pitch.
        bit_depth: Bits of a panel level, 16 at most; level 0 to 2^bits spans one wavelength of phase.
        latency_s: From the command to the first change of the panel.
        settle_s: From the first change until the panel is settled.
    """

    shape: Shape
    pitch_m: Metres = Field(gt=0)
    bit_depth: int = Field(default=8, ge=1, le=16)
    latency_s: Seconds = Field(ge=0)
    settle_s: Seconds = Field(ge=0)


class SLM(Device):
    """Base of phase panels; `show` returns when the panel has settled.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Panel geometry and timing.
    """

    kind = "slm"

    def __init__(self, name: str, clock: Clock, settings: SLMSettings) -> None:
        super().__init__(name, clock, settings)
        self.settings = settings
        self.shape = settings.shape
        self.pitch_m = settings.pitch_m
        self.bit_depth = settings.bit_depth
        self.latency_s = settings.latency_s
        self.settle_s = settings.settle_s

    def show(self, pattern: Pattern) -> None:
        """Show `pattern` and wait until the panel has settled.

        Raises:
            StateError: The panel is closed.
            LimitError: The pattern does not fit the panel; nothing was written.
        """
        self._require_open()
        fault = pattern_fault(pattern, self.shape, self.bit_depth)
        if fault:
            raise LimitError(self.name, fault)
        self._ask(self._do_show_blocks, pattern)
        self.clock.wait(self.latency_s + self.settle_s)

    def _do_show_blocks(self, pattern: Pattern) -> None:
        """Show blocks; a twin that computes with blocks overrides this and never expands a frame."""
        self._ask(self._do_show, pattern.expand(self.shape))

    @abstractmethod
    def _do_show(self, frame: Levels) -> None: ...
