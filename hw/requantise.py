# SPDX-License-Identifier: SHL-2.1
"""Requantisation: an accumulator times a 16-bit constant, shifted right, rounded half up and saturated."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.multiplier import WideMultiplier

__all__ = ["Requantiser", "saturate_signed", "saturate_unsigned"]


def saturate_signed(value: Value, bits: int) -> Value:
    """``value`` clamped to signed ``bits`` bits (``golden.saturate``)."""
    value = Value.cast(value)
    if not value.shape().signed:
        value = Cat(value, Const(0, 1)).as_signed()
    if len(value) <= bits:
        return value
    sign, excess = value[-1], value[bits - 1 :]
    limit = Cat((~sign).replicate(bits - 1), sign)
    return Mux(excess.all() | ~excess.any(), value[:bits], limit).as_signed()


def saturate_unsigned(value: Value, bits: int) -> Value:
    """``value`` clamped to unsigned ``bits`` bits; negative values give 0 (``golden.saturate(signed=False)``)."""
    value = Value.cast(value)
    if value.shape().signed:
        sign, value = value[-1], value[:-1]
    else:
        sign = Const(0, 1)
    over = value[bits:].any()
    return (value[:bits] | over.replicate(bits)) & (~sign).replicate(bits)


class Requantiser(wiring.Component):
    """``value = ((acc + bias) * mult + 2^(shift-1)) >> shift``, one a cycle, :data:`LATENCY` cycles later.

    ``value`` is clamped to -2^15 .. 2^15, so that clamping it once more to int16, int8 or uint8 gives
    ``golden.requantise`` of that width. The rounding is done as ``((p >> (shift-1)) + 1) >> 1``, whose first
    shift may be saturated to 17 bits without changing any result that is clamped to 16 or fewer.

    Parameters
    ----------
    acc_bits : int
        Width of the accumulator, at most 28.
    high_dsp : bool
        Two DSP blocks for the product (else one, and LUTs for its high part).

    Attributes
    ----------
    acc, bias, mult, shift : in
        Operands, all in the same cycle. ``acc + bias`` must fit 32 bits and ``shift`` lie in 1..63.
    value : out
        signed(17).

    Raises
    ------
    ValueError
        If ``acc_bits`` is out of range.
    """

    LATENCY = 5 + WideMultiplier.LATENCY

    def __init__(self, *, acc_bits: int, high_dsp: bool = True):
        if not 2 <= acc_bits <= 28:
            raise ValueError(f"acc_bits must lie in 2..28, not {acc_bits!r}")
        self.high_dsp = high_dsp
        super().__init__(
            {
                "acc": In(signed(acc_bits)),
                "bias": In(signed(32)),
                "mult": In(unsigned(16)),
                "shift": In(unsigned(6)),
                "value": Out(signed(17)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.product = product = WideMultiplier(a=signed(32), b=unsigned(16), high_dsp=self.high_dsp)
        total, mult = Signal(signed(32), reset_less=True), Signal(16, reset_less=True)
        m.d.sync += [total.eq(self.acc + self.bias), mult.eq(self.mult)]
        m.d.comb += [product.a.eq(total), product.b.eq(mult)]

        shift = self.shift - 1
        for stage in range(1 + WideMultiplier.LATENCY):
            delayed = Signal(6, name=f"shift{stage}", reset_less=True)
            m.d.sync += delayed.eq(shift)
            shift = delayed

        # Bytes first, saturated to what a shift by at most 7 more can bring into 17 bits.
        p = product.p
        byte_shifted = [saturate_signed(p >> (8 * k), 24) for k in range(-(-len(p) // 8))]
        byte_shifted += [p[-1].replicate(24).as_signed()] * (8 - len(byte_shifted))
        coarse, fine = Signal(signed(24), reset_less=True), Signal(3, reset_less=True)
        m.d.sync += [coarse.eq(Array(byte_shifted)[shift[3:]]), fine.eq(shift[:3])]
        shifted = Signal(signed(24), reset_less=True)
        m.d.sync += shifted.eq(coarse >> fine)
        clamped = Signal(signed(17), reset_less=True)
        m.d.sync += clamped.eq(saturate_signed(shifted, 17))
        value = Signal(signed(17), name="rounded", reset_less=True)
        m.d.sync += value.eq((clamped + 1) >> 1)
        m.d.comb += self.value.eq(value)
        return m
