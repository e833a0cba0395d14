# SPDX-License-Identifier: Apache-2.0
"""gen/fpga/outreg.py: registers that a block RAM can take over, and all that it must leave alone."""

import copy
import json
from pathlib import Path

import pytest

from gen.fpga.netlistfile import edited
from gen.fpga.outreg import merge_output_registers
from gen.fpga.registered import unregistered_cells
from gen.tools import ToolFailed

CLOCK = 2


def ram(**parameters: str) -> dict:
    outputs = {"DOA0": [10], "DOB0": [11], "DOB1": [12]}
    directions = {"CLKA": "input", "CLKB": "input", "OCEA": "input"} | dict.fromkeys(outputs, "output")
    return {
        "type": "DP16KD",
        "parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG", "DATA_WIDTH_B": "10010"} | parameters,
        "port_directions": directions,
        "connections": {"CLKA": [CLOCK], "CLKB": [CLOCK], "OCEA": ["0"]} | outputs,
    }


def register(d: int, q: int, **changes: object) -> dict:
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1", "CLKMUX": "CLK", "REGSET": "RESET", "GSR": "DISABLED"}
        | {key: value for key, value in changes.items() if isinstance(value, str)},
        "port_directions": {"CLK": "input", "LSR": "input", "DI": "input", "Q": "output"},
        "connections": {"CLK": [CLOCK], "LSR": [], "DI": [d], "Q": [q]}
        | {key: value for key, value in changes.items() if isinstance(value, list)},
    }


def module(*, cell: dict | None = None, **others: dict) -> dict:
    """A block RAM whose port B feeds two registers, and those feed the module's output."""
    cells = {"ram": cell or ram(), "q0": register(11, 21), "q1": register(12, 22)} | others
    return {"cells": copy.deepcopy(cells), "ports": {"out": {"direction": "output", "bits": [21, 22]}}}


def test_a_port_takes_its_registers_over():
    netlist = module()
    assert merge_output_registers(netlist) == 1
    assert set(netlist["cells"]) == {"ram"}
    merged = netlist["cells"]["ram"]
    assert merged["parameters"] | {"REGMODE_A": "NOREG", "REGMODE_B": "OUTREG"} == merged["parameters"]
    assert merged["connections"]["DOB0"] == [21] and merged["connections"]["DOB1"] == [22]
    assert not unregistered_cells(netlist)


def test_both_ports_can():
    netlist = module(q2=register(10, 23))
    assert merge_output_registers(netlist) == 2
    assert netlist["cells"]["ram"]["connections"]["DOA0"] == [23]
    assert netlist["cells"]["ram"]["connections"]["OCEA"] == ["0"], "the port's own width: its enable is not asked"


def test_the_widest_form_needs_its_enable():
    netlist = module(cell=ram(DATA_WIDTH_B="100100"), q2=register(10, 23))
    assert merge_output_registers(netlist) == 2
    assert netlist["cells"]["ram"]["connections"]["OCEA"] == ["1"]


@pytest.mark.parametrize(
    "others",
    [
        {"q1": register(12, 22, CLK=[3])},
        {"q1": register(12, 22, CLKMUX="INV")},
        {"q1": register(12, 22, CEMUX="CE")},
        {"q1": register(12, 22, LSR=[9])},
        {"q1": register(12, 22, REGSET="SET")},
        {"too": register(12, 24)},
        {"too": {"type": "LUT4", "parameters": {}, "port_directions": {"A": "input"}, "connections": {"A": [11]}}},
        {"q1": {"type": "LUT4", "parameters": {}, "port_directions": {"A": "input"}, "connections": {"A": [12]}}},
        {"cell": ram(REGMODE_B="OUTREG")},
    ],
    ids=["other clock", "other edge", "enable", "reset", "starts at 1", "two", "logic too", "logic", "has one already"],
)
def test_a_port_is_left_alone(others: dict):
    netlist = module(**others)
    before = copy.deepcopy(netlist)
    assert merge_output_registers(netlist) == 0
    assert netlist == before


def test_data_that_leave_the_module_stay():
    netlist = module()
    netlist["ports"]["out"]["bits"].append(11)
    assert merge_output_registers(netlist) == 0


def test_a_file_is_rewritten_or_refused(tmp_path: Path):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": module()}}))
    with edited(path, "top") as netlist:
        assert merge_output_registers(netlist) == 1
    assert set(json.loads(path.read_text())["modules"]["top"]["cells"]) == {"ram"}
    for half in (path.read_text()[:100], "{}", '{"modules": {"top": {"cells": {"a": {}}}}}'):
        path.write_text(half)
        with pytest.raises(ToolFailed, match="no whole netlist"), edited(path, "top") as netlist:
            merge_output_registers(netlist)
        assert path.read_text() == half
