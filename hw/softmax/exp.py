# SPDX-License-Identifier: SHL-2.1
"""Exponential of the softmax: from the distance to the row maximum to an unnormalised uint8."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.multiplier import Multiplier, WideMultiplier
from ..memories import SCORE_BITS
from ..pipeline import delay

__all__ = ["EXP_KERNELS", "ExpBase2", "ExpIbert", "ExpLane", "ScoreIndex"]

# round(255 * 256 * 2^(-k/16)) >> 7 for k = 0..15: golden.EXP2_TABLE without the bits that no shift lets through.
_EXP2_MANTISSAS = (510, 488, 467, 447, 428, 410, 393, 376, 360, 345, 330, 316, 303, 290, 278, 266)

_LN2, _B, _C, _MULT, _SHIFT = 178, 693, 182983, 46761, 25  # golden.IBERT_EXP_*


class ScoreIndex(wiring.Component):
    """Argument of the exponential: ``index = min(2^bits - 1, (d * mult + 2^(shift-1)) >> shift)``, one a cycle.

    Equals ``golden.score_index``, LATENCY cycles later. The rounding is ``((p >> (shift-1)) + 1) >> 1``. The first
    shift goes two bits of the amount at a time, coarse ones first, and keeps after each only the bits that the rest
    can still bring into the result; a one among those above them means that the result is clamped.

    Parameters
    ----------
    bits : int
        Of ``index``, at most 16.

    Attributes
    ----------
    d : in, unsigned(24)
        Row maximum less score.
    mult, shift : in, unsigned(16), unsigned(6)
        In the same cycle; ``shift`` is at least 1.
    index : out, unsigned(bits)

    Raises
    ------
    ValueError
        If ``bits`` is out of range.
    """

    LATENCY = WideMultiplier.LATENCY + 4

    def __init__(self, *, bits: int):
        if not 1 <= bits <= 16:
            raise ValueError(f"ScoreIndex bits must lie in 1..16, not {bits!r}")
        self.bits = bits
        super().__init__({"d": In(SCORE_BITS), "mult": In(16), "shift": In(6), "index": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.product = product = WideMultiplier(a=SCORE_BITS, b=16, high_dsp=False)
        m.d.comb += [product.a.eq(self.d), product.b.eq(self.mult)]
        one_less = Signal(6, name="amount", reset_less=True)
        m.d.sync += one_less.eq(self.shift - 1)
        amount: Value = delay(m, one_less, WideMultiplier.LATENCY - 1, name="amount")

        value: Value = product.p
        over: Value = Const(0, 1)
        for low in (4, 2, 0):
            choices = Array(value >> (step << low) for step in range(4))
            shifted = Signal(len(value), name=f"shifted{low}")
            m.d.comb += shifted.eq(choices[amount[low : low + 2]])
            keep = self.bits + 1 + (1 << low) - 1
            next_value = Signal(keep, name=f"value{low}", reset_less=True)
            next_over = Signal(name=f"over{low}", reset_less=True)
            m.d.sync += [next_value.eq(shifted), next_over.eq(over | shifted[keep:].any())]
            value, over = next_value, next_over
            if low:
                amount = delay(m, amount[:low], 1, name=f"amount{low}")

        rounded = Signal(self.bits + 1)
        m.d.comb += rounded.eq(value[1:] + value[0])
        index = Signal(self.bits, reset_less=True)
        m.d.sync += index.eq(rounded | (over | rounded[-1]).replicate(self.bits))
        m.d.comb += self.index.eq(index)
        return m


class ExpBase2(wiring.Component):
    """``e = round(255 * 2^(-index/16))``: ``golden.exp_base2``, one a cycle, LATENCY cycles later.

    A table of 16 mantissas, shifted by ``index // 16``.

    Attributes
    ----------
    index : in, unsigned(8)
    e : out, unsigned(8)
        0 for index 255.
    """

    INDEX_BITS = 8
    LATENCY = 3

    index: In(8)
    e: Out(8)

    def elaborate(self, platform):
        m = Module()
        mantissa = Signal(9, reset_less=True)
        m.d.sync += mantissa.eq(Array(_EXP2_MANTISSAS)[self.index[:4]])
        exponent = delay(m, self.index[4:], 1, name="exponent")
        m.d.comb += self.e.eq(_shift_and_round(m, mantissa, exponent))
        return m


class ExpIbert(wiring.Component):
    """I-BERT's i-exp of ``-index / 256``: ``golden.exp_ibert``, one a cycle, LATENCY cycles later.

    ``index = 178 z + u``; ``e = round((182983 - u (693 - u)) * 2^-z * 255 / 182983)``. The quotient by 178, which is
    ln 2 in 1/256, is ``(1473 * index) >> 18``, exact for 12 bits; polynomial and scaling take a DSP block each.

    Attributes
    ----------
    index : in, unsigned(12)
    e : out, unsigned(8)
    """

    INDEX_BITS = 12
    LATENCY = 11

    index: In(12)
    e: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.square = square = Multiplier(a=8, b=10)
        m.submodules.scaled = scaled = Multiplier(a=17, b=16)

        # 1473 = 3 * 512 - 63
        times3, times63 = Signal(14, reset_less=True), Signal(18, reset_less=True)
        m.d.sync += [times3.eq((self.index << 1) + self.index), times63.eq((self.index << 6) - self.index)]
        quotient = Signal(23, reset_less=True)
        m.d.sync += quotient.eq((times3 << 9) - times63)
        z = quotient[18:]
        u = Signal(8, reset_less=True)  # below 178, so eight bits of the difference are enough
        multiples = Array((_LN2 * z) % 256 for z in range(1 << len(z)))
        m.d.sync += u.eq(delay(m, self.index[:8], 2, name="index") - multiples[z])
        complement = Signal(10, reset_less=True)
        m.d.sync += complement.eq(_B - u)

        m.d.comb += [square.a.eq(delay(m, u, 1, name="u")), square.b.eq(complement)]
        m.d.comb += [scaled.a.eq(square.p), scaled.b.eq(_MULT)]
        polynomial = Signal(33, reset_less=True)
        m.d.sync += polynomial.eq(_C * _MULT - scaled.p)
        exponent = delay(m, z, 3 + 2 * Multiplier.LATENCY, name="exponent")
        m.d.comb += self.e.eq(_shift_and_round(m, polynomial[_SHIFT - 1 :], exponent))
        return m


EXP_KERNELS = {"base2": ExpBase2, "ibert": ExpIbert}
"""Component of each exponential kernel; INDEX_BITS is the width of its argument."""


class ExpLane(wiring.Component):
    """Unnormalised exponential of one score, one a cycle: ``golden.exponential(golden.score_index(...))``.

    Parameters
    ----------
    kernel : str
        "base2" or "ibert".

    Attributes
    ----------
    d : in, unsigned(24)
        Row maximum less score.
    mult, shift : in, unsigned(16), unsigned(6)
        The head's score scale, in the same cycle; ``shift`` is at least 1.
    e : out, unsigned(8)
        ``latency`` cycles later.

    Raises
    ------
    ValueError
        If there is no such kernel.
    """

    def __init__(self, *, kernel: str):
        if kernel not in EXP_KERNELS:
            raise ValueError(f"ExpLane kernel must be one of {', '.join(EXP_KERNELS)}, not {kernel!r}")
        self.kernel = kernel
        super().__init__({"d": In(SCORE_BITS), "mult": In(16), "shift": In(6), "e": Out(8)})

    @staticmethod
    def latency(*, kernel: str) -> int:
        """Cycles from ``d`` to ``e``."""
        return ScoreIndex.LATENCY + EXP_KERNELS[kernel].LATENCY

    def elaborate(self, platform):
        m = Module()
        m.submodules.exp = exp = EXP_KERNELS[self.kernel]()
        m.submodules.score = score = ScoreIndex(bits=exp.INDEX_BITS)
        m.d.comb += [
            score.d.eq(self.d),
            score.mult.eq(self.mult),
            score.shift.eq(self.shift),
            exp.index.eq(score.index),
            self.e.eq(exp.e),
        ]
        return m


def _shift_and_round(m: Module, value: Value, exponent: Value) -> Signal:
    """``((value >> exponent) + 1) >> 1`` of nine bits, at most 510, two cycles later."""
    coarse, e = Signal(9, name="coarse", reset_less=True), Signal(8, name="rounded", reset_less=True)
    fine = Signal(9, name="fine")
    m.d.sync += coarse.eq(value >> Cat(Const(0, 2), exponent[2:]))
    m.d.comb += fine.eq(coarse >> delay(m, exponent[:2], 1, name="fine_exponent"))
    m.d.sync += e.eq(fine[1:] + fine[0])
    return e
