# SPDX-License-Identifier: Apache-2.0
"""Output registers into block RAM: a pass over the mapped netlist that Yosys does not have.

A DP16KD has a register behind its read data (REGMODE = "OUTREG"), from which they leave five times sooner than from the
memory itself. Every read port of :mod:`hw.memory` ends in a plain register, so where all outputs of a port in use go
to such a register and nowhere else, the port takes over those registers: the same cycles, fewer flip-flops.
"""

from __future__ import annotations

import re

from gen.fpga.registered import users

__all__ = ["merge_output_registers"]

_PLAIN = {"CEMUX": "1", "CLKMUX": "CLK", "REGSET": "RESET"}


def merge_output_registers(module: dict) -> int:
    """Change ``module``, of Yosys's JSON netlist; returns how many read ports now have their register.

    A port is left alone unless all its outputs that are read each drive the data input of one flip-flop and nothing
    else, with the port's clock, no enable and no reset.
    """
    cells, used = module["cells"], users(module)
    merged = 0
    for cell in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        for side in "AB":
            outputs = {
                name: bits[0]
                for name, bits in cell["connections"].items()
                if re.fullmatch(rf"DO{side}\d+", name) and used.get(bits[0])
            }
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
    return merged


def _register(cells: dict, readers: list[tuple[str, str]], clock: list) -> str | None:
    """The flip-flop that alone reads a net, if a block RAM can take its place."""
    if len(readers) != 1 or readers[0][1] != "DI":
        return None
    name = readers[0][0]
    cell = cells[name]
    parameters = {key: value.strip() for key, value in cell["parameters"].items()}
    plain = cell["type"] == "TRELLIS_FF" and all(parameters.get(key, value) == value for key, value in _PLAIN.items())
    quiet = cell["connections"].get("LSR") in ([], ["0"], None)
    return name if plain and quiet and cell["connections"]["CLK"] == clock else None
