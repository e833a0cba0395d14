# SPDX-License-Identifier: SHL-2.1
"""Whole frames: requests checked and held, answers sent from memory."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.memory import READ_LATENCY, TensorMemory

from .framing import Deframer, Framer
from .protocol import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD, Header

__all__ = ["BUFFER", "RequestReceiver", "AnswerSender"]

BUFFER = 2048
"""Bytes of a payload's memory: one block RAM."""


class RequestReceiver(wiring.Component):
    """Holds the next frame whose CRC and length are right until ``done``; frames that begin meanwhile are dropped.

    Ports
    -----
    valid, data, error : the line's bytes
    pending : there is a request: ``header``, and its payload to be read, READ_LATENCY cycles after the address
    done : forget it
    spoilt : a frame has been dropped for its CRC or length
    """

    def __init__(self):
        super().__init__(
            {
                "valid": In(1),
                "data": In(8),
                "error": In(1),
                "pending": Out(1),
                "done": In(1),
                "header": Out(Header),
                "r_addr": In(range(BUFFER)),
                "r_data": Out(8),
                "spoilt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.deframer = deframer = Deframer()
        m.submodules.payload = payload = TensorMemory(depth=BUFFER, lanes=1, granularity=8)
        frame_bytes = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES
        listening = Signal()
        in_header = Signal()
        count, expected, fits = Signal(range(frame_bytes + 1)), Signal(17), Signal()
        address = Signal(range(BUFFER))
        m.d.comb += [
            deframer.valid.eq(self.valid),
            deframer.data.eq(self.data),
            deframer.error.eq(self.error),
            payload.r_addr.eq(self.r_addr),
            self.r_data.eq(payload.r_data),
            payload.w_addr.eq(address),
            payload.w_data.eq(deframer.o_data),
            payload.w_en.eq(deframer.o_valid & listening & ~in_header),
        ]
        m.d.sync += [  # settled when the frame ends: bytes are apart
            expected.eq(self.header.length + HEADER_BYTES + CRC_BYTES),
            fits.eq(count == expected),
            self.spoilt.eq(0),
        ]
        with m.If(deframer.o_valid & listening):
            m.d.sync += count.eq(count + 1)
            with m.If(count == frame_bytes):  # too long
                m.d.sync += listening.eq(0)
            with m.If(in_header):
                m.d.sync += self.header.eq(Cat(self.header.as_value()[8:], deframer.o_data))
                m.d.sync += in_header.eq(count != HEADER_BYTES - 1)
            with m.Else():
                m.d.sync += address.eq(address + 1)
        with m.If(deframer.begins):
            m.d.sync += [listening.eq(~self.pending), in_header.eq(1), count.eq(0), address.eq(0)]
        with m.If(deframer.ends & listening):
            with m.If(deframer.good & fits):
                m.d.sync += [self.pending.eq(1), listening.eq(0)]
            with m.Else():
                m.d.sync += self.spoilt.eq(1)
        with m.If(self.done):
            m.d.sync += self.pending.eq(0)
        return m


class AnswerSender(wiring.Component):
    """Sends a frame of ``header`` and the first ``header.length`` bytes of a memory.

    Ports
    -----
    start : send one; ``header`` is read in that cycle
    busy : it is being made ready; its last bytes may still be on their way
    r_addr, r_data : the memory, READ_LATENCY cycles
    o : stream of bytes for the line
    """

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "busy": Out(1),
                "header": In(Header),
                "r_addr": Out(range(BUFFER)),
                "r_data": In(8),
                "o": Out(stream.Signature(unsigned(8))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.framer = framer = Framer()
        wiring.connect(m, framer.o, wiring.flipped(self.o))
        header, left = Signal(8 * HEADER_BYTES), Signal(range(HEADER_BYTES + 1))
        empty = Signal()
        length, last = Signal(range(MAX_PAYLOAD + 1)), Signal()
        ready = Signal(READ_LATENCY + 1)
        byte = framer.i.payload
        m.d.sync += last.eq(self.r_addr + 1 == length)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("REST"))
            with m.State("REST"):
                m.d.sync += [self.r_addr.eq(0), left.eq(HEADER_BYTES), header.eq(self.header)]
                m.d.sync += [length.eq(self.header.length), empty.eq(self.header.length == 0)]
                with m.If(self.start):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [framer.i.valid.eq(1), byte.data.eq(header[:8]), byte.last.eq((left == 1) & empty)]
                with m.If(framer.i.ready):
                    m.d.sync += [header.eq(header >> 8), left.eq(left - 1), ready.eq(1)]
                    with m.If(left == 1):
                        with m.If(empty):
                            m.next = "REST"
                        with m.Else():
                            m.next = "READ"
            with m.State("READ"):
                m.d.sync += ready.eq(ready << 1)
                with m.If(ready[-1]):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += [framer.i.valid.eq(1), byte.data.eq(self.r_data), byte.last.eq(last)]
                with m.If(framer.i.ready):
                    m.d.sync += [self.r_addr.eq(self.r_addr + 1), ready.eq(1)]
                    with m.If(last):
                        m.next = "REST"
                    with m.Else():
                        m.next = "READ"
        return m
