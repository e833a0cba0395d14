# SPDX-License-Identifier: Apache-2.0
"""The folder that 'rtlformer build' leaves, without place and route."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from boards.board import Board
from boards.build import Attempt, Build
from boards.pll import Pll, fastest
from boards.report import markdown
from gen.emit.buildfacts import FILES
from gen.emit.built import write_built
from gen.emit.manifest import open_design
from gen.emit.verilog import model_hash
from gen.fpga.nextpnr import Hop, Path_, Route
from gen.fpga.synth import Cells

__all__ = ["write_build"]


def write_build(
    folder: Path, board: Board, /, *, files: Mapping[str, str | bytes] | None = None, pll: Pll | None = None,
    baud: int = 115200, **changes: object,
) -> dict:  # fmt: skip
    """Make a build for ``board`` of an accelerator's folder; ``changes`` to what build.json says of it."""
    design = open_design(folder)
    hops = (Hop(kind="clk-to-q", delay_ns=0.5, place="a.q"), Hop(kind="setup", delay_ns=0.1, place="b.d"))
    found = Route(
        seed=2,
        fmax_mhz=151.5,
        critical=Path_(start="a", end="b", hops=hops),
        used={"TRELLIS_COMB": 9},
        slow=((1.5, "a.q", "b.d"),),
    )
    pll = pll or fastest(board.clock_hz, 50_000_000)
    loaded = model_hash(design.image.memories)
    result = Build(
        board=board, image=design.image, baud=baud, model_hash=loaded, asked_mhz=pll.mhz, core=Cells(lut4=10),
        cells=Cells(lut4=20, ff=9, block_ram=3), attempts=[Attempt(pll=pll, routes=[found])],
    )  # fmt: skip
    for name in FILES:
        data = (files or {}).get(name, f"{name} of {board.name}")
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return write_built(folder, {"rtlformer": "0.1.0", **result.as_dict(), "config": "tiny", **changes}, markdown)
