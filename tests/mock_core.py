# SPDX-License-Identifier: Apache-2.0
"""A small device with the ports of a core, for tests of the fast simulator."""

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

PORTS = {
    "run": In(1),
    "seq_len": In(6),
    "s_axis_tdata": In(64),
    "s_axis_tvalid": In(1),
    "s_axis_tready": Out(1),
    "m_axis_tdata": Out(64),
    "m_axis_tvalid": Out(1),
    "m_axis_tready": In(1),
    "m_axis_tlast": Out(1),
    "busy": Out(8),
    "frames_done": Out(32),
    "errors": Out(4),
    "clear_errors": In(4),
    "model_written": Out(1),
    "load_crc": Out(32),
    "clear_crc": In(1),
}


class Adder(wiring.Component):
    """For each frame of ``seq_len`` input words, two output words: their sum, and their number (tlast).

    ``busy``: bit 0 while a frame comes in, bit 1 while its results go out.
    """

    def __init__(self, *, probe: bool = True):
        self._probe = probe
        super().__init__(PORTS)

    def elaborate(self, platform):
        m = Module()
        total, count = Signal(64), Signal(6)
        result = Signal(2)
        take, give = Signal(), Signal()
        m.d.comb += [
            self.s_axis_tready.eq(self.run & (result == 0)),
            take.eq(self.s_axis_tvalid & self.s_axis_tready),
            self.m_axis_tvalid.eq(result != 0),
            self.m_axis_tlast.eq(result == 1),
            self.m_axis_tdata.eq(total),
            give.eq(self.m_axis_tvalid & self.m_axis_tready),
            self.busy.eq(Cat(count != 0, result != 0)),
        ]
        with m.If(result == 1):
            m.d.comb += self.m_axis_tdata.eq(self.seq_len)
        with m.If(take):
            m.d.sync += [total.eq(total + self.s_axis_tdata), count.eq(count + 1)]
            with m.If(count == self.seq_len - 1):
                m.d.sync += [count.eq(0), result.eq(2)]
        with m.If(give):
            m.d.sync += result.eq(result - 1)
            with m.If(result == 1):
                m.d.sync += [total.eq(0), self.frames_done.eq(self.frames_done + 1)]
        if self._probe:
            for name, valid, shape, data in [
                ("drain", take, 64, self.s_axis_tdata),
                ("norm", give, 8, -self.seq_len),
                ("scores", give & (result == 2), 3 * 24, Cat(total[:24], self.seq_len, C(0, 18), ~total[:24])),
            ]:
                m.d.comb += Signal(name=f"probe_{name}_valid").eq(valid)
                m.d.comb += Signal(shape, name=f"probe_{name}_data").eq(data)
        return m
