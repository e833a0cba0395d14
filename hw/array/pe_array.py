# SPDX-License-Identifier: SHL-2.1
"""The array: rows x cols processing elements, each a depth-deep int8 dot product into one accumulator."""

from amaranth.hdl import Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arith.multiplier import Multiplier
from ..config import CoreConfig

__all__ = ["ACC_BITS", "PEArray", "ProcessingElement"]

ACC_BITS = 28
"""Accumulator width: contractions of up to 4096 products of uint8 by int8."""


class ProcessingElement(wiring.Component):
    """``acc = (0 if first else acc) + sum_k a[k] * b[k]``, ``latency`` cycles from operands to the updated ``acc``.

    One DSP block for each product, a fabric register after it (the wire out of the DSP column is the array's longest),
    then a registered adder tree. A cycle whose ``valid`` is low leaves the accumulator alone.
    """

    def __init__(self, *, depth: int):
        self.depth = depth
        super().__init__(
            {
                "a": In(data.ArrayLayout(signed(9), depth)),
                "b": In(data.ArrayLayout(signed(8), depth)),
                "valid": In(1),  # aligned with the tree's output: latency - 1 cycles after the operands
                "first": In(1),  # likewise
                "acc": Out(signed(ACC_BITS)),
            }
        )

    @staticmethod
    def latency(depth: int) -> int:
        """Cycles from operands to the accumulator that contains them."""
        return Multiplier.LATENCY + 1 + ceil_log2(depth) + 1

    def elaborate(self, platform):
        m = Module()
        terms = []
        for k in range(self.depth):
            m.submodules[f"mul{k}"] = mul = Multiplier(a=signed(9), b=signed(8))
            m.d.comb += [mul.a.eq(self.a[k]), mul.b.eq(self.b[k])]
            product = Signal(mul.product, name=f"product{k}", reset_less=True)
            m.d.sync += product.eq(mul.p)
            terms.append(product)
        while len(terms) > 1:
            width = Shape.cast(terms[0].shape()).width
            sums = []
            for i in range(0, len(terms), 2):
                total = Signal(signed(width + 1), name=f"sum{width}_{i // 2}", reset_less=True)
                m.d.sync += total.eq(terms[i] + terms[i + 1])
                sums.append(total)
            terms = sums
        acc = Signal(signed(ACC_BITS), reset_less=True)
        with m.If(self.valid):
            m.d.sync += acc.eq(Mux(self.first, 0, acc) + terms[0])
        m.d.comb += self.acc.eq(acc)
        return m


class PEArray(wiring.Component):
    """Outer product of PEs: row r of the A word against column c of the B word.

    Ports
    -----
    a : [depth][rows] bytes, the A word as stored; ``a_unsigned`` extends them with 0 rather than the sign
    b : [cols][depth] bytes
    valid, first : of the operands in the same cycle
    acc : [cols][rows] accumulators, ``latency`` cycles after the operands
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "a": In(data.ArrayLayout(data.ArrayLayout(unsigned(8), config.rows), config.depth)),
                "a_unsigned": In(1),
                "b": In(data.ArrayLayout(data.ArrayLayout(unsigned(8), config.depth), config.cols)),
                "valid": In(1),
                "first": In(1),
                "acc": Out(data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), config.rows), config.cols)),
            }
        )

    @staticmethod
    def latency(config: CoreConfig) -> int:
        """Cycles from operands to the accumulators that contain them."""
        return 1 + ProcessingElement.latency(config.depth)

    def elaborate(self, platform):
        m = Module()
        rows, cols, depth = self.config.rows, self.config.cols, self.config.depth
        a = Signal(data.ArrayLayout(data.ArrayLayout(signed(9), depth), rows), reset_less=True)
        b = Signal(data.ArrayLayout(data.ArrayLayout(signed(8), depth), cols), reset_less=True)
        for k in range(depth):
            for r in range(rows):
                byte = self.a[k][r]
                m.d.sync += a[r][k].eq(Mux(self.a_unsigned, byte, byte.as_signed()))
            for c in range(cols):
                m.d.sync += b[c][k].eq(self.b[c][k].as_signed())
        # Control reaches every accumulator together with its sum: one stage behind for the operand register above.
        valid, first = self.valid, self.first
        for stage in range(self.latency(self.config) - 1):
            valid_q, first_q = Signal(name=f"valid{stage}"), Signal(name=f"first{stage}", reset_less=True)
            m.d.sync += [valid_q.eq(valid), first_q.eq(first)]
            valid, before, first = valid_q, first, first_q
        # Each row has a last stage of `first` of its own, near its accumulators. Synthesis merges registers that are
        # alike, so these start up differently (without `valid` it does not matter).
        firsts = [Signal(name=f"first_row{r}", init=r & 1, reset_less=bool(r & 2)) for r in range(rows)]
        m.d.sync += [first_q.eq(before) for first_q in firsts]
        for c in range(cols):
            for r in range(rows):
                m.submodules[f"pe_{r}_{c}"] = pe = ProcessingElement(depth=depth)
                m.d.comb += [
                    pe.a.eq(a[r]),
                    pe.b.eq(b[c]),
                    pe.valid.eq(valid),
                    pe.first.eq(firsts[r]),
                    self.acc[c][r].eq(pe.acc),
                ]
        return m
