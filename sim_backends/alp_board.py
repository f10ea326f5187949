"""A stand-in for ViALUX's ALP library and the board behind it, at the C functions that ALP4lib calls.

It keeps the rules that a driver can break: one owner, memory counted in binary frames, a shortest picture time,
settings that only an idle board takes, a sequence in use that is neither written nor freed, pulses ignored while a
picture is up. What happens to mirrors after the last frame, and that a start waits for none, is read from the vendor's
documentation [D], not from a board. Starting a sequence while another one plays is not modelled.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.clock import Clock

OK, NOT_IDLE, NOT_AVAILABLE, NOT_READY, PARM_INVALID, MEMORY_FULL, SEQ_IN_USE = 0, 1002, 1003, 1004, 1005, 1007, 1008

PROJ_ACTIVE, PROJ_IDLE = 1200, 1201
DEVICE_NUMBER, AVAIL_MEMORY, TRIGGER_EDGE, DMDTYPE, HEIGHT, WIDTH = 2000, 2003, 2005, 2021, 2057, 2058
EDGE_FALLING, EDGE_RISING = 2008, 2009
BITNUM, BIN_MODE, DATA_FORMAT, FLUT_MODE, FLUT_ENTRIES9 = 2103, 2104, 2110, 2118, 2120
BIN_UNINTERRUPTED, BINARY_TOPDOWN, FLUT_18BIT = 2106, 2, 2
PICTURE_TIME, MIN_PICTURE_TIME = 2203, 2211
PROJ_MODE, MASTER, SLAVE, FLUT_MAX_ENTRIES9, FLUT_WRITE_18BIT, PROJ_STATE = 2300, 2301, 2302, 2324, 2326, 2400

LONGEST_PICTURE_US = 10_000_000

_ID, _LONG, _OUT = ctypes.c_ulong, ctypes.c_long, ctypes.POINTER(ctypes.c_long)
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "AlpDevAlloc": (_LONG, _LONG, ctypes.POINTER(ctypes.c_ulong)),
    "AlpDevInquire": (_ID, _LONG, _OUT),
    "AlpDevControl": (_ID, _LONG, _LONG),
    "AlpDevHalt": (_ID,),
    "AlpDevFree": (_ID,),
    "AlpSeqAlloc": (_ID, _LONG, _LONG, _OUT),
    "AlpSeqControl": (_ID, _LONG, _LONG, _LONG),
    "AlpSeqInquire": (_ID, _LONG, _LONG, _OUT),
    "AlpSeqTiming": (_ID, _LONG, _LONG, _LONG, _LONG, _LONG, _LONG),
    "AlpSeqPut": (_ID, _LONG, _LONG, _LONG, ctypes.c_void_p),
    "AlpSeqFree": (_ID, _LONG),
    "AlpProjControl": (_ID, _LONG, _LONG),
    "AlpProjControlEx": (_ID, _LONG, ctypes.c_void_p),
    "AlpProjInquire": (_ID, _LONG, _OUT),
    "AlpProjStart": (_ID, _LONG),
    "AlpProjStartCont": (_ID, _LONG),
}
"""The functions ALP4lib calls, with the arguments of alp.h; all return a code."""


@dataclass
class _Memory:
    frames: NDArray[np.uint8]
    picture_us: int
    controls: dict[int, int] = field(default_factory=dict)


@dataclass
class _Play:
    sequence: int
    steps: list[int]
    picture_s: float
    looped: bool
    triggered: bool
    begun_s: list[float] = field(default_factory=list)


class AlpBoard:
    """One board on the bench's clock.

    Args:
        clock: Bench time.
        shape: Mirror rows and columns.
        row_bytes: Bytes of a packed row.
        memory: Frames it holds.
        min_picture_us: Shortest picture time in binary mode without a dark phase.
        table: Entries of its frame look-up table, counted in 9 bit.
        serial: Its number.
    """

    def __init__(
        self,
        clock: Clock,
        shape: tuple[int, int],
        row_bytes: int,
        memory: int = 1000,
        min_picture_us: int = 100,
        table: int = 4096,
        serial: int = 12345,
    ) -> None:
        self.clock, self.shape, self.row_bytes, self.memory = clock, shape, row_bytes, memory
        self.min_picture_us, self.table_size, self.serial = min_picture_us, table, serial
        self.owner = 0
        self.edge = EDGE_RISING
        self.shown: list[NDArray[np.bool_]] = []
        """Every frame that came up, rows x columns; its sync pulse goes with it."""
        self._handles = 0
        self._clear()

    def _clear(self) -> None:
        self._sequences: dict[int, _Memory] = {}
        self._table: list[int] = []
        self._mode = MASTER
        self._play: _Play | None = None

    # ---- what the table sees

    def load(self, _path: str = "") -> SimpleNamespace:
        """Return the vendor's functions, in place of what `ctypes.CDLL` loads."""
        return SimpleNamespace(**{
            name: ctypes.CFUNCTYPE(_LONG, *types)(self._function(name)) for name, types in _PROTOTYPES.items()
        })  # fmt: skip

    def mirrors(self) -> NDArray[np.bool_]:
        """Return which mirrors are on now, rows x columns."""
        self._advance()
        return self.shown[-1] if self.shown else np.zeros(self.shape, bool)

    @property
    def free_frames(self) -> int:
        """Frames the memory still takes."""
        return self.memory - sum(len(one.frames) for one in self._sequences.values())

    def pulse(self, edge: int = EDGE_RISING) -> bool:
        """Put a pulse on the trigger input and return whether it brought up a frame."""
        self._advance()
        play, now = self._play, self.clock.now_s()
        waits = play is not None and play.triggered and len(play.begun_s) < len(play.steps)
        if play is None or not waits or edge != self.edge:
            return False
        if play.begun_s and now < play.begun_s[-1] + play.picture_s:
            return False
        self._bring_up(play, now)
        return True

    def _bring_up(self, play: _Play, at_s: float) -> None:
        packed = self._sequences[play.sequence].frames[play.steps[len(play.begun_s) % len(play.steps)]]
        play.begun_s.append(at_s)
        self.shown.append(np.unpackbits(packed, axis=1)[:, : self.shape[1]].astype(bool))

    def _advance(self) -> None:
        """Bring up the frames that are due; end what is over."""
        play, now = self._play, self.clock.now_s()
        if play is None or play.looped:
            return
        while not play.triggered and len(play.begun_s) < len(play.steps):
            due_s = play.begun_s[-1] + play.picture_s
            if now < due_s:
                return
            self._bring_up(play, due_s)
        if len(play.begun_s) == len(play.steps) and now >= play.begun_s[-1] + play.picture_s:
            self._play = None

    # ---- the vendor's functions

    def _function(self, name: str) -> Callable[..., int]:
        """Return the method of a C function, which refuses a board that is not the caller's."""
        method = {
            "AlpDevAlloc": self._alloc,
            "AlpDevInquire": self._inquire,
            "AlpDevControl": self._control,
            "AlpDevHalt": self._halt,
            "AlpDevFree": self._free,
            "AlpSeqAlloc": self._seq_alloc,
            "AlpSeqControl": self._seq_control,
            "AlpSeqInquire": self._seq_inquire,
            "AlpSeqTiming": self._seq_timing,
            "AlpSeqPut": self._seq_put,
            "AlpSeqFree": self._seq_free,
            "AlpProjControl": self._proj_control,
            "AlpProjControlEx": self._proj_control_ex,
            "AlpProjInquire": self._proj_inquire,
            "AlpProjStart": lambda sequence: self._start(sequence, looped=False),
            "AlpProjStartCont": lambda sequence: self._start(sequence, looped=True),
        }[name]
        if name == "AlpDevAlloc":
            return method

        def checked(board: int, *values: Any) -> int:
            self._advance()
            return method(*values) if board == self.owner != 0 else NOT_AVAILABLE

        return checked

    def _alloc(self, number: int, _flags: int, board: Any) -> int:
        if number not in (0, self.serial):
            return 1001
        if self.owner:
            return NOT_READY
        self._handles += 1
        self.owner = board[0] = self._handles
        return OK

    def _inquire(self, what: int, value: Any) -> int:
        rows, columns = self.shape
        known = {DEVICE_NUMBER: self.serial, AVAIL_MEMORY: self.free_frames, DMDTYPE: 3, HEIGHT: rows, WIDTH: columns}
        return _answer(known, what, value)

    def _control(self, what: int, value: int) -> int:
        if what != TRIGGER_EDGE or value not in (EDGE_RISING, EDGE_FALLING):
            return PARM_INVALID
        self.edge = value
        return OK

    def _halt(self) -> int:
        self._play = None
        return OK

    def _free(self) -> int:
        if self._play is not None:
            return NOT_IDLE
        self.owner = 0
        self._clear()
        return OK

    def _seq_alloc(self, bits: int, frames: int, sequence: Any) -> int:
        if bits != 1 or frames < 1:
            return PARM_INVALID
        if frames > self.free_frames:
            return MEMORY_FULL
        self._handles += 1
        empty = np.zeros((frames, self.shape[0], self.row_bytes), np.uint8)
        self._sequences[self._handles] = _Memory(empty, 33_334)
        sequence[0] = self._handles
        return OK

    def _fault(self, sequence: int) -> int:
        if sequence not in self._sequences:
            return PARM_INVALID
        return SEQ_IN_USE if self._play is not None and self._play.sequence == sequence else OK

    def _seq_control(self, sequence: int, what: int, value: int) -> int:
        fault = self._fault(sequence)
        if not fault and what not in (BITNUM, BIN_MODE, DATA_FORMAT, FLUT_MODE, FLUT_ENTRIES9):
            return PARM_INVALID
        if not fault:
            self._sequences[sequence].controls[what] = value
        return fault

    def _seq_inquire(self, sequence: int, what: int, value: Any) -> int:
        if sequence not in self._sequences:
            return PARM_INVALID
        known = {PICTURE_TIME: self._sequences[sequence].picture_us, MIN_PICTURE_TIME: self._shortest_us(sequence)}
        return _answer(known, what, value)

    def _shortest_us(self, sequence: int) -> int:
        """Return the shortest picture time: a dark phase makes it longer."""
        dark = self._sequences[sequence].controls.get(BIN_MODE) != BIN_UNINTERRUPTED
        return self.min_picture_us * (2 if dark else 1)

    def _seq_timing(self, sequence: int, _illuminate: int, picture_us: int, *_sync: int) -> int:
        fault = self._fault(sequence)
        if not fault and not self._shortest_us(sequence) <= picture_us <= LONGEST_PICTURE_US:
            return PARM_INVALID
        if not fault:
            self._sequences[sequence].picture_us = picture_us
        return fault

    def _seq_put(self, sequence: int, first: int, count: int, data: int) -> int:
        fault = self._fault(sequence)
        if fault:
            return fault
        memory = self._sequences[sequence]
        count = count or len(memory.frames) - first
        packed = memory.controls.get(DATA_FORMAT) == BINARY_TOPDOWN
        if not packed or first < 0 or count < 1 or first + count > len(memory.frames):
            return PARM_INVALID
        chunk = memory.frames[first : first + count]
        chunk[:] = np.frombuffer(ctypes.string_at(data, chunk.nbytes), np.uint8).reshape(chunk.shape)
        return OK

    def _seq_free(self, sequence: int) -> int:
        fault = self._fault(sequence)
        if not fault:
            del self._sequences[sequence]
        return fault

    def _proj_control(self, what: int, value: int) -> int:
        if self._play is not None:
            return NOT_IDLE
        if what != PROJ_MODE or value not in (MASTER, SLAVE):
            return PARM_INVALID
        self._mode = value
        return OK

    def _proj_control_ex(self, what: int, data: int) -> int:
        if self._play is not None:
            return NOT_IDLE
        first, count = np.frombuffer(ctypes.string_at(data, 8), np.int32).tolist()
        if what != FLUT_WRITE_18BIT or first != 0 or not 1 <= count <= self.table_size // 2:
            return PARM_INVALID
        self._table = np.frombuffer(ctypes.string_at(data + 8, 4 * count), np.uint32).tolist()
        return OK

    def _proj_inquire(self, what: int, value: Any) -> int:
        state = PROJ_IDLE if self._play is None else PROJ_ACTIVE
        return _answer({PROJ_STATE: state, FLUT_MAX_ENTRIES9: self.table_size}, what, value)

    def _start(self, sequence: int, looped: bool) -> int:
        fault = self._fault(sequence)
        if fault:
            return fault
        if self._play is not None:
            return PARM_INVALID
        memory = self._sequences[sequence]
        listed = memory.controls.get(FLUT_MODE) == FLUT_18BIT
        steps = self._table[: memory.controls[FLUT_ENTRIES9] // 2] if listed else list(range(len(memory.frames)))
        if not steps or max(steps) >= len(memory.frames):
            return PARM_INVALID
        self._play = _Play(sequence, steps, memory.picture_us / 1e6, looped, self._mode == SLAVE)
        if self._mode == MASTER:
            self._bring_up(self._play, self.clock.now_s())
        return OK


def _answer(known: dict[int, int], what: int, value: Any) -> int:
    if what not in known:
        return PARM_INVALID
    value[0] = known[what]
    return OK
