# SPDX-License-Identifier: SHL-2.1
"""Resolution of operands: base + i * outer + j * inner, in a pipeline beside the literal words."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.multiplier import Multiplier
from ..pipeline import delay
from .instructions import INSTRUCTIONS, Opcode
from .isa import ADDRESS_BITS, INDEX_BITS, STRIDE_BITS, WORD_BITS, Operand
from .loops import Ends

__all__ = ["ProgramWord", "Resolver", "WORD_INDEX_BITS"]

WORD_INDEX_BITS = max(len(kind.words) - 1 for kind in INSTRUCTIONS.values()).bit_length()
"""Of the number of a word within its instruction."""

_LOW_BITS = STRIDE_BITS - 1  # of a stride, to the multiplier


class ProgramWord(data.Struct):
    """A word on its way from the decoder."""

    word: unsigned(WORD_BITS)
    opcode: Opcode  # of its instruction
    index: unsigned(WORD_INDEX_BITS)  # within the instruction
    valid: unsigned(1)  # there is one, and its instruction acts
    ends: Ends  # of the loop, at which it is
    done: unsigned(1)  # it is its instruction's last word


class Resolver(wiring.Component):
    """Words come out ``LATENCY`` cycles later, beside the address that they make if they are operands.

    Ports
    -----
    i : from the decoder
    outer, inner : loop indices of its instruction, for operands: not before the header is past
    o, address : the word, and the resolved address, modulo 2^address_bits
    """

    LATENCY = Multiplier.LATENCY + 2

    def __init__(self, *, address_bits: int = ADDRESS_BITS):
        self._address_bits = address_bits
        super().__init__(
            {
                "i": In(ProgramWord),
                "outer": In(INDEX_BITS),
                "inner": In(INDEX_BITS),
                "o": Out(ProgramWord),
                "address": Out(address_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        operand = Signal(Operand)
        m.d.comb += operand.eq(self.i.word)
        m.submodules.outer = outer = Multiplier(a=unsigned(_LOW_BITS), b=unsigned(INDEX_BITS))
        m.submodules.inner = inner = Multiplier(a=unsigned(_LOW_BITS), b=unsigned(INDEX_BITS))
        # A stride is a bit wider than an unsigned multiplier operand: its top bit acts on the top of the base alone.
        top = Signal(ADDRESS_BITS - _LOW_BITS)
        m.d.comb += [
            outer.a.eq(operand.outer),
            outer.b.eq(self.outer),
            inner.a.eq(operand.inner),
            inner.b.eq(self.inner),
            top.eq(
                operand.base[_LOW_BITS:]
                + Mux(operand.outer[_LOW_BITS], self.outer[: len(top)], 0)
                + Mux(operand.inner[_LOW_BITS], self.inner[: len(top)], 0)
            ),
        ]
        moved = Signal(self._address_bits, reset_less=True)  # by both indices
        m.d.sync += moved.eq(outer.p + inner.p)
        word = Signal(ProgramWord)
        m.d.comb += word.eq(delay(m, self.i.as_value(), Multiplier.LATENCY + 1, name="word", reset=True))
        base = Signal(Operand)
        m.d.comb += base.eq(word.word)
        top_later = delay(m, top, Multiplier.LATENCY + 1, name="top")
        address = Signal(self._address_bits, reset_less=True)
        m.d.sync += [address.eq(Cat(base.base[:_LOW_BITS], top_later) + moved), self.o.eq(word)]
        m.d.comb += self.address.eq(address)
        return m
