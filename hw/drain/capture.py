# SPDX-License-Identifier: SHL-2.1
"""Second stage of the drain: a finished tile leaves the array, so that this can begin the next."""

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..array.pe_array import ACC_BITS
from ..config import CoreConfig
from ..memory import READ_LATENCY
from ..pipeline import delay

__all__ = ["Capture"]


class Capture(wiring.Component):
    """Takes a tile READ_LATENCY cycles after ``tile``, then shifts it out a beat a cycle.

    Attributes
    ----------
    tile : in
        A tile is finished.
    acc : in, [cols][rows] of signed(ACC_BITS)
        The array's accumulators.
    beat : out, [lanes] of signed(ACC_BITS)
        Beat 0 comes READ_LATENCY + 1 cycles after ``tile``.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "tile": In(1),
                "acc": In(data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), config.rows), config.cols)),
                "beat": Out(data.ArrayLayout(signed(ACC_BITS), config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        column = ACC_BITS * self.config.rows
        captured = Signal(data.ArrayLayout(unsigned(column), self.config.cols), reset_less=True)
        with m.If(delay(m, self.tile, READ_LATENCY, name="tile", reset=True)):
            m.d.sync += captured.eq(self.acc)
        with m.Else():
            m.d.sync += captured.eq(captured.as_value() >> (column * self.config.drain_columns))
        m.d.comb += self.beat.eq(captured.as_value())
        return m
