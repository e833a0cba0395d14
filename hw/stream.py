# SPDX-License-Identifier: SHL-2.1
"""Stream plumbing."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamBuffer"]


class StreamBuffer(wiring.Component):
    """A two-entry buffer ("skid buffer") that cuts every combinational path between the two sides of a stream.

    ``o.valid``, ``o.payload`` and ``i.ready`` all come straight from registers. A word comes out ``LATENCY`` cycles
    after it went in; full throughput: a word per cycle passes for as long as the output is taken.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Attributes
    ----------
    i : stream in
    o : stream out
        The same payloads in the same order.
    """

    LATENCY = 1

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        accept = Signal(init=1)  # exactly while `spare` is empty
        spare = Signal.like(self.i.payload, reset_less=True)
        full = Signal()
        head = Signal.like(self.i.payload, reset_less=True)
        m.d.comb += [self.i.ready.eq(accept), self.o.valid.eq(full), self.o.payload.eq(head)]
        with m.If(self.o.ready | ~full):
            m.d.sync += [accept.eq(1), full.eq(self.i.valid | ~accept)]
            with m.If(accept):
                m.d.sync += head.eq(self.i.payload)
            with m.Else():
                m.d.sync += head.eq(spare)
        with m.Elif(accept):  # the output waits: a word that arrives now goes to the spare register
            m.d.sync += [accept.eq(~self.i.valid), spare.eq(self.i.payload)]
        return m
