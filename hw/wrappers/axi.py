# SPDX-License-Identifier: SHL-2.1
"""AXI top: registers on AXI4-Lite, data on two AXI4-Streams."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.host.bus import RegisterBus
from hw.host.registers import REGISTERS

from .access import BYTE_ADDRESS_BITS, RegisterAccess
from .top import HostedTop

__all__ = ["AxiCore", "AxiLiteSlave", "OKAY", "SLVERR"]

OKAY, SLVERR = 0, 2
"""Responses."""

_LITE = {
    "s_axil_awaddr": In(BYTE_ADDRESS_BITS),
    "s_axil_awprot": In(3),
    "s_axil_awvalid": In(1),
    "s_axil_awready": Out(1),
    "s_axil_wdata": In(32),
    "s_axil_wstrb": In(4),
    "s_axil_wvalid": In(1),
    "s_axil_wready": Out(1),
    "s_axil_bresp": Out(2),
    "s_axil_bvalid": Out(1),
    "s_axil_bready": In(1),
    "s_axil_araddr": In(BYTE_ADDRESS_BITS),
    "s_axil_arprot": In(3),
    "s_axil_arvalid": In(1),
    "s_axil_arready": Out(1),
    "s_axil_rdata": Out(32),
    "s_axil_rresp": Out(2),
    "s_axil_rvalid": Out(1),
    "s_axil_rready": In(1),
}


class AxiLiteSlave(wiring.Component):
    """AXI4-Lite on one side, a register bus on the other; one access at a time, reads and writes in turn.

    Every output is a register. An access that is not legal (see :class:`hw.wrappers.access.RegisterAccess`; a write
    must have all four strobes) does nothing and is answered SLVERR, a read with data 0. ``awprot`` and
    ``arprot`` are ignored.

    Ports
    -----
    s_axil_* : AXI4-Lite, 32 bits
    bus : register bus, master
    """

    def __init__(self):
        super().__init__({**_LITE, "bus": Out(RegisterBus())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.access = access = RegisterAccess(REGISTERS)
        wiring.connect(m, access.bus, wiring.flipped(self.bus))
        addresses, data, reads = Signal(), Signal(), Signal()  # taken, and not yet acted on
        w_address, r_address = Signal(BYTE_ADDRESS_BITS), Signal(BYTE_ADDRESS_BITS)
        w_data, w_whole = Signal(32), Signal()
        active, writing = Signal(), Signal()
        begin, begin_write = Signal(), Signal()
        w_begun, r_begun = Signal(), Signal()
        for held, name, acted in (
            (addresses, "aw", w_begun),
            (data, "w", w_begun),
            (reads, "ar", r_begun),
        ):
            valid, ready = (getattr(self, f"s_axil_{name}{suffix}") for suffix in ("valid", "ready"))
            # Nothing is taken in the cycle that acts: `ready` is then still low.
            with m.If(valid & ready):
                m.d.sync += [held.eq(1), ready.eq(0)]
            with m.Elif(acted):
                m.d.sync += held.eq(0)
            with m.Elif(~held):
                m.d.sync += ready.eq(1)
        with m.If(self.s_axil_awvalid & self.s_axil_awready):
            m.d.sync += w_address.eq(self.s_axil_awaddr)
        with m.If(self.s_axil_wvalid & self.s_axil_wready):
            m.d.sync += [w_data.eq(self.s_axil_wdata), w_whole.eq(self.s_axil_wstrb.all())]
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += r_address.eq(self.s_axil_araddr)

        # Of a kind that has just been answered none may begin in that cycle, so both kinds have their turn.
        may_write = addresses & data & ~self.s_axil_bvalid
        may_read = reads & ~self.s_axil_rvalid
        m.d.comb += [
            begin.eq(~active & (may_write | may_read)),
            begin_write.eq(may_write),
            w_begun.eq(begin & begin_write),
            r_begun.eq(begin & ~begin_write),
            access.start.eq(begin),
            access.write.eq(begin_write),
            access.whole.eq(w_whole),
            access.address.eq(Mux(begin_write, w_address, r_address)),
            access.w_data.eq(w_data),
        ]
        with m.If(begin):
            m.d.sync += [active.eq(1), writing.eq(begin_write)]
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        with m.If(access.done):
            m.d.sync += active.eq(0)
            response = Mux(access.error, SLVERR, OKAY)
            with m.If(writing):
                m.d.sync += [self.s_axil_bvalid.eq(1), self.s_axil_bresp.eq(response)]
            with m.Else():
                m.d.sync += [
                    self.s_axil_rvalid.eq(1),
                    self.s_axil_rresp.eq(response),
                    self.s_axil_rdata.eq(access.r_data),
                ]
        return m


class AxiCore(HostedTop):
    """A hosted core as an AXI peripheral; parameters as of :class:`hw.wrappers.top.HostedTop`.

    Ports
    -----
    aclk, aresetn : clock; reset, synchronous, active low
    s_axil_* : registers, see :class:`AxiLiteSlave`
    s_axis_* : load packets, AXI4-Stream of 64-bit words; no tlast, as each packet's header has its length
    m_axis_* : results; tlast marks a result's last word, tkeep is all ones
    irq : interrupt, level, active high
    """

    TOP = "rtlformer_axi"
    PORTS = {
        "aclk": In(1),
        "aresetn": In(1),
        **_LITE,
        "s_axis_tdata": In(64),
        "s_axis_tvalid": In(1),
        "s_axis_tready": Out(1),
        "m_axis_tdata": Out(64),
        "m_axis_tkeep": Out(8),
        "m_axis_tlast": Out(1),
        "m_axis_tvalid": Out(1),
        "m_axis_tready": In(1),
        "irq": Out(1),
    }

    def elaborate(self, platform):
        m, hosted = self.clocked(self.aclk, ~self.aresetn)
        m.submodules.slave = slave = AxiLiteSlave()
        wiring.connect(m, slave.bus, hosted.bus)
        for name, member in _LITE.items():
            inner, outer = getattr(slave, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.d.comb += [
            hosted.s_axis_tdata.eq(self.s_axis_tdata),
            hosted.s_axis_tvalid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(hosted.s_axis_tready),
            self.m_axis_tdata.eq(hosted.m_axis_tdata),
            self.m_axis_tkeep.eq(0xFF),
            self.m_axis_tlast.eq(hosted.m_axis_tlast),
            self.m_axis_tvalid.eq(hosted.m_axis_tvalid),
            hosted.m_axis_tready.eq(self.m_axis_tready),
            self.irq.eq(hosted.irq),
        ]
        return m
