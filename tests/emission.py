# SPDX-License-Identifier: Apache-2.0
"""Everything that is ever emitted, for comparison: run by any Python that has Amaranth and Yosys."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring

from hw.config import CoreConfig, preset
from hw.core import TransformerCore
from hw.link.board import BoardCore
from hw.program.loads import Target
from hw.verilog import to_verilog
from hw.wrappers import WRAPPERS

__all__ = ["DESIGNS", "UNNAMED", "emit"]

UNNAMED = re.compile(r"\\\$(?:signal|like|memory|signature|port|pin)\b[^ ]*")
"""Amaranth's names for what it finds no name for."""

TINY = preset("tiny")
# Both kernels of each kind, a drain of several columns, one row, one column.
CORES = {
    "tiny": TINY,
    "small": preset("small"),
    "edge": preset("edge"),
    "decode": preset("decode"),
    "other": CoreConfig(
        rows=2, cols=4, depth=4, drain_columns=2, exp="ibert", gelu="ibert", max_tokens=12, max_hidden=32
    ),
}

DESIGNS: dict[str, Callable[[], wiring.Component]] = {
    **{name: lambda config=config: TransformerCore(config, {Target.PROG: [1, 2, 3]}) for name, config in CORES.items()},
    **{kind: lambda top=top: top(TINY, model_hash=5, core_module="core") for kind, top in WRAPPERS.items()},
    "board": lambda: BoardCore(TINY, clock_hz=25_000_000, baud=115_200, core_module="core"),
    "dense": lambda: BoardCore(preset("small"), clock_hz=25_000_000, baud=115_200, core_module="core"),
}
"""What makes each."""


def emit(name: str) -> str:
    """The Verilog of a design."""
    return to_verilog(DESIGNS[name](), name=f"rtlformer_{name}")


if __name__ == "__main__":
    for name in sys.argv[2:] or DESIGNS:
        (Path(sys.argv[1]) / f"{name}.v").write_text(emit(name), encoding="utf-8")
