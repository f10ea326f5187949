"""A serial port or TCP socket to one instrument: a command out, its own answer in, never that to another command."""

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field

from labctl.clock import Clock
from labctl.devices import Hardware
from labctl.errors import ConnectError, DeviceError, DeviceTimeout, DriverMissing
from labctl.units import Seconds

logger = logging.getLogger(__name__)

_SLICE_S = 0.05
"""Longest uninterrupted read, after which the bench's clock is waited on, so that a stop is noticed."""

_WRITE_S = 0.2
"""Longest a command may take to leave: no hook blocks for longer."""

_MOST_BYTES = 4096
"""More than any answer has."""

_QUIET_S = 0.05
"""A line on which nothing came for so long is quiet: 48 characters at 9600 baud."""


class SerialHardware(Hardware):
    """What a bench file says under `hardware:` of a device on a serial line.

    Args:
        url: Port name (`COM3`, `/dev/ttyUSB0`) or pyserial URL: `socket://192.168.1.10:50000` for TCP.
        baud: Speed of a serial port; the instrument's usual one by default.
        timeout_s: Longest one answer may take.
        serial: Serial number; where the instrument tells its own, both must agree.
    """

    url: str
    baud: int | None = Field(default=None, gt=0)
    timeout_s: Seconds = 1.0


T = TypeVar("T")


@dataclass(frozen=True)
class Dialect:
    """How one kind of instrument talks.

    Args:
        send_end: What ends a command.
        reply_end: What ends a reply, found anywhere in what came.
        query: A harmless query, sent when the line is opened and to find back into step.
        reply: What its answer, stripped, looks like, and no other answer.
        baud: Usual speed.
        tells_serial: Whether that answer contains the instrument's serial number.
    """

    send_end: bytes
    reply_end: re.Pattern[bytes]
    query: str
    reply: re.Pattern[str]
    baud: int = 115200
    tells_serial: bool = False


_OPEN: "weakref.WeakSet[SerialLine]" = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Close the ports in a forked process: one that lives on would keep the watchdog out when its parent has died."""
    for line in _OPEN:
        line.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


class SerialLine:
    """The line of one device, opened by nobody else.

    After a missing, late or unreadable answer the line is out of step: before the next command all that still comes is
    thrown away, up to the answer to the dialect's harmless query. A lost connection stays lost until the device is
    closed and opened again. Opening a TCP address where nothing is may block for 5 s, closing one blocks for 0.3 s:
    pyserial's own constants.

    Args:
        device: Name of the device that speaks, for messages; another where several share the line.
        clock: Bench time, waited on (for no time) while an answer is awaited.
        hardware: Which port.
        dialect: How its instrument talks.
    """

    def __init__(self, device: str, clock: Clock, hardware: SerialHardware, dialect: Dialect) -> None:
        self.device, self._clock, self._hardware, self._dialect = device, clock, hardware, dialect
        self._port: Any = None
        self._received = b""
        self._in_step = False
        self.busy = False
        """Whether an answer is awaited; whoever is called by the clock meanwhile must not speak."""

    def open(self) -> str:
        """Open the port and return the instrument's answer to the dialect's query.

        Raises:
            DriverMissing: pyserial is not installed.
            ConnectError: No such port, another program has it, or no such instrument answers.
        """
        try:
            import serial
        except ImportError as error:
            raise DriverMissing(self.device, "needs pyserial; pip install 'labctl[hardware]'") from error
        url, baud = self._hardware.url, self._hardware.baud or self._dialect.baud
        settings = {"baudrate": baud, "timeout": _SLICE_S, "write_timeout": _WRITE_S, "exclusive": True}
        port = None
        try:
            port = serial.serial_for_url(url, do_not_open=True, **settings)
            port.open()
        except (OSError, ValueError) as error:  # pyserial's own error is an OSError
            cure = "check its power, cable and port name, and that no other program has it open"
            if port is not None:
                _close(self.device, port)  # one that is refused in the middle of it
            raise ConnectError(self.device, f"cannot open {url}: {error}; {cure}") from error
        self._port = port
        _OPEN.add(self)
        self._received, self._in_step = b"", False
        try:
            with self._speaking():
                return self._find_step(self._deadline())
        except BaseException as error:
            self.close()
            if not isinstance(error, DeviceError):  # a stop or Ctrl-C
                raise
            cure = "check that it is the instrument the bench file says, and that no other program has it open"
            raise ConnectError(self.device, f"no answer as expected on {url} ({error}); {cure}") from error

    @property
    def is_open(self) -> bool:
        """Whether the port is open; one whose connection was lost is not."""
        return self._port is not None

    def close(self) -> None:
        """Close the port; closing twice does nothing."""
        port, self._port = self._port, None
        if port is not None:
            _close(self.device, port)

    def let_go(self) -> None:
        """Close this process's share of the port and leave the instrument alone, whose line another process has."""
        port, self._port = self._port, None
        if port is None:
            return
        port.is_open = False  # what pyserial would do to close it would be done to the other process's as well
        if (connection := getattr(port, "_socket", None)) is not None:
            connection.close()
        elif getattr(port, "fd", None) is not None:
            os.close(port.fd)

    def tell(self, command: str) -> None:
        """Send a command that has no answer.

        Raises:
            ConnectError: The connection is lost.
            DeviceTimeout: The instrument does not find back into step.
        """
        with self._speaking():
            self._find_step_for(command, self._deadline())
            self._in_step = False  # until all of it is sent
            self._write(command)
            self._in_step = True

    def ask(self, command: str, answer: str = r"(?s).*") -> re.Match[str]:
        """Return the match of the pattern `answer` with the whole answer to `command`, stripped.

        Raises:
            ConnectError: The connection is lost.
            DeviceTimeout: No whole answer in time.
            DeviceError: The answer is not one to this command.
        """
        deadline = self._deadline()
        with self._speaking():
            self._find_step_for(command, deadline)
            self._in_step = False
            self._write(command)
            reply = self._reply(command, deadline)
        match = re.fullmatch(answer, reply)
        if match is None:
            cure = "check the cable, the baud rate and that it is the instrument the bench file says"
            raise DeviceError(self.device, f"answered {reply!r} to '{command}', which is no answer to it; {cure}")
        self._in_step = True
        return match

    def _deadline(self) -> float:
        # the wire is real whatever the bench's clock is, so its time is the machine's
        return time.monotonic() + self._hardware.timeout_s

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def _find_step_for(self, command: str, deadline: float) -> None:
        """Find back into step where the line is not, or where something came that nobody asked for."""
        self._received += self._arrived(command)
        if self._received:
            logger.warning("%s: %r came unasked before '%s'", self.device, self._received[:80], command)
        if self._in_step and not self._received:
            return
        try:
            self._find_step(deadline)
        except DeviceTimeout as error:
            missing = f"an earlier answer is missing and so is that to '{self._dialect.query}'"
            cure = "check its power and cable, then ask again"
            raise DeviceTimeout(self.device, f"'{command}' was not sent, {missing}; {cure}") from error

    def _find_step(self, deadline: float) -> str:
        """Return the answer to the dialect's query once all that came before it is thrown away."""
        query = self._dialect.query
        self._throw_away(deadline)
        self._write(query)
        while not self._dialect.reply.fullmatch(reply := self._reply(query, deadline)):
            logger.warning("%s: threw away %r", self.device, reply[:80])
        self._throw_away(deadline)  # an earlier such query may be answered, too
        serial = self._hardware.serial
        if serial and self._dialect.tells_serial and serial not in reply:
            raise DeviceError(self.device, f"is said to have serial number {serial}, found is '{reply}'")
        self._in_step = True
        return reply

    def _throw_away(self, deadline: float) -> None:
        """Read until the line is quiet."""
        self._received = b""
        quiet_from = time.monotonic()
        while time.monotonic() < min(quiet_from + _QUIET_S, deadline):
            if self._read(self._dialect.query):
                quiet_from = time.monotonic()

    def _reply(self, command: str, deadline: float) -> str:
        late = False
        while not (end := self._dialect.reply_end.search(self._received)):
            if late:
                came = f" only {self._received[:80]!r} came" if self._received else " nothing came"
                raise DeviceTimeout(
                    self.device,
                    f"gave no whole answer to '{command}' within {self._hardware.timeout_s:g} s,{came}; "
                    "check its power and cable, then ask again",
                )
            late = time.monotonic() > deadline  # what came while this process was held up is not late
            self._received += self._arrived(command) if late else self._read(command)
        reply, self._received = self._received[: end.end()], self._received[end.end() :]
        return reply.decode("ascii", "replace").strip()

    def _read(self, command: str) -> bytes:
        """Return what came within a slice, as soon as something does."""
        received = self._guarded(command, lambda port: port.read(max(port.in_waiting, 1)))
        self._clock.wait(0.0)
        return received

    def _arrived(self, command: str) -> bytes:
        """Return what is there already, up to `_MOST_BYTES`."""
        arrived = b""
        # of a socket pyserial tells only that there is something, so it comes byte by byte
        while len(arrived) < _MOST_BYTES and (waiting := self._guarded(command, lambda port: port.in_waiting)):
            arrived += self._guarded(command, lambda port, n=waiting: port.read(n))
        return arrived

    def _write(self, command: str) -> None:
        data = command.encode("ascii") + self._dialect.send_end
        self._guarded(command, lambda port: port.write(data))

    def _guarded(self, command: str, action: Callable[[Any], T]) -> T:
        """Return what `action` returns for the port; a port that fails is closed and stays so."""
        cure = "check its power and cable, then close and open it again"
        if self._port is None:
            raise ConnectError(self.device, f"'{command}' was not sent, its connection is lost; {cure}")
        try:
            return action(self._port)
        except OSError as error:
            lost, self._port = self._port, None
            # aside, because pyserial may take its time and other devices, shutters above all, wait for their turn
            threading.Thread(
                target=_close, args=(self.device, lost), name=f"closing {self.device}", daemon=True
            ).start()
            raise ConnectError(self.device, f"lost its connection in '{command}' ({error}); {cure}") from error


def _close(device: str, port: Any) -> None:
    connection = getattr(port, "_socket", None)  # of a TCP port; pyserial 3.5 leaves it open where the peer hung up
    try:
        port.close()
    except OSError as error:  # an unplugged port is gone as well
        logger.warning("%s: its port did not close: %s", device, error)
    finally:
        if connection is not None:
            connection.close()
