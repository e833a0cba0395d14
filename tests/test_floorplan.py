# SPDX-License-Identifier: Apache-2.0
"""gen/floorplan.py: the array's multipliers get sites that exist, each its own, an element's side by side."""

import re

import pytest

from gen.floorplan import DspPlaces, fix_array
from gen.synth import part

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


def test_rows_of_the_array_stand_together():
    placed = sites(whole := array(4, 4, 8))
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
