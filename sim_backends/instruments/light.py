"""Whether simulated instruments let light pass, and since when."""

import time
from collections.abc import Callable, Mapping
from functools import singledispatch

from sim_backends.instruments.conversation import Instrument
from sim_backends.instruments.dlc_pro import DlcPro
from sim_backends.instruments.moglabs_rf import MoglabsRf
from sim_backends.instruments.sc10 import SC10Controller


@singledispatch
def passes_light(instrument: Instrument) -> Mapping[str, bool]:
    """Return by output (RF channel, shutter, laser current) whether light passes; nothing where none goes through."""
    return {}


@passes_light.register
def _(instrument: MoglabsRf) -> Mapping[str, bool]:
    return {str(number): channel.on for number, channel in instrument.channels.items()}


@passes_light.register
def _(instrument: SC10Controller) -> Mapping[str, bool]:
    return {"shutter": instrument.enabled}


@passes_light.register
def _(instrument: DlcPro) -> Mapping[str, bool]:
    gains = ("dl", "amp")
    return {gain: instrument.parameters[f"{instrument.head}:{gain}:cc:enabled"] == "#t" for gain in gains}


def closing_s(instrument: Instrument) -> float:
    """Return how long after the command light still passes."""
    return instrument.blade_s if isinstance(instrument, SC10Controller) else 0.0


class LightWatch:
    """An instrument under observation.

    Args:
        instrument: Who answers.
        tell: Called with output, whether light passes, and since when on `time.monotonic_ns`, the same clock for all
            processes of a machine; a shutter is told as soon as it moves, and as closed from when it will be.
    """

    def __init__(self, instrument: Instrument, tell: Callable[[str, bool, int], None]) -> None:
        self.line_end = instrument.line_end
        self.greeting = getattr(instrument, "greeting", "")
        self._instrument, self._tell = instrument, tell

    def handle(self, line: str) -> str:
        """Return the instrument's answer."""
        before = passes_light(self._instrument)
        answer = self._instrument.handle(line)
        for output, light in passes_light(self._instrument).items():
            if light != before[output]:
                delay_s = 0.0 if light else closing_s(self._instrument)
                self._tell(output, light, time.monotonic_ns() + round(delay_s * 1e9))
        return answer
