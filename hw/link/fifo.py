# SPDX-License-Identifier: SHL-2.1
"""A queue of stream words in memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.memory import READ_LATENCY, WRITE_LATENCY, TensorMemory

__all__ = ["WordFifo"]


class WordFifo(wiring.Component):
    """Up to ``depth`` words of 64 bits. Takes one a cycle, gives one every sixth: a serial line is slower by far.

    Parameters
    ----------
    depth : int
        A power of two.
    dense : bool
        See :class:`hw.memory.TensorMemory`: up to 256 words then take LUT RAM in place of block RAM.

    Ports
    -----
    i, o : streams
    flush : empty it; nothing is taken meanwhile
    room : words that it still takes; a cycle behind

    Raises
    ------
    ValueError
        If ``depth`` is no power of two.
    """

    def __init__(self, *, depth: int, dense: bool = False):
        if depth < 2 or depth.bit_count() != 1:
            raise ValueError(f"depth must be a power of two, at least 2, not {depth}")
        self.depth, self._dense = depth, dense
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(64))),
                "o": Out(stream.Signature(unsigned(64))),
                "flush": In(1),
                "room": Out(range(depth + 1), init=depth),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = TensorMemory(depth=self.depth, lanes=1, granularity=64, dense=self._dense)
        count, open_ = Signal(range(self.depth + 1)), Signal(init=1)
        readable = Signal(range(self.depth + 1))
        write, read = Signal(exact_log2(self.depth)), Signal(exact_log2(self.depth))
        written = Signal(WRITE_LATENCY + 1)  # a word can be read once its write has passed
        fetch = Signal(READ_LATENCY + 1)
        took, gave, fetching = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(open_ & ~self.flush),
            took.eq(self.i.valid & self.i.ready),
            gave.eq(self.o.valid & self.o.ready),
            memory.w_en.eq(took),
            memory.w_addr.eq(write),
            memory.w_data.eq(self.i.payload),
            memory.r_addr.eq(read),
        ]
        m.d.sync += [
            fetching.eq(~self.o.valid & (readable != 0) & ~fetch.any() & ~fetching),
            written.eq(Cat(took, written)),
            fetch.eq(Cat(fetching, fetch)),
            open_.eq(~(count[-1] | (took & count[:-1].all()))),
            readable.eq(readable + written[-1] - fetch[-1]),
            self.room.eq(self.depth - count),
        ]
        with m.If(took ^ gave):
            m.d.sync += count.eq(count + Mux(took, 1, -1))
        with m.If(took):
            m.d.sync += write.eq(write + 1)
        with m.If(gave):
            m.d.sync += self.o.valid.eq(0)
        with m.If(fetch[-1]):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(memory.r_data), read.eq(read + 1)]
        with m.If(self.flush):
            m.d.sync += [signal.eq(0) for signal in (written, fetching, fetch, count, readable, write, read)]
            m.d.sync += self.o.valid.eq(0)
            m.d.sync += open_.eq(1)
        return m
