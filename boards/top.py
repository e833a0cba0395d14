# SPDX-License-Identifier: Apache-2.0
"""The top of every board: PLL, reset, and the board's core at the pins."""

from __future__ import annotations

from collections import defaultdict

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.board import Board
from boards.pll import Pll
from boards.reset import BoardReset
from hw.config import CoreConfig
from hw.link.board import LEDS, BoardCore

__all__ = ["BoardTop", "clock_hz"]

_LOOP_FILTER = {"ICP_CURRENT": "12", "LPF_RESISTOR": "8", "MFG_ENABLE_FILTEROPAMP": "1", "MFG_GMCREF_SEL": "2"}


def clock_hz(pll: Pll) -> int:
    """The core's clock in whole Hz, as its registers and its baud rate have it."""
    return round(pll.hz)


class BoardTop(wiring.Component):
    """A :class:`hw.link.board.BoardCore` on ``board``, clocked by ``pll``.

    Parameters
    ----------
    config : CoreConfig
    board : Board
    pll : Pll
        For the board's clock.
    baud : int
        Of the host link.
    model_hash : int
        Of the model in the core's memories.
    core_module : str
        The core, synthesised by itself.

    Ports
    -----
    As ``board.pins`` name them. clk_in : oscillator; button; rx, tx : UART; led; high : outputs held high
    """

    def __init__(self, config: CoreConfig, *, board: Board, pll: Pll, baud: int, model_hash: int, core_module: str):
        if pll.input_hz != board.clock_hz:
            raise ValueError(f"pll must be for {board.name}'s {board.clock_hz} Hz, not {pll.input_hz}")
        self._board, self._pll = board, pll
        self.core = BoardCore(config, model_hash=model_hash, clock_hz=clock_hz(pll), baud=baud, core_module=core_module)
        ports = {"clk_in": In(1), "button": In(1), "rx": In(1), "tx": Out(1), "led": Out(len(board.leds))}
        super().__init__(ports | ({"high": Out(len(board.high))} if board.high else {}))

    def elaborate(self, platform):
        m = Module()
        inverted: defaultdict[str, list[bool]] = defaultdict(list)
        for pin in self._board.pins:
            inverted[pin.port.partition("[")[0]].append(pin.inverted)

        def active_high(name):
            return Cat(~bit if low else bit for bit, low in zip(getattr(self, name), inverted[name], strict=True))

        locked, feedback, clock = Signal(), Signal(), Signal()
        fixed = {
            "PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED", "DPHASE_SOURCE": "DISABLED",
            "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB", "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD",
            "CLKOP_ENABLE": "ENABLED", "CLKOP_FPHASE": 0, "CLKOS_ENABLE": "ENABLED", "CLKOS_FPHASE": 0,
        }  # fmt: skip
        low = {name: Const(0) for name in ("RST", "STDBY", "PHASESEL0", "PHASESEL1", "PLLWAKESYNC", "ENCLKOP")}
        high = {name: Const(1) for name in ("PHASEDIR", "PHASESTEP", "PHASELOADREG")}
        m.submodules.pll = Instance(
            "EHXPLLL",
            **{f"p_{name}": value for name, value in (fixed | self._pll.parameters()).items()},
            **{f"a_{name}": value for name, value in _LOOP_FILTER.items()},
            a_FREQUENCY_PIN_CLKI=f"{self._pll.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self._pll.mhz:g}",
            **{f"i_{name}": value for name, value in (low | high).items()},
            i_CLKI=self.clk_in,
            i_CLKFB=feedback,
            o_CLKOP=feedback,
            o_CLKOS=clock,
            o_LOCK=locked,
        )
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)

        m.submodules.reset = reset = BoardReset()
        m.d.comb += [reset.wanted.eq(~locked | active_high("button")), ResetSignal().eq(reset.reset)]

        m.submodules.board = core = self.core
        lights = Cat(core.leds[LEDS.index(name)] for name in self._board.leds)
        m.d.comb += [
            core.rx.eq(self.rx),
            self.tx.eq(core.tx),
            self.led.eq(lights ^ Cat(Const(low, 1) for low in inverted["led"])),
        ]
        if self._board.high:
            m.d.comb += self.high.eq((1 << len(self._board.high)) - 1)
        return m
