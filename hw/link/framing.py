# SPDX-License-Identifier: SHL-2.1
"""Byte stuffing: frames from the line's bytes and back."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.crc import Crc32
from .protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG

__all__ = ["BYTE_OF_FRAME", "Deframer", "Framer"]

BYTE_OF_FRAME = data.StructLayout({"data": 8, "last": 1})


class Deframer(wiring.Component):
    """The bytes between two flags, unstuffed, CRC included.

    Whatever comes, the next flag begins a frame anew. What is spoilt (a byte that the line garbled, an escape before a
    flag) is dropped without ``ends``; so is what holds no byte.

    Ports
    -----
    valid, data, error : from the receiver, at most every fourth cycle
    begins : a frame begins
    o_valid, o_data : its next byte
    ends : a frame has ended with all its bytes (``begins`` may be high too: of the next one)
    good : with ``ends``: its CRC is right
    """

    def __init__(self):
        super().__init__(
            {
                "valid": In(1),
                "data": In(8),
                "error": In(1),
                "begins": Out(1),
                "o_valid": Out(1),
                "o_data": Out(8),
                "ends": Out(1),
                "good": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()
        inside, escaped, some = Signal(), Signal(), Signal()
        starting, ending = Signal(), Signal()  # a cycle ahead of the ports: the CRC is being looked at
        is_flag, is_escape = Signal(), Signal()
        valid, error, byte = Signal(), Signal(), Signal(8)
        m.d.sync += [  # one stage to tell special bytes
            valid.eq(self.valid),
            error.eq(self.error),
            byte.eq(self.data),
            is_flag.eq(self.data == FLAG),
            is_escape.eq(self.data == ESCAPE),
            self.o_valid.eq(0),
            starting.eq(0),
            ending.eq(0),
            self.begins.eq(starting),
            self.ends.eq(ending),
        ]
        m.d.comb += [
            crc.clear.eq(self.begins),
            crc.en.eq(self.o_valid),
            crc.data.eq(self.o_data),
            self.good.eq(crc.good),
        ]
        with m.If(error):
            m.d.sync += inside.eq(0)
        with m.Elif(valid & is_flag):
            m.d.sync += [inside.eq(1), escaped.eq(0), some.eq(0)]
            m.d.sync += [ending.eq(inside & some & ~escaped), starting.eq(1)]
        with m.Elif(valid & is_escape & inside):
            m.d.sync += escaped.eq(1)
        with m.Elif(valid & inside):
            m.d.sync += [escaped.eq(0), some.eq(1), self.o_valid.eq(1)]
            m.d.sync += self.o_data.eq(byte ^ Mux(escaped, ESCAPE_XOR, 0))
        return m


class Framer(wiring.Component):
    """A frame of each run of bytes up to ``last``: flag, the bytes and their CRC stuffed, flag.

    Ports
    -----
    i : stream of BYTE_OF_FRAME
    o : stream of bytes for the line
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(BYTE_OF_FRAME)), "o": Out(stream.Signature(unsigned(8)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()
        byte, last = Signal(8), Signal()  # to be sent
        special = Signal()
        in_crc, left = Signal(), Signal(range(CRC_BYTES + 1))
        tail = Signal(32)
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        m.d.sync += special.eq((byte == FLAG) | (byte == ESCAPE))
        m.d.comb += crc.data.eq(byte)

        def offer(value):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(value)]

        with m.If(taken):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("REST"), m.If(self.i.valid):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += [in_crc.eq(0), left.eq(CRC_BYTES)]
                offer(FLAG)
                m.next = "FETCH"
            with m.State("FETCH"), m.If(~self.o.valid):
                with m.If(in_crc):
                    m.d.sync += [byte.eq(tail[:8]), tail.eq(tail >> 8), left.eq(left - 1), last.eq(left == 1)]
                    m.next = "LOOK"
                with m.Elif(self.i.valid):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [byte.eq(self.i.payload.data), last.eq(self.i.payload.last)]
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += crc.en.eq(1)
                m.next = "LOOK"
            with m.State("LOOK"):  # `special` tells of this byte in the next cycle, `crc` includes it
                m.next = "SEND"
            with m.State("SEND"):
                with m.If(special):
                    offer(ESCAPE)
                    m.d.sync += byte.eq(byte ^ ESCAPE_XOR)
                    m.next = "ESCAPED"
                with m.Else():
                    offer(byte)
                    m.next = "SENT"
            with m.State("ESCAPED"), m.If(~self.o.valid):
                offer(byte)
                m.next = "SENT"
            with m.State("SENT"):
                with m.If(~last):
                    m.next = "FETCH"
                with m.Elif(~in_crc):
                    m.d.sync += [in_crc.eq(1), tail.eq(crc.crc)]
                    m.next = "FETCH"
                with m.Else():
                    m.next = "END"
            with m.State("END"), m.If(~self.o.valid):
                offer(FLAG)
                m.next = "FINISH"
            with m.State("FINISH"), m.If(~self.o.valid):
                m.next = "REST"
        return m
