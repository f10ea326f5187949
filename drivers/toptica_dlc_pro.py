"""Toptica DLC pro: a TA pro (seed diode and tapered amplifier) or DL pro (diode alone), by TCP 1998 or its USB port.

pump:
  kind: beam
  driver: drivers.toptica_dlc_pro.DlcProBeam
  hardware: {url: "socket://192.168.1.20:1998", amplifier: true, threshold: 0.9 A, full_current: 2.9 A, full_power: 1 W}

Sources. Port and speed, the prompt that ends a reply, how values are written, that a refused order answers a negative
number or a text that begins with "Error", and the names of all parameters: toptica-lasersdk 3.3.0, Toptica's own (PyPI,
MIT: `client.py`, `decop.py`, `asyncio/connection.py`, `dlcpro/v3_3_3.py`). The greeting that ends in "DeCoF Command
Line": QMI's open driver (`Toptica_DLC`). Currents in mA, photodiodes in mW, voltages in V: the DLC pro manual's list of
signals. Not confirmed, as no open source tells and no instrument was at hand: the texts after "Error: -N", which orders
need a higher user level, that `frontkey-locked` is true where the key locks, how long a current takes to flow.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pydantic import Field

from drivers.serial_line import Dialect, SerialHardware, SerialLine
from labctl.clock import Clock
from labctl.devices import Beam, BeamSettings, read_hardware
from labctl.documents import StrictModel
from labctl.errors import ConfigError, DeviceError, LimitError, StateError
from labctl.units import Amperes, Hertz, Volts, Watts

# On a serial line the instrument may echo what it is sent, on TCP it does not.
_DLC_PRO = Dialect(
    b"\n",
    re.compile(rb"\n> "),
    "(param-ref 'serial-number)",
    re.compile(r"""(?s)(?:\(param-ref 'serial-number\)\s+)?"[^"]*"\s*>"""),
    115200,
    tells_serial=True,
)

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"

_EMISSION_S = 2.0
"""Longest wait for a current to flow, or to have stopped, after the order."""

_POLL_S = 0.02

_AGREES = 0.01
"""How closely the controller's own limit must agree with the bench file's ceiling."""


class Piezo(StrictModel):
    """How the seed's piezo moves its frequency.

    Args:
        zero_v: Voltage at which the light is on line centre.
        per_volt_hz: Change of the light's frequency with one volt more; with its sign.
    """

    zero_v: Volts
    per_volt_hz: Hertz

    def voltage_v(self, detuning_hz: float) -> float:
        """Return the voltage for a detuning."""
        return self.zero_v + detuning_hz / self.per_volt_hz


class DlcProHardware(SerialHardware):
    """One laser of the controller and what its current makes of light; all measured where the beam enters the bench.

    Args:
        laser: Which laser of the controller.
        amplifier: Whether it has a tapered amplifier, whose current then sets the power. Without one the diode's
            current does, which moves its frequency as well.
        threshold_a: Current at which light begins.
        full_current_a: A current above that,
        full_power_w: and its light; the power is taken to rise linearly in between and beyond.
        seed_power_w: Least light on the amplifier's seed photodiode before the amplifier is switched on, where the
            laser has that photodiode; by default that the seed's current flows is enough.
        piezo: How the seed is detuned; not at all by default.
    """

    laser: int = Field(default=1, ge=1, le=4)
    amplifier: bool
    threshold_a: Amperes = Field(ge=0)
    full_current_a: Amperes = Field(gt=0)
    full_power_w: Watts = Field(gt=0)
    seed_power_w: Watts | None = None
    piezo: Piezo | None = None

    def current_a(self, power_w: float) -> float:
        """Return the current for a power; none at all for 0 W."""
        return self.threshold_a + power_w / self._watts_per_a if power_w > 0 else 0.0

    def power_w(self, current_a: float) -> float:
        """Return the power at a current."""
        return max(0.0, (current_a - self.threshold_a) * self._watts_per_a)

    @property
    def _watts_per_a(self) -> float:
        return self.full_power_w / (self.full_current_a - self.threshold_a)


class DlcProBeam(Beam):
    """A laser as a beam: seed on before amplifier, amplifier off before seed, as an amplifier without seed is damaged.

    The emission button stays a person's: with it out, the key locked or the interlock open, `on` is refused. The
    controller's own `current-clip`, which only a person at the controller sets, must agree with the bench file's
    ceiling. No phase; step that with an acousto-optic modulator.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Ceiling and what the beam can do.
        hardware: See `DlcProHardware`.

    Raises:
        ConfigError: The hardware entry is not valid, or the settings ask for what the laser cannot do.
    """

    def __init__(self, name: str, clock: Clock, settings: BeamSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        self._laser = laser = read_hardware(DlcProHardware, name, hardware)
        if laser.full_current_a <= laser.threshold_a:
            currents = f"full_current {laser.full_current_a:g} A is not above threshold {laser.threshold_a:g} A"
            raise ConfigError(f"{name}: hardware: {currents}")
        if settings.has_phase:
            cure = "set has_phase: false, and step it with an acousto-optic modulator"
            raise ConfigError(f"{name}: a DLC pro steps no phase; {cure}")
        if settings.max_detuning_hz > 0 and laser.piezo is None:
            cure = "set it to 0 Hz, or give `piezo: {zero: ..., per_volt: ...}` under hardware"
            raise ConfigError(f"{name}: max_detuning {settings.max_detuning_hz:g} Hz needs a calibrated piezo; {cure}")
        if laser.piezo is not None and laser.piezo.per_volt_hz == 0:
            raise ConfigError(f"{name}: hardware: a piezo with per_volt 0 Hz detunes nothing; leave it out")
        self._line = SerialLine(name, clock, laser, _DLC_PRO)
        self._gain = f"laser{laser.laser}:{'amp' if laser.amplifier else 'dl'}:cc"
        self._diode = f"laser{laser.laser}:dl:cc"
        self._pc = f"laser{laser.laser}:dl:pc"

    def _do_open(self) -> None:
        self._line.open()
        try:
            self._darken()  # first, as all else may fail
            self._require_the_same_ceiling()
            self._require_piezo_range()
            self._do_set_power(self.settings.power_w)
            self._do_set_detuning(0.0)
        except BaseException:
            self._line.close()
            raise

    def _require_the_same_ceiling(self) -> None:
        ceiling_w, clip_a = self.settings.max_power_w, self._number(f"{self._gain}:current-clip") / 1e3
        lets_w = self._laser.power_w(clip_a)
        if abs(lets_w - ceiling_w) > _AGREES * ceiling_w:
            needed_a = self._laser.current_a(ceiling_w)
            raise LimitError(
                self.name,
                f"the controller's current-clip of {clip_a:g} A lets {lets_w:g} W through, max_power is {ceiling_w:g} "
                f"W; set the clip to {needed_a:g} A at the controller, or correct max_power",
            )

    def _require_piezo_range(self) -> None:
        limit_hz, piezo = self.settings.max_detuning_hz, self._laser.piezo
        if piezo is None:
            return
        low_v, high_v = (self._number(f"{self._pc}:voltage-{end}") for end in ("min", "max"))
        asked = sorted(piezo.voltage_v(detuning_hz) for detuning_hz in (-limit_hz, limit_hz))
        if not low_v <= asked[0] <= asked[1] <= high_v:
            reason = f"max_detuning {limit_hz:g} Hz takes {asked[0]:g} to {asked[1]:g} V on the piezo"
            raise LimitError(self.name, f"{reason}, allowed is {low_v:g} to {high_v:g} V; lower max_detuning")

    def _do_close(self) -> None:
        self._line.close()

    def _do_state(self) -> dict[str, Any]:
        currents = {"seed": self._diode, "amplifier": self._gain} if self._laser.amplifier else {"diode": self._diode}
        return {
            "on": self._do_is_on(),
            "power_w": self._do_power_w(),
            "detuning_hz": self._do_detuning_hz(),
            "current_a": {name: self._number(f"{path}:current-act") / 1e3 for name, path in currents.items()},
            "emission_button": self._flag("emission-button-enabled"),
            "interlock_open": self._flag("interlock-open"),
            "key_locked": self._flag("frontkey-locked"),
        }

    def _do_is_on(self) -> bool:
        return self._flag(f"{self._gain}:emission") or self._flag(f"{self._diode}:emission")

    def _do_power_w(self) -> float:
        return self._laser.power_w(self._number(f"{self._gain}:current-set") / 1e3)

    def _do_phase_rad(self) -> float:
        return 0.0

    def _do_detuning_hz(self) -> float:
        piezo = self._laser.piezo
        return 0.0 if piezo is None else (self._number(f"{self._pc}:voltage-set") - piezo.zero_v) * piezo.per_volt_hz

    def _do_switch(self, on: bool) -> None:
        if not on:
            self._darken()
            return
        self._require_permission()
        try:
            self._light()
        except BaseException:
            self._darken()
            raise

    def _do_set_power(self, power_w: float) -> None:
        asked_ma = 1e3 * self._laser.current_a(power_w)
        self._order(f"{self._gain}:current-set", f"{asked_ma:.3f}")
        kept_ma = self._number(f"{self._gain}:current-set")
        if abs(kept_ma - asked_ma) > max(0.5, 2e-3 * asked_ma):
            reason = f"{asked_ma:g} mA was asked for, the controller keeps {kept_ma:g} mA"
            raise DeviceError(self.name, f"{reason}; check its current-clip and the user level it allows")

    def _do_set_phase(self, phase_rad: float) -> None:
        raise NotImplementedError  # has_phase is refused above

    def _do_load_phases(self, phases_rad: Sequence[float]) -> None:
        """Nothing to forget: no phases are ever loaded."""

    def _do_set_detuning(self, detuning_hz: float) -> None:
        if self._laser.piezo is not None:
            self._order(f"{self._pc}:voltage-set", f"{self._laser.piezo.voltage_v(detuning_hz):.4f}")

    # ---- light

    def _require_permission(self) -> None:
        """Refuse what the controller would not let emit, before the order."""
        refusals = {
            "interlock-open": (True, "its interlock is open; close the doors and the interlock's loop"),
            "frontkey-locked": (True, "its key is locked; turn the key"),
            "emission-button-enabled": (False, "its emission button is off; press the button at the controller"),
        }
        for flag, (refusing, reason) in refusals.items():
            if self._flag(flag) == refusing:
                raise StateError(self.name, f"does not switch on, {reason}")

    def _light(self) -> None:
        if self._laser.amplifier:
            self._switch(self._diode, True)
            self._require_seed()
        self._switch(self._gain, True)

    def _darken(self) -> None:
        """Switch off, amplifier first; one that does not go off keeps its seed, as it shines without one too."""
        self._switch(self._gain, False)
        if self._laser.amplifier:
            self._switch(self._diode, False)

    def _require_seed(self) -> None:
        if self._laser.seed_power_w is None:
            return
        seen_w = self._number(f"laser{self._laser.laser}:amp:pd:seed:power") / 1e3
        if seen_w < self._laser.seed_power_w:
            reason = f"its amplifier gets {seen_w:g} W of seed, at least {self._laser.seed_power_w:g} W is needed"
            raise StateError(self.name, f"does not switch on, {reason}; check the seed's current and alignment")

    def _switch(self, current: str, on: bool) -> None:
        """Switch a current and wait until it flows, or does not."""
        self._order(f"{current}:enabled", "#t" if on else "#f")
        end = self.clock.now_s() + _EMISSION_S
        while self._flag(f"{current}:emission") != on:
            if self.clock.now_s() > end:
                reason = f"'{current}:enabled {'#t' if on else '#f'}' was obeyed, {current}:emission stays otherwise"
                raise StateError(self.name, f"{reason} for {_EMISSION_S:g} s; look at the controller's messages")
            self.clock.wait(_POLL_S)

    # ---- protocol

    def _flag(self, parameter: str) -> bool:
        return self._answer(f"(param-ref '{parameter})", "#[tf]") == "#t"

    def _number(self, parameter: str) -> float:
        return float(self._answer(f"(param-ref '{parameter})", _NUMBER))

    def _order(self, parameter: str, value: str) -> None:
        command = f"(param-set! '{parameter} {value})"
        if (status := self._answer(command, _NUMBER)).startswith("-"):  # a positive one is a remark
            self._refuse(command, f"status {status}")

    def _answer(self, command: str, answer: str) -> str:
        """Return the answer, which an echo of the command or other output may precede on lines of their own."""
        match = self._line.ask(command, rf"(?s)(?:.*\n)?(?:({answer})|([Ee]rror.*?))\s*>")
        if match[2]:
            self._refuse(command, match[2])
        return match[1]

    def _refuse(self, command: str, reason: str) -> NoReturn:
        cure = "correct the bench file, or check what the controller has and which user level it asks for"
        raise DeviceError(self.name, f"refused '{command}': {reason}; {cure}")
