# SPDX-License-Identifier: SHL-2.1
"""Dispatch: an instruction's words become a command, in the queue of its engine."""

from collections.abc import Mapping

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..stream import StreamBuffer
from ..structs import fields_of
from .asks import ENGINES
from .commands import COMMANDS, SEMAPHORES_OF, Engine, Lengths
from .instructions import INSTRUCTIONS, Instruction, Opcode, SoftmaxHeader, live_bits
from .isa import ADDRESS_BITS, PENDING_MAX, SEMAPHORES, When
from .resolve import ProgramWord

__all__ = ["QUEUE_DEPTH", "CommandQueue", "Dispatcher"]

QUEUE_DEPTH = 8
"""Commands that may wait in each engine's queue."""

_FIFO_LATENCY = 2
"""Cycles through an empty queue, which is Amaranth's SyncFIFOBuffered."""


class CommandQueue(wiring.Component):
    """Commands of one engine, with credits: what has been let in by the decoder always finds room.

    Parameters
    ----------
    shape : Struct of a command
    live : for each field the bits that can be set; the others are not stored, and are 0 at the output

    Ports
    -----
    take : an instruction that will become a command has passed the decoder; at most in every other cycle
    room : the decoder may let in another; a cycle late, as headers are two cycles apart
    push, command : the command
    o : stream of commands
    """

    LATENCY = _FIFO_LATENCY + StreamBuffer.LATENCY
    """Cycles from ``push`` to the output, if nothing is before it."""
    CREDIT_LATENCY = 3
    """Cycles from a command's leaving its queue until the decoder sees the room."""

    def __init__(self, shape: type[data.Struct], live: Mapping[str, int]):
        self.shape, self._live = shape, live
        super().__init__(
            {
                "take": In(1),
                "room": Out(1, init=1),
                "push": In(1),
                "command": In(shape),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        live = self._live_bits(self.command)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(live), depth=QUEUE_DEPTH)
        m.submodules.head = head = StreamBuffer(len(live))
        credit, returned = Signal(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH), Signal()
        m.d.comb += [
            self._live_bits(self.o.payload).eq(head.o.payload),
            self.o.valid.eq(head.o.valid),
            head.o.ready.eq(self.o.ready),
            queue.w_data.eq(live),
            queue.w_en.eq(self.push),
            head.i.valid.eq(queue.r_rdy),
            head.i.payload.eq(queue.r_data),
            queue.r_en.eq(head.i.ready),
        ]
        m.d.sync += [
            self.room.eq(credit != 0),
            returned.eq(self.o.valid & self.o.ready),
            credit.eq(credit - self.take + returned),
        ]
        return m

    def _live_bits(self, command) -> Value:
        bits = []
        for name, place in fields_of(self.shape).items():
            value = Value.cast(command[name])
            bits += [value[bit] for bit in range(place.width) if self._live.get(name, -1) >> bit & 1]
        return Cat(bits)


class Dispatcher(wiring.Component):
    """Collects the words of an instruction, makes the command of its fields and puts it in its engine's queue.

    Ports
    -----
    word, address : from the :class:`hw.program.resolve.Resolver`
    lengths : of the sequence
    asks : :func:`hw.program.asks.asked_engines` of the header in the decoder; room: each of their queues has room
    take : that header goes on, and its instruction acts
    array, softmax, norm, store : command streams
    """

    def __init__(self, *, address_bits: int = ADDRESS_BITS):
        self._address_bits = address_bits
        self.queues = {engine: CommandQueue(shape, self._live(engine)) for engine, shape in COMMANDS.items()}
        super().__init__(
            {
                "word": In(ProgramWord),
                "address": In(address_bits),
                "lengths": In(Lengths),
                "asks": In(ENGINES),
                "room": Out(1),
                "take": In(1),
                **{e.name.lower(): Out(stream.Signature(shape)) for e, shape in COMMANDS.items()},
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = self.word
        held, operands = self._collect(m)
        waits, signals = self._synchronise(m, held[0])
        last, opcode = Signal(), Signal(Opcode)
        m.d.sync += [last.eq(word.ends.outer_last & word.ends.inner_last), opcode.eq(word.opcode)]
        row_lag = Mux(self.lengths.row_blocks > PENDING_MAX, PENDING_MAX, self.lengths.row_blocks - 1)
        lengths = {name: self.lengths[name] for name in ("row_blocks", "key_tiles", "key_words")}
        lengths |= {"pending_rows": row_lag}
        m.d.comb += self.room.eq(~(self.asks & ~Cat(queue.room for queue in self.queues.values())).any())
        for number, (engine, queue) in enumerate(self.queues.items()):
            name = engine.name.lower()
            m.submodules[f"queue_{name}"] = queue
            wiring.connect(m, queue.o, wiring.flipped(getattr(self, name)))
            m.d.comb += [queue.command.wait.eq(waits), queue.command.signal.eq(signals)]
            kinds = [kind for kind in INSTRUCTIONS.values() if kind.engine == engine]
            ready, push = Signal(name=f"ready_{name}"), Signal(name=f"push_{name}")
            m.d.comb += [
                ready.eq(word.done & _any(word.opcode == kind.opcode for kind in kinds)),
                queue.take.eq(self.take & self.asks[number]),
            ]
            m.d.sync += push.eq(ready)
            m.d.comb += queue.push.eq(push)
            for place, kind in enumerate(kinds):
                values = self._values(m, kind, held, operands, lengths) | {"last": last}
                with m.If(opcode == kind.opcode) if place else m.If(1):
                    for field, _ in queue.shape.as_shape():
                        if field not in ("wait", "signal"):
                            m.d.comb += queue.command[field].eq(values[field])
        return m

    def _collect(self, m):
        """Registers for the words and the addresses of the instruction that comes in."""
        held, operands = {}, {}
        for index in range(max(len(kind.words) for kind in INSTRUCTIONS.values())):
            kinds = [kind for kind in INSTRUCTIONS.values() if kind.engine is not None]
            with m.If(self.word.valid & (self.word.index == index)):
                if any(index in kind.literals.values() for kind in kinds):
                    held[index] = Signal.like(self.word.word, name=f"word{index}")
                    m.d.sync += held[index].eq(self.word.word)
                if any(index in kind.operands.values() for kind in kinds):
                    operands[index] = Signal(self._address_bits, name=f"operand{index}")
                    m.d.sync += operands[index].eq(self.address)
        return held, operands

    def _live(self, engine: Engine) -> dict[str, int]:
        """Bits of a command's fields that can be set: semaphores of its engine, addresses of this core."""
        kinds = [kind for kind in INSTRUCTIONS.values() if kind.engine == engine]
        roles = zip(("wait", "signal"), SEMAPHORES_OF[engine], strict=True)
        live = {role: sum(1 << semaphore for semaphore in semaphores) for role, semaphores in roles}
        live |= {name: (1 << self._address_bits) - 1 for kind in kinds for name in kind.operands}
        places = fields_of(COMMANDS[engine])
        return live | {name: live_bits(place.shape) for name, place in places.items() if place.enum}

    def _synchronise(self, m, header_word):
        """Semaphores that the instruction takes and signals in its iteration, behind the register of its header."""
        word, ends = self.word, self.word.ends
        sync, held = Signal(SoftmaxHeader, name="sync_here"), Signal(SoftmaxHeader, name="sync_held")
        m.d.comb += [sync.eq(word.word), held.eq(header_word)]
        in_iteration = {
            When.ALWAYS: Const(1),
            When.FIRST: ends.outer_first & ends.inner_first,
            When.LAST: ends.outer_last & ends.inner_last,
            When.INNER_FIRST: ends.inner_first,
            When.INNER_LAST: ends.inner_last,
            When.OUTER_FIRST: ends.outer_first,
            When.OUTER_LAST: ends.outer_last,
            When.NEVER: Const(0),
        }
        holds = Array(in_iteration[when] for when in sorted(When, key=lambda when: when.value))
        masks = []
        for role in ("wait", "signal"):
            chosen = []
            for name in (f"{role}0", f"{role}1"):
                counts = Signal(name=f"{name}_counts")
                with m.If(word.valid & (word.index == 0)):
                    m.d.sync += counts.eq(holds[sync.sync[name].when.as_value()])
                chosen.append(Mux(counts, 1 << held.sync[name].semaphore, 0))
            mask = Signal(SEMAPHORES, name=f"{role}s")
            m.d.comb += mask.eq(chosen[0] | chosen[1])
            masks.append(mask)
        return masks

    def _values(self, m, kind: Instruction, held, operands, lengths) -> dict[str, Value]:
        """What an instruction's fields come to, by name."""
        views = {}
        for index in set(kind.literals.values()):
            views[index] = Signal(kind.words[index], name=f"{kind.opcode.name.lower()}{index}")
            m.d.comb += views[index].eq(held[index])
        values = {name: views[index][name] for name, index in kind.literals.items()}
        values |= {name: operands[index] for name, index in kind.operands.items()} | kind.fixed
        for rule in kind.run_time:
            given = values[rule.flag] == rule.value
            values[rule.field] = Mux(given, lengths[rule.length], values[rule.field])
        return values


def _any(conditions):
    """At least one of them."""
    result = Value.cast(0)
    for condition in conditions:
        result = result | condition
    return result[0]
