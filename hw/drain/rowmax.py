# SPDX-License-Identifier: SHL-2.1
"""Running row maximum of the scores, kept for each slot of the score ring."""

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..memories import SCORE_BITS
from ..pipeline import delay

__all__ = ["RowMaximum"]


class RowMaximum(wiring.Component):
    """Maximum over a row block's unmasked scores, one beat a cycle.

    The maximum of a row is over every column of every beat from ``first`` to ``last`` whose ``mask`` bit is set (the
    first column of the first beat always is). ``done`` pulses ``latency + 1`` cycles after the last beat, when
    ``row_max`` of that slot is readable.

    Ports
    -----
    score : beat, element p * rows + r
    mask : one bit a column
    slot : ring slot of this beat
    read_slot, row_max : combinational read, one value a row
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "slot": In(range(config.slots)),
                "mask": In(config.drain_columns),
                "score": In(data.ArrayLayout(signed(SCORE_BITS), config.lanes)),
                "done": Out(1),
                "read_slot": In(range(config.slots)),
                "row_max": Out(data.ArrayLayout(signed(SCORE_BITS), config.rows)),
            }
        )

    @staticmethod
    def latency(config: CoreConfig) -> int:
        """Cycles from the last beat to the one before ``done``."""
        return 4 + (config.drain_columns - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        rows, columns = self.config.rows, self.config.drain_columns
        # Offset binary, scores plus 2^23: an unsigned comparison is one carry chain, without a signed one's overflow.
        shape = unsigned(SCORE_BITS)
        offset = 1 << (SCORE_BITS - 1)

        masked = [[Signal(shape, name=f"masked{p}_{r}", reset_less=True) for r in range(rows)] for p in range(columns)]
        for p in range(columns):
            for r in range(rows):
                score = self.score[p * rows + r].as_unsigned() ^ offset
                m.d.sync += masked[p][r].eq(Mux(self.mask[p], score, 0))
        while len(masked) > 1:  # a registered tree over the columns of a beat
            halves = []
            for p in range(0, len(masked), 2):
                larger = [Signal(shape, name=f"max{len(masked)}_{p}_{r}", reset_less=True) for r in range(rows)]
                for r in range(rows):
                    x, y = masked[p][r], masked[p + 1][r]
                    m.d.sync += larger[r].eq(Mux(x > y, x, y))
                halves.append(larger)
            masked = halves

        control = [self.valid, self.first, self.last, self.slot]
        for stage in range(self.latency(self.config) - 3):
            delayed = [Signal.like(s, name=f"control{stage}_{i}") for i, s in enumerate(control)]
            m.d.sync += [d.eq(s) for d, s in zip(delayed, control, strict=True)]
            control = delayed
        valid, first, last, slot = control

        # Two running maxima, for even and for odd cycles, so that comparing and storing may take a cycle each; `held`
        # says which of them are of this block.
        turn, fresh_q, takes = Signal(), Signal(), Signal(2)
        held, of_block = Signal(2), Signal(2)  # the second as it was when the last beat had been compared
        m.d.sync += [turn.eq(~turn), takes.eq(valid << turn), of_block.eq(held)]
        with m.If(valid):
            m.d.sync += held.eq((1 << turn) | Mux(first, 0, held))
        finished, finished_slot = Signal(), Signal.like(slot)
        m.d.sync += [finished.eq(valid & last), finished_slot.eq(slot)]
        m.d.sync += fresh_q.eq(first | ~Mux(turn, held[1], held[0]))
        maxima = []
        for r in range(rows):
            running = [Signal(shape, name=f"running{r}_{half}", reset_less=True) for half in range(2)]
            score = Signal(shape, name=f"score{r}", reset_less=True)
            m.d.sync += score.eq(masked[0][r])
            for half in range(2):
                beats = Signal(name=f"larger{r}_{half}", reset_less=True)
                m.d.sync += beats.eq(masked[0][r] > running[half])
                with m.If(takes[half] & (beats | fresh_q)):
                    m.d.sync += running[half].eq(score)
            later = [Signal(shape, name=f"half{r}_{half}", reset_less=True) for half in range(2)]
            second = Signal(name=f"second{r}")
            m.d.sync += [h.eq(value) for h, value in zip(later, running, strict=True)]
            m.d.sync += second.eq(~of_block[0] | (of_block[1] & (running[1] > running[0])))
            maxima.append(Mux(second, later[1], later[0]) ^ offset)

        ring = Array([Signal(self.row_max.shape(), name=f"slot{s}", reset_less=True) for s in range(self.config.slots)])
        stored, stored_slot = delay(m, finished, 2, name="stored", reset=True), delay(m, finished_slot, 2, name="slot")
        with m.If(stored):
            for r in range(rows):
                m.d.sync += ring[stored_slot][r].eq(maxima[r])
        m.d.sync += self.done.eq(stored)
        m.d.comb += self.row_max.eq(ring[self.read_slot])
        return m
