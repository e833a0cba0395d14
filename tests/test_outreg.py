# SPDX-License-Identifier: Apache-2.0
"""gen/outreg.py: which flip-flops a block RAM takes over, and which it leaves."""

import json
from pathlib import Path

import pytest

from gen.outreg import merge_output_registers, unregistered_cells

CLOCK, OTHER_CLOCK = 2, 3


def ram(**connections) -> dict:
    ports = {"CLKA": [CLOCK], "CLKB": [CLOCK], "DOA0": [10], "DOB0": [11], "DOB1": [12]} | connections
    return {
        "type": "DP16KD",
        "parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
        "port_directions": {name: "output" if name.startswith("DO") else "input" for name in ports},
        "connections": ports,
    }


def register(d: int, q: int, *, clock: int = CLOCK, **other) -> dict:
    connections = {"CLK": [clock], "DI": [d], "Q": [q], "LSR": ["0"]} | {
        name: bits for name, bits in other.items() if name != "parameters"
    }
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "REGSET": "RESET"} | other.get("parameters", {}),
        "port_directions": {name: "output" if name == "Q" else "input" for name in connections},
        "connections": connections,
    }


def merged(folder: Path, cells: dict, ports: dict | None = None) -> tuple[int, dict]:
    path = folder / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells, "ports": ports or {}}}}))
    count = merge_output_registers(path, "top")
    return count, json.loads(path.read_text())["modules"]["top"]


def test_registers_move_into_the_block_ram(tmp_path: Path):
    count, module = merged(
        tmp_path, {"ram": ram(), "q0": register(11, 21), "q1": register(12, 22), "z": register(21, 30)}
    )
    assert count == 1
    assert set(module["cells"]) == {"ram", "z"}
    cell = module["cells"]["ram"]
    assert (cell["parameters"]["REGMODE_A"], cell["parameters"]["REGMODE_B"]) == ("NOREG", "OUTREG")  # A is not read
    assert (cell["connections"]["DOB0"], cell["connections"]["DOB1"]) == ([21], [22])
    assert not unregistered_cells(module)


@pytest.mark.parametrize(
    "q1",
    [
        register(12, 22, clock=OTHER_CLOCK),
        register(12, 22, LSR=[40]),
        register(12, 22, parameters={"CEMUX": "CE"}, CE=[41]),
        register(12, 22, parameters={"REGSET": "SET"}),
        register(12, 22, parameters={"CLKMUX": "INV"}),
        {"type": "LUT4", "parameters": {}, "port_directions": {"A": "input"}, "connections": {"A": [12]}},
    ],
)
def test_a_port_is_left_alone_unless_all_of_it_can_move(tmp_path: Path, q1: dict):
    cells = {"ram": ram(), "q0": register(11, 21), "q1": q1}
    count, module = merged(tmp_path, cells)
    assert count == 0
    assert module["cells"] == cells
    assert unregistered_cells(module) == {"ram"}


def test_data_read_elsewhere_too_stay_as_they_are(tmp_path: Path):
    cells = {"ram": ram(), "q0": register(11, 21), "q1": register(12, 22)}
    assert merged(tmp_path, cells | {"more": register(11, 23)})[0] == 0
    assert merged(tmp_path, cells, {"out": {"direction": "output", "bits": [12]}})[0] == 0
    assert merged(tmp_path, cells)[0] == 1


def test_multipliers_without_registers_are_found():
    modes = dict.fromkeys(("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK"), "CLK0")
    dsp = {"type": "MULT18X18D", "port_directions": {}, "connections": {}}
    good, bad = dsp | {"parameters": modes}, dsp | {"parameters": modes | {"REG_OUTPUT_CLK": "NONE"}}
    assert unregistered_cells({"cells": {"good": good, "bad": bad}, "ports": {}}) == {"bad"}
