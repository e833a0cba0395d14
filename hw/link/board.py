# SPDX-License-Identifier: SHL-2.1
"""What every board's top is made of: a hosted core behind the host link."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import CoreConfig
from hw.core import BUSY_BITS
from hw.host.hosted import HostedCore
from hw.program.loads import Target

from .hostlink import HostLink

__all__ = ["BoardCore", "LEDS"]

LEDS = ("alive", "connected", "link", "error", "sequencer", "array", "softmax or norm", "store")
"""Meaning of each bit of ``leds``: "alive" blinks with the clock, "connected" is on while a host's session is open,
"link" while requests come, "error" for a while after a spoilt frame, the others while these work."""


class BoardCore(wiring.Component):
    """A core with registers and host link: all that a board's top adds are clock, reset and pins.

    Parameters
    ----------
    config : CoreConfig
    images : dict of Target to list of int
        Initial words of the memories.
    model_hash : int
        Of the model in ``images``, 0 without one; see :func:`hw.host.registers.hash64`.
    clock_hz, baud : int
        Of the clock and of the line.
    core_module : str
        See :class:`hw.host.hosted.HostedCore`.

    Ports
    -----
    rx, tx : UART, idle high; ``rx`` may be asynchronous
    leds : active high, see :data:`LEDS`
    """

    def __init__(
        self,
        config: CoreConfig,
        images: dict[Target, list[int]] | None = None,
        *,
        model_hash: int = 0,
        clock_hz: int,
        baud: int,
        core_module: str | None = None,
    ):
        self.config, self._clock_hz = config, clock_hz
        self._core = HostedCore(config, images, model_hash=model_hash, core_module=core_module)
        buffers = {"input_words": 128, "result_words": 16} if config.dense else {}
        self._link = HostLink(clock_hz=clock_hz, baud=baud, dense=config.dense, **buffers)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(len(LEDS))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self._core
        m.submodules.link = link = self._link
        wiring.connect(m, link.bus, core.bus)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            link.flush.eq(core.core_reset),
            core.s_axis_tdata.eq(link.o.payload),
            core.s_axis_tvalid.eq(link.o.valid),
            link.o.ready.eq(core.s_axis_tready),
            link.i.payload.eq(core.m_axis_tdata),
            link.i.valid.eq(core.m_axis_tvalid),
            core.m_axis_tready.eq(link.i.ready),
        ]
        beat = Signal(range(self._clock_hz))
        second = Signal()  # a short dash every second
        m.d.sync += beat.eq(beat + 1)
        with m.If(beat == self._clock_hz - 1):
            m.d.sync += beat.eq(0)
        m.d.sync += second.eq(beat < self._clock_hz // 4)
        slow = Signal()
        m.d.sync += slow.eq(beat[: max(len(beat) - 4, 1)] == 0)  # some twenty times a second
        busy = dict(zip(BUSY_BITS, core.busy, strict=True))
        works = {
            "link": link.active,
            "error": link.spoilt,
            "sequencer": busy["sequencer"],
            "array": busy["macs"],
            "softmax or norm": busy["softmax"] | busy["norm"],
            "store": busy["store"],
        }
        shown = {"alive": second, "connected": link.connected}
        for name, event in works.items():  # short events made long enough to see
            seen, lit = Signal(name=f"seen_{len(shown)}"), Signal(name=f"lit_{len(shown)}")
            with m.If(slow):
                m.d.sync += [lit.eq(seen | event), seen.eq(0)]
            with m.Elif(event):
                m.d.sync += seen.eq(1)
            shown[name] = lit
        m.d.sync += self.leds.eq(Cat(shown[name] for name in LEDS))
        return m
