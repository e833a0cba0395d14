# SPDX-License-Identifier: SHL-2.1
"""CRC-32 of Ethernet, zip and RFC 1662, a byte a cycle."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Crc32", "POLYNOMIAL", "RESIDUE", "WideCrc32"]

POLYNOMIAL = 0xEDB88320
"""Of the register that shifts right, bytes entering lowest bit first."""

RESIDUE = 0xDEBB20E3
"""What the register holds after a message and its CRC, lowest byte first."""

_INIT = 0xFFFFFFFF


def _terms(bits: int) -> list[set[tuple[str, int]]]:
    """For each register bit, ``bits`` of data later: the state and data bits that it is the exclusive or of."""
    terms = [{("state", i)} for i in range(32)]
    for bit in range(bits):
        feedback = terms[0] ^ {("data", bit)}
        terms = [(terms[i + 1] if i < 31 else set()) ^ (feedback if POLYNOMIAL >> i & 1 else set()) for i in range(32)]
    return terms


def _sum(sources: dict[str, Value], bits: int) -> Value:
    """The part of the next state that depends on ``sources``."""
    return Cat(Cat(sources[name][i] for name, i in sorted(term) if name in sources).xor() for term in _terms(bits))


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
        state = Signal(32, init=_INIT)
        m.d.comb += self.crc.eq(~state)
        with m.If(self.clear):
            m.d.sync += state.eq(_INIT)
        with m.Elif(self.en):
            m.d.sync += state.eq(_sum({"state": state, "data": self.data}, 8))
        m.d.sync += self.good.eq(state == RESIDUE)
        return m


class WideCrc32(wiring.Component):
    """CRC-32 of 64-bit words, lowest byte first, a word a cycle; :func:`zlib.crc32` of the same bytes.

    What the data add is worked out a cycle ahead of the state, so that neither has more than some 35 bits to sum.

    Parameters
    ----------
    crc : int
        At power-up. No reset changes it: only ``clear`` does.

    Ports
    -----
    clear : begin anew; drops words given in the three cycles before
    en, data : one more word
    crc : of the words so far, three cycles later
    """

    def __init__(self, *, crc: int = 0):
        if not 0 <= crc < 1 << 32:
            raise ValueError(f"crc must have at most 32 bits, not {crc:#x}")
        self._crc = crc
        super().__init__({"clear": In(1), "en": In(1), "data": In(64), "crc": Out(32)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(32, init=self._crc ^ _INIT, reset_less=True)
        held, added = Signal(64, reset_less=True), Signal(32, reset_less=True)
        given, summed = Signal(), Signal()
        m.d.comb += self.crc.eq(~state)
        m.d.sync += [
            held.eq(self.data),
            given.eq(self.en),
            added.eq(_sum({"data": held}, 64)),
            summed.eq(given),
        ]
        with m.If(summed):
            m.d.sync += state.eq(_sum({"state": state}, 64) ^ added)
        with m.If(self.clear):
            m.d.sync += [state.eq(_INIT), given.eq(0), summed.eq(0)]
        return m
