# SPDX-License-Identifier: SHL-2.1
"""UART: eight data bits, no parity, one stop bit, at any rate up to an eighth of the clock."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "phase_step"]

PHASE_BITS = 20
"""Of the phase accumulator: the bit rate is off by at most clock / 2^21."""

_FEWEST = 8  # clock cycles a bit


def phase_step(clock_hz: int, baud: int) -> int:
    """What a phase accumulator of 2^PHASE_BITS adds each clock cycle, to overflow once a bit.

    Raises
    ------
    ValueError
        If a bit takes less than eight clock cycles, or the rate is too low for the accumulator.
    """
    if not 0 < baud * _FEWEST <= clock_hz:
        raise ValueError(f"baud must lie in 1..clock_hz / {_FEWEST} (clock {clock_hz} Hz), not {baud}")
    step = round((baud << PHASE_BITS) / clock_hz)
    if step < 100:  # rounding would be off by half a percent
        raise ValueError(f"baud must be at least clock_hz / 10000 (clock {clock_hz} Hz), not {baud}")
    return step


class UartReceiver(wiring.Component):
    """Bytes of a line, each sampled at the middle of its bits.

    The line passes two flip-flops and a vote over its last three samples. A start bit that is over by its middle is a
    glitch and starts nothing.

    Parameters
    ----------
    clock_hz, baud : int
        Of the clock and of the line.

    Ports
    -----
    rx : the line, idle high
    valid, data : a byte has come; high for one cycle, and there is no refusing it
    error : a stop bit was low: one cycle, instead of ``valid``; nothing more until the line has been high
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__({"rx": In(1, init=1), "valid": Out(1), "data": Out(8), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        synchronised, line = Signal(init=1), Signal(init=1)
        past = Signal(2, init=3)
        m.submodules.synchroniser = FFSynchronizer(self.rx, synchronised, init=1)
        a, b, c = synchronised, past[0], past[1]
        m.d.sync += [past.eq(Cat(synchronised, past[0])), line.eq((a & b) | (a & c) | (b & c))]

        phase = Signal(PHASE_BITS)
        sample = Signal()  # the middle of a bit
        m.d.sync += [Cat(phase, sample).eq(phase + self._step), self.valid.eq(0), self.error.eq(0)]
        bits = Signal(8)
        left = Signal(range(9))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [phase.eq(1 << (PHASE_BITS - 1)), sample.eq(0)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(sample):
                m.d.sync += left.eq(8)
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "DATA"
            with m.State("DATA"), m.If(sample):
                m.d.sync += [bits.eq(Cat(bits[1:], line)), left.eq(left - 1)]
                with m.If(left == 1):
                    m.next = "STOP"
            with m.State("STOP"), m.If(sample):
                m.d.sync += [self.data.eq(bits), self.valid.eq(line), self.error.eq(~line)]
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes, one after the other without a pause while there are any.

    Parameters
    ----------
    clock_hz, baud : int
        Of the clock and of the line.

    Ports
    -----
    i : stream of bytes
    tx : the line, idle high
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__({"i": In(stream.Signature(unsigned(8))), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        phase = Signal(PHASE_BITS)
        tick = Signal()  # a bit has ended
        bits = Signal(9)
        left = Signal(range(11))
        idle = Signal(init=1)
        m.d.comb += self.i.ready.eq(idle)
        with m.If(idle):
            m.d.sync += [phase.eq(0), tick.eq(0)]
            with m.If(self.i.valid):  # the start bit begins
                m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.i.payload, 1)), left.eq(10), idle.eq(0)]
        with m.Else():
            m.d.sync += Cat(phase, tick).eq(phase + self._step)
            with m.If(tick):
                m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1)), left.eq(left - 1), idle.eq(left == 1)]
        return m
