# SPDX-License-Identifier: Apache-2.0
"""Reset of a board: from configuration until the PLL has locked, and whenever the button is pressed."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["HOLD_CYCLES", "BoardReset"]

HOLD_CYCLES = 255
"""Clock cycles that reset lasts on after nobody wants it any more."""


class BoardReset(wiring.Component):
    """Synchronous, so that no memory is written half-way, and long, so that a bouncing button is one reset.

    Flip-flops start as they are initialised: reset is on before there is a clock. None here has a reset itself.

    Ports
    -----
    wanted : asynchronous
    reset : of the domain "sync"; on a few cycles later, off :data:`HOLD_CYCLES` after ``wanted`` is
    """

    def __init__(self) -> None:
        super().__init__({"wanted": In(1), "reset": Out(1)})

    def elaborate(self, platform):
        m = Module()
        wanted = Signal(init=1, reset_less=True)
        m.submodules.synchroniser = FFSynchronizer(self.wanted, wanted, init=1, stages=3)
        held = Signal(range(HOLD_CYCLES + 1), init=HOLD_CYCLES, reset_less=True)
        on = Signal(init=1, reset_less=True)
        m.d.sync += on.eq(held != 0)
        m.d.comb += self.reset.eq(on)
        with m.If(wanted):
            m.d.sync += held.eq(HOLD_CYCLES)
        with m.Elif(held != 0):
            m.d.sync += held.eq(held - 1)
        return m
