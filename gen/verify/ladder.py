# SPDX-License-Identifier: Apache-2.0
"""The ladder from the specification to the board: each rung runs the same inputs and must give the same integers.

golden (NumPy, the specification) = rtl (the emitted Verilog: every tensor) = netlist (ECP5 cells as synthesised: every
output, and every engine's work in the same cycle as in the Verilog) = board (the host driver and the complete board in
simulation: every output).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.emit.manifest import Design
from gen.fpga.synth import Netlist
from gen.simulate.run import Outcome, compare_tensors
from gen.simulate.session import Session
from gen.verify.board import climb_board
from gen.verify.netlist import given_netlist, simulated_netlist, synthesised_netlist
from gen.verify.rung import Building, Rung, Watch, differing
from sim import reference
from sim.fast import Deadlock, Progress, Timeout
from sim.golden import IntArray

__all__ = ["RUNGS", "Ladder", "Rung", "verify"]

RUNGS = ("golden", "rtl", "netlist", "board")


@dataclass(kw_only=True)
class Ladder:
    """The rungs climbed, lowest first; the last one may have broken."""

    inputs: int
    tokens: list[int]
    rungs: list[Rung] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every rung climbed holds."""
        return all(rung.holds for rung in self.rungs)

    def as_dict(self) -> dict:
        """For reports."""
        return {
            "inputs": self.inputs,
            "tokens": self.tokens,
            "holds": self.holds,
            "rungs": [asdict(rung) | {"holds": rung.holds} for rung in self.rungs],
        }


@dataclass(kw_only=True)
class _Trace:
    """What a simulated core did, cycle by cycle."""

    outputs: list[IntArray] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # cycle at which each input's work was over
    busy: tuple[npt.NDArray, ...] = ()
    frames: tuple[npt.NDArray, ...] = ()


def verify(
    design: Design,
    inputs: Sequence[npt.NDArray],
    *,
    rungs: Sequence[str] = RUNGS,
    netlist: Path | None = None,
    cells: str | None = None,
    building: Building | None = None,
    watch: Watch | None = None,
) -> Ladder:
    """Climb the ladder with ``inputs`` (of :func:`gen.simulate.run.model_inputs`) up to the first broken rung.

    Parameters
    ----------
    rungs : sequence of str
        Which of :data:`RUNGS` to climb; "golden" is always among them.
    netlist : Path
        A JSON netlist of the design's core; otherwise the Verilog is synthesised (and the netlist kept).
    cells : str
        Other models of the ECP5 cells, to see a wrong one found.
    building, watch : callable
        Told how it gets on.

    Raises
    ------
    InputError, ToolFailed, sim.verilate.BuildFailed, sim.verilate.ToolMissing
        If a rung cannot be made.
    """
    tell = building or (lambda text: None)
    ladder = Ladder(inputs=len(inputs), tokens=sorted({len(x) for x in inputs}))
    made: tuple[Netlist, str] | None = None
    if "netlist" in rungs:  # refused or made before anything long is simulated
        source = given_netlist(netlist, design) if netlist else synthesised_netlist(design, tell)
        made = source, simulated_netlist(source, cells)
    expected = [reference.forward(design.model, x) for x in inputs]
    ladder.rungs.append(
        Rung(
            name="golden",
            what="the specification in NumPy",
            inputs=len(inputs),
            outputs=sum(tensors["output"].size for tensors in expected),
            tensors=sum(len(tensors) for tensors in expected),
        )
    )
    results = [tensors["output"] for tensors in expected]
    below: _Trace | None = None
    if "rtl" in rungs:
        rung, below = _rtl(design, inputs, results, tell, watch)
        ladder.rungs.append(rung)
    if made is not None and ladder.holds:
        ladder.rungs.append(_netlist(design, inputs, results, below, *made, tell, watch))
    if "board" in rungs and ladder.holds:
        ladder.rungs.append(climb_board(design, inputs, results, tell, watch))
    return ladder


def _rtl(
    design: Design, inputs: Sequence, results: Sequence[IntArray], tell: Building, watch: Watch | None
) -> tuple[Rung, _Trace]:
    rung = Rung(name="rtl", what="the emitted Verilog in Verilator")
    tell("building the Verilog")
    outcome = Outcome()

    def compare(session: Session, number: int) -> None:
        compare_tensors(session, design.model, inputs[number], number, outcome)

    trace = _run(design, design.verilog, inputs, results, rung, tell, watch, compare)
    rung.tensors = outcome.tensors
    rung.differences += [f"input {number}, tensor {name}: {what}" for number, name, what in outcome.differences]
    return rung, trace


def _netlist(
    design: Design,
    inputs: Sequence,
    results: Sequence[IntArray],
    below: _Trace | None,
    netlist: Netlist,
    text: str,
    tell: Building,
    watch: Watch | None,
) -> Rung:
    count = netlist.cells
    what = (
        f"{count.lut4} LUT4, {count.carry} CCU2C, {count.lut_ram} LUT RAMs, {count.ff} flip-flops, "
        f"{count.multipliers} MULT18X18D and {count.block_ram} DP16KD of ECP5 in Verilator"
    )
    rung = Rung(name="netlist", what=what, facts={"cells": count.as_dict(), "netlist": str(netlist.path)})
    tell("building the netlist (minutes for a 4x4x8 array)")
    trace = _run(design, text, inputs, results, rung, tell, watch)
    if below is not None and rung.holds:
        rung.differences += _compare_cycles(trace, below)
        rung.same_cycles = rung.holds
    return rung


def _run(
    design: Design,
    verilog: str,
    inputs: Sequence,
    results: Sequence[IntArray],
    rung: Rung,
    tell: Building,
    watch: Watch | None,
    compare: Callable[[Session, int], None] | None = None,
) -> _Trace:
    """Inputs one by one through a core, each result against ``results``; a core that hangs is a difference too."""
    trace = _Trace()

    def look(state: Progress) -> None:
        if watch:
            rate = state.cycles_per_second / 1e3
            watch(rung.name, f"cycle {state.cycle}, {rate:.0f} kHz", len(trace.outputs))

    start = time.monotonic()
    top = design.manifest["top"]
    with Session(
        design.image, verilog, top=top, load=False, trace=bool(compare), progress=look, building=tell
    ) as session:
        rung.facts["build_seconds"] = round(time.monotonic() - start, 1)
        start = time.monotonic()
        for number, (x, expected) in enumerate(zip(inputs, results, strict=True)):
            try:
                found = session.run(x)
            except (Deadlock, Timeout) as error:
                rung.differences.append(f"input {number}: {error}")
                break
            trace.outputs.append(found)
            trace.ends.append(session.sim.cycle)
            rung.inputs += 1
            rung.outputs += expected.size
            if difference := differing(found, expected):
                rung.differences.append(f"input {number}: {difference}")
            if compare:
                compare(session, number)
        trace.busy, trace.frames = session.sim.timeline(), session.sim.frames()
        rung.cycles = session.sim.cycle
        rung.cycles_per_second = round(rung.cycles / (time.monotonic() - start))
    return trace


def _compare_cycles(trace: _Trace, below: _Trace) -> list[str]:
    """Where a core did something else, or at another time, than the one below."""
    for number, (end, before) in enumerate(zip(trace.ends, below.ends, strict=True)):
        if end != before:
            return [f"input {number}: over in cycle {end} instead of {before}"]
    for name, found, expected in (("busy", trace.busy, below.busy), ("frames_done", trace.frames, below.frames)):
        same = [np.array_equal(a, b) for a, b in zip(found, expected, strict=True)]
        if not all(same):
            return [f"output {name} takes other values, or at other times"]
    return []
