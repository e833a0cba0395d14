# SPDX-License-Identifier: SHL-2.1
"""Pipelined multipliers: one DSP block, and wide products built from one and fabric."""

from amaranth.hdl import ClockSignal, Instance, Module, Shape, Signal, signed, unsigned
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
    """``p = a * b`` for an ``a`` of up to 35 bits, three cycles later, a new product every cycle.

    ``a = high * 2^17 + low``: ``low * b`` in one DSP block, ``high * b`` in a second one (``high_dsp``) or in fabric, where
    a narrow ``high`` costs few LUTs.

    Parameters
    ----------
    a : Shape
        18 to 35 bits.
    b : Shape
        At most signed(18) or unsigned(17).
    high_dsp : bool
        Use a DSP block for the high part.
    """

    LATENCY = 3

    def __init__(self, *, a, b, high_dsp: bool = True):
        a, b = Shape.cast(a), Shape.cast(b)
        if not 18 <= a.width <= (35 if a.signed else 34):
            raise ValueError(f"WideMultiplier operand a must have 18 to 35 bits, not {a!r}")
        self.high_dsp = high_dsp
        super().__init__({"a": In(a), "b": In(b), "p": Out(Shape(a.width + b.width, a.signed or b.signed))})

    def elaborate(self, platform):
        m = Module()
        a, b = self.signature.members["a"].shape, self.signature.members["b"].shape
        high_shape = Shape(a.width - 17, a.signed)
        high_value = self.a[17:].as_signed() if a.signed else self.a[17:]
        m.submodules.low = low = Multiplier(a=unsigned(17), b=b)
        m.d.comb += [low.a.eq(self.a[:17]), low.b.eq(self.b)]
        if self.high_dsp:
            m.submodules.high = high = Multiplier(a=high_shape, b=b)
            m.d.comb += [high.a.eq(high_value), high.b.eq(self.b)]
            high_product = high.p
        else:
            high_q, b_q = Signal(high_shape, reset_less=True), Signal(b, reset_less=True)
            high_product = Signal(Shape(high_shape.width + b.width, a.signed or b.signed), reset_less=True)
            m.d.sync += [high_q.eq(high_value), b_q.eq(self.b), high_product.eq(high_q * b_q)]
        p = Signal.like(self.p, name="sum", reset_less=True)
        m.d.sync += p.eq(low.p + (high_product << 17))
        m.d.comb += self.p.eq(p)
        return m
