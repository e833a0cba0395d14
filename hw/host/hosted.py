# SPDX-License-Identifier: SHL-2.1
"""A core with its registers: what every host interface (UART, AXI, Wishbone) is put in front of."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Instance, Module, ResetInserter, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..core import BUSY_BITS, TransformerCore
from ..program.loads import Target
from ..stream import StreamBuffer
from .bus import RegisterBus
from .control import ControlBlock

__all__ = ["HostedCore"]


class HostedCore(wiring.Component):
    """:class:`hw.core.TransformerCore`, :class:`hw.host.control.ControlBlock`, and a buffer on each stream.

    CONTROL.reset resets the core and both buffers, not the memories' contents. A word offered on ``m_axis`` is then
    withdrawn, and nothing is taken on ``s_axis`` while it lasts. All outputs but ``s_axis_tready`` are registers.

    Parameters
    ----------
    config : CoreConfig
    images : dict of Target to list of int
        Initial words of the memories.
    model_hash : int
        64 bits that name the model in ``images`` (see :func:`hw.host.registers.hash64`), 0 without one.
    core_module : str
        If given, the core is an instance of this Verilog module, to be found elsewhere, and ``images`` are its affair.

    Ports
    -----
    bus : register bus, slave
    s_axis_*, m_axis_* : 64-bit AXI4-Streams of the core
    irq : interrupt, level, active high
    busy : see :data:`hw.core.BUSY_BITS`
    core_reset : the core and its streams are being reset: whoever buffers them further empties its buffers
    """

    def __init__(
        self,
        config: CoreConfig,
        images: dict[Target, list[int]] | None = None,
        *,
        model_hash: int = 0,
        core_module: str | None = None,
    ):
        self.config, self.images, self.core_module = config, dict(images or {}), core_module
        self.control = ControlBlock(config, model_hash)
        super().__init__(
            {
                "bus": In(RegisterBus()),
                "s_axis_tdata": In(64),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(64),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
                "irq": Out(1),
                "busy": Out(len(BUSY_BITS)),
                "core_reset": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        control, reset = self.control, ResetInserter(self.control.core_reset)
        if self.core_module is None:
            core = TransformerCore(self.config, self.images)
            # The same clock; its reset is a register of its own, with nothing between it and thousands of others.
            m.domains.core = domain = ClockDomain(local=True)
            m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(control.core_reset)]
            m.submodules.core = DomainRenamer("core")(core)
        else:
            m.submodules.core = core = _External(self.config, module=self.core_module, reset=control.core_reset)
        inputs, outputs = StreamBuffer(64), StreamBuffer(data.StructLayout({"data": 64, "last": 1}))
        m.submodules.control = control
        m.submodules.inputs, m.submodules.outputs = reset(inputs), reset(outputs)
        wiring.connect(m, wiring.flipped(self.bus), control.bus)
        m.d.comb += [
            core.run.eq(control.run),
            core.seq_len.eq(control.seq_len),
            control.busy.eq(core.busy),
            control.errors.eq(core.errors),
            core.clear_errors.eq(~0),  # the control block keeps them
            control.model_written.eq(core.model_written),
            control.load_crc.eq(core.load_crc),
            core.clear_crc.eq(control.clear_crc),
            control.frame.eq(self.m_axis_tvalid & self.m_axis_tready & self.m_axis_tlast),
            self.irq.eq(control.irq),
            self.busy.eq(core.busy),
            self.core_reset.eq(control.core_reset),
            inputs.i.payload.eq(self.s_axis_tdata),
            inputs.i.valid.eq(self.s_axis_tvalid & ~control.core_reset),
            self.s_axis_tready.eq(inputs.i.ready & ~control.core_reset),
            core.s_axis_tdata.eq(inputs.o.payload),
            core.s_axis_tvalid.eq(inputs.o.valid),
            inputs.o.ready.eq(core.s_axis_tready),
            outputs.i.payload.data.eq(core.m_axis_tdata),
            outputs.i.payload.last.eq(core.m_axis_tlast),
            outputs.i.valid.eq(core.m_axis_tvalid),
            core.m_axis_tready.eq(outputs.i.ready),
            self.m_axis_tdata.eq(outputs.o.payload.data),
            self.m_axis_tlast.eq(outputs.o.payload.last),
            self.m_axis_tvalid.eq(outputs.o.valid),
            outputs.o.ready.eq(self.m_axis_tready),
        ]
        return m


class _External(TransformerCore):
    """The same core as an instance of Verilog module ``module``."""

    def __init__(self, config: CoreConfig, *, module: str, reset: Signal):
        super().__init__(config)
        self.module, self.reset = module, reset

    def elaborate(self, platform):
        m = Module()
        ports = {
            f"{'i' if member.flow is In else 'o'}_{name}": getattr(self, name)
            for name, member in self.signature.members.items()
        }
        m.submodules.core = Instance(self.module, i_clk=ClockSignal(), i_rst=self.reset, **ports)
        return m
