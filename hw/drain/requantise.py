# SPDX-License-Identifier: SHL-2.1
"""Third stage of the drain: accumulators to the scale of their destination, by the channel's constants or the row's."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith.requantise import VALUE_BITS, Requantiser
from ..array.pe_array import ACC_BITS
from ..config import CoreConfig
from ..memory import READ_LATENCY
from ..pipeline import delay
from ..ports import ROW_SCALE, RowScales
from ..program.isa import ADDRESS_BITS
from ..program.loads import ChannelParameters

__all__ = ["RequantiseStage"]


class RequantiseStage(wiring.Component):
    """A requantiser for each lane, and the ring of row scales that P.V's deferred division takes its constants from.

    Attributes
    ----------
    beat : in, [lanes] of signed(ACC_BITS)
        A beat, one a cycle.
    by_row : in
        This beat takes the row's constants, and no bias.
    channels : in, [drain_columns] of ChannelParameters
        Of this beat.
    prob_slot : in
        Whose row scales this beat may need, READ_LATENCY cycles before it.
    scales : in
        Row scales to be kept.
    values : out, [lanes] of signed(VALUE_BITS)
        Element p * rows + r, ``LATENCY`` cycles after its beat.
    bank : out, unsigned(drain_columns)
        ``bank`` of the channels, likewise.
    """

    LATENCY = Requantiser.LATENCY
    """Cycles from a beat to its values."""

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "beat": In(data.ArrayLayout(signed(ACC_BITS), config.lanes)),
                "by_row": In(1),
                "channels": In(data.ArrayLayout(ChannelParameters, config.drain_columns)),
                "prob_slot": In(ADDRESS_BITS),
                "scales": In(RowScales(config)),
                "values": Out(data.ArrayLayout(signed(VALUE_BITS), config.lanes)),
                "bank": Out(config.drain_columns),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows, columns = self.config.rows, self.config.drain_columns
        scales = [self._row_scale(m, row) for row in range(rows)]
        banks = Signal(columns)
        for p in range(columns):
            channel = self.channels[p]
            m.d.comb += banks[p].eq(channel.bank)
            for r in range(rows):
                lane = p * rows + r
                m.submodules[f"lane{lane}"] = requantise = Requantiser(acc_bits=ACC_BITS)
                m.d.comb += [
                    requantise.acc.eq(self.beat[lane]),
                    requantise.bias.eq(Mux(self.by_row, 0, channel.bias)),
                    requantise.mult.eq(Mux(self.by_row, scales[r].mult, channel.mult)),
                    requantise.shift.eq(Mux(self.by_row, scales[r].shift, channel.shift)),
                    self.values[lane].eq(requantise.value),
                ]
        m.d.comb += self.bank.eq(delay(m, banks, self.LATENCY, name="bank"))
        return m

    def _row_scale(self, m: Module, row: int) -> Value | data.View:
        """Scale of ``row`` in the slot that a beat needs, from a small memory of its own."""
        ring: memory.Memory = memory.Memory(shape=ROW_SCALE, depth=self.config.slots, init=[])
        m.submodules[f"scale{row}"] = ring
        write, read = ring.write_port(), ring.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.scales.slot),
            write.data.eq(self.scales.scale),
            write.en.eq(self.scales.valid & (self.scales.row == row)),
            read.addr.eq(self.prob_slot),
        ]
        return delay(m, read.data, READ_LATENCY, name=f"scale{row}_read")
