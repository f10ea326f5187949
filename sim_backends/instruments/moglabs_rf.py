"""A MOGLabs agile RF driver: a strict question and answer, `OK` or `ERR:`, and numbers that come with their units.

Lowering the limit lowers the power. In table mode an entry of duration 0 is held until the next trigger; here the last
one is held until the mode changes, which the manual leaves open.
"""

import re
from dataclasses import dataclass, field

_FACTORS = {"hz": 1e-6, "khz": 1e-3, "mhz": 1.0, "dbm": 1.0, "deg": 1.0}
_TABLE_ENTRIES = 8191
_VALUE = re.compile(r"\s*([-+]?[\d.]+)\s*([a-z]*)\s*", re.IGNORECASE)


class _RefusedError(Exception):
    """What the instrument answers after `ERR:`."""


@dataclass
class Channel:
    """One output: its settings, its table of (MHz, dBm, degrees, duration), and how many entries triggers reached."""

    on: bool = False
    mode: str = "NSB"
    frequency_mhz: float = 80.0
    power_dbm: float = 0.0
    phase_deg: float = 0.0
    limit_dbm: float = 36.0
    table: list[tuple[float, ...]] = field(default_factory=list)
    armed: bool = False
    reached: int = 0

    @property
    def output(self) -> tuple[float, ...]:
        """MHz, dBm and degrees that leave while it is on."""
        if self.mode == "TSB" and self.reached:
            return self.table[self.reached - 1][:3]
        return self.frequency_mhz, self.power_dbm, self.phase_deg

    def play(self) -> None:
        """Let triggers come until the last entry of the table is reached."""
        self.armed, self.reached = False, len(self.table)


class MoglabsRf:
    """The instrument.

    Args:
        channels: How many outputs it has.
        range_mhz: Frequencies it makes.
    """

    line_end = b"\r\n"

    def __init__(self, channels: int = 2, range_mhz: tuple[float, float] = (20.0, 400.0)) -> None:
        self.channels = {number: Channel() for number in range(1, channels + 1)}
        self._range_mhz = range_mhz

    def handle(self, line: str) -> str:
        """Return the answer to one command."""
        word, *arguments = (part.strip() for part in line.split(","))
        try:
            return self._answer(word.upper(), arguments) + "\r\n"
        except _RefusedError as refusal:
            return f"ERR: {refusal}\r\n"

    def _answer(self, word: str, arguments: list[str]) -> str:
        if word == "INFO":
            model = "QRF041 quad" if len(self.channels) > 2 else "ARF421 agile"
            return f"MOGLabs {model} RF synthesizer, rev 5"
        if word == "TABLE" and arguments:
            return self._table(arguments[0].upper(), self._channel(arguments[1:]), arguments[2:])
        channel, values = self._channel(arguments), arguments[1:]
        if word == "STATUS":
            return str(3 * channel.on)
        if word in ("ON", "OFF"):
            channel.on = word == "ON"
            return f"OK: CH{arguments[0]} {word}"
        if word == "MODE" and values:
            channel.mode, channel.armed, channel.reached = values[0].upper(), False, 0
            return f"OK: {channel.mode}"
        if word in ("FREQ", "POW", "PHASE", "LIMIT"):
            return self._write(channel, word, values[0]) if values else self._read(channel, word)
        raise _RefusedError("Command not defined")

    def _channel(self, arguments: list[str]) -> Channel:
        if not arguments or not arguments[0].isdigit() or int(arguments[0]) not in self.channels:
            raise _RefusedError("Invalid channel")
        return self.channels[int(arguments[0])]

    def _read(self, channel: Channel, word: str) -> str:
        return {
            "FREQ": f"{channel.frequency_mhz:.6f} MHz",
            "POW": f"{channel.power_dbm:.3f} dBm",
            "PHASE": f"{channel.phase_deg:.4f} deg",
            "LIMIT": f"{channel.limit_dbm:.3f} dBm",
        }[word]

    def _write(self, channel: Channel, word: str, text: str) -> str:
        value = _number(text)
        if word == "FREQ":
            self._require_frequency(value)
            channel.frequency_mhz = value
        elif word == "POW":
            _require_power(channel, value)
            channel.power_dbm = value
        elif word == "LIMIT":
            channel.limit_dbm, channel.power_dbm = value, min(channel.power_dbm, value)
        else:
            channel.phase_deg = value % 360
        return f"OK: {self._read(channel, word)}"

    def _table(self, word: str, channel: Channel, values: list[str]) -> str:
        if word == "CLEAR":
            channel.table, channel.armed, channel.reached = [], False, 0
        elif word == "APPEND" and len(values) == 4 and len(channel.table) < _TABLE_ENTRIES:
            entry = tuple(map(_number, values))
            self._require_frequency(entry[0])
            _require_power(channel, entry[1])
            channel.table.append(entry)
        elif word == "ARM" and channel.mode == "TSB" and channel.table:
            channel.armed, channel.reached = True, 0
        else:
            raise _RefusedError("Invalid table command")
        return "OK"

    def _require_frequency(self, value_mhz: float) -> None:
        if not self._range_mhz[0] <= value_mhz <= self._range_mhz[1]:
            raise _RefusedError("Frequency out of range")


def _require_power(channel: Channel, value_dbm: float) -> None:
    if not -50.0 <= value_dbm <= channel.limit_dbm:
        raise _RefusedError("Power exceeds limit")


def _number(text: str) -> float:
    match = _VALUE.fullmatch(text)
    if match is None or match[2].lower() not in ("", *_FACTORS):
        raise _RefusedError("Invalid value")
    return float(match[1]) * _FACTORS.get(match[2].lower(), 1.0)
