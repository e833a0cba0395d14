# SPDX-License-Identifier: SHL-2.1
"""Pipelined integer square root."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ISqrt"]


class ISqrt(wiring.Component):
    """``root = floor(sqrt(v))`` (``golden.isqrt``), one a cycle, LATENCY cycles later.

    The digit-by-digit method, one bit of the root and one register a step: with the next two bits of ``v`` brought
    down to the remainder, the bit is 1 where ``remainder >= 4 * root + 1``, which is then subtracted.

    Attributes
    ----------
    v : in, unsigned(32)
    root : out, unsigned(16)
    """

    LATENCY = 16

    v: In(32)
    root: Out(16)

    def elaborate(self, platform):
        m = Module()
        rest: Value = self.v
        remainder: Value = Const(0, 0)
        root: Value = Const(0, 0)
        for step in range(self.LATENCY):
            # Before this step: root < 2^step and remainder <= 2 * root, so remainder has step + 1 bits.
            brought = Cat(rest[-2:], remainder)
            difference = Signal(step + 3, name=f"difference{step}")  # its top bit is the borrow
            m.d.comb += difference.eq(brought - Cat(Const(1, 2), root))
            fits = ~difference[-1]
            next_remainder = Signal(step + 2, name=f"remainder{step}", reset_less=True)
            next_root = Signal(step + 1, name=f"root{step}", reset_less=True)
            m.d.sync += [next_remainder.eq(Mux(fits, difference, brought)), next_root.eq(Cat(fits, root))]
            if len(rest) > 2:
                next_rest = Signal(len(rest) - 2, name=f"rest{step}", reset_less=True)
                m.d.sync += next_rest.eq(rest[:-2])
                rest = next_rest
            remainder, root = next_remainder, next_root
        m.d.comb += self.root.eq(root)
        return m
