# SPDX-License-Identifier: SHL-2.1
"""Pipelined multipliers: one DSP block, and wide products built from one and fabric."""

from amaranth.hdl import ClockSignal, Instance, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier", "WideMultiplier"]


class Multiplier(wiring.Component):
    """``p = a * b``, two cycles later, a new product every cycle: one 18x18 signed DSP block with both registers used.

    An instance of the Verilog cell ``rtlformer_mul`` (``hw/cells/rtlformer_mul.v``): a MULT18X18D on ECP5, registers
    around ``*`` elsewhere.

    Parameters
    ----------
    a, b : Shape
        At most signed(18) or unsigned(17).

    Raises
    ------
    ValueError
        If an operand does not fit a signed 18-bit port.
    """

    LATENCY = 2

    def __init__(self, *, a, b):
        a, b = Shape.cast(a), Shape.cast(b)
        for name, shape in (("a", a), ("b", b)):
            if shape.width > (18 if shape.signed else 17):
                raise ValueError(f"Multiplier operand {name} must fit signed(18), not {shape!r}")
        self.product = Shape(a.width + b.width, a.signed or b.signed)
        super().__init__({"a": In(a), "b": In(b), "p": Out(self.product)})

    def elaborate(self, platform):
        m = Module()
        a, b, p = Signal(signed(18)), Signal(signed(18)), Signal(signed(36))
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.p.eq(p)]
        m.submodules.dsp = Instance("rtlformer_mul", i_clk=ClockSignal(), i_a=a, i_b=b, o_p=p)
        return m


class WideMultiplier(wiring.Component):
    """``p = a * b`` for an ``a`` of up to 35 bits, four cycles later, a new product every cycle.

    ``a = high * 2^17 + low``: ``low * b`` in one DSP block, ``high * b`` in a second one (``high_dsp``) or in fabric,
    where a narrow ``high`` costs few LUTs. A register in fabric ends the long way out of the DSP column; then the sum.

    Parameters
    ----------
    a : Shape
        18 to 35 bits.
    b : Shape
        At most signed(18) or unsigned(17).
    high_dsp : bool
        Use a DSP block for the high part.
    """

    LATENCY = 4

    def __init__(self, *, a, b, high_dsp: bool = True):
        a, b = Shape.cast(a), Shape.cast(b)
        if not 18 <= a.width <= (35 if a.signed else 34):
            raise ValueError(f"WideMultiplier operand a must have 18 to 35 bits, not {a!r}")
        self.high_dsp = high_dsp
        super().__init__({"a": In(a), "b": In(b), "p": Out(Shape(a.width + b.width, a.signed or b.signed))})

    def elaborate(self, platform):
        m = Module()
        a, b = self.signature.members["a"].shape, self.signature.members["b"].shape
        high_value = self.a[17:].as_signed() if a.signed else self.a[17:]
        m.submodules.low = low = Multiplier(a=unsigned(17), b=b)
        m.d.comb += [low.a.eq(self.a[:17]), low.b.eq(self.b)]
        if self.high_dsp:
            m.submodules.high = high = Multiplier(a=high_value.shape(), b=b)
            m.d.comb += [high.a.eq(high_value), high.b.eq(self.b)]
            high_product = Signal.like(high.p, name="high_product", reset_less=True)
            m.d.sync += high_product.eq(high.p)
        else:
            high_product = self._fabric_product(m, high_value, self.b)
        low_product = Signal.like(low.p, name="low_product", reset_less=True)
        p = Signal.like(self.p, name="sum", reset_less=True)
        m.d.sync += [low_product.eq(low.p), p.eq(low_product + (high_product << 17))]
        m.d.comb += self.p.eq(p)
        return m

    @staticmethod
    def _fabric_product(m: Module, a: Value, b: Value) -> Value:
        """``a * b`` after three cycles, from adders: Yosys would make any ``*`` a DSP block, an unregistered one."""
        terms: list[Value] = [Mux(bit, b, 0) << i for i, bit in enumerate(a)]
        if a.shape().signed:
            terms[-1] = -terms[-1]
        ways = 2 if len(terms) <= 8 else 3  # terms that are added between two registers
        for level in range(3):
            sums = [Value.cast(sum(terms[i : i + ways])) for i in range(0, len(terms), ways)]
            terms = [Signal(s.shape(), name=f"sum{level}_{i}", reset_less=True) for i, s in enumerate(sums)]
            m.d.sync += [term.eq(s) for term, s in zip(terms, sums, strict=True)]
        (product,) = terms
        return product
