"""A beam behind an acousto-optic modulator and a shutter, as light: what the channel that drives it makes of it."""

import math

import numpy as np
from numpy.typing import NDArray

from sim_backends.instruments.moglabs_rf import Channel
from sim_backends.instruments.sc10 import SC10Controller


class ModulatedBeam:
    """A `BeamLight` that asks channel and blade at the moment it is asked.

    The modulator does what the bench file says of it: sin^2 of pi/2 sqrt(P / P_full) of its full power, in the Bragg
    regime (Korpel, Proc. IEEE 69, 48, 1981), at every frequency. Light passes while the blade moves.

    Args:
        channel: RF channel of the modulator.
        full_power_w: Light at the highest diffraction efficiency.
        full_rf_dbm: RF power of that efficiency.
        carrier_hz: RF at which the light is on line centre.
        turns: Rad of light per rad of RF: the diffraction order times the passes.
        shutter: Its shutter, where there is one.
    """

    def __init__(
        self,
        channel: Channel,
        full_power_w: float,
        full_rf_dbm: float,
        carrier_hz: float,
        turns: int,
        shutter: SC10Controller | None,
    ) -> None:
        self._channel, self._shutter, self._turns, self._carrier_hz = channel, shutter, turns, carrier_hz
        self._full_power_w, self._full_rf_dbm = full_power_w, full_rf_dbm

    @property
    def on(self) -> bool:
        """Whether light comes."""
        return self._channel.on and (self._shutter is None or not self._shutter.is_closed)

    @property
    def power_w(self) -> float:
        """Power while it is on."""
        amplitude = 10 ** ((self._channel.output[1] - self._full_rf_dbm) / 20)
        return self._full_power_w * math.sin(math.pi / 2 * amplitude) ** 2

    @property
    def phase_rad(self) -> float:
        """Phase of the light."""
        return self._turns * math.radians(self._channel.output[2])

    @property
    def detuning_hz(self) -> float:
        """Detuning from line centre."""
        return self._turns * (self._channel.output[0] * 1e6 - self._carrier_hz)

    @property
    def sequence(self) -> NDArray[np.float64] | None:
        """Phases of an armed table, one per trigger."""
        channel = self._channel
        return self._turns * np.radians([entry[2] for entry in channel.table]) if channel.armed else None

    def end_sequence(self) -> None:
        """Know that all triggers of the sequence have come."""
        if self._channel.armed:
            self._channel.play()

    def go_dark(self) -> None:
        """Do what a beam does by itself when its link to the computer is lost."""
        self._channel.on = False
