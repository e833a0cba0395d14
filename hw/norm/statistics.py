# SPDX-License-Identifier: SHL-2.1
"""LayerNorm's statistics: reciprocal standard deviations of rows from their sums and sums of squares."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arith.isqrt import ISqrt
from ..arith.reciprocal import Normalise, Reciprocal
from ..config import CoreConfig
from ..pipeline import delay
from ..program.isa import EPS_BITS

__all__ = ["NormStatistics", "NormWidths"]


class NormWidths:
    """Widths in bits that follow from ``config.max_hidden`` and int16 elements."""

    def __init__(self, config: CoreConfig):
        largest = config.max_hidden << 15  # of |S1|
        self.sum = 16 + ceil_log2(config.max_hidden)  # S1, signed
        self.square = ((1 << 30) * config.max_hidden).bit_length()  # S2
        self.digits = largest.bit_length()  # |S1|
        variance = ((1 << 30) * config.max_hidden**2 + (1 << EPS_BITS) - 1).bit_length()
        self.variance = variance + variance % 2  # V, made even for the square root
        self.difference = max(18, 17 + ceil_log2(config.max_hidden))  # N h - S1, signed
        self.max_amount = 20 + (self.variance - 32) // 2  # 20 + e for the largest V


def _row_latency(widths: NormWidths) -> int:
    """Cycles from a row's V to its R."""
    return Normalise.latency(width=widths.variance, group=2) + ISqrt.LATENCY + Reciprocal.LATENCY


class NormStatistics(wiring.Component):
    """Reciprocal standard deviations of a block's rows from their sums: ``golden.norm_statistics``.

    ``V = N * S2 - S1^2 + eps`` for all rows at once, a bit of N, ``|S1|`` and eps per cycle (Horner's rule); then row
    after row, one per cycle, ``V << 2z`` with z leading zero pairs, ``R = reciprocal(isqrt(top 32 bits))`` and ``e``
    from z.

    Parameters
    ----------
    config : CoreConfig
    lead : int
        How many cycles ``ready`` comes before the last row's R.

    Attributes
    ----------
    start, sums, squares, channels, eps : in
        ``start`` takes the rows' sums and sums of squares, N and eps. Not before ``ready``, save after reset.
    sum, scale, amount : out
        S1 from the next cycle on, R and 20 + e from ``lead`` cycles after ``ready`` on, for each row.
    ready : out
        ``latency`` cycles after ``start``, until the next.
    """

    def __init__(self, config: CoreConfig, *, lead: int):
        self.config, self.widths, self.lead = config, NormWidths(config), lead
        rows = config.rows
        super().__init__(
            {
                "start": In(1),
                "sums": In(data.ArrayLayout(signed(self.widths.sum), rows)),
                "squares": In(data.ArrayLayout(unsigned(self.widths.square), rows)),
                "channels": In(12),
                "eps": In(EPS_BITS),
                "sum": Out(data.ArrayLayout(signed(self.widths.sum), rows)),
                "scale": Out(data.ArrayLayout(unsigned(16), rows)),
                "amount": Out(data.ArrayLayout(range(self.widths.max_amount + 1), rows)),
                "ready": Out(1),
            }
        )

    @staticmethod
    def latency(config: CoreConfig, *, lead: int) -> int:
        """Cycles from ``start`` to ``ready``."""
        widths = NormWidths(config)
        return widths.digits + 1 + config.rows + _row_latency(widths) + 1 - lead

    def elaborate(self, platform):
        m = Module()
        widths, rows, digits = self.widths, self.config.rows, self.widths.digits

        # Phases: `digits` cycles of digits, one of the last addition, `rows` cycles that hand the rows on.
        count = Signal(range(digits + rows + 2))
        digit, add, hand_on = Signal(), Signal(), Signal()
        m.d.comb += digit.eq(count > rows + 1)
        m.d.sync += [add.eq(digit), hand_on.eq(~self.start & (count > 1) & (count <= rows + 1))]
        with m.If(self.start):
            m.d.sync += count.eq(digits + rows + 1)
        with m.Elif(count != 0):
            m.d.sync += count.eq(count - 1)

        channel_digits, eps_digits = Signal(digits, reset_less=True), Signal(digits, reset_less=True)
        eps_digit = Signal(reset_less=True)
        m.d.sync += [
            channel_digits.eq(Mux(self.start, self.channels, channel_digits << 1)),
            eps_digits.eq(Mux(self.start, self.eps, eps_digits << 1)),
            eps_digit.eq(eps_digits[-1]),
        ]
        variances = [Signal(widths.variance, name=f"variance{r}", reset_less=True) for r in range(rows)]
        for r, variance in enumerate(variances):
            square = Signal(widths.square, name=f"square{r}", reset_less=True)
            magnitude = Signal(digits, name=f"magnitude{r}", reset_less=True)
            sum_digits = Signal(digits, name=f"sum_digits{r}", reset_less=True)
            term = Signal(signed(widths.square + 1), name=f"term{r}", reset_less=True)
            m.d.sync += [
                sum_digits.eq(sum_digits << 1),
                term.eq(Mux(channel_digits[-1], square, 0) - Mux(sum_digits[-1], magnitude, 0)),
            ]
            with m.If(self.start):
                absolute = abs(self.sums[r])
                m.d.sync += [
                    self.sum[r].eq(self.sums[r]),
                    square.eq(self.squares[r]),
                    magnitude.eq(absolute),
                    sum_digits.eq(absolute),
                    variance.eq(self.eps >> digits),
                ]
            with m.Elif(add):
                m.d.sync += variance.eq(Cat(eps_digit, variance) + term)
            with m.Elif(hand_on):
                m.d.sync += variance.eq(variances[(r + 1) % rows])

        m.submodules.normalise = normalise = Normalise(width=widths.variance, group=2)
        m.submodules.isqrt = isqrt = ISqrt()
        m.submodules.reciprocal = reciprocal = Reciprocal()
        m.d.comb += [
            normalise.x.eq(variances[0]),
            isqrt.v.eq(normalise.value[-32:]),
            reciprocal.x.eq(isqrt.root),
        ]
        shifting = Normalise.latency(width=widths.variance, group=2)
        normalised = delay(m, hand_on, shifting, name="normalised", reset=True)
        finished = delay(m, normalised, _row_latency(widths) - shifting, name="finished", reset=True)
        for r in range(rows):
            with m.If(normalised):
                from_last = self.amount[r + 1] if r + 1 < rows else widths.max_amount - normalise.count
                m.d.sync += self.amount[r].eq(from_last)
            with m.If(finished):
                m.d.sync += self.scale[r].eq(self.scale[r + 1] if r + 1 < rows else reciprocal.r)
        nearly = delay(m, count == 1, _row_latency(widths) - self.lead, name="nearly", reset=True)
        with m.If(self.start):
            m.d.sync += self.ready.eq(0)
        with m.Elif(nearly):
            m.d.sync += self.ready.eq(1)
        return m
