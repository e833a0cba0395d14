# SPDX-License-Identifier: SHL-2.1
"""Wishbone top: registers and data on one Wishbone B4 slave."""

from amaranth.hdl import Cat, Mux, ResetInserter, Signal
from amaranth.lib import fifo
from amaranth.lib.wiring import In, Out

from hw.host.registers import QUEUE_WORDS, REGISTERS, STREAM_REGISTERS, register

from .access import BYTE_ADDRESS_BITS, RegisterAccess
from .top import HostedTop

__all__ = ["WishboneCore"]


class WishboneCore(HostedTop):
    """A hosted core as a Wishbone B4 slave of 32 bits, for classic and pipelined masters alike.

    Parameters as of :class:`hw.wrappers.top.HostedTop`.

    Beside the registers there are windows onto the two streams (:data:`hw.host.registers.STREAM_REGISTERS`), each with
    a queue of :data:`hw.host.registers.QUEUE_WORDS` words. Accesses are carried out one at a time: ``wb_stall_o`` is
    high from the cycle after one is accepted to that of its ``wb_ack_o`` or ``wb_err_o``, and a classic master, which
    ignores it, waits for these anyway. Addresses are of bytes. An access that is not legal (see
    :class:`hw.wrappers.access.RegisterAccess`; a write must select all four bytes), and one that its queue refuses,
    does nothing and ends with ``wb_err_o``. Where the master ends the cycle (``wb_cyc_i`` low) before its answer,
    there is none.

    Ports
    -----
    clk_i, rst_i : clock; reset, synchronous, active high
    wb_* : the slave
    irq_o : interrupt, level, active high
    """

    TOP = "rtlformer_wishbone"
    PORTS = {
        "clk_i": In(1),
        "rst_i": In(1),
        "wb_cyc_i": In(1),
        "wb_stb_i": In(1),
        "wb_we_i": In(1),
        "wb_adr_i": In(BYTE_ADDRESS_BITS),
        "wb_sel_i": In(4),
        "wb_dat_i": In(32),
        "wb_dat_o": Out(32),
        "wb_ack_o": Out(1),
        "wb_err_o": Out(1),
        "wb_stall_o": Out(1, init=1),
        "irq_o": Out(1),
    }

    def elaborate(self, platform):
        m, hosted = self.clocked(self.clk_i, self.rst_i)
        m.submodules.access = access = RegisterAccess((*REGISTERS, *STREAM_REGISTERS))
        m.d.comb += self.irq_o.eq(hosted.irq)

        # --- the bus: a request is registered, carried out, answered
        pending, active, wanted = Signal(), Signal(), Signal()
        accept = self.wb_cyc_i & self.wb_stb_i & ~self.wb_stall_o
        m.d.comb += access.start.eq(pending)
        m.d.sync += [pending.eq(accept), self.wb_ack_o.eq(0), self.wb_err_o.eq(0)]
        with m.If(accept):
            m.d.sync += [
                access.address.eq(self.wb_adr_i),
                access.write.eq(self.wb_we_i),
                access.whole.eq(self.wb_sel_i.all()),
                access.w_data.eq(self.wb_dat_i),
                active.eq(1),
                wanted.eq(1),
                self.wb_stall_o.eq(1),
            ]
        with m.Elif(~active):
            m.d.sync += self.wb_stall_o.eq(0)
        with m.If(~self.wb_cyc_i):
            m.d.sync += wanted.eq(0)
        with m.If(access.done):
            m.d.sync += [
                active.eq(0),
                self.wb_ack_o.eq(wanted & self.wb_cyc_i & ~access.error),
                self.wb_err_o.eq(wanted & self.wb_cyc_i & access.error),
                self.wb_dat_o.eq(access.r_data),
            ]

        # --- windows onto the streams, beside the core's registers
        empty = ResetInserter(hosted.core_reset)
        inputs = fifo.SyncFIFOBuffered(width=64, depth=QUEUE_WORDS)
        outputs = fifo.SyncFIFOBuffered(width=65, depth=QUEUE_WORDS)
        m.submodules.inputs, m.submodules.outputs = empty(inputs), empty(outputs)
        m.d.comb += [
            hosted.s_axis_tdata.eq(inputs.r_data),
            hosted.s_axis_tvalid.eq(inputs.r_rdy),
            inputs.r_en.eq(hosted.s_axis_tready),
            outputs.w_data.eq(Cat(hosted.m_axis_tdata, hosted.m_axis_tlast)),
            outputs.w_en.eq(hosted.m_axis_tvalid),
            hosted.m_axis_tready.eq(outputs.w_rdy),
        ]
        bus = access.bus
        here = {reg.name: Signal(name=f"at_{reg.name.lower()}") for reg in STREAM_REGISTERS}
        m.d.comb += [at.eq(bus.addr == register(name).index) for name, at in here.items()]
        pulled = here["PULL_LO"] | here["PULL_HI"]
        low, room, words = Signal(32), Signal(8), Signal(8)
        m.d.sync += [room.eq(QUEUE_WORDS - inputs.level), words.eq(outputs.level)]
        m.d.comb += [
            access.refuse.eq(Mux(access.writing, here["PUSH_HI"] & (room == 0), pulled & (words == 0))),
            inputs.w_data.eq(Cat(low, bus.w_data)),
            inputs.w_en.eq(bus.write & here["PUSH_HI"]),
            outputs.r_en.eq(access.commit & here["PULL_HI"]),
            hosted.bus.addr.eq(bus.addr),
            hosted.bus.write.eq(bus.write),
            hosted.bus.w_data.eq(bus.w_data),
        ]
        with m.If(bus.write & here["PUSH_LO"]):
            m.d.sync += low.eq(bus.w_data)
        status = Signal(32)
        fields = register("STREAM_STATUS")
        for name, value in (
            ("input_room", room),
            ("output_words", words),
            ("output_last", outputs.r_rdy & outputs.r_data[64]),
        ):
            field = fields[name]
            m.d.comb += status[field.lsb : field.lsb + field.width].eq(value)
        window, windowed = Signal(32), Signal(2)
        m.d.sync += [
            window.eq(
                Mux(here["PUSH_LO"], low, 0)
                | Mux(here["PULL_LO"], outputs.r_data[:32], 0)
                | Mux(here["PULL_HI"], outputs.r_data[32:64], 0)
                | Mux(here["STREAM_STATUS"], status, 0)
            ),
            windowed.eq(Cat(Cat(here.values()).any(), windowed[0])),
        ]
        held = Signal(32)
        m.d.sync += held.eq(window)
        m.d.comb += bus.r_data.eq(Mux(windowed[1], held, hosted.bus.r_data))
        return m
