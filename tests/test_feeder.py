# SPDX-License-Identifier: Apache-2.0
"""hw/array/feeder.py."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hw.array.feeder import Feeder
from hw.config import CoreConfig
from sim.runner import run_cocotb


class FeederBench(wiring.Component):
    """The feeder with ``context``, a word of SystemVerilog's that has an awkward name there, as ``carried``."""

    def __init__(self, config: CoreConfig):
        self.feeder = Feeder(config)
        super().__init__({_name(name): member for name, member in self.feeder.signature.members.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.feeder = feeder = self.feeder
        wiring.connect(m, wiring.flipped(self.command), feeder.command)
        for name in feeder.signature.members:
            if name != "command":
                m.d.comb += getattr(self, _name(name)).eq(getattr(feeder, name))
        return m


def _name(name: str) -> str:
    return "carried" if name == "context" else name


@pytest.mark.parametrize(
    ("rows", "cols", "depth", "columns", "slots", "tokens", "ring_words"),
    [
        (2, 2, 4, 1, 2, 4, 1),
        (4, 4, 8, 1, 4, 64, 8),
        (1, 16, 8, 4, 8, 50, 8),  # 7 words a row of probabilities: a slot takes 8
        (2, 4, 16, 1, 4, 256, 16),
        (1, 8, 8, 8, 4, 17, 4),  # one beat a tile
    ],
)
def test_feeder(rows, cols, depth, columns, slots, tokens, ring_words):
    config = CoreConfig(rows=rows, cols=cols, depth=depth, drain_columns=columns, slots=slots, max_tokens=tokens)
    beats = cols // columns
    run_cocotb(FeederBench(config), "sim.tb.tb_feeder", slots=slots, ring_words=ring_words, tile_beats=beats)
