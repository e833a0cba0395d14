# SPDX-License-Identifier: Apache-2.0
"""The highest rung: inputs through the host's driver, a serial line and a whole board, simulated to its pins."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy.typing as npt

from gen.emit.built import is_built, open_built
from gen.emit.manifest import Design
from gen.link.device import Device
from gen.link.errors import LinkError
from gen.link.simulated import simulated_board
from gen.verify.rung import Building, Rung, Watch, differing
from sim.board.terminal import Terminal
from sim.golden import IntArray

__all__ = ["climb_board"]


def climb_board(
    design: Design, inputs: Sequence[npt.NDArray], results: Sequence[IntArray], tell: Building, watch: Watch | None
) -> Rung:
    """``inputs`` on the simulated board of ``design``, each result against ``results``.

    A board that does not answer, or is another, is a difference too.
    """
    tell("building the simulated board")
    start = time.monotonic()
    board = simulated_board(design, building=tell)
    which = f"the {open_built(design.folder).board}, PLL apart," if is_built(design.folder) else "the whole board"
    what = (
        f"{which} in Verilator at {board.clock_hz / 1e6:g} MHz, used by the host's driver over its serial line of "
        f"{board.baud / 1e6:g} Mbaud"
    )
    rung = Rung(name="board", what=what)
    rung.facts["build_seconds"] = round(time.monotonic() - start, 1)
    start = time.monotonic()

    def progress(done: int, total: int) -> None:
        if watch:
            watch(rung.name, "over the serial line", done)

    with Terminal(board) as terminal:
        try:
            with Device(terminal.path, board.baud) as device:
                rung.facts["loaded"] = device.load(design)
                found = device.run_all(inputs, progress=progress)
                measured = device.measured
        except LinkError as error:
            rung.differences.append(str(error))
            return rung
    if measured is None:  # there was no input
        return rung
    rung.cycles = measured.cycles
    rung.cycles_per_second = round(rung.cycles / (time.monotonic() - start))
    rung.facts |= {"bytes_sent": measured.bytes_sent, "bytes_received": measured.bytes_received}
    rung.facts["repeated_requests"] = measured.repeated
    for number, (result, expected) in enumerate(zip(found, results, strict=True)):
        rung.inputs += 1
        rung.outputs += expected.size
        if difference := differing(result, expected):
            rung.differences.append(f"input {number}: {difference}")
    return rung
