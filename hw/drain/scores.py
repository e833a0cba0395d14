# SPDX-License-Identifier: SHL-2.1
"""Scores leave the drain here: raw, into the next slot of their ring, with the row maximum of the keys that exist."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..array.pe_array import ACC_BITS
from ..config import CoreConfig
from ..memories import SCORE_BITS
from ..memory import READ_LATENCY
from ..pipeline import delay
from ..ports import RowMaxima, write_port
from ..program.isa import BEAT_BITS, SEMAPHORES, TOKEN_BITS, Format
from .beats import BeatControl
from .rowmax import RowMaximum

__all__ = ["ScoreStage"]


class ScoreStage(wiring.Component):
    """Writes a beat of scores the cycle after it comes.

    Attributes
    ----------
    beat, control : in, [lanes] of signed(ACC_BITS), BeatControl
        A beat and what it is.
    index : in, unsigned(BEAT_BITS)
        Of the beat within its command, READ_LATENCY cycles before it.
    tokens : in, unsigned(TOKEN_BITS)
        Keys from here on do not count.
    write_score : out
    maxima : in
        Answered from the block's last write on; see :class:`hw.drain.rowmax.RowMaximum`.
    signal : out, unsigned(SEMAPHORES)
        The command's mask, for the cycle in which its maxima can be read for the first time.
    """

    LATENCY = 1
    """Cycles from a beat to its write."""

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "beat": In(data.ArrayLayout(signed(ACC_BITS), config.lanes)),
                "control": In(BeatControl),
                "index": In(BEAT_BITS),
                "tokens": In(TOKEN_BITS),
                "write_score": Out(write_port("SCORE", config, data.ArrayLayout(signed(SCORE_BITS), config.lanes))),
                "maxima": In(RowMaxima(config)),
                "signal": Out(SEMAPHORES),
            }
        )

    @staticmethod
    def signal_latency(config: CoreConfig) -> int:
        """Cycles from a command's last beat to its signal."""
        return RowMaximum.latency(config) + 1

    def elaborate(self, platform):
        m = Module()
        config, columns, control = self.config, self.config.drain_columns, self.control
        m.submodules.row_maximum = row_maximum = RowMaximum(config)
        before = delay(m, self.index, READ_LATENCY - 1, name="index")
        index, mask = delay(m, before, 1, name="last_index"), Signal(columns)
        slot = Signal(range(config.slots))
        is_score = Signal()
        beat_bits = ceil_log2(config.key_words * config.word_beats)
        m.d.comb += is_score.eq(control.valid & (control.result == Format.SCORE))
        m.d.sync += [
            mask.eq(Cat((before * columns + p) < self.tokens for p in range(columns))),
            self.write_score.en.eq(is_score),
            self.write_score.addr.eq(Cat(index[:beat_bits], slot)),
        ]
        for lane in range(config.lanes):
            m.d.sync += self.write_score.data[lane].eq(self.beat[lane])
            m.d.comb += row_maximum.score[lane].eq(self.beat[lane])
        with m.If(is_score & control.last):
            m.d.sync += slot.eq(slot + 1)
        signal = delay(m, control.signal, self.signal_latency(config), name="signal")
        m.d.comb += [
            row_maximum.valid.eq(is_score),
            row_maximum.first.eq(control.first),
            row_maximum.last.eq(control.last),
            row_maximum.slot.eq(slot),
            row_maximum.mask.eq(mask),
            row_maximum.read_slot.eq(self.maxima.slot),
            self.maxima.maxima.eq(row_maximum.row_max),
            self.signal.eq(Mux(row_maximum.done, signal, 0)),
        ]
        return m
