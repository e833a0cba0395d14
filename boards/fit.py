# SPDX-License-Identifier: Apache-2.0
"""What fits where: estimates of board tops against parts, in a moment and without any tool."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from boards.board import Board
from gen.errors import InputError
from gen.fpga.estimate import Room, estimate, rooms
from gen.fpga.synth import Cells
from gen.program.compiler import memory_usage
from gen.program.support import check_model
from hw.config import PRESETS, CoreConfig
from sim.qmodel import QuantModel

__all__ = ["HOST_CELLS", "HOST_CELLS_DENSE", "check_fit", "choose_preset", "fitting_presets", "needs"]

HOST_CELLS = Cells(lut4=1550, carry=360, ff=2200, block_ram=6)
"""Registers and host link, beside the core: measured on netlists (Yosys 0.68), whatever the core."""

HOST_CELLS_DENSE = Cells(lut4=2320, carry=360, ff=2200, block_ram=2, lut_ram=256)
"""The same for dense configurations, with buffers in LUT RAM."""


@cache
def needs(config: CoreConfig, board: Board) -> tuple[Room, ...]:
    """Estimate of a whole board top against the board's part, resource by resource."""
    host = HOST_CELLS_DENSE if config.dense else HOST_CELLS
    return tuple(rooms(estimate(config) + host, board.part))


def fitting_presets(board: Board, model: QuantModel | None = None) -> Iterator[str]:
    """Presets whose estimate fits the board and that hold the model, most multiply-accumulates first."""
    for name, config in sorted(PRESETS.items(), key=lambda item: -item[1].macs):
        if all(room.fits for room in needs(config, board)) and (model is None or not _obstacle(model, config)):
            yield name


def _obstacle(model: QuantModel, config: CoreConfig) -> str:
    """Why ``config`` does not run the model; empty if it does."""
    try:
        check_model(model, config)
        usage = memory_usage(model, config)
    except ValueError as error:
        return str(error)
    short = [f"{name} {needed} of {there}" for name, (needed, there) in usage.items() if needed > there]
    return f"it needs more memory words ({', '.join(short)})" if short else ""


def choose_preset(board: Board, model: QuantModel) -> str:
    """The preset to build when none is named: the largest that fits the board and holds the model.

    Raises
    ------
    InputError
        If there is none.
    """
    for name in fitting_presets(board, model):
        return name
    raise InputError(f"{model.name}: too large for {board.name} ({board.part.name}): {_way_out(board, model)}")


def check_fit(board: Board, config: CoreConfig, model: QuantModel, name: str) -> None:
    """Refuse a configuration that the board's part cannot hold or that does not hold the model.

    Raises
    ------
    InputError
        Names what is lacking and the nearest preset that fits.
    """
    lacking = [f"{room.needed} {room.resource} of {room.available}" for room in needs(config, board) if not room.fits]
    if lacking:
        raise InputError(
            f"{name}: does not fit {board.name} ({board.part.name}): it would take {', '.join(lacking)} (estimated); "
            f"{_way_out(board, model)}"
        )
    reason = _obstacle(model, config)
    if reason:
        why = reason.partition(";")[0]
        raise InputError(f"{name}: does not hold model {model.name}: {why}; {_way_out(board, model)}")


def _way_out(board: Board, model: QuantModel) -> str:
    """The presets that do fit, or boards where one does."""
    from boards.board import BOARDS

    found = next(fitting_presets(board, model), None)
    if found:
        return f"the nearest preset that fits is {found}: --config {found}"
    others = {other.name: next(fitting_presets(other, model), None) for other in BOARDS.values()}
    if any(others.values()):
        named = ", ".join(f"{other} (preset {preset})" for other, preset in others.items() if preset)
        return f"no preset that fits this board holds {model.name}; take another board: {named}"
    return f"no preset on any board holds {model.name}; take a smaller model, or give a JSON file to --config"
