# SPDX-License-Identifier: SHL-2.1
"""Store engine: sends row blocks of RES to the output stream."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..memory import SHARED_READ_LATENCY
from ..ports import read_port
from ..program.commands import StoreCommand
from ..program.isa import ADDRESS_BITS, BEAT_BITS, SEMAPHORES

__all__ = ["StoreEngine"]

BUFFERED = 8
"""Beats between the memory and the stream."""


class StoreEngine(wiring.Component):
    """``beats`` RES words from ``src``, each as ``ceil(lanes * 16 / 64)`` words of 64 bits, low lanes first.

    Ports
    -----
    command : waits already satisfied; ``signal`` pulses a cycle after the command's last RES word has been read
    read_res : each word once
    o : stream of {data, last}; frame : a word with ``last`` has left
    """

    LATENCY = SHARED_READ_LATENCY + 2
    """Cycles from a RES address to the beat's first word on the stream: the memory, then an empty buffer."""

    def __init__(self, config: CoreConfig):
        self.width = config.lanes * 16
        self.words = self.words_of(config)
        self.output = data.StructLayout({"data": 64, "last": 1})
        super().__init__(
            {
                "command": In(stream.Signature(StoreCommand)),
                "read_res": Out(read_port("RES", config)),
                "o": Out(stream.Signature(self.output)),
                "signal": Out(SEMAPHORES),
                "frame": Out(1),
                "busy": Out(1),
            }
        )

    @staticmethod
    def words_of(config: CoreConfig) -> int:
        """Stream words of a beat."""
        return -(-config.lanes * 16 // 64)

    def elaborate(self, platform):
        m = Module()
        command = self.command.payload
        reading = Signal()
        left, address = Signal(BEAT_BITS), Signal(ADDRESS_BITS)
        signals, is_last, final, done = Signal(SEMAPHORES), Signal(), Signal(), Signal()
        credit, has_credit = Signal(range(BUFFERED + 1), init=BUFFERED), Signal(init=1)
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=self.width + 1, depth=BUFFERED)

        taken = Signal()
        m.d.comb += [
            self.command.ready.eq(~reading),
            self.read_res.valid.eq(reading & has_credit),
            self.read_res.addr.eq(address),
            taken.eq(self.read_res.valid & self.read_res.ready),
        ]
        with m.If(self.command.valid & ~reading):
            m.d.sync += [
                reading.eq(1),
                left.eq(command.beats - 1),
                final.eq(command.beats == 1),
                address.eq(command.src),
                signals.eq(command.signal),
                is_last.eq(command.last),
            ]
        with m.If(taken):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), final.eq(left == 1)]
            with m.If(final):
                m.d.sync += reading.eq(0)

        # Validity and end-of-command marks travel beside the memory.
        valid, end_mark, last = taken, final, is_last
        for stage in range(SHARED_READ_LATENCY):
            marks = [Signal(name=f"{name}{stage}") for name in ("valid", "final", "last")]
            m.d.sync += [mark.eq(value) for mark, value in zip(marks, (valid, end_mark, last), strict=True)]
            valid, end_mark, last = marks
        m.d.comb += [beats.w_data.eq(Cat(self.read_res.data, end_mark & last)), beats.w_en.eq(valid)]
        # Read out for good: nothing can overtake a read that was accepted. One register, not one for each signal.
        m.d.sync += done.eq(taken & final)
        with m.If(done):
            m.d.comb += self.signal.eq(signals)

        # Serialise.
        part = Signal(range(max(self.words, 2)))
        end = part == self.words - 1
        word = Signal(64 * self.words)
        m.d.comb += [
            word.eq(beats.r_data[: self.width]),
            self.o.payload.data.eq(word.word_select(part, 64)),
            self.o.payload.last.eq(end & beats.r_data[self.width]),
            self.o.valid.eq(beats.r_rdy),
            beats.r_en.eq(self.o.ready & end),
            self.frame.eq(self.o.valid & self.o.ready & self.o.payload.last),
            self.busy.eq(reading | beats.r_rdy | (credit != BUFFERED)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += part.eq(part + 1)
            with m.If(end):
                m.d.sync += part.eq(0)
        returned = Signal()
        m.d.comb += returned.eq(beats.r_rdy & beats.r_en)
        m.d.sync += [
            credit.eq(credit - taken + returned),
            has_credit.eq(returned | (credit > 1) | ((credit == 1) & ~taken)),
        ]
        return m
