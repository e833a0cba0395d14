# SPDX-License-Identifier: SHL-2.1
"""Loops: which iteration an instruction acts on, and where the fetch goes at a loop's ends."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .instructions import Loop
from .isa import INDEX_BITS, LAG_BITS, LAG_MAX, TOKEN_BITS, WORD_BITS

__all__ = ["Iteration", "Loops"]


class Iteration(data.Struct):
    """Loop indices of one iteration."""

    outer: unsigned(INDEX_BITS)
    inner: unsigned(INDEX_BITS)
    first: unsigned(1)
    last: unsigned(1)
    valid: unsigned(1)


class Loops(wiring.Component):
    """Counts the iterations of a loop, and keeps those that its lags refer to.

    Ports
    -----
    word, next : the program word in the decoder, and the address after it
    accept : the decoder takes that word
    opens : it is a LOOP
    wraps : it is the last of the loop's body
    restart : start a pass of the program: the decoder is empty
    lag : of the instruction whose header is in the decoder
    row_blocks : of the sequence
    iteration : what that instruction acts on; outside a loop (0, 0), first and last at once
    redirect : a redirection was decided in the last cycle: what the fetch still shows is of no use
    target, loop, loop_first, loop_last : where to, as :class:`hw.program.fetch.Fetcher` takes them
    """

    def __init__(self, *, words: int):
        address = ceil_log2(words + 1)
        self._address_bits = address
        super().__init__(
            {
                "word": In(WORD_BITS),
                "next": In(address),
                "accept": In(1),
                "opens": In(1),
                "wraps": In(1),
                "restart": In(1),
                "lag": In(LAG_BITS),
                "row_blocks": In(TOKEN_BITS),
                "iteration": Out(Iteration),
                "redirect": Out(1),
                "target": Out(address),
                "loop": Out(1),
                "loop_first": Out(address),
                "loop_last": Out(address),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The history holds the indices of this iteration and of those before it.
        history = Array(
            [
                Signal(Iteration, name=f"iteration{age}", init={"first": age == 0, "last": age == 0, "valid": age == 0})
                for age in range(LAG_MAX + 1)
            ]
        )
        m.d.comb += self.iteration.eq(history[self.lag])
        once = Cat(Const(0, 2 * INDEX_BITS), Const(0b111, 3))
        current = history[0]
        exhausted, is_last, tail = Signal(), Signal(), Signal(LAG_BITS)
        behind = Signal(self._address_bits)  # the loop
        loop = Signal(Loop)
        m.d.comb += loop.eq(self.word)
        last = self._counts(m, loop)
        following = self._following(m, current, is_last, *last)
        at_end, redirect = Signal(), Signal()
        # A body has two words or more: time to work out in two cycles what follows it.
        m.d.sync += [
            is_last.eq(exhausted | current.last),
            at_end.eq((exhausted | current.last) & (tail == 0)),
            self.redirect.eq(redirect),
        ]
        with m.If(self.accept & self.opens):
            m.d.comb += redirect.eq(1)
            m.d.sync += [
                exhausted.eq(0),
                tail.eq(loop.lag),
                behind.eq(self.next + loop.body),
                self.target.eq(self.next),
                self.loop.eq(1),
                self.loop_first.eq(self.next),
                self.loop_last.eq(self.next + loop.body - 1),
            ]
            m.d.sync += [history[age].valid.eq(0) for age in range(1, LAG_MAX + 1)]
            single = (self._count(loop.outer, loop.outer_rows) == 1) & (self._count(loop.inner, loop.inner_rows) == 1)
            m.d.sync += history[0].eq(Cat(Const(0, 2 * INDEX_BITS), Const(1, 1), single, Const(1, 1)))
        with m.Elif(self.accept & self.wraps):  # which only a loop's last word does
            with m.If(at_end):
                m.d.comb += redirect.eq(1)
                m.d.sync += [history[0].eq(once), self.target.eq(behind), self.loop.eq(0)]
            with m.Else():
                m.d.sync += [history[age].eq(history[age - 1]) for age in range(1, LAG_MAX + 1)]
                m.d.sync += history[0].eq(following)
                with m.If(is_last):
                    m.d.sync += [exhausted.eq(1), tail.eq(tail - 1)]
        with m.If(self.restart):
            m.d.comb += redirect.eq(1)
            m.d.sync += [self.target.eq(0), self.loop.eq(0)]
        return m

    def _count(self, literal, rows):
        """Trips of a loop level."""
        return Mux(rows, self.row_blocks, literal)

    def _counts(self, m, loop):
        """Last outer and inner index, and the ones before them."""
        outer, inner = Signal(INDEX_BITS, name="outer_last"), Signal(INDEX_BITS, name="inner_last")
        outer_before, inner_before = Signal(INDEX_BITS), Signal(INDEX_BITS)
        outer_count, inner_count = Signal(INDEX_BITS), Signal(INDEX_BITS)
        m.d.comb += [
            outer_count.eq(self._count(loop.outer, loop.outer_rows)),
            inner_count.eq(self._count(loop.inner, loop.inner_rows)),
        ]
        with m.If(self.accept & self.opens):
            m.d.sync += [
                outer.eq(outer_count - 1),
                inner.eq(inner_count - 1),
                outer_before.eq(outer_count - 2),
                inner_before.eq(inner_count - 2),
            ]
        return outer, inner, outer_before, inner_before

    def _following(self, m, current, is_last, outer_last, inner_last, outer_before, inner_before):
        """The iteration after this one, a cycle late."""
        following, at_inner_end, follows_last = Signal(Iteration), Signal(), Signal()
        m.d.sync += [
            at_inner_end.eq(current.inner == inner_last),
            follows_last.eq(
                Mux(
                    current.inner == inner_last,
                    (inner_last == 0) & (current.outer == outer_before),
                    (current.inner == inner_before) & (current.outer == outer_last),
                )
            ),
        ]
        m.d.comb += [
            following.outer.eq(Mux(at_inner_end, current.outer + 1, current.outer)),
            following.inner.eq(Mux(at_inner_end, 0, current.inner + 1)),
            following.first.eq(0),
            following.last.eq(follows_last),
            following.valid.eq(~is_last),
        ]
        return following
