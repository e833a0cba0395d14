# SPDX-License-Identifier: Apache-2.0
"""The simulated board: a board's whole logic in native code, its serial line driven and read bit by bit.

::

    board = SimulatedBoard(to_verilog(BoardCore(...)), clock_hz=48_000_000, baud=3_000_000)
    board.send(b"...")
    board.run(100_000)
    print(board.receive())

:mod:`sim.board.terminal` puts it behind a pseudo-terminal that any program can open as a serial port.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sim import verilate
from sim.native import Native, declare, open_library

__all__ = ["LINE_ERROR", "SimulatedBoard"]

LINE_ERROR = 0x100
"""Added to a byte that is sent: its stop bit is low."""

_RESET_CYCLES = 4
_PORTS = {("clk", True), ("rst", True), ("rx", True), ("tx", False), ("leds", False)}


class _State(ctypes.Structure):
    """Mirrors ``struct State`` of ``harness.cpp``."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("cycle", "sending", "received", "active")),
        ("leds", ctypes.c_uint32),
    ]


class SimulatedBoard(Native):
    """One board, powered up and reset.

    Parameters
    ----------
    verilog : str
        With the ports of :class:`hw.link.board.BoardCore`. The build is cached by its hash.
    top : str
        Name of the top module.
    clock_hz, baud : int
        Those it was made for; together they say how many clock cycles a bit of the line lasts.
    building : callable
        Told, in a word, what the build is doing; not called when it is cached.

    Raises
    ------
    ValueError
        If the ports are others.
    sim.verilate.BuildFailed, sim.verilate.ToolMissing
        If it cannot be built.
    """

    def __init__(
        self,
        verilog: str,
        *,
        top: str = "top",
        clock_hz: int,
        baud: int,
        building: Callable[[str], None] | None = None,
    ):
        self._handle = None
        self.clock_hz, self.baud = clock_hz, baud
        found = {(port.name, port.is_input) for port in verilate.ports(verilog, top)}
        if found != _PORTS:
            raise ValueError(f"a board has the ports clk, rst, rx, tx and leds, and module {top!r} has others")
        here = Path(__file__).parent
        path = verilate.build(
            verilog,
            top=top,
            harness=(here / "harness.cpp").read_text(encoding="utf-8"),
            options=["--timescale", "1ns/1ns"],
            link=[f"-Wl,--version-script={here / 'exports.map'}"],
            shared=True,
            progress=building,
        )
        self._c = _load(path)
        self._handle = self._c.board_create(clock_hz / baud)
        self._state: _State = self._c.board_state(self._handle).contents
        self.reset()

    def close(self) -> None:
        """Switch it off."""
        if self._handle:
            self._c.board_destroy(self._handle)
            self._handle = None

    def reset(self) -> None:
        """Press the reset button: memories and the line keep what they hold."""
        self._c.board_reset(self._handle, _RESET_CYCLES)

    def send(self, data: bytes | list[int]) -> None:
        """Queue bytes for the line to the board; in a list, each may have LINE_ERROR added."""
        words = (ctypes.c_uint16 * len(data))(*data)
        self._c.board_send(self._handle, words, len(data))

    def drop(self) -> None:
        """Forget what is queued for the board and what has come from it; a byte under way goes on."""
        self._c.board_drop(self._handle)

    def run(self, cycles: int, *, until: int = 1 << 62) -> None:
        """Let clock cycles pass, fewer if ``until`` bytes have come from the board that were not received yet."""
        self._c.board_run(self._handle, cycles, until)

    def receive(self, count: int = 1 << 62) -> bytes:
        """The bytes that have come from the board, the first ``count`` of them."""
        count = min(count, self._state.received)
        data = (ctypes.c_uint8 * count)()
        self._c.board_take(self._handle, data, count)
        return bytes(data)

    @property
    def cycle(self) -> int:
        """Clock cycles since power-up."""
        return self._state.cycle

    @property
    def sending(self) -> int:
        """Bytes queued for the line to the board."""
        return self._state.sending

    @property
    def received(self) -> int:
        """Bytes from the board, not yet received."""
        return self._state.received

    @property
    def quiet(self) -> int:
        """Cycles since either line was last in use."""
        return self._state.cycle - self._state.active

    @property
    def leds(self) -> int:
        """The LEDs, see :data:`hw.link.board.LEDS`."""
        return self._state.leds


@cache
def _load(path: Path) -> ctypes.CDLL:
    buffer, size = ctypes.c_void_p, ctypes.c_uint64
    return declare(
        open_library(path),
        "board",
        {
            "create": (ctypes.c_void_p, [ctypes.c_double]),
            "destroy": (None, []),
            "state": (ctypes.POINTER(_State), []),
            "reset": (None, [size]),
            "send": (None, [buffer, size]),
            "drop": (None, []),
            "run": (None, [size, size]),
            "take": (None, [buffer, size]),
        },
    )
