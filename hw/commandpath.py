# SPDX-License-Identifier: SHL-2.1
"""From the program to the engines: which pass begins, its instructions in order, and what each of them waits for."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .io.passes import PassGuard
from .ports import read_port
from .program.commands import COMMANDS, SEMAPHORES_OF, Engine, Lengths
from .program.isa import PENDING_MAX, SEMAPHORE_INITIAL, SEMAPHORES, TOKEN_BITS, Semaphore
from .program.semaphores import CommandGate, SemaphoreBank
from .program.sequencer import Sequencer

__all__ = ["SIGNALS", "CommandPath", "PendingLimit"]

SIGNALS = data.StructLayout(dict.fromkeys(("array", "scores", "softmax", "norm", "loader", "store"), SEMAPHORES))
"""Who signals semaphores: ARRAY commands that write, those that make scores, the others."""

_SIGNALLED = {
    "loader": (Semaphore.INPUT_FREE, Semaphore.INPUT_FULL),
    "scores": SEMAPHORES_OF[Engine.ARRAY][1],
    **{engine.name.lower(): signals for engine, (_, signals) in SEMAPHORES_OF.items()},
}
"""What each of them can signal: the counters of the others need not hear it."""

_ENGINES = {engine.name.lower(): shape for engine, shape in COMMANDS.items()}


class PendingLimit(wiring.Component):
    """Holds an ARRAY command until at most ``pending`` earlier ones have results still to be written.

    Attributes
    ----------
    pending : in
        Of the command at the gate.
    passed, done : in
        A command passes the gate; the last result of one is written.
    allow : out
    """

    def __init__(self):
        super().__init__({"pending": In(3), "passed": In(1), "done": In(1), "allow": Out(1)})

    def elaborate(self, platform):
        m = Module()
        in_flight = Signal(4)
        m.d.sync += in_flight.eq(in_flight + self.passed - self.done)
        m.d.comb += self.allow.eq(in_flight <= Mux(self.pending > PENDING_MAX, PENDING_MAX, self.pending))
        return m


class CommandPath(wiring.Component):
    """Sequencer, guard of the passes, semaphores, and a gate before each engine.

    Attributes
    ----------
    run, seq_len : in
        Of the core.
    tokens : in
        Longest sequence that the resident program takes.
    ended, at_work : in
        A result's last word leaves; an engine is busy.
    begun, refused : out
        A pass begins; one was asked for and cannot.
    lengths : out, Lengths
        Of the passes in flight.
    read_prog : out
    array, softmax, norm, store : stream out
        Commands that need wait for nothing more.
    done : in
        An ARRAY command's last result is written.
    signals : in, SIGNALS
        Semaphores signalled in this cycle.
    positive, take : out, in, unsigned(SEMAPHORES)
        For the loader.
    busy : out
        A pass is being dispatched.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "run": In(1),
                "seq_len": In(TOKEN_BITS),
                "tokens": In(TOKEN_BITS),
                "ended": In(1),
                "at_work": In(1),
                "begun": Out(1),
                "refused": Out(1),
                "lengths": Out(Lengths),
                "read_prog": Out(read_port("PROG", config)),
                **{name: Out(stream.Signature(shape)) for name, shape in _ENGINES.items()},
                "done": In(1),
                "signals": In(SIGNALS),
                "positive": Out(SEMAPHORES),
                "take": In(SEMAPHORES),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.guard = guard = PassGuard(config)
        m.submodules.pending = pending = PendingLimit()
        counts = SEMAPHORE_INITIAL(config.slots)
        initial = [0] * SEMAPHORES
        for semaphore, count in counts.items():
            initial[semaphore.value] = count
        signallers, takers = len(SIGNALS.members), len(_ENGINES) + 1
        m.submodules.semaphores = semaphores = SemaphoreBank(initial=initial, signallers=signallers, takers=takers)
        for number, (name, shape) in enumerate(_ENGINES.items()):
            m.submodules[f"gate_{name}"] = gate = CommandGate(shape=shape, semaphores=SEMAPHORES)
            wiring.connect(m, getattr(sequencer, name), gate.i)
            wiring.connect(m, gate.o, wiring.flipped(getattr(self, name)))
            m.d.comb += [gate.positive.eq(semaphores.positive), semaphores.take[number].eq(gate.take)]
            if name == "array":
                m.d.comb += [
                    pending.pending.eq(gate.i.payload.pending),
                    pending.passed.eq(gate.passed),
                    pending.done.eq(self.done),
                    gate.allow.eq(pending.allow),
                ]
            else:
                m.d.comb += gate.allow.eq(1)
        for number, name in enumerate(SIGNALS.members):
            domain = m.d.comb if name == "store" else m.d.sync  # STORE's comes from a register
            heard = sum(1 << semaphore for semaphore in _SIGNALLED[name])
            domain += semaphores.signal[number].eq(self.signals[name] & heard)
        m.d.sync += guard.at_work.eq(self.at_work)
        m.d.comb += [
            guard.run.eq(self.run),
            guard.seq_len.eq(self.seq_len),
            guard.tokens.eq(self.tokens),
            guard.dispatching.eq(sequencer.busy),
            guard.ended.eq(self.ended),
            sequencer.run.eq(guard.begun),
            sequencer.lengths.eq(guard.lengths),
            self.read_prog.addr.eq(sequencer.prog_addr),
            sequencer.prog_data.eq(self.read_prog.data),
            self.begun.eq(guard.begun),
            self.refused.eq(guard.refused),
            self.lengths.eq(guard.lengths),
            self.positive.eq(semaphores.positive),
            semaphores.take[takers - 1].eq(self.take),
            self.busy.eq(sequencer.busy),
        ]
        return m
