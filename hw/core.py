# SPDX-License-Identifier: SHL-2.1
"""The composed accelerator: memories, engines, sequencer and streams."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .commandpath import CommandPath
from .config import CoreConfig
from .datapath import Datapath
from .io.loader import LOAD_ERRORS, Loader
from .io.store import StoreEngine
from .io.targets import load_crc, stream_units
from .memories import Target
from .memorysystem import MemorySystem
from .program.isa import SEMAPHORES, TOKEN_BITS

__all__ = ["BUSY_BITS", "ERRORS", "GROUPS", "TransformerCore"]

BUSY_BITS = ("sequencer", "feeder", "drain", "softmax", "norm", "store", "loader", "macs")
"""Meaning of each bit of the core's ``busy`` output; "macs" is high in cycles that feed the array."""

ERRORS = LOAD_ERRORS | {
    "length": "a pass was asked for with seq_len outside 1 .. the program's longest sequence, or with another one than "
    "that of the passes in flight: not begun",
}
"""Meaning of each bit of the core's ``errors`` output, from bit 0."""

GROUPS = ("command_path", "datapath", "array_path", "memories")
"""Instances that only group others: reports name what is in them without them, "drain" and not "datapath...drain"."""


class TransformerCore(wiring.Component):
    """An integer transformer encoder that runs a program from start to result by itself.

    Everything a model needs (weights, constants, program) is either the memories' initial contents (``images``) or
    arrives as load packets on ``s_axis`` at run time; inputs arrive the same way, results leave on ``m_axis``.

    Parameters
    ----------
    config : CoreConfig
    images : mapping of Target to sequence of int
        Initial words of the memories (bytes for TABLE where gelu = "table").

    Ports
    -----
    run : start a pass of the program when the previous has ended; a pass waits for its input. Held high, the next pass
        starts by itself: pulse it where lengths vary
    seq_len : tokens of the inputs, best from some cycles before ``run`` on; see :class:`hw.io.passes.PassGuard`
    s_axis_*, m_axis_* : 64-bit AXI4-Streams
    busy : see BUSY_BITS
    frames_done : results that have left, modulo 2^32
    errors : see ERRORS; each stays until it is cleared, or reset
    clear_errors : errors to clear
    model_written : a load packet that is no input begins; one cycle
    load_crc, clear_crc : CRC-32 of all such packets, and to begin it anew; see :class:`hw.io.loader.Loader`. At
        power-up that of the packets that would load ``images``
    """

    def __init__(self, config: CoreConfig, images: Mapping[Target, Sequence[int]] | None = None):
        self.config = config
        self.images = {target: list(words) for target, words in (images or {}).items()}
        super().__init__(
            {
                "run": In(1),
                "seq_len": In(TOKEN_BITS),
                "s_axis_tdata": In(64),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(64),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
                "busy": Out(len(BUSY_BITS)),
                "frames_done": Out(32),
                "errors": Out(len(ERRORS)),
                "clear_errors": In(len(ERRORS)),
                "model_written": Out(1),
                "load_crc": Out(32),
                "clear_crc": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.command_path = commands = CommandPath(config)
        m.submodules.datapath = datapath = Datapath(config, tables=self.images.get(Target.TABLE))
        m.submodules.memories = memories = MemorySystem(config, self.images)
        m.submodules.store = store = StoreEngine(config)
        m.submodules.loader = loader = Loader(
            semaphores=SEMAPHORES,
            units=stream_units(config),
            rows=config.rows,
            region=next(iter(self.images.get(Target.REGION, ())), 0),
            crc=load_crc(config, self.images),
        )
        for name in ("array", "softmax", "norm"):
            wiring.connect(m, getattr(commands, name), getattr(datapath, name))
        wiring.connect(m, commands.store, store.command)
        for name in memories.signature.members:
            if name in datapath.signature.members:
                wiring.connect(m, getattr(datapath, name), getattr(memories, name))
        wiring.connect(m, commands.read_prog, memories.sequencer_read_prog)
        wiring.connect(m, store.read_res, memories.store_read_res)
        wiring.connect(m, loader.load, memories.load)
        m.d.comb += [
            datapath.write_table.en.eq(loader.load.valid & (loader.load.target == Target.TABLE)),
            datapath.write_table.addr.eq(loader.load.addr),
            datapath.write_table.data.eq(loader.load.data),
            datapath.lengths.eq(commands.lengths),
            commands.run.eq(self.run),
            commands.seq_len.eq(self.seq_len),
            commands.tokens.eq(loader.tokens),
            commands.ended.eq(store.frame),
            commands.at_work.eq(Cat(datapath.busy.feeder, datapath.busy.drain, datapath.busy.softmax,
                                    datapath.busy.norm, store.busy).any()),
            commands.done.eq(datapath.done),
            commands.signals.eq(Cat(datapath.signals, loader.signal, store.signal)),
            commands.take.eq(loader.take),
            loader.positive.eq(commands.positive),
            loader.begun.eq(commands.begun),
            loader.row_blocks.eq(commands.lengths.row_blocks),
            loader.clear_crc.eq(self.clear_crc),
            loader.i.payload.eq(self.s_axis_tdata),
            loader.i.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(loader.i.ready),
            self.m_axis_tdata.eq(store.o.payload.data),
            self.m_axis_tlast.eq(store.o.payload.last),
            self.m_axis_tvalid.eq(store.o.valid),
            store.o.ready.eq(self.m_axis_tready),
            self.model_written.eq(loader.written),
            self.load_crc.eq(loader.crc),
        ]  # fmt: skip
        with m.If(store.frame):
            m.d.sync += self.frames_done.eq(self.frames_done + 1)
        m.d.sync += self.errors.eq(Cat(loader.errors, commands.refused) | (self.errors & ~self.clear_errors))
        busy = {"sequencer": commands.busy, "store": store.busy, "loader": loader.busy}
        busy |= {name: datapath.busy[name] for name in datapath.busy.shape().members}
        m.d.sync += self.busy.eq(Cat(busy[name] for name in BUSY_BITS))
        for name in datapath.signature.members:
            if name.startswith("log_"):
                self._probe(m, name.replace("log", "probe", 1), getattr(datapath, name))
        return m

    @staticmethod
    def _probe(m, name, probe):
        """A stream of results that simulators log by name; nothing reads it, so synthesis removes it."""
        value = Value.cast(probe.data)
        m.d.comb += [
            Signal(name=f"{name}_valid").eq(probe.valid),
            Signal(len(value), name=f"{name}_data").eq(value),
        ]
