# SPDX-License-Identifier: SHL-2.1
"""Loader: writes packets of the input stream into the memories."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..program.isa import PacketHeader, Semaphore, Target
from ..stream import StreamBuffer

__all__ = ["Loader"]


_WRITE = data.StructLayout({"target": Target, "addr": 24, "data": 64})


class Loader(wiring.Component):
    """Autonomous: takes a header, then ``count`` words, each to the next 64-bit address of the header's target.

    A packet whose ``input`` bit is set waits for INPUT_FREE before its first word and signals INPUT_FULL after its
    last; meanwhile the stream stalls, which is the back-pressure on a host that sends inputs faster than they are used.

    Ports
    -----
    i : stream of 64-bit words
    target, addr, data, valid, ready : one write, held until ``ready``
    positive, take, signal : semaphores
    """

    def __init__(self, *, semaphores: int):
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(64))),
                "target": Out(Target),
                "addr": Out(24),
                "data": Out(64),
                "valid": Out(1),
                "ready": In(1),
                "positive": In(semaphores),
                "take": Out(semaphores),
                "signal": Out(semaphores),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        header, held = Signal(PacketHeader), Signal(PacketHeader)
        left, address = Signal(24), Signal(24)
        in_packet, waiting, ending = Signal(), Signal(), Signal()
        # The buffer keeps the memories' arbitration out of the packet logic.
        m.submodules.writes = writes = StreamBuffer(_WRITE)
        m.d.comb += [
            header.eq(self.i.payload),
            self.busy.eq(in_packet | self.valid),
            writes.i.payload.target.eq(held.target),
            writes.i.payload.addr.eq(address),
            writes.i.payload.data.eq(self.i.payload),
            self.target.eq(writes.o.payload.target),
            self.addr.eq(writes.o.payload.addr),
            self.data.eq(writes.o.payload.data),
            self.valid.eq(writes.o.valid),
            writes.o.ready.eq(self.ready),
        ]

        with m.If(~in_packet):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [
                    held.eq(header),
                    left.eq(header.count),
                    address.eq(header.address),
                    in_packet.eq((header.count != 0) | header.input),
                    waiting.eq(header.input),
                    ending.eq(header.count == 0),
                ]
        with m.Elif(waiting):
            with m.If(self.positive[Semaphore.INPUT_FREE]):
                m.d.comb += self.take.eq(1 << Semaphore.INPUT_FREE)
                m.d.sync += waiting.eq(0)
        with m.Elif(ending):
            with m.If(~self.valid):
                m.d.comb += self.signal.eq(Mux(held.input, 1 << Semaphore.INPUT_FULL, 0))
                m.d.sync += in_packet.eq(0)
        with m.Else():
            m.d.comb += [self.i.ready.eq(writes.i.ready), writes.i.valid.eq(self.i.valid)]
            with m.If(self.i.valid & writes.i.ready):
                m.d.sync += [
                    address.eq(address + 1),
                    left.eq(left - 1),
                    ending.eq(left == 1),
                ]
        return m
