"""MOGLabs agile RF drivers (ARF, XRF, QRF): the acousto-optic modulators of beams, by USB serial port or TCP 7802.

A box drives two or four modulators on one port; its beams name it as their connection:

    connections:
      rf: {driver: drivers.moglabs_rf.RfBox, hardware: {url: "socket://192.168.1.20:7802"}}
    devices:
      pump:
        driver: drivers.moglabs_rf.RfBeam
        connection: rf
        hardware: {channel: 1, carrier: 80 MHz, full_power: 1.3 W, full_rf_dbm: 33}

A box with one beam needs no connection: that beam has the box's `url` in its own `hardware`.
"""

import math
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

from pydantic import Field

from drivers.serial_line import Dialect, SerialHardware, SerialLine
from drivers.thorlabs_sc10 import SC10Shutter
from labctl.clock import Clock
from labctl.devices import Beam, BeamSettings, Hardware, read_hardware
from labctl.errors import ConfigError, ConnectError, DeviceError, LimitError
from labctl.units import Hertz, Seconds, Watts

_MOGLABS = Dialect(b"\r\n", re.compile(rb"\r\n"), "INFO", re.compile(r"(?i).*(?:MOGLabs|[AXQ]RF\d).*"), 115200)

_NUMBER = r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"

_LEAST_DBM = -50.0
"""Lowest RF power that can be set; the light it leaves, 1e-8 of full at 30 dBm, is reported as none."""

_TABLE_ENTRIES = 8191
"""Longest table of a channel (manuals of ARF/XRF and QRF, TABLE,ENTRY)."""


class BoxHardware(SerialHardware):
    """The port of a box.

    Args:
        timeout_s: Longest one answer may take; shutters close only after it where the box hangs.
    """

    timeout_s: Seconds = 0.3


class RfHardware(Hardware):
    """One channel and the modulator behind it.

    Args:
        channel: Channel, from 1 on.
        carrier_hz: RF at which the light is on line centre.
        passes: How often light passes the modulator: its detuning is so many times the RF's.
        order: Diffraction order used.
        full_power_w: Light at the highest diffraction efficiency.
        full_rf_dbm: RF power of that efficiency.
        shutter: Port of the beam's SC10 shutter, where it has one.
    """

    channel: int = Field(default=1, ge=1, le=4)
    carrier_hz: Hertz
    passes: Literal[1, 2] = 1
    order: Literal[1, -1] = 1
    full_power_w: Watts = Field(gt=0)
    full_rf_dbm: float = Field(gt=_LEAST_DBM, le=40)
    shutter: SerialHardware | None = None


class LoneRfHardware(RfHardware, BoxHardware):
    """A box that drives one beam: its port and its channel at once."""


def light_fraction(rf_dbm: float, full_rf_dbm: float) -> float:
    """Return the diffraction efficiency relative to its highest: sin^2 of pi/2 sqrt(P / P_full), Bragg regime.

    Korpel, Proc. IEEE 69, 48 (1981).
    """
    return math.sin(math.pi / 2 * 10 ** ((rf_dbm - full_rf_dbm) / 20)) ** 2


def rf_for_fraction(fraction: float, full_rf_dbm: float) -> float:
    """Return the RF power in dBm for a fraction (0 to 1) of the highest diffraction efficiency; at least -50 dBm."""
    amplitude = 2 / math.pi * math.asin(math.sqrt(fraction))
    return max(full_rf_dbm + 20 * math.log10(amplitude), _LEAST_DBM) if amplitude > 0 else _LEAST_DBM


class RfBox:
    """One box on one port, shared by the beams on its channels.

    The first beam that opens opens the port, the last one that closes closes it. A lost connection stays lost until all
    of its beams are closed. Beams take turns on it, as a watchdog switches all of them off at once.

    Args:
        name: Name in the bench file.
        hardware: See `BoxHardware`.

    Raises:
        ConfigError: `hardware` is not as it should be.
    """

    def __init__(self, name: str, hardware: Mapping[str, Any] | BoxHardware) -> None:
        self.name = name
        checked = isinstance(hardware, BoxHardware)
        self.hardware = hardware if checked else read_hardware(BoxHardware, name, hardware)
        self._channels: dict[int, str] = {}
        self._users: set[str] = set()
        self._line: SerialLine | None = None
        self._turn = threading.RLock()

    def claim(self, channel: int, beam: str) -> None:
        """Keep a channel for one beam.

        Raises:
            ConfigError: Another beam has it.
        """
        owner = self._channels.setdefault(channel, beam)
        if owner != beam:
            raise ConfigError(
                f"hardware of {beam}: channel {channel} of '{self.name}' is that of {owner}; name another"
            )

    def join(self, beam: str, clock: Clock) -> None:
        """Open the port, or share the one that is open.

        Raises:
            ConnectError: No such port, another program has it, no such instrument answers; or it was lost.
        """
        with self._turn:
            if self._line is None:
                line = SerialLine(beam, clock, self.hardware, _MOGLABS)
                line.open()
                self._line = line
            elif not self._line.is_open:
                others = ", ".join(sorted(self._users))
                cure = f"check its power and cable, then close {others} as well"
                raise ConnectError(beam, f"the connection of '{self.name}' is lost; {cure}")
            self._users.add(beam)

    def leave(self, beam: str) -> None:
        """Forget a beam; when none is left the port is closed."""
        with self._turn:
            self._users.discard(beam)
            if not self._users and self._line is not None:
                line, self._line = self._line, None
                line.close()

    def ask(self, beam: str, command: str, answer: str) -> re.Match[str]:
        """Return the match of the pattern `answer` with the answer to a command of `beam`.

        Raises:
            DeviceError: It cannot be sent, or is not answered as it should be; names the beam and the command.
        """
        with self._turn:
            if self._line is None:
                raise ConnectError(beam, f"'{command}' was not sent, '{self.name}' is closed; open the beam first")
            self._line.device = beam
            return self._line.ask(command, answer)


class RfBeam(Beam):
    """A beam switched by its modulator's RF and, where it has one, a shutter; safe only when both say that it is dark.

    Blanked by the RF alone, a modulator still passes its zero order.

    Its ceiling is also set as the instrument's own RF limit. Phases of a sequence are loaded as a table that steps at
    the channel's trigger input.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Ceiling and what the beam can do.
        hardware: Channel and modulator, and the port where there is no connection.
        connection: The box, where beams share it.

    Raises:
        ConfigError: The hardware entry is not valid, cannot give the power of the settings, or names a channel that
            another beam has.
    """

    max_phases = _TABLE_ENTRIES

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: BeamSettings,
        hardware: Mapping[str, Any],
        connection: RfBox | None = None,
    ) -> None:
        super().__init__(name, clock, settings)
        if connection is None:
            self._rf = lone = read_hardware(LoneRfHardware, name, hardware)
            self._box = RfBox(name, lone)
        elif isinstance(connection, RfBox):
            self._rf = read_hardware(RfHardware, name, hardware)
            self._box = connection
        else:
            raise ConfigError(f"{name}: connection: its driver needs one of drivers.moglabs_rf.RfBox, or none")
        if settings.max_power_w > self._rf.full_power_w:
            asked, allowed = settings.max_power_w, self._rf.full_power_w
            raise ConfigError(f"{name}: max_power {asked:g} W is above the {allowed:g} W (full_power) of its modulator")
        if bool(self._rf.shutter) != (settings.shutter_s > 0):
            cure = (
                "give both `hardware: {shutter: {url: ...}}` and `settings: {shutter: 15 ms}` (its blade), or neither"
            )
            raise ConfigError(f"{name}: shutter: {cure}")
        self._box.claim(self._rf.channel, name)
        self._shutter = SC10Shutter(name, clock, self._rf.shutter) if self._rf.shutter else None

    def _do_open(self) -> None:
        with ExitStack() as opened:
            with ExitStack() as dark:  # first, and both whatever fails: the shutter closes, the RF goes off
                dark.callback(self._open_box, opened)
                if self._shutter:
                    self._shutter.connect()
                    opened.callback(self._shutter.disconnect)
                    self._shutter.switch(False)
            self._order(f"MODE,{self._rf.channel},NSB")
            self._order(f"LIMIT,{self._rf.channel},{self._dbm(self.settings.max_power_w):.3f}dBm")
            self._do_set_power(self.settings.power_w)
            self._do_set_detuning(0.0)
            self._do_set_phase(0.0)
            opened.pop_all()

    def _open_box(self, opened: ExitStack) -> None:
        self._box.join(self.name, self.clock)
        opened.callback(self._box.leave, self.name)
        self._order(f"OFF,{self._rf.channel}")

    def _do_close(self) -> None:
        with ExitStack() as both:
            both.callback(self._box.leave, self.name)
            if self._shutter:
                both.callback(self._shutter.disconnect)

    def _do_state(self) -> dict[str, Any]:
        state = {
            "on": self._do_is_on(),
            "power_w": self._do_power_w(),
            "phase_rad": self._do_phase_rad(),
            "detuning_hz": self._do_detuning_hz(),
        }
        return {**state, "shutter": self._shutter.state()} if self._shutter else state

    def _do_is_dark(self) -> bool:
        return not self._do_is_on() and (self._shutter is None or self._shutter.is_closed)

    def _do_is_on(self) -> bool:
        # old firmwares answer a number with a bit per stage, newer ones words; anything but a plain "off" counts as on
        answer = self._query(f"STATUS,{self._rf.channel}", r"(?:OK:?\s*)?(\d+|0x[0-9a-fA-F]+|.*\b(?:ON|OFF)\b.*)")[1]
        return int(answer, 0) != 0 if answer[0].isdigit() else re.search(r"\bON\b", answer) is not None

    def _do_power_w(self) -> float:
        rf_dbm = self._number("POW", "dBm")
        return 0.0 if rf_dbm <= _LEAST_DBM else self._rf.full_power_w * light_fraction(rf_dbm, self._rf.full_rf_dbm)

    def _do_phase_rad(self) -> float:
        return self._rf.order * self._rf.passes * math.radians(self._number("PHASE", "deg"))

    def _do_detuning_hz(self) -> float:
        offset_hz = self._number("FREQ", "MHz") * 1e6 - self._rf.carrier_hz
        return self._rf.order * self._rf.passes * offset_hz

    def _do_switch(self, on: bool) -> None:
        # light on: shutter, then RF; light off: RF, then shutter, each also when the other fails
        with ExitStack() as steps:
            if self._shutter:
                steps.callback(self._shutter.switch, on)
            if not on:
                self._do_blank(True)
        if on:
            self._do_blank(False)

    def _do_blank(self, blank: bool) -> None:
        self._order(f"{'OFF' if blank else 'ON'},{self._rf.channel}")

    def _do_set_power(self, power_w: float) -> None:
        self._order(f"POW,{self._rf.channel},{self._dbm(power_w):.3f}dBm")

    def _do_set_phase(self, phase_rad: float) -> None:
        self._order(f"MODE,{self._rf.channel},NSB")
        self._order(f"PHASE,{self._rf.channel},{self._degrees(phase_rad):.4f}deg")

    def _do_load_phases(self, phases_rad: Sequence[float]) -> None:
        channel = self._rf.channel
        if len(phases_rad) > _TABLE_ENTRIES:
            what = f"{len(phases_rad)} phases were asked for, a channel's table holds {_TABLE_ENTRIES}"
            raise LimitError(self.name, f"{what}; load fewer at a time")
        self._order(f"MODE,{channel},NSB")
        self._order(f"TABLE,CLEAR,{channel}")
        if not phases_rad:
            return
        frequency, power = self._number("FREQ", "MHz"), self._number("POW", "dBm")
        self._order(f"MODE,{channel},TSB")
        for phase_rad in phases_rad:  # duration 0: until the next trigger
            step = f"{frequency:.6f}MHz,{power:.3f}dBm,{self._degrees(phase_rad):.4f}deg,0"
            self._order(f"TABLE,APPEND,{channel},{step}")
        self._order(f"TABLE,ARM,{channel}")

    def _do_set_detuning(self, detuning_hz: float) -> None:
        frequency_hz = self._rf.carrier_hz + detuning_hz / (self._rf.order * self._rf.passes)
        self._order(f"FREQ,{self._rf.channel},{frequency_hz / 1e6:.6f}MHz")

    # ---- protocol

    def _dbm(self, power_w: float) -> float:
        return rf_for_fraction(power_w / self._rf.full_power_w, self._rf.full_rf_dbm)

    def _degrees(self, phase_rad: float) -> float:
        return math.degrees(phase_rad) / (self._rf.order * self._rf.passes) % 360

    def _number(self, quantity: str, unit: str) -> float:
        return float(self._query(f"{quantity},{self._rf.channel}", rf"{_NUMBER}\s*{unit}\b.*")[1])

    def _order(self, command: str) -> None:
        refusal = self._query(command, r"OK.*|ERR:?\s*(.*)")[1]
        if refusal is not None:
            raise DeviceError(self.name, f"refused '{command}': {refusal}; correct the bench file or the instrument")

    def _query(self, command: str, answer: str) -> re.Match[str]:
        return self._box.ask(self.name, command, answer)
