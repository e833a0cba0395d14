# SPDX-License-Identifier: SHL-2.1
"""Last stage of the drain: a finished beat goes to ACT, to RES, or, transposed where it is V, to KV."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from ..config import CoreConfig
from ..ports import write_port
from .beats import BeatControl, WriteStrobes
from .kvwrite import KeyValueWriter

__all__ = ["DrainResult", "WriteStage"]


class DrainResult(Signature):
    """A finished beat, element p * rows + r.

    Members
    -------
    control : out, BeatControl
        ``valid`` where there is one.
    to : out, WriteStrobes
        Where it goes.
    narrow : out, [lanes] of unsigned(8)
        Bytes, for ACT and KV.
    wide : out, [lanes] of signed(16)
        For RES.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "control": Out(BeatControl),
                "to": Out(WriteStrobes),
                "narrow": Out(data.ArrayLayout(unsigned(8), config.lanes)),
                "wide": Out(data.ArrayLayout(signed(16), config.lanes)),
            }
        )


class WriteStage(wiring.Component):
    """Combinational: the write ports, one of which takes the beat.

    Attributes
    ----------
    result : in
    write_act, write_res, write_kv : out
        The drain is the first writer of each.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "result": In(DrainResult(config)),
                "write_act": Out(write_port("ACT", config)),
                "write_res": Out(write_port("RES", config)),
                "write_kv": Out(write_port("KV", config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.kv_writer = kv_writer = KeyValueWriter(self.config)
        result = self.result
        wiring.connect(m, wiring.flipped(self.write_kv), kv_writer.write_kv)
        m.d.comb += [
            kv_writer.control.eq(result.control),
            kv_writer.to.eq(result.to),
            kv_writer.beat.eq(result.narrow),
            self.write_act.en.eq(result.to.act),
            self.write_act.addr.eq(result.control.out),
            self.write_act.data.eq(result.narrow.as_value()),
            self.write_res.en.eq(result.to.res),
            self.write_res.addr.eq(result.control.out),
            self.write_res.data.eq(result.wide.as_value()),
        ]
        return m
