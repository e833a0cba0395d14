# SPDX-License-Identifier: SHL-2.1
"""Feeder, operands, array and drain: ARRAY commands in, their results on the memories' ports."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .array.feeder import Feeder, FeedTag
from .array.pe_array import PEArray
from .config import CoreConfig
from .drain.drain import Drain
from .drain.write import DrainResult, WriteStage
from .memory import READ_LATENCY
from .pipeline import delay
from .ports import RowMaxima, RowScales, WritePort, client_ports, forward
from .program.commands import ArrayCommand
from .program.isa import SEMAPHORES, TOKEN_BITS

__all__ = ["ArrayPath"]

_CLIENTS = ("array", "drain")


class ArrayPath(wiring.Component):
    """What makes an ARRAY command's results; a pure pipeline behind the feeder.

    Parameters
    ----------
    config : CoreConfig
    tables : list of int
        First contents of TABLE.

    Attributes
    ----------
    command : stream in, ArrayCommand
        Past its gate.
    array_read_*, drain_read_*, drain_write_* : out
        On the memories; see :func:`hw.ports.client_ports`.
    write_table, scales, maxima, tokens, signal, done, result
        The drain's.
    feed : out, FeedTag
        Beside the operands' addresses.
    feeding, draining : out
        A command is at the feeder; one is on its way to its last write.
    """

    def __init__(self, config: CoreConfig, *, tables: list[int] | None = None):
        self.config, self._tables = config, tables
        super().__init__(
            {
                "command": In(stream.Signature(ArrayCommand)),
                **client_ports(config, *_CLIENTS),
                "write_table": In(WritePort(unsigned(64))),
                "tokens": In(TOKEN_BITS),
                "scales": In(RowScales(config)),
                "maxima": In(RowMaxima(config)),
                "result": Out(DrainResult(config)),
                "signal": Out(data.ArrayLayout(unsigned(SEMAPHORES), 2)),
                "done": Out(1),
                "feed": Out(FeedTag),
                "feeding": Out(1),
                "draining": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.feeder = feeder = Feeder(config)
        m.submodules.pe_array = pe_array = PEArray(config)
        m.submodules.drain = drain = Drain(config, tables=self._tables)
        m.submodules.write = write = WriteStage(config)
        wiring.connect(m, wiring.flipped(self.command), feeder.command)
        for name in ("read_chan", "read_res", "write_score"):
            wiring.connect(m, wiring.flipped(getattr(self, f"drain_{name}")), getattr(drain, name))
        for name in ("write_act", "write_res", "write_kv"):
            wiring.connect(m, wiring.flipped(getattr(self, f"drain_{name}")), getattr(write, name))
        forward(m, self, drain, ("write_table", "tokens", "scales", "maxima", "result", "signal", "done"))
        wiring.connect(m, drain.result, write.result)

        # Operands: the words of the memories that the tag names, a register later.
        a_word = Signal(config.rows * config.depth * 8, reset_less=True)
        b_word = Signal(config.cols * config.depth * 8, reset_less=True)
        tag = delay(m, feeder.tag, READ_LATENCY, name="operand_tag", reset=True)
        control = delay(m, tag, 1, name="operand_control", reset=True)
        m.d.sync += [
            a_word.eq(Mux(tag.prob, self.array_read_prob.data, self.array_read_act.data)),
            b_word.eq(Mux(tag.kv, self.array_read_kv.data, self.array_read_w.data)),
        ]
        m.d.comb += [
            self.array_read_act.addr.eq(feeder.a_addr),
            self.array_read_prob.addr.eq(feeder.a_addr),
            self.array_read_w.addr.eq(feeder.b_addr),
            self.array_read_kv.addr.eq(feeder.b_addr),
            pe_array.a.eq(a_word),
            pe_array.b.eq(b_word),
            pe_array.a_unsigned.eq(control.a_unsigned),
            pe_array.valid.eq(control.valid),
            pe_array.first.eq(control.first),
            drain.tag.eq(feeder.tag),
            drain.context.eq(feeder.context),
            drain.context_valid.eq(feeder.context_valid),
            drain.acc.eq(pe_array.acc),
            self.feed.eq(feeder.tag),
            self.feeding.eq(feeder.busy),
            self.draining.eq(drain.busy),
        ]
        return m
