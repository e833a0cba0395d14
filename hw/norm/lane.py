# SPDX-License-Identifier: SHL-2.1
"""LayerNorm's arithmetic on one element of a beat."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.multiplier import Multiplier, WideMultiplier
from ..arith.requantise import RoundingShifter, saturate_signed
from ..config import CoreConfig
from .statistics import NormWidths

__all__ = ["NormLane"]


class NormLane(wiring.Component):
    """Arithmetic of one element of a beat: squares in the first pass, results in the others. Three DSP blocks.

    ``t = sat16(((channels * h - sum) * scale + half) >> (amount + 1))`` (``golden.normalise``), and
    ``result = sat((t * gamma + beta + half) >> (out_amount + 1))`` to 8 or 16 bits. A pure pipeline: each
    port but ``h``, ``gather`` and ``channels`` is looked at the number of cycles after ``h`` that its constant gives.

    Attributes
    ----------
    h, gather, channels : in
        The element, whether to square it, and N.
    square : out, at SQUARE
        ``h * h`` where ``gather`` was set.
    sum, scale, amount : in, at SQUARE, SCALE, AMOUNT
        S1, R, and 20 + e of the element's row.
    gamma, beta : in, at GAMMA, BETA
        Of the element's channel.
    out_amount, wide : in, at OUT_AMOUNT, WIDE
        The output's shift less 1; whether it has 16 bits, not 8.
    result : out, at LATENCY
        signed(16), in 8-bit form sign-extended.
    """

    SQUARE = Multiplier.LATENCY + 1  # a register in fabric ends the long way out of the DSP column
    SCALE = SQUARE + 1
    AMOUNT = SCALE + WideMultiplier.LATENCY
    GAMMA = AMOUNT + RoundingShifter.LATENCY
    BETA = GAMMA + Multiplier.LATENCY + 1
    OUT_AMOUNT = BETA + 1
    WIDE = OUT_AMOUNT + RoundingShifter.LATENCY
    LATENCY = WIDE + 1

    def __init__(self, config: CoreConfig):
        self.widths = NormWidths(config)
        super().__init__(
            {
                "h": In(signed(16)),
                "gather": In(1),
                "channels": In(12),
                "square": Out(unsigned(31)),
                "sum": In(signed(self.widths.sum)),
                "scale": In(unsigned(16)),
                "amount": In(range(self.widths.max_amount + 1)),
                "gamma": In(signed(16)),
                "beta": In(signed(32)),
                "out_amount": In(unsigned(6)),
                "wide": In(1),
                "result": Out(signed(16)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        widths = self.widths
        m.submodules.first = first = Multiplier(a=signed(16), b=signed(16))
        first_product = Signal.like(first.p, name="first_product", reset_less=True)
        m.d.comb += [
            first.a.eq(self.h),
            first.b.eq(Mux(self.gather, self.h, self.channels)),
            self.square.eq(first_product),
        ]
        difference = Signal(signed(widths.difference), reset_less=True)
        m.d.sync += [first_product.eq(first.p), difference.eq(first_product - self.sum)]
        m.submodules.scaled = scaled = WideMultiplier(a=signed(widths.difference), b=unsigned(16), high_dsp=False)
        m.submodules.normalised = normalised = RoundingShifter(width=len(scaled.p), max_amount=widths.max_amount)
        m.submodules.weighted = weighted = Multiplier(a=signed(16), b=signed(16))
        weighted_product = Signal.like(weighted.p, name="weighted_product", reset_less=True)
        biased = Signal(signed(33), reset_less=True)
        m.submodules.rounded = rounded = RoundingShifter(width=33)
        result = Signal(signed(16), name="clamped", reset_less=True)
        m.d.comb += [
            scaled.a.eq(difference),
            scaled.b.eq(self.scale),
            normalised.p.eq(scaled.p),
            normalised.amount.eq(self.amount),
            weighted.a.eq(saturate_signed(normalised.value, 16)),
            weighted.b.eq(self.gamma),
            rounded.p.eq(biased),
            rounded.amount.eq(self.out_amount),
            self.result.eq(result),
        ]
        m.d.sync += [
            weighted_product.eq(weighted.p),
            biased.eq(weighted_product + self.beta),
            result.eq(Mux(self.wide, saturate_signed(rounded.value, 16), saturate_signed(rounded.value, 8))),
        ]
        return m
