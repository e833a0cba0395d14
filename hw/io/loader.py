# SPDX-License-Identifier: SHL-2.1
"""Loader: writes packets of the input stream into the memories, and refuses those that do not fit."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arith.crc import WideCrc32
from ..memories import Target
from ..ports import LoadPort
from ..program.isa import TOKEN_BITS, Semaphore
from ..program.loads import InputRegion, PacketHeader
from ..stream import StreamBuffer
from ..structs import unpack

__all__ = ["LOAD_ERRORS", "Loader"]


_WRITE = data.StructLayout({"target": Target, "addr": 24, "data": 64})
_BEGUN_BITS = 5  # passes begun whose input has not come; the core's queues hold fewer


LOAD_ERRORS = {
    "header": "a load packet for no memory, or with reserved bits set: dropped whole",
    "range": "words of a load packet beyond the end of their memory: these are dropped",
    "input": "an input packet that is not what the program takes at this length: dropped whole",
}
"""What a packet can be wrong about, in order of the bits of ``errors``."""


class Loader(wiring.Component):
    """Autonomous: takes a header, then ``count`` words, each to the next 64-bit address of the header's target.

    An input packet (``input`` in its header) must have target and address of REGION. It waits for INPUT_FREE before its
    first word; meanwhile the stream stalls, which is the back-pressure on a host that sends inputs faster than they are
    used. Once all of it is in the memories and a pass waits for it, its count must be that of the pass's row blocks.
    If so, INPUT_FULL is signalled, otherwise INPUT_FREE: the pass goes on waiting, and the input was none.

    Parameters
    ----------
    semaphores : int
        Number of semaphores.
    units : dict of Target to int
        Stream words that each target holds.
    rows : int
        Token rows of a row block.
    region : int
        REGION at power-up.
    crc : int
        ``crc`` at power-up: of the packets that would have made what the memories then hold.

    Ports
    -----
    i : stream of 64-bit words
    load : writes to the memories, REGION among them
    positive, take, signal : semaphores
    begun : a pass begins in this cycle
    row_blocks : of the passes begun; steady from the cycle of ``begun`` until their inputs have been signalled
    tokens : longest sequence that the resident program takes
    errors : see LOAD_ERRORS; each high for one cycle
    written : a packet that is no input begins: what the memories hold is no longer what it was; one cycle
    clear_crc : let ``crc`` begin anew
    crc : CRC-32 of header and data of all packets but inputs, in the order they came. No reset changes it, nor REGION
    busy : a packet is under way
    """

    HEADER_LATENCY = 2
    """Cycles from an input packet's header to the earliest take of INPUT_FREE."""
    SIGNAL_LATENCY = 2
    """Cycles from an input's last word to its signal, if its pass waits for it and the memory takes it at once."""

    def __init__(self, *, semaphores: int, units: dict[Target, int], rows: int, region: int = 0, crc: int = 0):
        self._units, self._rows, self._region, self._crc = units, rows, region, crc
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(64))),
                "load": Out(LoadPort()),
                "positive": In(semaphores),
                "take": Out(semaphores),
                "signal": Out(semaphores),
                "begun": In(1),
                "row_blocks": In(TOKEN_BITS),
                "tokens": Out(TOKEN_BITS),
                "errors": Out(len(LOAD_ERRORS)),
                "written": Out(1),
                "clear_crc": In(1),
                "crc": Out(32),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held, left, address = Signal(PacketHeader), Signal(24), Signal(24)
        known, inside, expected, dropped = Signal(), Signal(), Signal(), Signal()
        region = Signal(InputRegion, init=unpack(InputRegion, self._region), reset_less=True)
        wrong = {name: Signal(name=f"wrong_{name}") for name in LOAD_ERRORS}
        moves, accepted, over, arrived, refused = Signal(), Signal(), Signal(), Signal(), Signal()
        # The buffer keeps the memories' arbitration out of the packet logic.
        m.submodules.writes = writes = StreamBuffer(_WRITE)
        m.submodules.total = total = WideCrc32(crc=self._crc)
        m.d.comb += [
            writes.i.payload.target.eq(held.target),
            writes.i.payload.addr.eq(address),
            writes.i.payload.data.eq(self.i.payload),
            self.load.target.eq(writes.o.payload.target),
            self.load.addr.eq(writes.o.payload.addr),
            self.load.data.eq(writes.o.payload.data),
            self.load.valid.eq(writes.o.valid),
            writes.o.ready.eq(self.load.ready),
            self.tokens.eq(region.tokens),
            total.clear.eq(self.clear_crc),
            total.data.eq(self.i.payload),
            self.crc.eq(total.crc),
        ]
        with m.If(self.load.valid & self.load.ready & (self.load.target == Target.REGION)):
            m.d.sync += region.eq(self.load.data)

        header = Signal(PacketHeader)
        m.d.comb += [
            header.eq(self.i.payload),
            known.eq((held.reserved == 0) & held.target.as_value().matches(*(t.value for t in self._units))),
            expected.eq((held.target == region.target) & (held.address == region.address) & (region.words != 0)),
        ]
        bound = Signal(range(max(self._units.values()) + 1))
        m.d.comb += inside.eq(address < bound)
        m.d.sync += [self.written.eq(0), refused.eq(0)]
        with m.FSM() as packet:
            with m.State("HEADER"):
                m.d.comb += [self.i.ready.eq(1), total.en.eq(self.i.valid & ~header.input)]
                with m.If(self.i.valid):
                    m.d.sync += [held.eq(header), left.eq(header.count), address.eq(header.address)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                refusal = ~known | (held.input & (~expected | (left == 0)))
                m.d.comb += wrong["header"].eq(~known)
                m.d.sync += [dropped.eq(refusal), refused.eq(known & refusal), self.written.eq(~held.input)]
                with m.Switch(held.target):
                    for target, units in self._units.items():
                        with m.Case(target):
                            m.d.sync += bound.eq(units)
                with m.If(left == 0):
                    m.next = "HEADER"
                with m.Elif(held.input):
                    m.next = "FREE"
                with m.Else():
                    m.next = "WORDS"
            with m.State("FREE"):
                with m.If(dropped):
                    m.next = "WORDS"
                with m.Elif(self.positive[Semaphore.INPUT_FREE]):
                    m.d.comb += [self.take.eq(1 << Semaphore.INPUT_FREE), accepted.eq(1)]
                    m.next = "WORDS"
            with m.State("WORDS"):
                writing = ~dropped & ~(held.input & over)
                m.d.comb += [
                    self.i.ready.eq(writes.i.ready),
                    writes.i.valid.eq(self.i.valid & inside & writing),
                    moves.eq(self.i.valid & writes.i.ready),
                    wrong["range"].eq(moves & ~inside & writing),
                    total.en.eq(moves & ~held.input),
                ]
                with m.If(moves):
                    m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "SETTLE"
            with m.State("SETTLE"):  # the last word is in the buffer, or has been dropped
                m.next = "END"
            with m.State("END"), m.If(~self.load.valid):  # and now in its memory
                m.d.comb += arrived.eq(held.input & ~dropped)
                m.next = "HEADER"
        m.d.comb += self.busy.eq(~packet.ongoing("HEADER") | self.load.valid)
        unsuited = self._judge(m, region, over, accepted=accepted, moves=moves & held.input, arrived=arrived)
        m.d.comb += wrong["input"].eq(refused | unsuited)
        m.d.sync += self.errors.eq(Cat(wrong.values()))
        return m

    def _judge(self, m, region, over, *, accepted, moves, arrived) -> Signal:
        """Signals for an input that is in its memory; ``over``: it has all the row blocks that there is room for.

        Returns whether it is not what the pass that waits for it takes.
        """
        word, final = Signal.like(region.words, name="word"), Signal.like(region.words, name="final")
        single, ends = Signal(), Signal()  # row blocks of one word; the word to come is its row block's last
        blocks, room, left = Signal(TOKEN_BITS), Signal(TOKEN_BITS), Signal(TOKEN_BITS)
        m.d.sync += [
            final.eq(region.words - 1),
            single.eq(region.words == 1),
            room.eq((region.tokens + (self._rows - 1)) >> ceil_log2(self._rows)),
        ]
        with m.If(accepted):
            m.d.sync += [word.eq(final), ends.eq(single), blocks.eq(0), left.eq(room), over.eq(0)]
        with m.Elif(moves & ~over):  # counted down, as a comparison with a constant is short
            m.d.sync += [word.eq(word - 1), ends.eq(word == 1)]
            with m.If(ends):
                m.d.sync += [
                    word.eq(final),
                    ends.eq(single),
                    blocks.eq(blocks + 1),
                    left.eq(left - 1),
                    over.eq(left == 1),
                ]
        beyond, suits = Signal(), Signal()
        with m.If(accepted | (moves & over)):
            m.d.sync += beyond.eq(~accepted)
        m.d.sync += suits.eq((blocks == self.row_blocks) & (word == final) & ~beyond)

        waiting, awaited = Signal(_BEGUN_BITS), Signal()  # passes begun without an input
        resident, judged, unsuited = Signal(), Signal(), Signal()
        m.d.sync += [waiting.eq(waiting + self.begun - (judged & suits)), resident.eq((resident | arrived) & ~judged)]
        m.d.comb += [
            awaited.eq(waiting != 0),
            judged.eq((resident | arrived) & awaited),
            unsuited.eq(judged & ~suits),
        ]
        with m.If(judged):
            m.d.comb += self.signal.eq(Mux(suits, 1 << Semaphore.INPUT_FULL, 1 << Semaphore.INPUT_FREE))
        return unsuited
