# SPDX-License-Identifier: Apache-2.0
"""Where the array's multipliers stand: places for DSP blocks that a placer would scatter over the chip.

A large array takes nearly all DSP blocks of a part. An analytic placer starts with all cells in one point, beside the
pins, and then deals DSP blocks out by what is still free: the multipliers of one processing element end a hundred
columns apart. Here each processing element gets neighbouring DSP blocks, and those of an array row, which share their
operands, stand together. All else is the placer's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["DspPlaces", "fix_array"]

_MULTIPLIER = re.compile(r"(?:^|\.)pe_array\.pe_(\d+)_(\d+)\.mul(\d+)\.")
_IN_BLOCK = ((0, 0), (1, 1), (4, 4), (5, 5))  # column within the block, number in the site's name


@dataclass(frozen=True, kw_only=True)
class DspPlaces:
    """DSP blocks of a part, four multipliers each: the first column of every block, and the rows they are in."""

    blocks: tuple[int, ...]
    rows: tuple[int, ...]

    def slots(self, size: int) -> list[list[str]]:
        """Sites of ``size`` multipliers that stand together, slot by slot, neighbours in the list neighbours there.

        Through the first two rows of blocks from side to side, then through the next two; blocks that are left over
        in a row are those in its middle.
        """
        wide = -(-size // len(_IN_BLOCK))
        count = len(self.blocks) // wide
        starts = [i * wide for i in range(count // 2)]
        starts += [len(self.blocks) - i * wide for i in range(count - count // 2, 0, -1)]
        return [
            [f"X{x + column}/Y{y}/MULT18_{number}" for x in self.blocks[at : at + wide] for column, number in _IN_BLOCK]
            [:size]
            for pair in range(0, len(self.rows), 2)
            for at in starts
            for y in self.rows[pair : pair + 2]
        ]  # fmt: skip


def fix_array(module: dict, places: DspPlaces) -> int:
    """Fix the array's multipliers in ``module``, of a flattened JSON netlist; returns how many.

    A netlist without an array, or with a larger one than there are slots, is left to the placer: 0.
    """
    found = {}
    for name, cell in module["cells"].items():
        match = _MULTIPLIER.search(name)
        if match and cell["type"] == "MULT18X18D":
            found[tuple(map(int, match.groups()))] = cell
    if not found:
        return 0
    elements = sorted({(row, column) for row, column, _ in found})
    depth = max(k for *_, k in found) + 1
    slots = places.slots(depth)
    if len(found) != len(elements) * depth or len(elements) > len(slots):
        return 0
    for element, sites in zip(elements, slots, strict=False):
        for k, site in enumerate(sites):
            found[*element, k]["attributes"]["BEL"] = site
    return len(found)
