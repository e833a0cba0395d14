# SPDX-License-Identifier: SHL-2.1
"""Which passes begin, and with what length: a program never runs with a length it was not made for."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..program.commands import Lengths
from ..program.isa import TOKEN_BITS

__all__ = ["PassGuard"]

_IN_FLIGHT_BITS = 5  # the core's queues hold fewer passes


class PassGuard(wiring.Component):
    """Begins passes, all of those in flight with the same, legal, length.

    Legal is 1 to the longest sequence of the resident program. If nothing is in flight, a legal ``seq_len`` becomes the
    length of the passes to come LENGTH_LATENCY cycles later; a request that comes sooner waits. A pass that is asked
    for with an illegal length, or while others are in flight with another one, is refused; where ``run`` stays high, it
    begins as soon as it may.

    Parameters
    ----------
    config : CoreConfig

    Ports
    -----
    run, seq_len : of the core
    tokens : longest sequence that the resident program takes
    dispatching : the sequencer is in a pass; it begins the next in the cycle of ``begun``
    ended : a result's last word leaves
    at_work : an engine is busy, at most a few cycles late
    begun : a pass begins
    lengths : of the passes in flight: constant while there are any
    refused : a pass was asked for and cannot begin for its length
    """

    LENGTH_LATENCY = 3
    """Cycles from a new ``seq_len`` until a pass of that length may begin, if nothing is in flight."""

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__(
            {
                "run": In(1),
                "seq_len": In(TOKEN_BITS),
                "tokens": In(TOKEN_BITS),
                "dispatching": In(1),
                "ended": In(1),
                "at_work": In(1),
                "begun": Out(1),
                "lengths": Out(Lengths),
                "refused": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self._config

        # Everything but `steady` rests on `seen`, as the length's pins may be far away, and what is then done on
        # `examined`, of which is known whether it is legal.
        seen, examined, legal = Signal(TOKEN_BITS), Signal(TOKEN_BITS), Signal()
        m.d.sync += [
            seen.eq(self.seq_len),
            examined.eq(seen),
            legal.eq((seen != 0) & (seen <= self.tokens) & (seen <= c.max_tokens)),
        ]

        def units(size: int):
            return (examined + size - 1) >> ceil_log2(size)

        in_flight, quiet, free = Signal(_IN_FLIGHT_BITS), Signal(init=1), Signal()
        m.d.comb += free.eq(quiet & ~self.dispatching)
        m.d.sync += [
            in_flight.eq(in_flight + self.begun - (self.ended & (in_flight != 0))),
            quiet.eq((in_flight == 0) & ~self.at_work),
        ]
        with m.If(free & legal):  # in the cycle of `begun` too: then they are what they were
            m.d.sync += [
                self.lengths.tokens.eq(examined),
                self.lengths.row_blocks.eq(units(c.rows)),
                self.lengths.key_tiles.eq(units(c.cols)),
                self.lengths.key_words.eq(units(c.depth)),
            ]

        # Where `seq_len` has changed in this cycle or the last two, the request waits until that has been looked at.
        steady, steady1, steady2 = Signal(), Signal(), Signal()
        fit, late, asked, judged = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            steady.eq(self.seq_len == seen),
            asked.eq((self.run | late) & ~self.dispatching),
            judged.eq(asked & steady & steady1 & steady2),
            self.begun.eq(judged & fit),
        ]
        m.d.sync += [
            steady1.eq(steady),
            steady2.eq(steady1),
            fit.eq(legal & (free | (examined == self.lengths.tokens))),
            late.eq(asked & ~judged),
            self.refused.eq(judged & ~fit),
        ]
        return m
