# SPDX-License-Identifier: Apache-2.0
"""What one rung of the ladder is: something that runs inputs, and what its results were compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sim.golden import IntArray

__all__ = ["Building", "Rung", "Watch", "differing"]

Building = Callable[[str], None]
"""Told what takes time before a rung runs."""

Watch = Callable[[str, str, int], None]
"""Told the rung that runs, how it gets on, and the inputs done."""


@dataclass(kw_only=True)
class Rung:
    """What one rung compared, and what differed."""

    name: str
    what: str
    """What ran, in a few words."""
    inputs: int = 0
    outputs: int = 0
    """Integers of the results compared: logits, or all values of all rows."""
    tensors: int = 0
    """Tensors compared, each with all its values."""
    cycles: int = 0
    """Clock cycles run."""
    same_cycles: bool | None = None
    """Whether each result came, and each engine worked, in the same cycles as on the rung below; None: not compared."""
    cycles_per_second: float = 0.0
    facts: dict = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether all that was compared is equal."""
        return not self.differences


def differing(found: IntArray, expected: IntArray) -> str:
    """How a result differs from what it should be, or nothing if it does not."""
    wrong = np.argwhere(np.asarray(found) != expected)
    if not len(wrong):
        return ""
    place = tuple(int(i) for i in wrong[0])
    return (
        f"{len(wrong)} of {expected.size} outputs differ, the first at {list(place)}: {int(found[place])} instead of "
        f"{int(expected[place])}"
    )
