# SPDX-License-Identifier: Apache-2.0
"""Whether the blocks of a mapped netlist stand between registers, as a fast clock needs it."""

from __future__ import annotations

import re

__all__ = ["unregistered_cells", "users"]

_REGISTERS = ("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK")
_CONSTANTS = {"0", "1", "x", "z"}


def unregistered_cells(module: dict) -> frozenset[str]:
    """Names of block RAMs whose data meet logic before a register, and of multipliers without their registers.

    A DP16KD or PDPW16KD is registered if its own output register is on (REGMODE = "OUTREG") or every output that is
    read goes to the data input of one flip-flop and nowhere else; a MULT18X18D if both inputs and the output have their
    registers.

    Parameters
    ----------
    module : dict
        Of Yosys's JSON netlist, flattened.
    """
    used = users(module)
    names = set()
    for name, cell in module["cells"].items():
        parameters = cell["parameters"]
        if cell["type"] in ("DP16KD", "PDPW16KD"):
            for port, bits in cell["connections"].items():
                side = re.fullmatch(r"DO([AB]?)\d+", port)
                if side and parameters[f"REGMODE_{side[1]}" if side[1] else "REGMODE"] != "OUTREG":
                    readers = used.get(bits[0], [])
                    if readers and (len(readers) > 1 or not _is_register(module, *readers[0])):
                        names.add(name)
        elif cell["type"] == "MULT18X18D" and any(parameters.get(key) != "CLK0" for key in _REGISTERS):
            names.add(name)
    return frozenset(names)


def users(module: dict) -> dict[int, list[tuple[str, str]]]:
    """Cell and port of everything that reads each net; ("", port) for the module's own outputs."""
    used: dict[int, list[tuple[str, str]]] = {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    if bit not in _CONSTANTS:
                        used.setdefault(bit, []).append((name, port))
    for name, port in module.get("ports", {}).items():
        if port["direction"] != "input":
            for bit in port["bits"]:
                used.setdefault(bit, []).append(("", name))
    return used


def _is_register(module: dict, name: str, port: str) -> bool:
    return port == "DI" and module["cells"][name]["type"] == "TRELLIS_FF"
