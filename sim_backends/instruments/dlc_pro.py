"""A Toptica DLC pro with a TA pro: the DeCoF command line, the emission button, and an amplifier that can be ruined.

Sources are those of `drivers.toptica_dlc_pro`; the texts and numbers of its errors are made up, as no source tells.
"""

import re

from labctl.clock import Clock

_REFERENCE = re.compile(r"\(param-ref '(\S+)\)")
_ORDER = re.compile(r"\(param-set! '(\S+) (\S+)\)")
_REAL = re.compile(r"[-+]?\d+\.\d*(?:e[-+]?\d+)?")

_GAINS = ("dl", "amp")
_LIMITS = {"current-set": ("0.0", "current-clip"), "voltage-set": ("voltage-min", "voltage-max")}
"""What bounds a parameter that can be ordered: a number, or the parameter beside it that says it."""


class DlcPro:
    """The controller and one laser.

    Args:
        clock: Time in which currents begin to flow.
        start_s: How long after it is enabled a current flows.
        echo: Whether commands are echoed, as on its serial line.
        serial: Its serial number.
        laser: Which of the controller's lasers it is.
    """

    line_end = b"\n"
    greeting = "Welcome to:\r\n  DLCpro firmware, version 3.3.3\r\n\r\nDeCoF Command Line\r\n> "
    """What is sent to whoever connects."""

    def __init__(
        self, clock: Clock, start_s: float = 0.1, echo: bool = False, serial: str = "DLC PRO_020295", laser: int = 1
    ) -> None:
        self.interlock_open = False
        self.key_locked = False
        self.button = True
        self.seed_power_mw = 25.0
        """Light on the amplifier's seed photodiode while the seed emits."""
        self.damaged = False
        """Whether the amplifier has ever had current without light from the seed."""
        self.head = head = f"laser{laser}"
        """What the names of its laser's parameters begin with."""
        self.parameters = {
            f"{head}:dl:cc:enabled": "#f",
            f"{head}:dl:cc:current-set": "120.0",
            f"{head}:dl:cc:current-clip": "180.0",
            f"{head}:dl:pc:voltage-set": "60.0",
            f"{head}:dl:pc:voltage-min": "-1.0",
            f"{head}:dl:pc:voltage-max": "140.0",
            f"{head}:amp:cc:enabled": "#f",
            f"{head}:amp:cc:current-set": "0.0",
            f"{head}:amp:cc:current-clip": "2500.0",
        }
        """What can be read as it was set; all but the limits can be ordered."""
        self.orders: list[tuple[str, str]] = []
        """Every order that was obeyed, oldest first."""
        self._clock, self._start_s, self._echo, self._serial = clock, start_s, echo, serial
        self._enabled_s: dict[str, float] = dict.fromkeys(_GAINS, clock.now_s())

    def emits(self, gain: str) -> bool:
        """Return whether current flows through `dl` or `amp`."""
        allowed = self.button and not self.interlock_open and not self.key_locked
        ready = self._clock.now_s() - self._enabled_s[gain] >= self._start_s
        return allowed and ready and self.parameters[f"{self.head}:{gain}:cc:enabled"] == "#t"

    def handle(self, line: str) -> str:
        """Return answer and prompt for one command."""
        command = line.strip()
        answer = self._answer(command)
        return f"{command}\r\n{answer}\r\n> " if self._echo else f"{answer}\r\n> "

    def _answer(self, command: str) -> str:
        if reference := _REFERENCE.fullmatch(command):
            value = self._read(reference[1])
            return f"Error: -3 ({reference[1]}) parameter not found" if value is None else value
        if order := _ORDER.fullmatch(command):
            return self._obey(order[1], order[2])
        return "Error: -1 syntax error"

    def _read(self, parameter: str) -> str | None:
        flags = {
            "interlock-open": self.interlock_open,
            "frontkey-locked": self.key_locked,
            "emission-button-enabled": self.button,
            **{f"{self.head}:{gain}:cc:emission": self.emits(gain) for gain in _GAINS},
        }
        if parameter in flags:
            return "#t" if flags[parameter] else "#f"
        values = {
            "serial-number": f'"{self._serial}"',
            f"{self.head}:amp:pd:seed:power": str(self.seed_power_mw if self.emits("dl") else 0.0),
            **{
                f"{self.head}:{gain}:cc:current-act": self.parameters[f"{self.head}:{gain}:cc:current-set"]
                if self.emits(gain)
                else "0.0"
                for gain in _GAINS
            },
            **self.parameters,
        }
        return values.get(parameter)

    def _obey(self, parameter: str, value: str) -> str:
        path, _, word = parameter.rpartition(":")
        if parameter not in self.parameters or word not in ("enabled", *_LIMITS):
            return "Error: -5 parameter cannot be set"
        if word == "enabled":
            return self._enable(path.split(":")[1], parameter, value)
        if not _REAL.fullmatch(value):  # an integer is no real number to it
            return "Error: -2 wrong type"
        low, high = (float(self.parameters.get(f"{path}:{end}", end)) for end in _LIMITS[word])
        if not low <= float(value) <= high:
            return "-7"
        return self._set(parameter, value)

    def _enable(self, gain: str, parameter: str, value: str) -> str:
        if value not in ("#t", "#f"):
            return "Error: -2 wrong type"
        if value == "#t" and self.parameters[parameter] == "#f":
            self._enabled_s[gain] = self._clock.now_s()
        answer = self._set(parameter, value)
        seeded = self.emits("dl") and self.seed_power_mw > 0
        if self.parameters[f"{self.head}:amp:cc:enabled"] == "#t" and not seeded:
            self.damaged = True
        return answer

    def _set(self, parameter: str, value: str) -> str:
        self.parameters[parameter] = value
        self.orders.append((parameter, value))
        return "0"
