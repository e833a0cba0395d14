# SPDX-License-Identifier: SHL-2.1
"""Sequencer: fetches program words, runs skewed loops, resolves operands and dispatches commands to the engines."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.multiplier import Multiplier
from ..config import CoreConfig
from ..stream import StreamBuffer
from .fetch import Fetcher
from .isa import (
    ADDRESS_BITS,
    INDEX_BITS,
    LAG_MAX,
    PENDING_MAX,
    PENDING_ROWS,
    SEMAPHORES,
    STRIDE_BITS,
    WORD_BITS,
    WORDS,
    ArrayCommand,
    ArrayCounts,
    ArrayHeader,
    Lengths,
    Loop,
    NormCommand,
    NormCounts,
    NormHeader,
    Opcode,
    Operand,
    SoftmaxCommand,
    SoftmaxHeader,
    StoreCommand,
    StoreCounts,
    When,
)

__all__ = ["Sequencer", "QUEUE_DEPTH"]

QUEUE_DEPTH = 8
"""Commands that may wait in each engine's queue."""

QUEUE_LATENCY = 2
"""Cycles through an empty queue, which is Amaranth's SyncFIFOBuffered."""

_LOW_BITS = STRIDE_BITS - 1  # of a stride, to the multiplier

_ENGINES = (
    (Opcode.ARRAY, ArrayCommand),
    (Opcode.SOFTMAX, SoftmaxCommand),
    (Opcode.NORM, NormCommand),
    (Opcode.STORE, StoreCommand),
)


class Iteration(data.Struct):
    """Loop indices of one iteration."""

    outer: unsigned(INDEX_BITS)
    inner: unsigned(INDEX_BITS)
    first: unsigned(1)
    last: unsigned(1)
    valid: unsigned(1)


class Sequencer(wiring.Component):
    """One program word a cycle; see :mod:`hw.program.isa` for what the words mean.

    An instruction is taken on only when its engine's queue has room for it (credits), so nothing behind the decoder can
    stall. Operands are resolved in a pipeline of ``LATENCY`` cycles beside the literal words. The word after one that
    redirects the fetch (LOOP, a loop's last) comes ``REDIRECT_LATENCY`` cycles later, and so does the first after
    ``run``; that after an END, while ``run`` is high, ``RESTART_LATENCY`` cycles later.

    Ports
    -----
    run : start a pass of the program whenever the last one has ended and this is high
    lengths : of the sequence, constant while work is in flight
    prog_addr, prog_data : PROG read port
    array, softmax, norm, store : command streams
    busy : a pass is being dispatched
    """

    LATENCY = Multiplier.LATENCY + 2
    DISPATCH_LATENCY = LATENCY + 1 + QUEUE_LATENCY + StreamBuffer.LATENCY
    """Cycles from an instruction's last word to its command at the output, if nothing is before it."""
    REDIRECT_LATENCY = Fetcher.LATENCY + 1
    RESTART_LATENCY = REDIRECT_LATENCY + 1
    CREDIT_LATENCY = 3
    """Cycles from a command's leaving its queue until the decoder sees the room."""

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "run": In(1),
                "lengths": In(Lengths),
                "prog_addr": Out(range(config.prog_words)),
                "prog_data": In(WORD_BITS),
                "array": Out(stream.Signature(ArrayCommand)),
                "softmax": Out(stream.Signature(SoftmaxCommand)),
                "norm": Out(stream.Signature(NormCommand)),
                "store": Out(stream.Signature(StoreCommand)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = Fetcher(words=self.config.prog_words)
        m.d.comb += [self.prog_addr.eq(fetch.prog_addr), fetch.prog_data.eq(self.prog_data)]

        # --- decode: which word of which instruction, and may it go on?
        word = fetch.word.payload.word
        loop = Signal(Loop)
        opcode_here = Signal(Opcode)
        m.d.comb += [loop.eq(word), opcode_here.eq(word[: len(loop.opcode.as_value())])]
        index = Signal(range(max(WORDS.values())))  # word within the instruction
        opcode_held = Signal(Opcode)
        opcode = Signal(Opcode)
        header = Signal(init=1)  # index is 0
        m.d.comb += opcode.eq(Mux(header, opcode_here, opcode_held))

        queues, room = {}, Signal()
        m.d.comb += room.eq(1)
        for code, shape in _ENGINES:
            m.submodules[f"queue_{code.name.lower()}"] = queue = fifo.SyncFIFOBuffered(
                width=len(Signal(shape).as_value()), depth=QUEUE_DEPTH
            )
            m.submodules[f"head_{code.name.lower()}"] = head = StreamBuffer(shape)
            credit = Signal(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH, name=f"credit_{code.name.lower()}")
            has_room = Signal(init=1, name=f"has_room_{code.name.lower()}")  # a cycle late: headers are two apart
            m.d.sync += has_room.eq(credit != 0)
            queues[code] = queue, head, shape, credit
            with m.If(header & (opcode_here == code)):
                m.d.comb += room.eq(has_room)

        running = Signal()
        accept = Signal()
        last_word = Signal()
        last_index = Array({o.value: WORDS[o] - 1 for o in Opcode}.get(code, 0) for code in range(8))
        redirect = Signal()  # goes to the fetch a cycle later, when what the fetch still shows is of no use
        m.d.sync += fetch.redirect.eq(redirect)
        m.d.comb += [
            accept.eq(fetch.word.valid & running & room & ~fetch.redirect),
            fetch.word.ready.eq(running & room & ~fetch.redirect),
            last_word.eq(index == last_index[opcode.as_value()]),
        ]
        with m.If(accept):
            m.d.sync += [index.eq(Mux(last_word, 0, index + 1)), header.eq(last_word), opcode_held.eq(opcode)]

        # --- loops: the history holds the indices of this iteration and of those before it
        history = Array(
            [
                Signal(Iteration, name=f"iteration{age}", init={"first": age == 0, "last": age == 0, "valid": age == 0})
                for age in range(LAG_MAX + 1)
            ]
        )
        once = Cat(Const(0, 2 * INDEX_BITS), Const(0b111, 3))
        exhausted = Signal()
        outer_last, inner_last = Signal(INDEX_BITS), Signal(INDEX_BITS)
        outer_before, inner_before = Signal(INDEX_BITS), Signal(INDEX_BITS)  # the last
        tail = Signal(3)
        loop_next = Signal(range(self.config.prog_words + 1))
        current = history[0]
        following = Signal(Iteration)
        at_inner_end, follows_last, is_last, at_end = Signal(), Signal(), Signal(), Signal()
        # An iteration has two words or more: time to work out in two cycles what follows it.
        m.d.sync += [
            is_last.eq(exhausted | current.last),
            at_end.eq((exhausted | current.last) & (tail == 0)),
            at_inner_end.eq(current.inner == inner_last),
            follows_last.eq(
                Mux(
                    current.inner == inner_last,
                    (inner_last == 0) & (current.outer == outer_before),
                    (current.inner == inner_before) & (current.outer == outer_last),
                )
            ),
        ]
        m.d.comb += [
            following.outer.eq(Mux(at_inner_end, current.outer + 1, current.outer)),
            following.inner.eq(Mux(at_inner_end, 0, current.inner + 1)),
            following.first.eq(0),
            following.last.eq(follows_last),
            following.valid.eq(~is_last),
        ]
        count = Signal(INDEX_BITS, name="outer_count"), Signal(INDEX_BITS, name="inner_count")
        m.d.comb += [
            count[0].eq(Mux(loop.outer_rows, self.lengths.row_blocks, loop.outer)),
            count[1].eq(Mux(loop.inner_rows, self.lengths.row_blocks, loop.inner)),
        ]
        with m.If(accept & (opcode == Opcode.LOOP)):
            m.d.sync += [
                exhausted.eq(0),
                outer_last.eq(count[0] - 1),
                inner_last.eq(count[1] - 1),
                outer_before.eq(count[0] - 2),
                inner_before.eq(count[1] - 2),
                tail.eq(loop.lag),
                loop_next.eq(fetch.word.payload.next + loop.body),
                history[0].eq(
                    Cat(Const(0, 2 * INDEX_BITS), Const(1, 1), (count[0] == 1) & (count[1] == 1), Const(1, 1))
                ),
            ]
            m.d.sync += [history[age].valid.eq(0) for age in range(1, LAG_MAX + 1)]
            m.d.comb += redirect.eq(1)
            m.d.sync += [
                fetch.target.eq(fetch.word.payload.next),
                fetch.loop.eq(1),
                fetch.loop_first.eq(fetch.word.payload.next),
                fetch.loop_last.eq(fetch.word.payload.next + loop.body - 1),
            ]
        with m.Elif(accept & fetch.word.payload.wrap):  # which only a loop's last word has
            with m.If(at_end):
                m.d.sync += [history[0].eq(once), fetch.target.eq(loop_next), fetch.loop.eq(0)]
                m.d.comb += redirect.eq(1)
            with m.Else():
                m.d.sync += [history[age].eq(history[age - 1]) for age in range(1, LAG_MAX + 1)]
                m.d.sync += history[0].eq(following)
                with m.If(is_last):
                    m.d.sync += [exhausted.eq(1), tail.eq(tail - 1)]

        # --- passes of the program
        m.d.comb += self.busy.eq(running)
        with m.If(accept & (opcode == Opcode.END)):
            m.d.sync += running.eq(0)
        with m.If(~running & self.run):
            m.d.sync += [running.eq(1), fetch.target.eq(0), fetch.loop.eq(0)]
            m.d.comb += redirect.eq(1)

        # --- the iteration this instruction acts on
        sync = Signal(SoftmaxHeader)
        m.d.comb += sync.eq(word)
        chosen, chosen_held = Signal(Iteration), Signal(Iteration)
        with m.If(header):
            m.d.comb += chosen.eq(history[sync.sync.lag])
        with m.Else():
            m.d.comb += chosen.eq(chosen_held)
        with m.If(accept):
            m.d.sync += chosen_held.eq(chosen)

        # --- resolve: base + i * outer + j * inner
        operand = Signal(Operand)
        m.d.comb += operand.eq(word)
        m.submodules.outer = outer = Multiplier(a=unsigned(_LOW_BITS), b=unsigned(INDEX_BITS))
        m.submodules.inner = inner = Multiplier(a=unsigned(_LOW_BITS), b=unsigned(INDEX_BITS))
        # A stride is a bit wider than an unsigned multiplier operand: its top bit acts on the top of the base alone.
        top = Signal(ADDRESS_BITS - _LOW_BITS)
        m.d.comb += [
            outer.a.eq(operand.outer),
            outer.b.eq(chosen_held.outer),  # a header has no operand
            inner.a.eq(operand.inner),
            inner.b.eq(chosen_held.inner),
            top.eq(
                operand.base[_LOW_BITS:]
                + Mux(operand.outer[_LOW_BITS], chosen_held.outer[: len(top)], 0)
                + Mux(operand.inner[_LOW_BITS], chosen_held.inner[: len(top)], 0)
            ),
        ]
        travelling = data.StructLayout(
            {
                "word": WORD_BITS,
                "top": len(top),
                "opcode": Opcode,
                "index": 3,
                "valid": 1,
                "first": 1,
                "last": 1,
                "done": 1,
            }
        )
        entry = Signal(travelling)
        m.d.comb += [
            entry.word.eq(word),
            entry.top.eq(top),
            entry.opcode.eq(opcode),
            entry.index.eq(index),
            entry.valid.eq(accept & chosen.valid),
            entry.first.eq(chosen.first),
            entry.last.eq(chosen.last),
            entry.done.eq(accept & last_word & chosen.valid),
        ]
        moved = Signal(ADDRESS_BITS, reset_less=True)  # by both indices
        m.d.sync += moved.eq(outer.p + inner.p)
        for stage in range(Multiplier.LATENCY + 1):
            delayed = Signal(travelling, name=f"word{stage}")
            m.d.sync += delayed.eq(entry)
            entry = delayed
        base = Signal(Operand)
        m.d.comb += base.eq(entry.word)
        resolved, literal = Signal(ADDRESS_BITS, reset_less=True), Signal(travelling, name="literal")
        m.d.sync += [
            resolved.eq(Cat(base.base[:_LOW_BITS], entry.top) + moved),
            literal.eq(entry),
        ]

        # --- assemble and dispatch
        header_word = Signal(WORD_BITS)
        signals = Signal(SEMAPHORES)
        waits = Signal(SEMAPHORES)
        now = Signal(SoftmaxHeader)
        m.d.comb += now.eq(literal.word)
        with m.If(literal.valid & (literal.index == 0)):
            m.d.sync += [
                header_word.eq(literal.word),
                waits.eq(Mux(now.sync.wait_first & ~literal.first, 0, now.sync.wait)),
                signals.eq(
                    Mux(
                        (now.sync.signal_when == When.ALWAYS)
                        | ((now.sync.signal_when == When.FIRST) & literal.first)
                        | ((now.sync.signal_when == When.LAST) & literal.last),
                        now.sync.signal,
                        0,
                    )
                ),
            ]
        counts_word = Signal(WORD_BITS)
        operands = [Signal(ADDRESS_BITS, name=f"operand{i}") for i in range(1, max(WORDS.values()))]
        for i in range(1, max(WORDS.values())):
            with m.If(literal.valid & (literal.index == i)):
                m.d.sync += operands[i - 1].eq(resolved)
                if i == 1:
                    m.d.sync += counts_word.eq(literal.word)
        dispatch_last = Signal()
        m.d.sync += dispatch_last.eq(literal.last)

        fields = self._fields(m, header_word, counts_word, operands, dispatch_last)
        streams = {
            Opcode.ARRAY: self.array,
            Opcode.SOFTMAX: self.softmax,
            Opcode.NORM: self.norm,
            Opcode.STORE: self.store,
        }
        for code, (queue, head, shape, credit) in queues.items():
            command = Signal(shape, name=f"command_{code.name.lower()}")
            m.d.comb += [command.wait.eq(waits), command.signal.eq(signals)]
            m.d.comb += [command[name].eq(value) for name, value in fields[code].items()]
            out = streams[code]
            dispatch = Signal(name=f"dispatch_{code.name.lower()}")
            m.d.sync += dispatch.eq(literal.done & (literal.opcode == code))
            m.d.comb += [
                queue.w_data.eq(command),
                queue.w_en.eq(dispatch),
                head.i.valid.eq(queue.r_rdy),
                head.i.payload.eq(queue.r_data),
                queue.r_en.eq(head.i.ready),
            ]
            wiring.connect(m, head.o, wiring.flipped(out))
            taken = accept & header & (opcode == code) & chosen.valid
            returned = Signal(name=f"returned_{code.name.lower()}")
            m.d.sync += [returned.eq(out.valid & out.ready), credit.eq(credit - taken + returned)]
        return m

    def _fields(self, m, header_word, counts_word, operands, last):
        """Fields of each engine's command from the assembled words (``wait`` and ``signal`` apart)."""
        array, norm = Signal(ArrayHeader), Signal(NormHeader)
        counts, norm_counts, store_counts = Signal(ArrayCounts), Signal(NormCounts), Signal(StoreCounts)
        m.d.comb += [
            array.eq(header_word),
            norm.eq(header_word),
            counts.eq(counts_word),
            norm_counts.eq(counts_word),
            store_counts.eq(counts_word),
        ]
        row_lag = Mux(self.lengths.row_blocks > PENDING_MAX, PENDING_MAX, self.lengths.row_blocks - 1)
        header_fields = "a_source a_unsigned b_source result destination row_scale add table".split()
        return {
            Opcode.ARRAY: {
                **{name: array[name] for name in header_fields},
                "pending": Mux(array.pending == PENDING_ROWS, row_lag, array.pending),
                "n": Mux(counts.n_tokens, self.lengths.key_tiles, counts.n),
                "k": Mux(counts.k_tokens, self.lengths.key_words, counts.k),
                **{name: counts[name] for name in ("b_n", "b_k", "out_step")},
                **dict(zip(("a", "b", "out", "res", "chan"), operands[1:6], strict=True)),
            },
            Opcode.SOFTMAX: {"head": operands[0]},
            Opcode.NORM: {
                **{name: norm[name] for name in ("out8", "out16", "shift8", "shift16")},
                **{name: norm_counts[name] for name in ("beats", "channels", "eps")},
                **dict(zip(("src", "act", "res", "norm"), operands[1:5], strict=True)),
            },
            Opcode.STORE: {"beats": store_counts.beats, "src": operands[1], "last": last},
        }
