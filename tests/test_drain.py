# SPDX-License-Identifier: Apache-2.0
"""hw/drain, with the feeder and the array before it (hw/arraypath.py): commands in, results out."""

import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arraypath import ArrayPath
from hw.commandpath import PendingLimit
from hw.config import CoreConfig
from hw.drain.drain import Drain
from hw.drain.rowmax import RowMaximum
from hw.ports import forward
from hw.program.commands import ArrayCommand
from hw.program.isa import SEMAPHORES
from hw.program.semaphores import CommandGate
from sim.runner import run_cocotb


class GatedArray(wiring.Component):
    """The array path behind its gate; the memories and semaphores are the bench's."""

    def __init__(self, config: CoreConfig):
        self.path = ArrayPath(config)
        members = dict(self.path.signature.members)
        self.gate = CommandGate(shape=ArrayCommand, semaphores=SEMAPHORES)
        self.own = [name for name in members if name not in ("command", "feeding", "draining")]
        super().__init__(
            {name: members[name] for name in ("command", *self.own)}
            | {"positive": In(SEMAPHORES), "take": Out(SEMAPHORES), "passed": Out(1), "busy": Out(2)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.path = path = self.path
        m.submodules.gate = gate = self.gate
        m.submodules.pending = pending = PendingLimit()
        wiring.connect(m, wiring.flipped(self.command), gate.i)
        wiring.connect(m, gate.o, path.command)
        m.d.comb += [
            pending.pending.eq(gate.i.payload.pending),
            pending.passed.eq(gate.passed),
            pending.done.eq(path.done),
            gate.allow.eq(pending.allow),
            gate.positive.eq(self.positive),
            self.take.eq(gate.take),
            self.passed.eq(gate.passed),
            self.busy.eq(Cat(path.feeding, path.draining)),
        ]
        forward(m, self, path, self.own)
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
def test_array_path(rows, cols, depth, columns, gelu):
    shape = {"rows": rows, "cols": cols, "depth": depth, "drain_columns": columns}
    config = CoreConfig(**shape, gelu=gelu, tables=2, max_tokens=40)
    design = GatedArray(config)
    latencies = {
        "write_latency": Drain.write_latency(config),
        "score_latency": Drain.score_latency(config),
        "maximum_latency": RowMaximum.latency(config),  # from the last score's strobe
    }
    run_cocotb(design, "sim.tb.tb_drain", **shape, gelu=gelu, tables=2, max_tokens=40, slots=4, **latencies)
