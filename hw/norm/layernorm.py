# SPDX-License-Identifier: SHL-2.1
"""LayerNorm engine: reads row blocks of the residual stream, writes their normalised 8- and 16-bit forms."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, enum, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..memory import READ_LATENCY, SHARED_READ_LATENCY
from ..pipeline import delay
from ..program.commands import NormCommand
from ..program.isa import ADDRESS_BITS, BEAT_BITS, SEMAPHORES
from ..program.loads import NormParameters
from ..stream import StreamBuffer
from .lane import NormLane
from .statistics import NormStatistics

__all__ = ["NormEngine"]

QUEUE_DEPTH = 48
"""Results between the lanes and the memories: more than the cycles from a read until its entry is free again."""

FREE_LATENCY = 2
"""Cycles from a result's leaving that queue until its entry counts as free."""


class Gather(enum.Enum):
    """What the first half of the engine does: the sums of a command."""

    IDLE = 0
    COMPARE = 1  # is what this command reads written by the one before?
    CHECK = 2  # wait while an earlier command may still write it
    READ = 3
    DRAIN = 4  # the last words are on their way to the sums
    READY = 5  # the sums, complete in the next cycle, wait for the second half


class Emit(enum.Enum):
    """What the second half does: the statistics and results of the command before."""

    IDLE = 0
    STATISTICS = 1
    READ = 2


class NormEngine(wiring.Component):
    """LayerNorm of row blocks of the residual stream: ``golden.layernorm`` of every row, as :class:`NormCommand` says.

    Pass 1 reads the ``beats`` words of the block at ``src`` once, for the rows' sums; then come the statistics, a pass
    that writes the 8-bit form to ACT at ``act`` if ``out8``, and a pass that writes the 16-bit form to RES at ``res``
    if ``out16`` (in place where ``res`` = ``src``). At least one of the two must be set, and ``beats`` be at least 1.
    The next command's pass 1 proceeds under this one's statistics and, in read cycles left over, output passes; a
    command whose ``src`` is an earlier one's ``res`` waits for it (blocks must be equal or disjoint).

    Without stalls: :meth:`cycles`, :meth:`next_cycles`. The arithmetic has no stalls: results go to a queue, and an
    output pass reads only when there is room in it for everything in flight.

    Attributes
    ----------
    command : stream in
        ``wait`` is ignored.
    signal : out
        The command's ``signal`` in the cycle after its last result was taken, else 0.
    busy : out
    res_read_valid, res_read_addr, res_read_ready, res_read_data : RES read port
    res_read_next : what res_read_valid is in the next cycle
        Data SHARED_READ_LATENCY cycles after an address was taken. The address may change while it waits.
    norm_addr, norm_data : NORM read port
        Parameters of ``drain_columns`` channels, READ_LATENCY cycles after the address, every cycle.
    act_valid, act_ready, act_addr, act_data : ACT write port
        Beat address and bytes; stays until it is taken.
    res_valid, res_ready, res_addr, res_data : RES write port
    """

    READ = SHARED_READ_LATENCY + 1
    """Cycles from a read to the lanes."""
    WRITTEN = READ + NormLane.LATENCY + 2
    """Cycles from a read of an output pass to the result's first cycle on a write port."""
    GAP = READ + NormLane.SQUARE
    """Cycles from the last read of an output pass to the earliest hand-over of the next command's sums."""
    SIGNAL_LATENCY = 1
    """Cycles from the cycle in which a command's last result is taken to that of its ``signal``."""
    _PARAMETERS = READ + NormLane.GAMMA - READ_LATENCY  # to the address of its parameters
    _LEAD = READ + NormLane.SCALE + 1  # how much later than a read its row's R is looked at

    def __init__(self, config: CoreConfig):
        self.config = config
        self._statistics = NormStatistics(config, lead=self._LEAD)
        columns, lanes = config.drain_columns, config.lanes
        super().__init__(
            {
                "command": In(stream.Signature(NormCommand)),
                "signal": Out(SEMAPHORES),
                "busy": Out(1),
                "res_read_valid": Out(1),
                "res_read_next": Out(1),
                "res_read_addr": Out(ADDRESS_BITS),
                "res_read_ready": In(1),
                "res_read_data": In(data.ArrayLayout(signed(16), lanes)),
                "norm_addr": Out(ADDRESS_BITS),
                "norm_data": In(data.ArrayLayout(NormParameters, columns)),
                "act_valid": Out(1),
                "act_ready": In(1),
                "act_addr": Out(ADDRESS_BITS),
                "act_data": Out(data.ArrayLayout(unsigned(8), lanes)),
                "res_valid": Out(1),
                "res_ready": In(1),
                "res_addr": Out(ADDRESS_BITS),
                "res_data": Out(data.ArrayLayout(signed(16), lanes)),
            }
        )

    @staticmethod
    def summed(config: CoreConfig) -> int:
        """Cycles from a read to its squares' sum."""
        return NormEngine.READ + NormLane.SQUARE + ceil_log2(config.drain_columns)

    @staticmethod
    def hand_over(config: CoreConfig) -> int:
        """Cycles from the last read for a command's sums to their earliest hand-over."""
        return NormEngine.summed(config) + 1

    @staticmethod
    def statistics_latency(config: CoreConfig) -> int:
        """Cycles from the hand-over of a command's sums to the first read of its output pass."""
        return NormStatistics.latency(config, lead=NormEngine._LEAD) + 1

    @staticmethod
    def cycles(config: CoreConfig, beats: int, passes: int) -> int:
        """Cycles from a command's acceptance by an idle engine without stalls to its ``signal``."""
        next_cycles = NormEngine.next_cycles(config, beats)
        return next_cycles + NormEngine.statistics_latency(config) + passes * beats + NormEngine.WRITTEN

    @staticmethod
    def next_cycles(config: CoreConfig, beats: int) -> int:
        """Cycles from a command's acceptance by an idle engine without stalls until it may accept the next one."""
        return beats + NormEngine.hand_over(config) + 3

    def elaborate(self, platform):
        m = Module()
        config, rows, columns = self.config, self.config.rows, self.config.drain_columns
        m.submodules.statistics = statistics = self._statistics
        lanes = [NormLane(config) for _ in range(config.lanes)]
        for number, lane in enumerate(lanes):
            m.submodules[f"lane{number}"] = lane

        # --- control: the gathering half, the emitting half, and what is still to be written
        gather, emit = Signal(Gather), Signal(Emit)
        coming, current = Signal(NormCommand, reset_less=True), Signal(NormCommand, reset_less=True)
        gather_addr, emit_addr = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        gather_left, emit_left = Signal(BEAT_BITS, reset_less=True), Signal(BEAT_BITS, reset_less=True)
        first, wide = Signal(reset_less=True), Signal(reset_less=True)
        writing = Signal(NormCommand, reset_less=True)  # the command whose results are being written
        is_writing, written = Signal(), Signal()  # `written`: its last result is taken in this cycle
        room = Signal(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH)  # entries of the queue neither used nor promised

        has_room = Signal()  # even if another was promised in the cycle before
        emit_wants, gather_reads, emit_reads = Signal(), Signal(), Signal()
        m.d.comb += [
            emit_wants.eq((emit == Emit.READ) & has_room),
            self.res_read_valid.eq(emit_wants | (gather == Gather.READ)),
            self.res_read_addr.eq(Mux(emit_wants, emit_addr, gather_addr)),
            emit_reads.eq(emit_wants & self.res_read_ready),
            gather_reads.eq((gather == Gather.READ) & ~emit_wants & self.res_read_ready),
        ]
        gather_ends, pass_ends, emit_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            gather_ends.eq(gather_reads & (gather_left == 1)),
            pass_ends.eq(emit_reads & (emit_left == 1)),
            emit_ends.eq(pass_ends & (wide | ~current.out16)),
        ]

        # Where each read is on its way: index = cycles since the read.
        def travel(flag, cycles: int, name: str, *, reset: bool = False):
            stages = [flag]
            for cycle in range(cycles):
                stages.append(delay(m, stages[-1], 1, name=f"{name}{cycle}", reset=reset))
            return stages

        summed, tree = self.summed(config), ceil_log2(columns)
        result = self.READ + NormLane.LATENCY
        gathering = travel(gather_reads, summed, "gathering", reset=True)
        firsts = travel(first, summed, "first")
        gathered = delay(m, gather_ends, summed - 1, name="gathered", reset=True)
        emitting = travel(emit_reads, result, "emitting", reset=True)
        wides = travel(wide, result, "wide")
        lasts = travel(emit_ends, result, "last")

        # A command is handed over once the reads of the one before will have met their row's sum for the last time.
        # Decided the cycle before, since so many registers change.
        may_hand_over, hand_over = Signal(), Signal()
        m.d.comb += [
            may_hand_over.eq((gather == Gather.READY) & (emit == Emit.IDLE) & ~Cat(emitting[1 : self.GAP - 1]).any()),
            self.command.ready.eq(gather == Gather.IDLE),
            statistics.start.eq(hand_over),
            statistics.channels.eq(coming.channels),
            statistics.eps.eq(coming.eps),
        ]
        # While `emit` reads, `writing` is `current`; before that it is an earlier command.
        of_current, of_writing = Signal(), Signal()  # what is to be read is what that command writes
        m.d.sync += [
            of_current.eq(current.out16 & (current.res == coming.src)),
            of_writing.eq(writing.out16 & (writing.res == coming.src)),
        ]
        writes_source = (emit != Emit.IDLE) & of_current
        writes_earlier = is_writing & of_writing & (emit != Emit.READ)
        known, starts_writing = Signal(), Signal()
        m.d.sync += known.eq(statistics.ready & ~hand_over)
        begins_gathering, will_have_room = Signal(), Signal()
        m.d.comb += [
            starts_writing.eq((emit == Emit.STATISTICS) & known & ~is_writing),
            begins_gathering.eq((gather == Gather.CHECK) & ~writes_source & ~writes_earlier),
            will_have_room.eq(room > 1),
            self.res_read_next.eq(
                begins_gathering
                | ((gather == Gather.READ) & ~gather_ends)
                | (will_have_room & (starts_writing | ((emit == Emit.READ) & ~emit_ends)))
            ),
        ]

        with m.Switch(gather):
            with m.Case(Gather.IDLE):
                m.d.sync += [
                    coming.eq(self.command.payload),
                    gather_addr.eq(self.command.payload.src),
                    gather_left.eq(self.command.payload.beats),
                    first.eq(1),
                ]
                with m.If(self.command.valid):
                    m.d.sync += gather.eq(Gather.COMPARE)
            with m.Case(Gather.COMPARE):
                m.d.sync += gather.eq(Gather.CHECK)
            with m.Case(Gather.CHECK):
                with m.If(begins_gathering):
                    m.d.sync += gather.eq(Gather.READ)
            with m.Case(Gather.READ):
                with m.If(gather_reads):
                    m.d.sync += [gather_addr.eq(gather_addr + 1), gather_left.eq(gather_left - 1), first.eq(0)]
                with m.If(gather_ends):
                    m.d.sync += gather.eq(Gather.DRAIN)
            with m.Case(Gather.DRAIN):
                with m.If(gathered):
                    m.d.sync += gather.eq(Gather.READY)
            with m.Case(Gather.READY):
                m.d.sync += hand_over.eq(may_hand_over)
                with m.If(hand_over):
                    m.d.sync += [gather.eq(Gather.IDLE), hand_over.eq(0)]

        with m.Switch(emit):
            with m.Case(Emit.IDLE):
                with m.If(hand_over):
                    m.d.sync += [current.eq(coming), emit.eq(Emit.STATISTICS)]
            with m.Case(Emit.STATISTICS):
                m.d.sync += [emit_addr.eq(current.src), emit_left.eq(current.beats), wide.eq(~current.out8)]
                with m.If(starts_writing):
                    m.d.sync += [emit.eq(Emit.READ), writing.eq(current)]
            with m.Case(Emit.READ):
                with m.If(emit_reads):
                    m.d.sync += [emit_addr.eq(emit_addr + 1), emit_left.eq(emit_left - 1)]
                with m.If(pass_ends):
                    m.d.sync += [emit_addr.eq(current.src), emit_left.eq(current.beats), wide.eq(1)]
                with m.If(emit_ends):
                    m.d.sync += emit.eq(Emit.IDLE)

        # --- lanes
        elements = Signal(data.ArrayLayout(signed(16), config.lanes), reset_less=True)
        m.d.sync += elements.eq(self.res_read_data)
        with m.If(starts_writing):
            m.d.sync += self.norm_addr.eq(current.norm)
        with m.Elif(emitting[self._PARAMETERS]):  # the 16-bit form's parameters follow those of the 8-bit form
            m.d.sync += self.norm_addr.eq(self.norm_addr + 1)
        out_amount = Signal(6, reset_less=True)
        m.d.sync += out_amount.eq(Mux(wides[self.READ + NormLane.OUT_AMOUNT - 1], writing.shift16, writing.shift8) - 1)
        scales = [delay(m, statistics.scale[r], 1, name=f"scale{r}_") for r in range(rows)]  # the lanes lie far away
        for p in range(columns):
            beta = delay(m, self.norm_data[p].beta, NormLane.BETA - NormLane.GAMMA, name=f"beta{p}_")
            for r in range(rows):
                lane = lanes[p * rows + r]
                m.d.comb += [
                    lane.h.eq(elements[p * rows + r]),
                    lane.gather.eq(gathering[self.READ]),
                    lane.channels.eq(current.channels),
                    lane.sum.eq(statistics.sum[r]),
                    lane.scale.eq(scales[r]),
                    lane.amount.eq(statistics.amount[r]),
                    lane.gamma.eq(self.norm_data[p].gamma),
                    lane.beta.eq(beta),
                    lane.out_amount.eq(out_amount),
                    lane.wide.eq(wides[self.READ + NormLane.WIDE]),
                ]

        # --- sums over the block
        for r in range(rows):
            of_row = lanes[r::rows]
            for name, values, sums, at in (
                ("sum", [lane.h for lane in of_row], statistics.sums, self.READ + tree),
                ("square", [lane.square for lane in of_row], statistics.squares, summed),
            ):
                total = _add_up(m, values, name=f"{name}{r}_")
                accumulator = Signal.like(sums[r], name=f"{name}{r}", reset_less=True)
                with m.If(gathering[at]):
                    m.d.sync += accumulator.eq(Mux(firsts[at], 0, accumulator) + total)
                m.d.comb += sums[r].eq(accumulator)

        # --- results: queue, then the write ports
        queued = data.StructLayout({"result": self.res_data.shape(), "wide": 1, "last": 1})
        m.submodules.queue = queue = fifo.SyncFIFO(width=queued.size, depth=QUEUE_DEPTH)
        m.submodules.head = buffer = StreamBuffer(queued)
        arriving, head = Signal(queued), Signal(queued)
        m.d.comb += [
            buffer.i.payload.eq(queue.r_data),
            buffer.i.valid.eq(queue.r_rdy),
            head.eq(buffer.o.payload),
            Cat(arriving.result).eq(Cat(lane.result for lane in lanes)),
            arriving.wide.eq(wides[result]),
            arriving.last.eq(lasts[result]),
            queue.w_data.eq(arriving),
            queue.w_en.eq(emitting[result]),
        ]
        taken = Signal()
        m.d.comb += [
            self.act_valid.eq(buffer.o.valid & ~head.wide),
            self.res_valid.eq(buffer.o.valid & head.wide),
            buffer.o.ready.eq(Mux(head.wide, self.res_ready, self.act_ready)),
            taken.eq(buffer.o.valid & buffer.o.ready),
            queue.r_en.eq(buffer.i.ready),
            written.eq(taken & head.last),
            self.res_data.eq(head.result),
            [byte.eq(element) for byte, element in zip(self.act_data, head.result, strict=True)],
        ]
        freed = Signal()
        m.d.sync += [freed.eq(queue.r_rdy & queue.r_en), has_room.eq(will_have_room)]
        with m.If(freed ^ emit_reads):  # the reads are decided late
            m.d.sync += room.eq(room + Mux(freed, 1, -1))
        with m.If(starts_writing):
            m.d.sync += [self.act_addr.eq(current.act), self.res_addr.eq(current.res), is_writing.eq(1)]
        with m.Elif(taken):
            m.d.sync += [
                self.act_addr.eq(self.act_addr + ~head.wide),
                self.res_addr.eq(self.res_addr + head.wide),
                is_writing.eq(~head.last),
            ]
        finished = Signal()
        signal = Signal.like(self.signal, reset_less=True)
        m.d.sync += [finished.eq(written), signal.eq(writing.signal)]
        m.d.comb += self.signal.eq(Mux(finished, signal, 0))
        m.d.comb += self.busy.eq((gather != Gather.IDLE) | (emit != Emit.IDLE) | is_writing | finished)
        return m


def _add_up(m: Module, values: list[Value], *, name: str) -> Value:
    """The sum of ``values`` (a power of two of them), a register after each level of additions."""
    while len(values) > 1:
        sums = [first + second for first, second in zip(values[::2], values[1::2], strict=True)]
        values = [Signal(s.shape(), name=f"{name}{len(sums)}_{i}", reset_less=True) for i, s in enumerate(sums)]
        m.d.sync += [value.eq(s) for value, s in zip(values, sums, strict=True)]
    return values[0]
