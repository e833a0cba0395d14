# SPDX-License-Identifier: SHL-2.1
"""Softmax engine: a row block of raw scores to unnormalised uint8 exponentials and the rows' deferred divisions."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arith.reciprocal import RowScale
from ..config import CoreConfig
from ..memories import SCORE_BITS
from ..memory import READ_LATENCY
from ..pipeline import delay
from ..ports import ROW_SCALE, RowMaxima, RowScales, read_port, write_port
from ..program.commands import Lengths, SoftmaxCommand
from ..program.isa import SEMAPHORES
from ..program.loads import HeadParameters
from .exp import ExpLane

__all__ = ["SoftmaxEngine"]

_E_BITS = 8
_SUM_WAYS = 4  # columns of a beat that are added between two registers


def _total_bits(config: CoreConfig) -> int:
    return (config.max_tokens * 255).bit_length()


def _e_latency(config: CoreConfig) -> int:
    """Cycles from a beat's address to its exponentials: the score memory, the subtraction, the lane."""
    return READ_LATENCY + 1 + ExpLane.latency(kernel=config.exp)


def _sum_latency(config: CoreConfig) -> int:
    """Cycles of the sum over the columns of a beat."""
    return -(-ceil_log2(config.drain_columns) // ceil_log2(_SUM_WAYS))


class SoftmaxEngine(wiring.Component):
    """``e = exponential(row_max - score)`` of a row block, one beat a cycle, and ``row_scale`` of each row's sum of e.

    Equals ``golden.score_index``, ``golden.exponential`` and ``golden.row_scale``; the probabilities e are never
    divided, P.V is (FlashAttention's deferred division, arXiv:2205.14135). Keys from ``lengths.tokens`` on give e = 0
    whatever the score memory holds. A pure pipeline behind the beat counter: commands follow one another without a
    bubble, each taken in the cycle of its first beat, and nothing downstream can stall. See :meth:`latency`.

    Parameters
    ----------
    config : CoreConfig

    Attributes
    ----------
    command : stream in, SoftmaxCommand
        ``wait`` is ignored. At most ``config.slots`` commands are in flight; a further one is not taken.
    signal : out, unsigned(SEMAPHORES)
        The command's mask, for the one cycle in which the last of its results is being written.
    lengths : in, Lengths
        Constant while ``busy``.
    busy : out
        A command was taken that has not signalled.
    read_score : out
        At ``Cat(beat, slot)``: element p * rows + r of that beat. The slot is the command's number modulo
        ``config.slots``.
    maxima : out
        Row maxima of a slot.
    read_head : out
    write_prob : out
        A beat of exponentials, addressed like the scores.
    scales : out
        A row's requantiser constants.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "command": In(stream.Signature(SoftmaxCommand)),
                "signal": Out(SEMAPHORES),
                "lengths": In(Lengths),
                "busy": Out(1),
                "read_score": Out(read_port("SCORE", config, data.ArrayLayout(signed(SCORE_BITS), lanes))),
                "maxima": Out(RowMaxima(config)),
                "read_head": Out(read_port("HEAD", config, HeadParameters)),
                "write_prob": Out(write_port("PROB", config, data.ArrayLayout(unsigned(_E_BITS), lanes))),
                "scales": Out(RowScales(config)),
            }
        )

    @staticmethod
    def latency(config: CoreConfig) -> int:
        """Cycles from a command's last beat (the cycle of its score address) to the cycle of its ``signal``.

        The first beat is that of the cycle in which the command is taken, and the others follow one per cycle, so a
        command of B = key_words * word_beats beats signals ``B - 1 + latency`` cycles after it was taken, and the next
        one can be taken after B.
        """
        to_totals = _e_latency(config) + 1 + _sum_latency(config) + 2
        return to_totals + config.rows - 1 + RowScale.latency(total_bits=_total_bits(config))

    def elaborate(self, platform):
        m = Module()
        config = self.config
        rows, columns = config.rows, config.drain_columns
        beat_shape, slot_shape = range(config.key_words * config.word_beats), range(config.slots)

        # --- a beat a cycle; the command is taken with its first
        beat, slot, running = Signal(beat_shape), Signal(slot_shape), Signal()
        issue, first, last = Signal(), Signal(), Signal()
        in_flight, done = Signal(config.slots), Signal()  # as many bits as commands, from bit 0 on
        signals = Array(Signal.like(self.signal, name=f"signal{s}", reset_less=True) for s in range(config.slots))
        m.d.comb += [
            self.command.ready.eq(~running & ~in_flight[-1]),
            first.eq(self.command.valid & self.command.ready),
            issue.eq(running | first),
            last.eq(issue & (beat + 1 == self.lengths.key_words << ceil_log2(config.word_beats))),
            self.read_score.addr.eq(Cat(beat, slot)),
            self.read_head.addr.eq(self.command.payload.head),
            self.busy.eq(in_flight[0]),
        ]
        with m.If(first & ~done):
            m.d.sync += in_flight.eq(Cat(1, in_flight))
        with m.Elif(done & ~first):
            m.d.sync += in_flight.eq(in_flight >> 1)
        with m.If(first):
            m.d.sync += signals[slot].eq(self.command.payload.signal)
        with m.If(issue):
            m.d.sync += [running.eq(~last), beat.eq(Mux(last, 0, beat + 1)), slot.eq(slot + last)]
        column_bits = ceil_log2(columns)
        mask = Cat(Cat(Const(p, column_bits), beat) < self.lengths.tokens for p in range(columns))

        # --- distance to the row maximum; constants of the head
        row_max = Signal.like(self.maxima.maxima, reset_less=True)
        m.d.comb += self.maxima.slot.eq(delay(m, slot, READ_LATENCY - 1, name="max_slot"))
        m.d.sync += row_max.eq(self.maxima.maxima)
        head = Signal(HeadParameters, reset_less=True)
        first_read = delay(m, first, READ_LATENCY, name="first", reset=True)
        with m.If(first_read):
            m.d.sync += head.eq(self.read_head.data)

        # --- exponentials
        e_latency = _e_latency(config)
        e_valid = delay(m, issue, e_latency, name="valid", reset=True)
        e_last = delay(m, last, e_latency, name="last", reset=True)
        e_mask = delay(m, mask, e_latency, name="mask")
        prob = Signal.like(self.write_prob.data, reset_less=True)
        for lane in range(config.lanes):
            m.submodules[f"exp{lane}"] = exp = ExpLane(kernel=config.exp)
            d = Signal(SCORE_BITS, name=f"d{lane}", reset_less=True)
            m.d.sync += d.eq(row_max[lane % rows] - self.read_score.data[lane])
            m.d.comb += [exp.d.eq(d), exp.mult.eq(head.score_mult), exp.shift.eq(head.score_shift)]
            m.d.sync += prob[lane].eq(Mux(e_mask[lane // rows], exp.e, 0))
        prob_beat, prob_slot = Signal(beat_shape), Signal(slot_shape)
        prob_last = delay(m, e_last, 1, name="prob_last", reset=True)
        m.d.sync += self.write_prob.en.eq(e_valid)
        m.d.comb += [self.write_prob.data.eq(prob), self.write_prob.addr.eq(Cat(prob_beat, prob_slot))]
        with m.If(self.write_prob.en):
            m.d.sync += [prob_beat.eq(Mux(prob_last, 0, prob_beat + 1)), prob_slot.eq(prob_slot + prob_last)]

        # --- row sums: over the columns of a beat, then over beats
        sum_latency = _sum_latency(config)
        sum_valid = delay(m, self.write_prob.en, sum_latency, name="sum_valid", reset=True)
        sum_first = delay(m, first_read, e_latency + 1 + sum_latency - READ_LATENCY, name="sum_first")
        sum_last = delay(m, prob_last, sum_latency, name="sum_last", reset=True)
        complete = delay(m, sum_last, 1, name="complete", reset=True)
        waiting = Signal(rows)  # rows whose totals are still to enter the divider
        totals = [Signal(_total_bits(config), name=f"total{r}", reset_less=True) for r in range(rows)]
        for r in range(rows):
            terms = [prob[p * rows + r] for p in range(columns)]
            while len(terms) > 1:
                groups = [sum(terms[i : i + _SUM_WAYS]) for i in range(0, len(terms), _SUM_WAYS)]
                names = [f"sum{r}_{len(groups)}_{i}" for i in range(len(groups))]
                terms = [Signal(g.shape(), name=n, reset_less=True) for g, n in zip(groups, names, strict=True)]
                m.d.sync += [term.eq(group) for term, group in zip(terms, groups, strict=True)]
            running_total = Signal(_total_bits(config), name=f"running_total{r}", reset_less=True)
            with m.If(sum_valid):
                m.d.sync += running_total.eq(Mux(sum_first, 0, running_total) + terms[0])
            with m.If(complete):
                m.d.sync += totals[r].eq(running_total)
            if r + 1 < rows:
                with m.Else():
                    m.d.sync += totals[r].eq(totals[r + 1])
        m.d.sync += waiting.eq(Mux(complete, (1 << rows) - 1, waiting >> 1))

        # --- row scales, a row a cycle; the next command's totals come no sooner than `rows` cycles later
        outs = Array(Signal(ROW_SCALE, name=f"out{s}", reset_less=True) for s in range(config.slots))
        read_slot = delay(m, slot, READ_LATENCY, name="read_slot")
        complete_slot = delay(m, prob_slot, sum_latency + 1, name="complete_slot")
        m.submodules.row_scale = row_scale = RowScale(total_bits=_total_bits(config))
        out = Signal(ROW_SCALE, reset_less=True)
        with m.If(first_read):
            m.d.sync += outs[read_slot].eq(Cat(self.read_head.data.out_mult, self.read_head.data.out_shift))
        with m.If(complete):
            m.d.sync += out.eq(outs[complete_slot])
        m.d.comb += [
            row_scale.valid_i.eq(waiting[0]),
            row_scale.total.eq(totals[0]),
            row_scale.out_mult.eq(out.mult),
            row_scale.out_shift.eq(out.shift),
            self.scales.valid.eq(row_scale.valid_o),
            self.scales.scale.mult.eq(row_scale.mult),
            self.scales.scale.shift.eq(row_scale.shift),
        ]
        m.d.comb += [
            done.eq(self.scales.valid & (self.scales.row == rows - 1)),
            self.signal.eq(Mux(done, signals[self.scales.slot], 0)),
        ]
        with m.If(self.scales.valid):
            m.d.sync += [
                self.scales.row.eq(Mux(done, 0, self.scales.row + 1)),
                self.scales.slot.eq(self.scales.slot + done),
            ]
        return m
