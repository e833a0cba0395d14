# SPDX-License-Identifier: Apache-2.0
"""hw/drain/kvwrite.py."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import CoreConfig
from hw.drain.kvwrite import KeyValueWriter
from hw.memory import TensorMemory
from sim.runner import run_cocotb


class WrittenMemory(wiring.Component):
    """The writer and its memory, as in :class:`hw.core.TransformerCore`."""

    def __init__(self, config: CoreConfig):
        self.writer = KeyValueWriter(config)
        self.memory = TensorMemory(depth=config.kv_words, lanes=config.cols * config.depth, granularity=8)
        written, read = self.writer.signature.members, self.memory.signature.members
        super().__init__(
            {
                "control": written["control"],
                "to": written["to"],
                "beat": written["beat"],
                "r_addr": In(read["r_addr"].shape),
                "r_data": Out(read["r_data"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = self.writer
        m.submodules.memory = memory = self.memory
        m.d.comb += [
            writer.control.eq(self.control),
            writer.to.eq(self.to),
            writer.beat.eq(self.beat),
            memory.w_en.eq(writer.write_kv.en),
            memory.w_addr.eq(writer.write_kv.addr),
            memory.w_data.eq(writer.write_kv.data),
            memory.r_addr.eq(self.r_addr),
            self.r_data.eq(memory.r_data),
        ]
        return m


@pytest.mark.parametrize(
    ("rows", "cols", "depth", "columns"),
    [(2, 2, 4, 1), (4, 4, 8, 1), (1, 16, 8, 4), (2, 4, 16, 1), (1, 8, 8, 8), (8, 8, 16, 2)],
)
def test_keys_and_values(rows, cols, depth, columns):
    config = CoreConfig(rows=rows, cols=cols, depth=depth, drain_columns=columns, kv_words=8)
    shape = {"rows": rows, "cols": cols, "depth": depth, "columns": columns, "words": 8}
    run_cocotb(WrittenMemory(config), "sim.tb.tb_kvwrite", **shape)
