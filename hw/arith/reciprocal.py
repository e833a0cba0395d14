# SPDX-License-Identifier: SHL-2.1
"""Fixed-point reciprocals: leading-zero normalisation, pipelined division, and the softmax's row scale."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..pipeline import delay
from .multiplier import Multiplier

__all__ = ["Normalise", "Reciprocal", "RowScale"]


class Normalise(wiring.Component):
    """Shifts the leading one to the top: ``value = x << (group * count)`` with the largest count that loses nothing.

    One binary step, largest first, and one register for each bit of ``count``: a result every cycle, ``latency``
    cycles later. With ``group`` = 1, ``bitlen(x) = width - count`` for x >= 1; with ``group`` = 2 the shift is even, as
    a square root needs it, and one of the top two bits of ``value`` is set. For x = 0 the outputs mean nothing.

    Parameters
    ----------
    width : int
        Bits of ``x``, a multiple of ``group``.
    group : int
        Bits shifted for each unit of ``count``.

    Attributes
    ----------
    x : in, unsigned(width)
    value : out, unsigned(width)
    count : out
        Leading groups of ``x`` that are zero.

    Raises
    ------
    ValueError
        If ``width`` is not a multiple of ``group``, or has fewer than two of it.
    """

    def __init__(self, *, width: int, group: int = 1):
        if group < 1 or width % group or width < 2 * group:
            raise ValueError(f"Normalise width must be a multiple of group ({group}), at least twice it, not {width!r}")
        self.width, self.group = width, group
        super().__init__({"x": In(width), "value": Out(width), "count": Out(self.latency(width=width, group=group))})

    @staticmethod
    def latency(*, width: int, group: int = 1) -> int:
        """Cycles from ``x`` to the results, and bits of ``count``."""
        return (width // group - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        value: Value = self.x
        count: Value = Const(0, 0)
        steps = len(self.count)
        for step in reversed(range(steps)):
            bits = self.group << step
            clear = ~value[self.width - bits :].any()
            shifted = Signal(self.width, name=f"value{step}", reset_less=True)
            counted = Signal(steps - step, name=f"count{step}", reset_less=True)
            m.d.sync += [shifted.eq(Mux(clear, value << bits, value)), counted.eq(Cat(clear, count))]
            value, count = shifted, counted
        m.d.comb += [self.value.eq(value), self.count.eq(count)]
        return m


class Reciprocal(wiring.Component):
    """``r = min(floor(2^31 / x), 65535)`` for x in [2^15, 2^16): ``golden.reciprocal``. One a cycle, LATENCY later.

    Restoring division of 2^31, one quotient bit and one register a step: a 17-bit subtraction and a multiplexer
    between registers. For x = 2^15 the remainder never falls below x, so every quotient bit is 1: the clip.

    Attributes
    ----------
    x : in, unsigned(16)
        Its top bit must be 1.
    r : out, unsigned(16)
        In [2^15, 2^16).
    """

    LATENCY = 16

    x: In(16)
    r: Out(16)

    def elaborate(self, platform):
        m = Module()
        divisor: Value = self.x
        remainder: Value = Const(1 << 15, 16)
        quotient: Value = Const(0, 0)
        for step in range(self.LATENCY):
            doubled = Cat(Const(0, 1), remainder)
            difference = Signal(18, name=f"difference{step}")  # its top bit: the divisor is the larger
            m.d.comb += difference.eq(doubled - divisor)
            fits = ~difference[-1]
            next_divisor = Signal(16, name=f"divisor{step}", reset_less=True)
            next_remainder = Signal(16, name=f"remainder{step}", reset_less=True)
            next_quotient = Signal(step + 1, name=f"quotient{step}", reset_less=True)
            m.d.sync += [
                next_divisor.eq(divisor),
                next_remainder.eq(Mux(fits, difference, doubled)),
                next_quotient.eq(Cat(fits, quotient)),
            ]
            divisor, remainder, quotient = next_divisor, next_remainder, next_quotient
        m.d.comb += self.r.eq(quotient)
        return m


class RowScale(wiring.Component):
    """Requantiser constants that divide a row of P.V by its sum of exponentials: ``golden.row_scale``, one row a cycle.

    With n = bitlen(total), and sn = total normalised to 16 bits (low bits dropped):
    ``mult = (reciprocal(sn) * out_mult + 2^15) >> 16`` and ``shift = out_shift + n - 1``.

    Parameters
    ----------
    total_bits : int
        Width of ``total``.

    Attributes
    ----------
    valid_i : in
        The operands are a row's.
    total : in, unsigned(total_bits)
        At least 1.
    out_mult, out_shift : in, unsigned(16), unsigned(6)
        Of the P.V product without the division. ``out_shift + n - 1`` must be at most 63.
    valid_o, mult, shift : out, 1, unsigned(16), unsigned(6)
        The same row's, ``latency`` cycles later.

    Raises
    ------
    ValueError
        If ``total_bits`` is out of range.
    """

    def __init__(self, *, total_bits: int):
        if not 1 <= total_bits <= 32:
            raise ValueError(f"RowScale total_bits must lie in 1..32, not {total_bits!r}")
        self.total_bits = total_bits
        super().__init__(
            {
                "valid_i": In(1),
                "total": In(total_bits),
                "out_mult": In(16),
                "out_shift": In(6),
                "valid_o": Out(1),
                "mult": Out(16),
                "shift": Out(6),
            }
        )

    @staticmethod
    def latency(*, total_bits: int) -> int:
        """Cycles from a row's total to its constants."""
        return Normalise.latency(width=max(total_bits, 16)) + Reciprocal.LATENCY + Multiplier.LATENCY + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.normalise = normalise = Normalise(width=max(self.total_bits, 16))
        m.submodules.reciprocal = reciprocal = Reciprocal()
        m.submodules.product = product = Multiplier(a=16, b=16)
        latency, shifting = self.latency(total_bits=self.total_bits), normalise.latency(width=normalise.width)
        m.d.comb += [
            normalise.x.eq(self.total),
            reciprocal.x.eq(normalise.value[-16:]),
            product.a.eq(reciprocal.r),
            product.b.eq(delay(m, self.out_mult, shifting + Reciprocal.LATENCY, name="out_mult")),
            self.valid_o.eq(delay(m, self.valid_i, latency, name="valid", reset=True)),
        ]
        mult = Signal(16, reset_less=True)
        shift = Signal(6, reset_less=True)
        out_shift = delay(m, self.out_shift, shifting, name="out_shift")
        m.d.sync += [
            mult.eq((product.p[15:] + 1) >> 1),
            shift.eq(out_shift + (normalise.width - 1) - normalise.count),
        ]
        m.d.comb += [self.mult.eq(mult), self.shift.eq(delay(m, shift, latency - shifting - 1, name="shift"))]
        return m
