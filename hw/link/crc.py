# SPDX-License-Identifier: SHL-2.1
"""CRC-32 of Ethernet, zip and RFC 1662, a byte a cycle."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Crc32", "POLYNOMIAL", "RESIDUE"]

POLYNOMIAL = 0xEDB88320
"""Of the register that shifts right, bytes entering lowest bit first."""

RESIDUE = 0xDEBB20E3
"""What the register holds after a message and its CRC, lowest byte first."""


def _next(state: Value, byte: Value) -> Value:
    """The register after one more byte, as an exclusive or of state and byte bits for each of its bits."""
    terms = [{("state", i)} for i in range(32)]  # symbolic: which bits each register bit is the exclusive or of
    for bit in range(8):
        feedback = terms[0] ^ {("byte", bit)}
        terms = [(terms[i + 1] if i < 31 else set()) ^ (feedback if POLYNOMIAL >> i & 1 else set()) for i in range(32)]
    sources = {"state": state, "byte": byte}
    return Cat(Cat(sources[name][i] for name, i in sorted(bits)).xor() for bits in terms)


class Crc32(wiring.Component):
    """CRC-32 of the bytes since ``clear``.

    Ports
    -----
    clear : begin a message; the byte of this cycle does not count
    en, data : one more byte
    crc : of the bytes so far, as it is sent: lowest byte first
    good : the bytes so far are a message followed by its CRC; valid one cycle after ``crc``
    """

    def __init__(self):
        super().__init__({"clear": In(1), "en": In(1), "data": In(8), "crc": Out(32), "good": Out(1)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(32, init=0xFFFFFFFF)
        m.d.comb += self.crc.eq(~state)
        with m.If(self.clear):
            m.d.sync += state.eq(0xFFFFFFFF)
        with m.Elif(self.en):
            m.d.sync += state.eq(_next(state, self.data))
        m.d.sync += self.good.eq(state == RESIDUE)
        return m
