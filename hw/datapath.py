# SPDX-License-Identifier: SHL-2.1
"""The engines that compute (array, softmax, norm) and what runs between them, on the memories' ports."""

from amaranth.hdl import Cat, Module, Mux, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arraypath import ArrayPath
from .config import CoreConfig
from .norm.layernorm import NormEngine
from .ports import Probe, WritePort, client_ports, forward
from .program.commands import ArrayCommand, Lengths, NormCommand, SoftmaxCommand
from .program.isa import SEMAPHORES, Format
from .softmax.softmax import SoftmaxEngine

__all__ = ["Datapath"]

_CLIENTS = ("array", "drain", "softmax", "norm")


class Datapath(wiring.Component):
    """All that lies between the memories' read ports and their write ports.

    Parameters
    ----------
    config : CoreConfig
    tables : list of int
        First contents of TABLE.

    Attributes
    ----------
    array, softmax, norm : stream in
        Commands past their gates.
    array_read_*, drain_*, softmax_*, norm_* : out
        On the memories; see :func:`hw.ports.client_ports`.
    write_table : in
        TABLE's load port; see :class:`hw.drain.drain.Drain`.
    lengths : in, Lengths
        Constant while anything is at work.
    signals : out, struct of unsigned(SEMAPHORES)
        Semaphores signalled in this cycle: by ARRAY commands that write, by those that make scores, by the others.
    done : out
        An ARRAY command's last result is written.
    busy : out, struct
        Parts at work; ``macs``: in this cycle operands are read for the array.
    log_* : out
        Results as they are made, for simulators.
    """

    SIGNALS = data.StructLayout(dict.fromkeys(("array", "scores", "softmax", "norm"), SEMAPHORES))
    BUSY = data.StructLayout(dict.fromkeys(("feeder", "drain", "softmax", "norm", "macs"), 1))

    def __init__(self, config: CoreConfig, *, tables: list[int] | None = None):
        self.config, self._tables = config, tables
        lanes = config.lanes
        super().__init__(
            {
                "array": In(stream.Signature(ArrayCommand)),
                "softmax": In(stream.Signature(SoftmaxCommand)),
                "norm": In(stream.Signature(NormCommand)),
                **client_ports(config, *_CLIENTS),
                "write_table": In(WritePort(unsigned(64))),
                "lengths": In(Lengths),
                "signals": Out(self.SIGNALS),
                "done": Out(1),
                "busy": Out(self.BUSY),
                "log_drain": Out(Probe(data.ArrayLayout(signed(16), lanes))),
                "log_score": Out(Probe(data.ArrayLayout(signed(32), lanes))),
                "log_softmax": Out(Probe(data.ArrayLayout(unsigned(8), lanes))),
                "log_norm8": Out(Probe(data.ArrayLayout(unsigned(8), lanes))),
                "log_norm16": Out(Probe(data.ArrayLayout(signed(16), lanes))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.array_path = array = ArrayPath(config, tables=self._tables)
        m.submodules.softmax = softmax = SoftmaxEngine(config)
        m.submodules.norm = norm = NormEngine(config)
        forward(m, self, array, ("write_table", *client_ports(config, "array", "drain")))
        for client, engine in (("softmax", softmax), ("norm", norm)):
            for name in client_ports(config, client):
                port = getattr(engine, name.removeprefix(f"{client}_"))
                wiring.connect(m, wiring.flipped(getattr(self, name)), port)
        for commands, taker in ((self.array, array), (self.softmax, softmax), (self.norm, norm)):
            wiring.connect(m, wiring.flipped(commands), taker.command)
        wiring.connect(m, softmax.scales, array.scales)
        wiring.connect(m, softmax.maxima, array.maxima)
        m.d.comb += [
            array.tokens.eq(self.lengths.tokens),
            softmax.lengths.eq(self.lengths),
            self.signals.eq(Cat(array.signal, softmax.signal, norm.signal)),
            self.done.eq(array.done),
            self.busy.eq(Cat(array.feeding, array.draining, softmax.busy, norm.busy, array.feed.valid)),
        ]
        self._log(m, array, softmax, norm)
        return m

    def _log(self, m: Module, array: ArrayPath, softmax: SoftmaxEngine, norm: NormEngine) -> None:
        """What simulators log: each beat once, in the cycle of its write."""
        result, score, prob = array.result, array.drain_write_score, softmax.write_prob
        has_sign = result.control.result == Format.INT8
        if self.config.gelu == "ibert":
            has_sign |= result.control.result == Format.ACTIVATION
        scores = data.View(data.ArrayLayout(signed(score.data.shape().width // self.config.lanes), self.config.lanes),
                           score.data)  # fmt: skip
        for lane in range(self.config.lanes):
            byte = result.narrow[lane]
            value = Mux(result.to.res, result.wide[lane], Mux(has_sign, byte.as_signed(), byte))
            m.d.comb += [self.log_drain.data[lane].eq(value), self.log_score.data[lane].eq(scores[lane])]
        m.d.comb += [
            self.log_drain.valid.eq(result.control.valid),
            self.log_score.valid.eq(score.en),
            self.log_softmax.valid.eq(prob.en),
            self.log_softmax.data.eq(prob.data),
            self.log_norm8.valid.eq(norm.write_act.en & norm.write_act.ready),
            self.log_norm8.data.eq(norm.write_act.data),
            self.log_norm16.valid.eq(norm.write_res.en & norm.write_res.ready),
            self.log_norm16.data.eq(norm.write_res.data),
        ]
