# SPDX-License-Identifier: SHL-2.1
"""Fourth stage of the drain: values to the format of their destination, with the residual added where it is asked."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.requantise import VALUE_BITS, saturate_signed, saturate_unsigned
from ..config import CoreConfig
from ..pipeline import delay
from ..program.isa import Format
from .activation import ActivationUnit

__all__ = ["FormatStage"]

_NARROW = 2  # cycles of saturating and of adding the residual


class FormatStage(wiring.Component):
    """int8, uint8 or activated bytes, and int16, all with the latency of the slowest.

    Parameters
    ----------
    config : CoreConfig

    Attributes
    ----------
    values : in, [lanes] of signed(VALUE_BITS)
    result : in, Format
        Of these values.
    add : in
        ``residual`` is to be added to these values' int16.
    residual : in, [lanes] of signed(16)
    activated : in, [lanes] of unsigned(8)
        The activation's result, which comes its latency after the values.
    is_activated : in
        ``activated`` is wanted, of the values of ``latency - 1`` cycles ago.
    wide : out, [lanes] of signed(16)
        ``latency`` cycles after the values.
    narrow : out, [lanes] of unsigned(8)
        The byte, likewise.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "values": In(data.ArrayLayout(signed(VALUE_BITS), lanes)),
                "result": In(Format),
                "add": In(1),
                "residual": In(data.ArrayLayout(signed(16), lanes)),
                "activated": In(data.ArrayLayout(unsigned(8), lanes)),
                "is_activated": In(1),
                "wide": Out(data.ArrayLayout(signed(16), lanes)),
                "narrow": Out(data.ArrayLayout(unsigned(8), lanes)),
            }
        )

    @staticmethod
    def latency(config: CoreConfig) -> int:
        """Cycles from values to their forms."""
        return max(_NARROW, ActivationUnit.latency(config)) + 1

    def elaborate(self, platform):
        m = Module()
        activation = ActivationUnit.latency(self.config)
        wait = self.latency(self.config) - 1
        for lane in range(self.config.lanes):
            value = self.values[lane]
            int16 = Signal(signed(16), name=f"int16_{lane}", reset_less=True)
            residual = Signal(signed(16), name=f"residual{lane}", reset_less=True)
            total = Signal(signed(16), name=f"total{lane}", reset_less=True)
            byte = Signal(8, name=f"byte{lane}", reset_less=True)
            m.d.sync += [
                int16.eq(saturate_signed(value, 16)),
                residual.eq(Mux(self.add, self.residual[lane], 0)),
                total.eq(saturate_signed(int16 + residual, 16)),
                byte.eq(Mux(self.result == Format.UINT8, saturate_unsigned(value, 8), saturate_signed(value, 8))),
            ]
            wide = delay(m, total, wait - _NARROW, name=f"wide{lane}")
            narrow = delay(m, byte, wait - 1, name=f"narrow{lane}")
            activated = delay(m, self.activated[lane], wait - activation, name=f"activated{lane}")
            m.d.sync += [
                self.wide[lane].eq(wide),
                self.narrow[lane].eq(Mux(self.is_activated, activated, narrow)),
            ]
        return m
