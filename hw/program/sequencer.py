# SPDX-License-Identifier: SHL-2.1
"""Sequencer: fetches program words, runs skewed loops, resolves operands and dispatches commands to the engines."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from .commands import COMMANDS, Lengths
from .dispatch import CommandQueue, Dispatcher
from .fetch import Fetcher
from .instructions import INSTRUCTIONS, OPCODE_BITS, Opcode, SoftmaxHeader
from .isa import WORD_BITS
from .loops import Iteration, Loops
from .resolve import WORD_INDEX_BITS, Resolver

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """One program word a cycle; see :mod:`hw.program.isa` for what the words mean.

    An instruction is taken on only when its engine's queue has room for it (credits), so nothing behind the decoder can
    stall. The word after one that redirects the fetch (LOOP, a loop's last) comes ``REDIRECT_LATENCY`` cycles later,
    and so does the first after ``run``; that after an END, while ``run`` is high, ``RESTART_LATENCY`` cycles later.

    Ports
    -----
    run : start a pass of the program whenever the last one has ended and this is high
    lengths : of the sequence, constant while work is in flight
    prog_addr, prog_data : PROG read port
    array, softmax, norm, store : command streams
    busy : a pass is being dispatched
    """

    DISPATCH_LATENCY = Resolver.LATENCY + 1 + CommandQueue.LATENCY
    """Cycles from an instruction's last word to its command at the output, if nothing is before it."""
    REDIRECT_LATENCY = Fetcher.LATENCY + 1
    RESTART_LATENCY = REDIRECT_LATENCY + 1

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "run": In(1),
                "lengths": In(Lengths),
                "prog_addr": Out(range(config.prog_words)),
                "prog_data": In(WORD_BITS),
                **{engine.name.lower(): Out(stream.Signature(shape)) for engine, shape in COMMANDS.items()},
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = Fetcher(words=self.config.prog_words)
        m.submodules.loops = loops = Loops(words=self.config.prog_words)
        m.submodules.resolver = resolver = Resolver(address_bits=self.config.address_bits)
        m.submodules.dispatcher = dispatcher = Dispatcher(address_bits=self.config.address_bits)
        m.d.comb += [self.prog_addr.eq(fetch.prog_addr), fetch.prog_data.eq(self.prog_data)]
        for engine in COMMANDS:
            name = engine.name.lower()
            wiring.connect(m, getattr(dispatcher, name), wiring.flipped(getattr(self, name)))

        # --- decode: which word of which instruction, and may it go on?
        word = fetch.word.payload.word
        header_here = Signal(SoftmaxHeader)  # all headers begin alike
        m.d.comb += header_here.eq(word)
        index = Signal(WORD_INDEX_BITS)  # word within the instruction
        header = Signal(init=1)  # index is 0
        opcode, opcode_held = Signal(Opcode), Signal(Opcode)
        last_index = Array(
            len(INSTRUCTIONS[code].words) - 1 if code in INSTRUCTIONS else 0
            for code in map(_opcode, range(1 << OPCODE_BITS))
        )
        running, open_, accept, last_word, goes_on = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            opcode.eq(Mux(header, header_here.opcode, opcode_held)),
            goes_on.eq(open_ & (dispatcher.room | ~header)),
            accept.eq(fetch.word.valid & goes_on),
            fetch.word.ready.eq(goes_on),
            last_word.eq(index == last_index[opcode.as_value()]),
        ]
        with m.If(accept):
            m.d.sync += [index.eq(Mux(last_word, 0, index + 1)), header.eq(last_word), opcode_held.eq(opcode)]

        # --- passes of the program
        restart = Signal()
        ends = Signal()
        m.d.comb += [
            self.busy.eq(running),
            restart.eq(~running & self.run),
            ends.eq(accept & (opcode == Opcode.END)),
        ]
        m.d.sync += open_.eq(running & ~ends & ~loops.redirects)  # what the fetch shows is of use
        with m.If(ends):
            m.d.sync += running.eq(0)
        with m.If(restart):
            m.d.sync += running.eq(1)

        # --- the iteration that the instruction acts on
        m.d.comb += [
            loops.word.eq(word),
            loops.next.eq(fetch.word.payload.next),
            loops.accept.eq(accept),
            loops.opens.eq(opcode == Opcode.LOOP),
            loops.wraps.eq(fetch.word.payload.wrap),
            loops.restart.eq(restart),
            loops.lag.eq(header_here.sync.lag),
            loops.row_blocks.eq(self.lengths.row_blocks),
            fetch.redirect.eq(loops.redirect),
            fetch.target.eq(loops.target),
            fetch.loop.eq(loops.loop),
            fetch.loop_first.eq(loops.loop_first),
            fetch.loop_last.eq(loops.loop_last),
        ]
        chosen, chosen_held = Signal(Iteration), Signal(Iteration)
        m.d.comb += chosen.eq(Mux(header, loops.iteration, chosen_held))
        with m.If(accept):
            m.d.sync += chosen_held.eq(chosen)

        # --- resolve and dispatch
        m.d.comb += [
            resolver.i.word.eq(word),
            resolver.i.opcode.eq(opcode),
            resolver.i.index.eq(index),
            resolver.i.valid.eq(accept & chosen.valid),
            resolver.i.ends.eq(chosen.ends),
            resolver.i.done.eq(accept & last_word & chosen.valid),
            resolver.outer.eq(chosen_held.outer),
            resolver.inner.eq(chosen_held.inner),
            dispatcher.word.eq(resolver.o),
            dispatcher.address.eq(resolver.address),
            dispatcher.lengths.eq(self.lengths),
            dispatcher.asks.eq(fetch.word.payload.asks),
            dispatcher.take.eq(accept & header & loops.iteration.valid),
        ]
        return m


def _opcode(code: int) -> Opcode | None:
    """The opcode of a number, if there is one."""
    return Opcode(code) if code in {opcode.value for opcode in Opcode} else None
