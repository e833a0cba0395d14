# SPDX-License-Identifier: SHL-2.1
"""Requantisation: an accumulator times a 16-bit constant, shifted right, rounded half up and saturated."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..pipeline import delay
from .multiplier import WideMultiplier

__all__ = ["VALUE_BITS", "Requantiser", "RoundingShifter", "saturate_signed", "saturate_unsigned"]

VALUE_BITS = 17
"""Width of a value that is still to be saturated: -2^15 .. 2^15."""


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


class RoundingShifter(wiring.Component):
    """``value = (p + 2^amount) >> (amount + 1)``, one a cycle, :data:`LATENCY` cycles later (``golden.shift_round``).

    ``value`` is clamped to -2^15 .. 2^15, so that clamping it once more to 16 or fewer bits, signed or not, saturates
    right. The rounding is done as ``((p >> amount) + 1) >> 1``, whose first shift may be saturated to 17 bits without
    changing any such result.

    Parameters
    ----------
    width : int
        Bits of ``p``, 18 to 64.
    max_amount : int
        Largest ``amount``; fewer need fewer LUTs.

    Attributes
    ----------
    p : in
        signed(width).
    amount : in
        The shift less 1.
    value : out
        signed(VALUE_BITS).

    Raises
    ------
    ValueError
        If ``width`` or ``max_amount`` is out of range.
    """

    LATENCY = 4

    def __init__(self, *, width: int, max_amount: int = 62):
        if not 18 <= width <= 64:
            raise ValueError(f"width must lie in 18..64, not {width!r}")
        if not 8 <= max_amount <= 62:
            raise ValueError(f"max_amount must lie in 8..62, not {max_amount!r}")
        self.width, self.max_amount = width, max_amount
        amount = range(max_amount + 1)
        super().__init__({"p": In(signed(width)), "amount": In(amount), "value": Out(signed(VALUE_BITS))})

    def elaborate(self, platform):
        m = Module()
        # Bytes first. Of what is left, 24 bits can come into the 17 by a shift of at most 7 more; if the others are
        # not all copies of the sign, the result is beyond its limits.
        coarse, fine = Signal(signed(24), reset_less=True), Signal(3, reset_less=True)
        shifted = Signal(signed(24), reset_less=True)
        clamped, rounded = Signal(signed(VALUE_BITS), reset_less=True), Signal(signed(VALUE_BITS), reset_less=True)
        slices, beyond = [], []
        for low in range(0, self.max_amount + 1, 8):
            slices.append((self.p >> min(low, self.width - 1)).as_signed()[:24])
            others = self.p[low + 23 :]
            beyond.append(others.any() & ~others.all())
        sign, over = delay(m, self.p[-1], 2, name="sign"), Signal(reset_less=True)
        limit = Cat((~sign).replicate(16), sign).as_signed()
        m.d.sync += [
            coarse.eq(Array(slices)[self.amount[3:]]),
            over.eq(Array(beyond)[self.amount[3:]]),
            fine.eq(self.amount[:3]),
            shifted.eq(coarse >> fine),
            clamped.eq(
                Mux(delay(m, over, 1, name="over") | (shifted != shifted[:VALUE_BITS].as_signed()), limit, shifted)
            ),
            rounded.eq((clamped + 1) >> 1),
        ]
        m.d.comb += self.value.eq(rounded)
        return m


class Requantiser(wiring.Component):
    """``value = ((acc + bias) * mult + 2^(shift-1)) >> shift``, one a cycle, :data:`LATENCY` cycles later.

    ``value`` is clamped to -2^15 .. 2^15, so that clamping it once more to int16, int8 or uint8 gives
    ``golden.requantise`` of that width.

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
        signed(VALUE_BITS).

    Raises
    ------
    ValueError
        If ``acc_bits`` is out of range.
    """

    LATENCY = 1 + WideMultiplier.LATENCY + RoundingShifter.LATENCY

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
                "value": Out(signed(VALUE_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.product = product = WideMultiplier(a=signed(32), b=unsigned(16), high_dsp=self.high_dsp)
        total, mult = Signal(signed(32), reset_less=True), Signal(16, reset_less=True)
        m.d.sync += [total.eq(self.acc + self.bias), mult.eq(self.mult)]
        m.d.comb += [product.a.eq(total), product.b.eq(mult)]

        amount = delay(m, (self.shift - 1)[:6], 1 + WideMultiplier.LATENCY, name="amount")
        m.submodules.shifter = shifter = RoundingShifter(width=len(product.p))
        m.d.comb += [shifter.p.eq(product.p), shifter.amount.eq(amount), self.value.eq(shifter.value)]
        return m
