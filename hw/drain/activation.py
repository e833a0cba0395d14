# SPDX-License-Identifier: SHL-2.1
"""The activation between the two layers of a feed-forward network: a table of bytes, or I-BERT's polynomial GELU."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.multiplier import Multiplier, WideMultiplier
from ..arith.requantise import VALUE_BITS, Requantiser, saturate_signed, saturate_unsigned
from ..config import CoreConfig
from ..memories import MEMORIES
from ..memory import READ_LATENCY, TensorMemory
from ..pipeline import delay
from ..program.loads import GeluParameters

__all__ = ["ActivationUnit", "GeluLane"]


class GeluLane(wiring.Component):
    """I-BERT's i-GELU on int8, requantised to int8 (``golden.gelu_ibert``): one a cycle, :data:`LATENCY` cycles later.

    ``square = (min(|x|, b) - b)^2``; ``y = x * (c + sgn(x) (c - square))``, which is ``x * (2c - square)`` for x >= 0
    and ``x * square`` below; ``result = sat8((y * mult + 2^(shift-1)) >> shift)``. Three DSP blocks.

    Attributes
    ----------
    x : in
        signed(8).
    parameters : in
        :class:`hw.program.loads.GeluParameters` of the element, :data:`PARAMETER_DELAY` cycles after it.
    result : out
        signed(8).
    """

    PARAMETER_DELAY = READ_LATENCY - 1
    _SQUARE = PARAMETER_DELAY + 1 + Multiplier.LATENCY  # cycles after x
    _PRODUCT = _SQUARE + 1 + WideMultiplier.LATENCY
    LATENCY = _PRODUCT + Requantiser.LATENCY + 1

    x: In(signed(8))
    parameters: In(GeluParameters)
    result: Out(signed(8))

    def elaborate(self, platform):
        m = Module()

        magnitude, gap = Signal(8, reset_less=True), Signal(signed(13), reset_less=True)
        m.d.sync += [magnitude.eq(Mux(self.x[-1], -self.x, self.x)), gap.eq(self.parameters.b - magnitude)]
        m.submodules.square = square = Multiplier(a=unsigned(12), b=unsigned(12))
        below = Mux(gap[-1], 0, gap[:12])  # b - min(|x|, b)
        m.d.comb += [square.a.eq(below), square.b.eq(below)]

        x = delay(m, self.x, self._SQUARE, name="x")
        c = delay(m, self.parameters.c, self._SQUARE - self.PARAMETER_DELAY, name="c")
        factor = Signal(signed(25), reset_less=True)
        m.d.sync += factor.eq(Mux(x[-1], square.p, (c << 1) - square.p))
        m.submodules.product = product = WideMultiplier(a=signed(25), b=signed(8), high_dsp=False)
        m.d.comb += [product.a.eq(factor), product.b.eq(delay(m, x, 1, name="x_factor"))]

        wait = self._PRODUCT - self.PARAMETER_DELAY
        m.submodules.requantise = requantise = Requantiser(acc_bits=2, high_dsp=False)
        m.d.comb += [
            requantise.acc.eq(0),
            requantise.bias.eq(product.p),  # below 2^31: |x| <= 128 and |factor| < 2^24
            requantise.mult.eq(delay(m, self.parameters.mult, wait, name="mult")),
            requantise.shift.eq(delay(m, self.parameters.shift, wait, name="shift")),
        ]
        result = Signal(signed(8), name="saturated", reset_less=True)
        m.d.sync += result.eq(saturate_signed(requantise.value, 8))
        m.d.comb += self.result.eq(result)
        return m


class ActivationUnit(wiring.Component):
    """The activation of every lane of a beat, one beat a cycle, ``latency`` cycles later.

    ``config.gelu`` "table": ``value`` clamped to uint8 is looked up in the bank ``bank`` of table ``table``
    (``golden.activation_table``); every lane has a copy of the tables. "ibert": ``value`` clamped to int8 goes through
    :class:`GeluLane` with the parameters of entry ``table``.

    Parameters
    ----------
    config : CoreConfig
    init : list of int
        First contents: bytes (table) or 64-bit :class:`hw.program.loads.GeluParameters` (ibert).

    Attributes
    ----------
    value : in
        signed(VALUE_BITS) of each lane, column p and row r at p * rows + r.
    bank : in
        One bit a column.
    table : in
        The table's number, with every beat.
    result : out
        The operand byte of each lane (two's complement where gelu = "ibert").
    w_en, w_addr, w_data : in
        Load port: a table's byte (in the low bits), at table * TABLE_ENTRIES + bank * 256 + index; or an entry of
        parameters.
    """

    def __init__(self, config: CoreConfig, *, init: list[int] | None = None):
        self.config, self.init = config, init
        self._is_table = config.gelu == "table"
        geometry = MEMORIES["TABLE"].geometry(config)
        self._shape: dict[str, Any] = {
            "depth": geometry.words,
            "lanes": geometry.lanes,
            "granularity": geometry.granularity,
        }
        super().__init__(
            {
                "value": In(data.ArrayLayout(signed(VALUE_BITS), config.lanes)),
                "bank": In(config.drain_columns),
                "table": In(6),
                "result": Out(data.ArrayLayout(unsigned(8), config.lanes)),
                "w_en": In(1),
                "w_addr": In(range(max(geometry.words, 2))),
                "w_data": In(64),
            }
        )

    @staticmethod
    def latency(config: CoreConfig) -> int:
        """Cycles from a beat to its results."""
        return 1 + (READ_LATENCY if config.gelu == "table" else GeluLane.LATENCY)

    def elaborate(self, platform):
        return self._tables() if self._is_table else self._polynomials()

    def _tables(self) -> Module:
        m = Module()
        table = delay(m, self.table, 1, name="table")
        for lane in range(self.config.lanes):
            column = lane // self.config.rows
            index, bank = Signal(8, name=f"index{lane}", reset_less=True), Signal(name=f"bank{lane}", reset_less=True)
            m.d.sync += [index.eq(saturate_unsigned(self.value[lane], 8)), bank.eq(self.bank[column])]
            contents = TensorMemory(**self._shape, init=self.init)
            m.submodules[f"lane{lane}"] = contents
            m.d.comb += [
                contents.r_addr.eq((table << 9) | (bank << 8) | index),
                self.result[lane].eq(contents.r_data),
                contents.w_en.eq(self.w_en),
                contents.w_addr.eq(self.w_addr),
                contents.w_data.eq(self.w_data[:8]),
            ]
        return m

    def _polynomials(self) -> Module:
        m = Module()
        m.submodules.parameters = parameters = TensorMemory(**self._shape, init=self.init)
        m.d.comb += [
            parameters.r_addr.eq(self.table),
            parameters.w_en.eq(self.w_en),
            parameters.w_addr.eq(self.w_addr),
            parameters.w_data.eq(self.w_data),
        ]
        for number in range(self.config.lanes):
            m.submodules[f"lane{number}"] = lane = GeluLane()
            x = Signal(signed(8), name=f"x{number}", reset_less=True)
            m.d.sync += x.eq(saturate_signed(self.value[number], 8))
            m.d.comb += [
                lane.x.eq(x),
                lane.parameters.eq(parameters.r_data),
                self.result[number].eq(lane.result),
            ]
        return m
