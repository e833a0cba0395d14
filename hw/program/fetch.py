# SPDX-License-Identifier: SHL-2.1
"""Program fetch: a stream of program words that follows loops without a gap and restarts on redirection."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..memory import READ_LATENCY
from .asks import ENGINES, asked_engines
from .isa import WORD_BITS

__all__ = ["Fetcher"]

_AHEAD = 8


class Fetcher(wiring.Component):
    """Prefetches up to eight words. Within a loop it wraps from ``loop_last`` to ``loop_first`` by itself.

    ``redirect`` drops everything fetched so far and goes on at ``target``; with ``loop`` it also sets the loop's
    bounds, without it the loop ends. The first word after a redirection is there ``LATENCY`` cycles later.

    Ports
    -----
    word : stream of {word, next: address after it, wrap: it is the loop's last, asks: of :func:`asked_engines`}
    prog_addr, prog_data : memory port, ``READ_LATENCY`` cycles
    """

    LATENCY = READ_LATENCY + 3

    def __init__(self, *, words: int):
        self.address_bits = ceil_log2(words + 1)
        self.layout = data.StructLayout({"word": WORD_BITS, "next": self.address_bits, "wrap": 1, "asks": ENGINES})
        super().__init__(
            {
                "redirect": In(1),
                "target": In(self.address_bits),
                "loop": In(1),
                "loop_first": In(self.address_bits),
                "loop_last": In(self.address_bits),
                "word": Out(stream.Signature(self.layout)),
                "prog_addr": Out(range(words)),
                "prog_data": In(unsigned(WORD_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pc, fetching = Signal(self.address_bits), Signal()
        looping, first, last = Signal(), Signal(self.address_bits), Signal(self.address_bits)
        credit = Signal(range(_AHEAD + 1), init=_AHEAD)  # words that there is room for, those on their way counted

        issue, wrap = Signal(), Signal()
        m.d.comb += [
            issue.eq(fetching & (credit != 0) & ~self.redirect),
            wrap.eq(looping & (pc == last)),
            self.prog_addr.eq(pc),
        ]
        following = pc + 1
        with m.If(issue):
            m.d.sync += pc.eq(following)
            with m.If(wrap):
                m.d.sync += pc.eq(first)

        # Address, wrap and validity travel beside the memory's two stages.
        tag = data.StructLayout({"next": self.address_bits, "wrap": 1, "valid": 1})
        entry = Signal(tag)
        m.d.comb += [entry.next.eq(following), entry.wrap.eq(wrap), entry.valid.eq(issue)]
        for stage in range(READ_LATENCY):
            delayed = Signal(tag, name=f"tag{stage}")
            m.d.sync += delayed.eq(entry)
            with m.If(self.redirect):
                m.d.sync += delayed.valid.eq(0)
            entry = delayed

        # A ring without a level: credits keep it from overflow, as one of its words stands in the register behind it.
        words: memory.Memory = memory.Memory(shape=self.layout, depth=_AHEAD, init=[])
        m.submodules.words = words
        push, pop = words.write_port(), words.read_port(domain="comb")
        pushed, popped = Signal(range(_AHEAD)), Signal(range(_AHEAD))
        valid, taken = Signal(), Signal()
        word = Signal(self.layout, reset_less=True)
        m.d.comb += [
            push.addr.eq(pushed),
            push.data.eq(Cat(self.prog_data, entry.next, entry.wrap, asked_engines(self.prog_data))),
            push.en.eq(entry.valid),
            pop.addr.eq(popped),
            self.word.payload.eq(word),
            self.word.valid.eq(valid),
        ]
        m.d.sync += [pushed.eq(pushed + entry.valid), taken.eq(valid & self.word.ready)]
        with m.If(self.word.ready | ~valid):
            m.d.sync += [word.eq(pop.data), valid.eq(pushed != popped)]
            with m.If(pushed != popped):
                m.d.sync += popped.eq(popped + 1)
        m.d.sync += credit.eq(credit - issue + taken)
        with m.If(self.redirect):
            m.d.sync += [
                pc.eq(self.target),
                fetching.eq(1),
                looping.eq(self.loop),
                first.eq(self.loop_first),
                last.eq(self.loop_last),
                credit.eq(_AHEAD),
                pushed.eq(0),
                popped.eq(0),
                valid.eq(0),
                taken.eq(0),
            ]
        return m
