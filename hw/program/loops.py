# SPDX-License-Identifier: SHL-2.1
"""Loops: which iteration an instruction acts on, and where the fetch goes at a loop's ends."""

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .instructions import Loop
from .isa import INDEX_BITS, LAG_BITS, LAG_MAX, TOKEN_BITS, WORD_BITS

__all__ = ["Ends", "Iteration", "Loops"]


class Ends(data.Struct):
    """At which ends of a loop's levels an iteration is."""

    outer_first: unsigned(1)
    outer_last: unsigned(1)
    inner_first: unsigned(1)
    inner_last: unsigned(1)


class Iteration(data.Struct):
    """One iteration: its indices, and whether each is its level's first or last."""

    outer: unsigned(INDEX_BITS)
    inner: unsigned(INDEX_BITS)
    ends: Ends
    valid: unsigned(1)


_ONCE = {"ends": {"outer_first": 1, "outer_last": 1, "inner_first": 1, "inner_last": 1}, "valid": 1}
"""Outside a loop: both levels' first iteration, and their last."""


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
    iteration : what that instruction acts on; outside a loop (0, 0), all ends at once
    redirects : a redirection is decided
    redirect : one was decided in the last cycle: what the fetch still shows is of no use
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
                "redirects": Out(1),
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
            [Signal(Iteration, name=f"iteration{age}", init=_ONCE if age == 0 else {}) for age in range(LAG_MAX + 1)]
        )
        m.d.comb += self.iteration.eq(history[self.lag])
        current = history[0]
        exhausted, is_last, tail = Signal(), Signal(), Signal(LAG_BITS)
        behind = Signal(self._address_bits)  # the loop
        loop = Signal(Loop)
        m.d.comb += loop.eq(self.word)
        outer_count, inner_count = Signal(INDEX_BITS), Signal(INDEX_BITS)
        m.d.comb += [
            outer_count.eq(Mux(loop.outer_rows, self.row_blocks, loop.outer)),
            inner_count.eq(Mux(loop.inner_rows, self.row_blocks, loop.inner)),
        ]
        last = self._last(m, outer_count, inner_count)
        at_last = current.ends.outer_last & current.ends.inner_last
        following = self._following(m, current, is_last, *last)
        at_end = Signal()
        # A body has two words or more: time to work out in two cycles what follows it.
        m.d.sync += [
            is_last.eq(exhausted | at_last),
            at_end.eq((exhausted | at_last) & (tail == 0)),
            self.redirect.eq(self.redirects),
        ]
        with m.If(self.accept & self.opens):
            m.d.comb += self.redirects.eq(1)
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
            m.d.sync += [
                current.eq(Iteration.const(_ONCE)),
                current.ends.outer_last.eq(outer_count == 1),
                current.ends.inner_last.eq(inner_count == 1),
            ]
        with m.Elif(self.accept & self.wraps):  # which only a loop's last word does
            with m.If(at_end):
                m.d.comb += self.redirects.eq(1)
                m.d.sync += [history[0].eq(Iteration.const(_ONCE)), self.target.eq(behind), self.loop.eq(0)]
            with m.Else():
                m.d.sync += [history[age].eq(history[age - 1]) for age in range(1, LAG_MAX + 1)]
                m.d.sync += history[0].eq(following)
                with m.If(is_last):
                    m.d.sync += [exhausted.eq(1), tail.eq(tail - 1)]
        with m.If(self.restart):
            m.d.comb += self.redirects.eq(1)
            m.d.sync += [self.target.eq(0), self.loop.eq(0)]
        return m

    def _last(self, m, outer_count, inner_count):
        """Last inner index, and the outer and the inner one before the last."""
        inner_last, outer_before, inner_before = Signal(INDEX_BITS), Signal(INDEX_BITS), Signal(INDEX_BITS)
        with m.If(self.accept & self.opens):
            m.d.sync += [
                inner_last.eq(inner_count - 1),
                outer_before.eq(outer_count - 2),
                inner_before.eq(inner_count - 2),
            ]
        return inner_last, outer_before, inner_before

    def _following(self, m, current, is_last, inner_last, outer_before, inner_before):
        """The iteration after this one, a cycle late."""
        following = Signal(Iteration)
        at_inner_end, follows_outer_last, follows_inner_last = Signal(), Signal(), Signal()
        m.d.sync += [
            at_inner_end.eq(current.ends.inner_last),
            follows_outer_last.eq(Mux(current.ends.inner_last, current.outer == outer_before, current.ends.outer_last)),
            follows_inner_last.eq(Mux(current.ends.inner_last, inner_last == 0, current.inner == inner_before)),
        ]
        m.d.comb += [
            following.outer.eq(Mux(at_inner_end, current.outer + 1, current.outer)),
            following.inner.eq(Mux(at_inner_end, 0, current.inner + 1)),
            following.ends.outer_first.eq(current.ends.outer_first & ~at_inner_end),
            following.ends.outer_last.eq(follows_outer_last),
            following.ends.inner_first.eq(at_inner_end),
            following.ends.inner_last.eq(follows_inner_last),
            following.valid.eq(~is_last),
        ]
        return following
