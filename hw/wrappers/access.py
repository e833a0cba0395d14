# SPDX-License-Identifier: SHL-2.1
"""One checked access to the registers at a time, for buses that tell their master of errors."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.host.bus import ADDRESS_BITS, READ_LATENCY, RegisterBus
from hw.host.registers import Register

__all__ = ["BYTE_ADDRESS_BITS", "RegisterAccess"]

BYTE_ADDRESS_BITS = 12
"""Width of a wrapper's byte address: a page of 4 KiB."""


class RegisterAccess(wiring.Component):
    """Carries out an access if it is legal; nothing happens if it is not.

    Legal are whole words at the addresses of ``registers``, writes only where some field can be written.
    From ``start`` to ``done`` it takes :attr:`LATENCY` cycles, either way.

    Parameters
    ----------
    registers : tuple of Register

    Ports
    -----
    start : begin; comes only when none is under way
    address, write, whole, w_data : of the access, at ``start``; ``whole``: all four bytes are selected
    writing : the access under way is a write
    refuse : it cannot be done now; looked at in the cycle after ``start``, for the register of ``bus.addr``
    commit : it is being done, for the register of ``bus.addr``, which is written if ``bus.write``
    done, error, r_data : its end, in the cycle in which ``done`` is high
    bus : register bus, master
    """

    LATENCY = READ_LATENCY + 2

    def __init__(self, registers: tuple[Register, ...]):
        self.registers = registers
        super().__init__(
            {
                "start": In(1),
                "address": In(BYTE_ADDRESS_BITS),
                "write": In(1),
                "whole": In(1),
                "w_data": In(32),
                "writing": Out(1),
                "refuse": In(1),
                "commit": Out(1),
                "done": Out(1),
                "error": Out(1),
                "r_data": Out(32),
                "bus": Out(RegisterBus()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        writing, whole, strays = self.writing, Signal(), Signal()
        legal, stage = Signal(), Signal(self.LATENCY - 1)
        with m.If(self.start):
            m.d.sync += [
                self.bus.addr.eq(self.address[2:]),
                self.bus.w_data.eq(self.w_data),
                writing.eq(self.write),
                whole.eq(self.whole | ~self.write),
                strays.eq(self.address[:2].any() | self.address[2 + ADDRESS_BITS :].any()),
            ]
        readable = self.bus.addr.matches(*(reg.index for reg in self.registers))
        writable = self.bus.addr.matches(*(reg.index for reg in self.registers if reg.writable))
        m.d.comb += legal.eq(readable & (writable | ~writing) & whole & ~strays & ~self.refuse)
        m.d.sync += [
            stage.eq(stage << 1 | self.start),
            self.commit.eq(stage[0] & legal),
            self.bus.write.eq(stage[0] & legal & writing),
            self.done.eq(stage[-1]),
        ]
        with m.If(stage[0]):
            m.d.sync += self.error.eq(~legal)
        with m.If(stage[-1]):
            m.d.sync += self.r_data.eq(self.bus.r_data)
            with m.If(self.error | writing):
                m.d.sync += self.r_data.eq(0)
        return m
