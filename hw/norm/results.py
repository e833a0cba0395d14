# SPDX-License-Identifier: SHL-2.1
"""LayerNorm's results on their way to the memories: a queue that never overflows, then the write ports."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..ports import write_port
from ..program.isa import ADDRESS_BITS
from ..stream import StreamBuffer

__all__ = ["FREE_LATENCY", "QUEUE_DEPTH", "ResultWriter"]

QUEUE_DEPTH = 48
"""Results between the lanes and the memories: more than the cycles from a read until its entry is free again."""

FREE_LATENCY = 2
"""Cycles from a result's leaving that queue until its entry counts as free."""


class ResultWriter(wiring.Component):
    """Takes a result in any cycle, as every read was promised an entry, and writes them one command after another.

    Attributes
    ----------
    promise : in
        A read whose result will want an entry.
    has_room, will_have_room : out
        There is one, even if another was promised in the cycle before; the same of the next cycle.
    valid, result, wide, last : in, 1, [lanes] of signed(16), 1, 1
        A result; it goes to RES rather than ACT; it is its command's last.
    start, act, res : in, 1, unsigned(ADDRESS_BITS), unsigned(ADDRESS_BITS)
        A command's results are the next: where they go.
    writing : out
        A command has started whose last result is not taken.
    written : out
        Its last result is taken in this cycle.
    write_act, write_res : out
        Stay until they are taken.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        narrow, wide = (data.ArrayLayout(shape, config.lanes) for shape in (unsigned(8), signed(16)))
        super().__init__(
            {
                "promise": In(1),
                "has_room": Out(1),
                "will_have_room": Out(1),
                "valid": In(1),
                "result": In(wide),
                "wide": In(1),
                "last": In(1),
                "start": In(1),
                "act": In(ADDRESS_BITS),
                "res": In(ADDRESS_BITS),
                "writing": Out(1),
                "written": Out(1),
                "write_act": Out(write_port("ACT", config, narrow)),
                "write_res": Out(write_port("RES", config, wide)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queued = data.StructLayout({"result": self.result.shape(), "wide": 1, "last": 1})
        m.submodules.queue = queue = fifo.SyncFIFO(width=queued.size, depth=QUEUE_DEPTH)
        m.submodules.head = buffer = StreamBuffer(queued)
        arriving, head, taken = Signal(queued), Signal(queued), Signal()
        act, res = self.write_act, self.write_res
        m.d.comb += [
            buffer.i.payload.eq(queue.r_data),
            buffer.i.valid.eq(queue.r_rdy),
            head.eq(buffer.o.payload),
            arriving.result.eq(self.result),
            arriving.wide.eq(self.wide),
            arriving.last.eq(self.last),
            queue.w_data.eq(arriving),
            queue.w_en.eq(self.valid),
            queue.r_en.eq(buffer.i.ready),
            act.en.eq(buffer.o.valid & ~head.wide),
            res.en.eq(buffer.o.valid & head.wide),
            buffer.o.ready.eq(Mux(head.wide, res.ready, act.ready)),
            taken.eq(buffer.o.valid & buffer.o.ready),
            self.written.eq(taken & head.last),
            res.data.eq(head.result),
            [byte.eq(element) for byte, element in zip(act.data, head.result, strict=True)],
        ]
        room = Signal(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH)  # entries neither used nor promised
        freed = Signal()
        m.d.comb += self.will_have_room.eq(room > 1)
        m.d.sync += [freed.eq(queue.r_rdy & queue.r_en), self.has_room.eq(self.will_have_room)]
        with m.If(freed ^ self.promise):  # the reads are decided late
            m.d.sync += room.eq(room + Mux(freed, 1, -1))
        with m.If(self.start):
            m.d.sync += [act.addr.eq(self.act), res.addr.eq(self.res), self.writing.eq(1)]
        with m.Elif(taken):
            m.d.sync += [
                act.addr.eq(act.addr + ~head.wide),
                res.addr.eq(res.addr + head.wide),
                self.writing.eq(~head.last),
            ]
        return m
