"""Micromirror devices on a ViALUX ALP board, through ALP4lib and the vendor's library.

dmd_input:
  kind: dmd
  driver: drivers.vialux_dmd.VialuxDMD
  hardware: {serial: "12345", version: "4.3"}
"""

import contextlib
import ctypes
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from labctl.clock import Clock
from labctl.devices import DMD, DMDSettings, Hardware, Sequence, Trigger, read_hardware
from labctl.errors import ConfigError, ConnectError, DeviceError, DriverMissing, LimitError

if TYPE_CHECKING:
    from ALP4 import ALP4

ROW_BYTES = {1024: 128, 1920: 256}
"""Bytes of one row of packed mirrors in the board's memory, by mirrors in a row (the vendor's alp.h)."""

CHUNK = 16
"""Frames that are sent in one call, so that a stop is noticed in between."""

MICROSECONDS = 1e6
POLL_S = 0.001

# Of alp.h, and not in ALP4lib 1.1.
ALP_PROJ_ACTIVE = 1200


class _FrameTable(ctypes.Structure):
    """The vendor's tFlutWrite. ALP4lib 1.1 declares it with `long`, which on Linux is twice as wide as in alp.h."""

    _fields_ = (
        ("offset", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("frames", ctypes.c_uint32 * 4096),
    )


class VialuxHardware(Hardware):
    """What a board is told; `serial` chooses among several.

    Args:
        version: Version of the ALP library that is installed.
        folder: Folder it is in, where ALP4lib does not find it.
        edge: Which edge of a pulse on the trigger input steps the frames.
        row_bytes: Bytes of one row in the board's memory, for panels that are not 1024 or 1920 mirrors wide.
    """

    version: Literal["4.1", "4.2", "4.3", "4.4", "5.0", "5.1"] = "4.3"
    folder: str | None = None
    edge: Literal["rising", "falling"] = "rising"
    row_bytes: int | None = None


class VialuxDMD(DMD):
    """A board whose frames stay up until the next one: binary mode without a dark phase.

    The order of play goes into the board's frame look-up table. An order that is longer than the table plays in parts,
    with a short gap between them, when the board steps by itself. One frame of memory is kept for `show`.

    Args:
        name: Name in the bench file.
        clock: Bench time.
        settings: Mirror geometry and board limits.
        hardware: See `VialuxHardware`.

    Raises:
        ConfigError: `hardware` is not as it should be.
    """

    def __init__(self, name: str, clock: Clock, settings: DMDSettings, hardware: Mapping[str, Any]) -> None:
        super().__init__(name, clock, settings)
        self.hardware = read_hardware(VialuxHardware, name, hardware)
        if self.hardware.serial is not None and not self.hardware.serial.isdigit():
            raise ConfigError(f"{name}: hardware: serial '{self.hardware.serial}' is not a number, as ALP boards have")
        row_bytes = self.hardware.row_bytes or ROW_BYTES.get(self.shape[1])
        if row_bytes is None or 8 * row_bytes < self.shape[1]:
            widths = ", ".join(map(str, ROW_BYTES))
            cure = f"known for {widths} mirrors; give `row_bytes` from the vendor's alp.h"
            raise ConfigError(f"{name}: hardware: bytes of a row of {self.shape[1]} mirrors: {cure}")
        self._row_bytes = row_bytes
        self._trigger: Trigger = "internal"
        self._ids: dict[int, ctypes.c_long] = {}
        self._playing: int | None = None

    # ---- open and close

    def _do_open(self) -> None:
        self._alp = alp = self._connect()
        try:
            self._set_up()
        except BaseException:
            alp.Halt()
            alp.Free()
            raise

    def _connect(self) -> "ALP4":
        """Return the board, allocated to this process."""
        try:
            import ALP4 as alp4  # noqa: N811  the package is named as its class
        except ImportError as error:
            raise DriverMissing(self.name, "ALP4lib is not installed; pip install 'labctl[hardware]'") from error
        self._alp4 = alp4
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
            try:
                alp = alp4.ALP4(self.hardware.version, self.hardware.folder)
            except (OSError, ValueError) as error:
                cure = "install ViALUX's ALP software, or name its folder in `hardware: folder`"
                reason = f"the ALP-{self.hardware.version} library cannot be loaded: {error}"
                raise DriverMissing(self.name, f"{reason}; {cure}") from error
            try:
                alp.Initialize(int(self.hardware.serial) if self.hardware.serial else None)
            except alp4.ALPError as error:
                which = f"board {self.hardware.serial}" if self.hardware.serial else "the first board found"
                cure = "check its power, cable and serial number, and close other programs that use it"
                raise ConnectError(self.name, f"{which} does not open: {error}; {cure}") from error
        return alp

    def _set_up(self) -> None:
        alp, alp4 = self._alp, self._alp4
        memory = alp.DevInquire(alp4.ALP_AVAIL_MEMORY)
        self._ids, self._trigger = {}, "internal"
        self._require((alp.nSizeY, alp.nSizeX) == self.shape, f"has {alp.nSizeY} x {alp.nSizeX} mirrors", "shape")
        self._require(
            memory > self.settings.max_frames, f"holds {memory} frames, of which `show` needs one", "max_frames"
        )
        self._still = self._allocate(1)
        shortest_s = alp.SeqInquire(alp4.ALP_MIN_PICTURE_TIME, self._still) / MICROSECONDS
        self._require(
            shortest_s <= self.settings.min_picture_s, f"shows a frame for {shortest_s:g} s at least", "min_picture"
        )
        alp.DevControl(
            alp4.ALP_TRIGGER_EDGE,
            alp4.ALP_EDGE_RISING if self.hardware.edge == "rising" else alp4.ALP_EDGE_FALLING,
        )
        self._table_size = min(self._projection(alp4.ALP_FLUT_MAX_ENTRIES9) // 2, 4096)
        self._do_halt()

    def _require(self, holds: bool, board: str, key: str) -> None:
        if not holds:
            raise DeviceError(self.name, f"the board {board}; correct `{key}` in the bench file")

    def _do_close(self) -> None:
        self._alp.Halt()
        self._alp.Free()
        self._ids = {}

    def _do_state(self) -> dict[str, Any]:
        return {
            "serial": self._alp.DevInquire(self._alp4.ALP_DEVICE_NUMBER),
            "free_frames": self._alp.DevInquire(self._alp4.ALP_AVAIL_MEMORY),
            "trigger": self._trigger,
            "sequences": len(self._ids),
        }

    # ---- memory

    def _allocate(self, frames: int) -> ctypes.c_long:
        """Return the id of memory for `frames` frames, shown without a dark phase and written one bit per mirror."""
        alp, alp4 = self._alp, self._alp4
        memory = alp.SeqAlloc(frames, 1)
        alp.SeqControl(alp4.ALP_BITNUM, 1, memory)
        alp.SeqControl(alp4.ALP_BIN_MODE, alp4.ALP_BIN_UNINTERRUPTED, memory)
        alp.SeqControl(alp4.ALP_DATA_FORMAT, alp4.ALP_DATA_BINARY_TOPDOWN, memory)
        return memory

    def _put(self, memory: ctypes.c_long, frames: NDArray[np.uint8]) -> None:
        padding = self._row_bytes - frames.shape[2]
        for first in range(0, len(frames), CHUNK):
            chunk = np.pad(frames[first : first + CHUNK], ((0, 0), (0, 0), (0, padding)))
            self._alp.SeqPut(chunk, memory, first, len(chunk))
            self.clock.wait(0.0)

    def _do_load(self, sequence: Sequence, frames: NDArray[np.uint8]) -> None:
        memory = self._allocate(len(frames))
        try:
            self._put(memory, frames)
        except BaseException:
            self._alp.FreeSeq(memory)
            raise
        self._ids[sequence.id] = memory

    def _do_free(self, sequence: Sequence) -> None:
        if self._projection(self._alp4.ALP_PROJ_STATE) == ALP_PROJ_ACTIVE and self._playing == sequence.id:
            self._do_halt()  # ALP4lib only prints that a sequence is in use, and goes on
        self._alp.FreeSeq(self._ids.pop(sequence.id))

    # ---- light

    def _do_show(self, frame: NDArray[np.uint8]) -> None:
        self._alp.Halt()
        self._alp.ProjControl(self._alp4.ALP_PROJ_MODE, self._alp4.ALP_MASTER)
        self._put(self._still, frame[None])
        self._playing = None
        self._alp.Run(self._still, loop=True)

    def _do_halt(self) -> None:
        self._do_show(np.zeros((self.shape[0], -(-self.shape[1] // 8)), np.uint8))

    def _do_set_timing(self, picture_s: float) -> None:
        """Nothing to do yet: the board takes the time with the sequence that is played."""

    def _do_set_trigger(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def _do_play(self, sequence: Sequence, order: NDArray[np.integer]) -> None:
        external = self._trigger == "external"
        if external and len(order) > self._table_size:
            raise LimitError(
                self.name,
                f"{len(order)} triggered steps were asked for, the board's table holds {self._table_size}; play fewer",
            )
        picture_s = self.settings.min_picture_s if external else self._picture_s
        mode = self._alp4.ALP_SLAVE if external else self._alp4.ALP_MASTER
        self._alp.Halt()
        self._alp.ProjControl(self._alp4.ALP_PROJ_MODE, mode)
        self._playing = sequence.id
        for first in range(0, len(order), self._table_size):
            steps = order[first : first + self._table_size]
            self._start(self._ids[sequence.id], steps, picture_s)
            if not external:
                self.clock.wait(len(steps) * picture_s)
                while self._projection(self._alp4.ALP_PROJ_STATE) == ALP_PROJ_ACTIVE:
                    self.clock.wait(POLL_S)

    def _start(self, memory: ctypes.c_long, steps: NDArray[np.integer], picture_s: float) -> None:
        """Show frames `steps` of a sequence, each for `picture_s` or at one trigger pulse."""
        alp, alp4 = self._alp, self._alp4
        table = _FrameTable(0, len(steps), (ctypes.c_uint32 * 4096)(*steps.tolist()))
        alp.ProjControlEx(alp4.ALP_FLUT_WRITE_18BIT, ctypes.byref(table))
        alp.SeqControl(alp4.ALP_FLUT_MODE, alp4.ALP_FLUT_18BIT, memory)
        alp.SeqControl(alp4.ALP_FLUT_ENTRIES9, 2 * len(steps), memory)  # counted in entries of 9 bit
        alp.SetTiming(memory, pictureTime=round(picture_s * MICROSECONDS))
        alp.Run(memory, loop=False)

    def _projection(self, what: int) -> int:
        """Return what the board says of `what`; ALP4lib 1.1's ProjInquire passes the library an argument too many."""
        value = ctypes.c_long(0)
        library = self._alp._ALPLib  # noqa: SLF001
        code = library.AlpProjInquire(self._alp.ALP_ID, what, ctypes.byref(value))
        if code:
            raise self._alp4.ALPError(code)
        return value.value
