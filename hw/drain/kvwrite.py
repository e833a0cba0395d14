# SPDX-License-Identifier: SHL-2.1
"""Write steering of K and V: a beat of token rows becomes bytes of B words, K as it is and V transposed."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..ports import write_port
from .beats import BeatControl, WriteStrobes

__all__ = ["KeyValueWriter"]


class KeyValueWriter(wiring.Component):
    """Combinational. A KV word is [cols][depth] bytes.

    KEY: token row r, channel p of the beat go to byte ``[sub * rows + r][lane * drain_columns + p]`` of word
    ``out / (cols / rows)``; VALUE: to byte ``[lane * drain_columns + p][sub * rows + r]`` of word
    ``out / (depth / rows)``; ``sub`` is the remainder, so consecutive row blocks fill a word.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "control": In(BeatControl),
                "to": In(WriteStrobes),
                "beat": In(data.ArrayLayout(unsigned(8), config.lanes)),
                "write_kv": Out(write_port("KV", config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows, columns = self.config.rows, self.config.drain_columns
        cols, depth = self.config.cols, self.config.depth
        key_bits, value_bits = ceil_log2(cols // rows), ceil_log2(depth // rows)
        is_key, is_value = self.to.key, self.to.value
        out, lane = self.control.out, self.control.lane
        # One-hot selections of the row-block position and of the beat within the word.
        key_sub, value_sub = Signal(cols // rows), Signal(depth // rows)
        key_lane, value_lane = Signal(depth // columns), Signal(cols // columns)
        m.d.comb += [
            key_sub.eq(is_key << out[:key_bits]),
            value_sub.eq(is_value << out[:value_bits]),
            key_lane.eq(1 << lane),
            value_lane.eq(1 << lane),
            self.write_kv.addr.eq(Mux(is_key, out[key_bits:], out[value_bits:])),
        ]
        enables, bytes_ = [], []
        for c in range(cols):
            for k in range(depth):
                as_key = key_sub[c // rows] & key_lane[k // columns]
                as_value = value_sub[k // rows] & value_lane[c // columns]
                enables.append(as_key | as_value)
                bytes_.append(
                    Mux(is_key, self.beat[(k % columns) * rows + c % rows], self.beat[(c % columns) * rows + k % rows])
                )
        m.d.comb += [self.write_kv.en.eq(Cat(enables)), self.write_kv.data.eq(Cat(bytes_))]
        return m
