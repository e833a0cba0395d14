# SPDX-License-Identifier: Apache-2.0
"""Output registers into block RAM: a pass over the mapped netlist that Yosys does not have.

A DP16KD has a register behind its read data (REGMODE = "OUTREG"), from which they leave five times sooner than from the
memory itself. Every read port of :mod:`hw.memory` ends in a plain register, so where all outputs of a port in use go
to such a register and nowhere else, the port takes over those registers: the same cycles, fewer flip-flops.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["merge_output_registers", "unregistered_cells"]

_PLAIN = {"CEMUX": "1", "CLKMUX": "CLK", "REGSET": "RESET"}
_CONSTANTS = {"0", "1", "x", "z"}


_REGISTERS = ("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK")


def merge_output_registers(path: Path, top: str) -> int:
    """Rewrite the netlist at ``path``; returns how many read ports now have their register.

    A port is left alone unless all its connected outputs each drive the data input of one flip-flop and nothing else,
    with the port's clock, no enable and no reset.
    """
    netlist = json.loads(path.read_bytes())
    module = netlist["modules"][top]
    cells, used = module["cells"], _users(module)
    merged = 0
    for cell in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        for side in "AB":
            outputs = _outputs(cell, side, used)
            clock = cell["connections"][f"CLK{side}"]
            registers = {name: _register(cells, used[bit], clock) for name, bit in outputs.items()}
            if not outputs or cell["parameters"][f"REGMODE_{side}"] != "NOREG" or None in registers.values():
                continue
            merged += 1
            cell["parameters"][f"REGMODE_{side}"] = "OUTREG"
            if side == "A" and int(cell["parameters"].get("DATA_WIDTH_B", "0"), 2) == 36:
                cell["connections"]["OCEA"] = ["1"]  # as PDPW16KD has it; Yosys, with no register in mind, ties it low
            for name, register in registers.items():
                cell["connections"][name] = cells.pop(register)["connections"]["Q"]
    path.write_text(json.dumps(netlist), encoding="utf-8")
    return merged


def unregistered_cells(module: dict) -> frozenset[str]:
    """Names of block RAMs that are read without their output register, and of multipliers without their registers."""
    used = _users(module)
    names = set()
    for name, cell in module["cells"].items():
        parameters = cell["parameters"]
        if cell["type"] == "DP16KD":
            modes = [parameters[f"REGMODE_{side}"] for side in "AB" if _outputs(cell, side, used)]
            if any(mode != "OUTREG" for mode in modes):
                names.add(name)
        elif cell["type"] == "MULT18X18D" and any(parameters.get(key) != "CLK0" for key in _REGISTERS):
            names.add(name)
    return frozenset(names)


def _outputs(cell: dict, side: str, used: dict) -> dict[str, int]:
    """Read-data ports of one side of a block RAM that anything reads, with their nets."""
    pattern = re.compile(rf"DO{side}\d+")
    return {
        name: bits[0] for name, bits in cell["connections"].items() if pattern.fullmatch(name) and used.get(bits[0])
    }


def _users(module: dict) -> dict[int, list[tuple[str, str]]]:
    """Cell and port of everything that reads each net; ("", port) for the module's own outputs."""
    used: dict[int, list[tuple[str, str]]] = {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    if bit not in _CONSTANTS:
                        used.setdefault(bit, []).append((name, port))
    for name, port in module["ports"].items():
        if port["direction"] != "input":
            for bit in port["bits"]:
                used.setdefault(bit, []).append(("", name))
    return used


def _register(cells: dict, users: list[tuple[str, str]], clock: list) -> str | None:
    """The flip-flop that alone reads a net, if a block RAM can take its place."""
    if len(users) != 1 or users[0][1] != "DI":
        return None
    name = users[0][0]
    cell = cells[name]
    parameters = {key: value.strip() for key, value in cell["parameters"].items()}
    plain = cell["type"] == "TRELLIS_FF" and all(parameters.get(key, value) == value for key, value in _PLAIN.items())
    quiet = cell["connections"].get("LSR") in ([], ["0"], None)
    return name if plain and quiet and cell["connections"]["CLK"] == clock else None
