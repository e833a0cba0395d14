# SPDX-License-Identifier: SHL-2.1
"""Counting semaphores, and the gate that holds an engine's command until those it waits for are positive."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "COUNT_BITS",
    "DONE_LATENCY",
    "ENGINE_SIGNAL_LATENCY",
    "SIGNAL_LATENCY",
    "TAKE_LATENCY",
    "CommandGate",
    "SemaphoreBank",
]

COUNT_BITS = 11
"""Width of a count: holds the row blocks of the longest sequence, 1024 on one row."""

SIGNAL_LATENCY = 2
"""Cycles from a signal to ``positive``."""

ENGINE_SIGNAL_LATENCY = 1 + SIGNAL_LATENCY
"""Cycles from an engine's signal to ``positive``: it crosses the core through a register."""

TAKE_LATENCY = 3
"""Cycles from a take to ``positive``."""

DONE_LATENCY = 1
"""Cycles from an ARRAY command's last write until the gate's ``allow`` no longer counts it: the core's counter."""


class SemaphoreBank(wiring.Component):
    """``len(initial)`` counters; each cycle, signals of all engines add one and takes subtract one.

    ``positive`` shows a signal :data:`SIGNAL_LATENCY` cycles after it and a take :data:`TAKE_LATENCY` cycles after it.
    Each semaphore must have a single taker at a time, which takes only when ``positive`` shows it and its own last take
    has had its effect: a count then never goes below zero.

    Parameters
    ----------
    initial : list of int
        Count of each semaphore after reset.
    signallers, takers : int
        Engines that signal, and engines that take.
    """

    def __init__(self, *, initial: list[int], signallers: int, takers: int):
        if any(not 0 <= count < 1 << COUNT_BITS for count in initial):
            raise ValueError(f"Initial counts must lie in 0..{(1 << COUNT_BITS) - 1}, not {initial!r}")
        self.initial = initial
        n = len(initial)
        super().__init__(
            {
                "signal": In(data.ArrayLayout(unsigned(n), signallers)),
                "take": In(data.ArrayLayout(unsigned(n), takers)),
                "positive": Out(n),
            }
        )

    def elaborate(self, platform):
        m = Module()
        signallers = self.signature.members["signal"].shape.length
        takers = self.signature.members["take"].shape.length
        for bit, initial in enumerate(self.initial):
            count = Signal(COUNT_BITS, init=initial, name=f"count{bit}")
            ups = sum(self.signal[s][bit] for s in range(signallers))
            down, positive = Signal(name=f"down{bit}"), Signal(init=initial > 0, name=f"positive{bit}")
            m.d.sync += [
                down.eq(Cat(self.take[t][bit] for t in range(takers)).any()),
                count.eq(count + ups - down),
                positive.eq(count != 0),
            ]
            m.d.comb += self.positive[bit].eq(positive)
        return m


class CommandGate(wiring.Component):
    """Passes a command on once every semaphore of its ``wait`` is positive and ``allow`` holds, taking one of each.

    The semaphores are tested a cycle before the command moves, and not before its predecessor's takes show, so a
    command passes at most every ``TAKE_LATENCY + 1`` cycles; the output is a register, so that the next command is
    acquired while an engine works on the present one.

    Parameters
    ----------
    shape : data.Struct subclass
        Command layout, with a ``wait`` field.
    semaphores : int
        Number of semaphores.

    Ports
    -----
    i, o : streams of ``shape``
    positive : semaphores now above zero
    take : semaphores taken in this cycle
    allow : a further condition on the command at the input; once true it must stay so until ``passed``
    passed : pulses when a command goes through
    """

    GRANT_LATENCY = 1
    """Cycles from the one in which all conditions hold to the first in which the command can move."""
    LATENCY = 1
    """Cycles from a command's move to its appearance at the output."""

    def __init__(self, *, shape, semaphores: int):
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "positive": In(semaphores),
                "take": Out(semaphores),
                "allow": In(1, init=1),
                "passed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        granted = Signal()
        wait = self.i.payload.wait
        passing = Signal()
        m.d.comb += [
            passing.eq(granted & (self.o.ready | ~self.o.valid)),
            self.i.ready.eq(passing),
            self.passed.eq(passing),
            self.take.eq(Mux(passing, wait, 0)),
        ]
        stale = Signal(TAKE_LATENCY - 1)  # `positive` does not show the last takes yet
        m.d.sync += [
            stale.eq(Cat(passing, stale)),
            granted.eq(self.i.valid & ~passing & ~stale.any() & self.allow & ~(wait & ~self.positive).any()),
        ]
        with m.If(passing):
            m.d.sync += [self.o.payload.eq(self.i.payload), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
