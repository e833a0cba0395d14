# SPDX-License-Identifier: Apache-2.0
"""gen/fpga/registered.py: blocks that do not stand between registers are found."""

import pytest

from gen.fpga.registered import unregistered_cells

RAM = {
    "type": "DP16KD",
    "parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
    "port_directions": {"CLKB": "input", "DOA0": "output", "DOB0": "output", "DOB1": "output"},
    "connections": {"CLKB": [2], "DOA0": [10], "DOB0": [11], "DOB1": [12]},
}


def register(d: int, q: int) -> dict:
    directions = {"CLK": "input", "DI": "input", "Q": "output"}
    connections = {"CLK": [2], "DI": [d], "Q": [q]}
    return {"type": "TRELLIS_FF", "parameters": {}, "port_directions": directions, "connections": connections}


GOOD = {"ram": RAM, "q0": register(11, 21), "q1": register(12, 22)}  # port A is not read
LUT = {"type": "LUT4", "parameters": {}, "port_directions": {"A": "input"}, "connections": {"A": [12]}}


def test_a_register_behind_every_output_is_good():
    assert not unregistered_cells({"cells": GOOD, "ports": {}})


@pytest.mark.parametrize("extra", [{"q1": LUT}, {"too": LUT}, {"too": register(12, 23)}])
def test_data_that_meet_logic_are_found(extra: dict):
    assert unregistered_cells({"cells": GOOD | extra, "ports": {}}) == {"ram"}


def test_data_that_leave_the_module_are_found():
    assert unregistered_cells({"cells": GOOD, "ports": {"out": {"direction": "output", "bits": [12]}}}) == {"ram"}


def test_the_block_s_own_register_counts():
    ram = RAM | {"parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "OUTREG"}}
    assert not unregistered_cells({"cells": {"ram": ram, "lut": LUT}, "ports": {}})


@pytest.mark.parametrize(("mode", "found"), [("NOREG", {"ram"}), ("OUTREG", set())])
def test_the_wide_block_is_looked_at_too(mode: str, found: set):
    directions = {"CLKR": "input", "DO0": "output"}
    ram = {"type": "PDPW16KD", "parameters": {"REGMODE": mode}, "port_directions": directions,
           "connections": {"CLKR": [2], "DO0": [12]}}  # fmt: skip
    assert unregistered_cells({"cells": {"ram": ram, "lut": LUT}, "ports": {}}) == found


@pytest.mark.parametrize("missing", ["REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK"])
def test_multipliers_without_registers_are_found(missing: str):
    modes = dict.fromkeys(("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK"), "CLK0")
    dsp = {"type": "MULT18X18D", "port_directions": {}, "connections": {}}
    cells = {"good": dsp | {"parameters": modes}, "bad": dsp | {"parameters": modes | {missing: "NONE"}}}
    assert unregistered_cells({"cells": cells, "ports": {}}) == {"bad"}
