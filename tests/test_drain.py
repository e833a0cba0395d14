# SPDX-License-Identifier: Apache-2.0
"""hw/array/drain.py, with the feeder and the array before it as in the core: commands in, writes out."""

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.drain import Drain
from hw.array.feeder import Feeder, FeedTag
from hw.array.pe_array import PEArray
from hw.array.rowmax import RowMaximum
from hw.config import CoreConfig
from hw.memory import READ_LATENCY
from hw.program.commands import ArrayCommand
from hw.program.isa import ADDRESS_BITS, PENDING_MAX, SEMAPHORES
from hw.program.semaphores import CommandGate
from sim.runner import run_cocotb

_OWN = ("tag", "context", "context_valid", "acc", "busy")  # of the drain's ports, those that stay inside


class Datapath(wiring.Component):
    """Gate, feeder, array and drain, wired as in :class:`hw.core.TransformerCore`; the memories are the bench's."""

    def __init__(self, config: CoreConfig):
        self.config = config
        self.feeder, self.array = Feeder(config), PEArray(config)
        self.drain = Drain(config)
        drain_ports = {name: port for name, port in self.drain.signature.members.items() if name not in _OWN}
        self.drain_ports = list(drain_ports)
        super().__init__(
            drain_ports
            | {
                "command": In(stream.Signature(ArrayCommand)),
                "positive": In(SEMAPHORES),
                "take": Out(SEMAPHORES),
                "passed": Out(1),
                "feed": Out(FeedTag),
                "a_addr": Out(ADDRESS_BITS),
                "b_addr": Out(ADDRESS_BITS),
                "act_data": In(config.rows * config.depth * 8),
                "prob_data": In(config.rows * config.depth * 8),
                "w_data": In(config.cols * config.depth * 8),
                "kv_data": In(config.cols * config.depth * 8),
                "busy": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.feeder = feeder = self.feeder
        m.submodules.array = array = self.array
        m.submodules.drain = drain = self.drain
        m.submodules.gate = gate = CommandGate(shape=ArrayCommand, semaphores=SEMAPHORES)
        wiring.connect(m, wiring.flipped(self.command), gate.i)
        wiring.connect(m, gate.o, feeder.command)
        in_flight = Signal(4)
        m.d.sync += in_flight.eq(in_flight + gate.passed - drain.done)
        pending = gate.i.payload.pending
        m.d.comb += [
            gate.positive.eq(self.positive),
            gate.allow.eq(in_flight <= Mux(pending > PENDING_MAX, PENDING_MAX, pending)),
            self.take.eq(gate.take),
            self.passed.eq(gate.passed),
        ]
        tag = feeder.tag
        for stage in range(READ_LATENCY):
            delayed = Signal.like(tag, name=f"operand_tag{stage}")
            m.d.sync += delayed.eq(tag)
            tag = delayed
        control = Signal.like(tag, name="operand_control")
        m.d.sync += [
            array.a.eq(Mux(tag.prob, self.prob_data, self.act_data)),
            array.b.eq(Mux(tag.kv, self.kv_data, self.w_data)),
            control.eq(tag),
        ]
        m.d.comb += [
            self.feed.eq(feeder.tag),
            self.a_addr.eq(feeder.a_addr),
            self.b_addr.eq(feeder.b_addr),
            self.busy[0].eq(feeder.busy),
            self.busy[1].eq(drain.busy),
            array.a_unsigned.eq(control.a_unsigned),
            array.valid.eq(control.valid),
            array.first.eq(control.first),
            drain.tag.eq(feeder.tag),
            drain.context.eq(feeder.context),
            drain.context_valid.eq(feeder.context_valid),
            drain.acc.eq(array.acc),
        ]
        for name in self.drain_ports:
            inner, outer = getattr(drain, name), getattr(self, name)
            if self.drain.signature.members[name].flow == In:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner)
        return m


@pytest.mark.parametrize(
    ("rows", "cols", "depth", "columns", "gelu"),
    [
        (2, 2, 4, 1, "table"),
        (4, 4, 8, 1, "ibert"),
        (1, 16, 8, 4, "table"),
        pytest.param(2, 4, 16, 1, "table", marks=pytest.mark.slow),
        pytest.param(1, 8, 8, 8, "ibert", marks=pytest.mark.slow),  # a whole tile in a beat
        pytest.param(8, 8, 16, 2, "ibert", marks=pytest.mark.slow),
    ],
)
def test_datapath(rows, cols, depth, columns, gelu):
    shape = {"rows": rows, "cols": cols, "depth": depth, "drain_columns": columns}
    config = CoreConfig(**shape, gelu=gelu, tables=2, max_tokens=40)
    datapath = Datapath(config)
    latencies = {
        "write_latency": Drain.write_latency(config),
        "score_latency": Drain.score_latency(config),
        "maximum_latency": RowMaximum.latency(config),  # from the last score's strobe
    }
    run_cocotb(datapath, "sim.tb.tb_drain", **shape, gelu=gelu, tables=2, max_tokens=40, slots=4, **latencies)
