# SPDX-License-Identifier: SHL-2.1
"""LayerNorm engine: reads row blocks of the residual stream, writes their normalised 8- and 16-bit forms."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..memory import READ_LATENCY, SHARED_READ_LATENCY
from ..pipeline import delay, stages
from ..ports import read_port, write_port
from ..program.commands import NormCommand
from ..program.isa import ADDRESS_BITS, BEAT_BITS, SEMAPHORES
from ..program.loads import NormParameters
from .lane import NormLane
from .results import ResultWriter
from .statistics import NormStatistics

__all__ = ["NormEngine"]


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
    read_res : out
        The address may change while it waits.
    read_norm : out
        Parameters of ``drain_columns`` channels.
    write_act, write_res : out
        Stay until they are taken.
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
                "read_res": Out(read_port("RES", config, data.ArrayLayout(signed(16), lanes))),
                "read_norm": Out(read_port("NORM", config, data.ArrayLayout(NormParameters, columns))),
                "write_act": Out(write_port("ACT", config, data.ArrayLayout(unsigned(8), lanes))),
                "write_res": Out(write_port("RES", config, data.ArrayLayout(signed(16), lanes))),
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
        m.submodules.statistics = statistics = self._statistics
        m.submodules.writer = writer = ResultWriter(self.config)

        # --- control: the gathering half, the emitting half, and what is still to be written
        gather, emit = Signal(Gather), Signal(Emit)
        coming, current = Signal(NormCommand, reset_less=True), Signal(NormCommand, reset_less=True)
        gather_addr, emit_addr = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        gather_left, emit_left = Signal(BEAT_BITS, reset_less=True), Signal(BEAT_BITS, reset_less=True)
        first, wide = Signal(reset_less=True), Signal(reset_less=True)
        writing = Signal(NormCommand, reset_less=True)  # the command whose results are being written

        emit_wants, gather_reads, emit_reads = Signal(), Signal(), Signal()
        m.d.comb += [
            emit_wants.eq((emit == Emit.READ) & writer.has_room),
            self.read_res.valid.eq(emit_wants | (gather == Gather.READ)),
            self.read_res.addr.eq(Mux(emit_wants, emit_addr, gather_addr)),
            emit_reads.eq(emit_wants & self.read_res.ready),
            gather_reads.eq((gather == Gather.READ) & ~emit_wants & self.read_res.ready),
        ]
        gather_ends, pass_ends, emit_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            gather_ends.eq(gather_reads & (gather_left == 1)),
            pass_ends.eq(emit_reads & (emit_left == 1)),
            emit_ends.eq(pass_ends & (wide | ~current.out16)),
        ]

        # Where each read is on its way: index = cycles since the read.
        summed = self.summed(self.config)
        result = self.READ + NormLane.LATENCY
        gathering = stages(m, gather_reads, summed, name="gathering", reset=True)
        firsts = stages(m, first, summed, name="first")
        gathered = delay(m, gather_ends, summed - 1, name="gathered", reset=True)
        emitting = stages(m, emit_reads, result, name="emitting", reset=True)
        wides = stages(m, wide, result, name="wide")
        lasts = stages(m, emit_ends, result, name="last")

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
        of_current = self._writes(m, current, coming, name="of_current")
        of_writing = self._writes(m, writing, coming, name="of_writing")
        # While `emit` reads, `writing` is `current`; before that it is an earlier command.
        held = ((emit != Emit.IDLE) & of_current) | (writer.writing & of_writing & (emit != Emit.READ))
        known, starts_writing, begins_gathering = Signal(), Signal(), Signal()
        m.d.sync += known.eq(statistics.ready & ~hand_over)
        m.d.comb += [
            starts_writing.eq((emit == Emit.STATISTICS) & known & ~writer.writing),
            begins_gathering.eq((gather == Gather.CHECK) & ~held),
            self.read_res.next.eq(
                begins_gathering
                | ((gather == Gather.READ) & ~gather_ends)
                | (writer.will_have_room & (starts_writing | ((emit == Emit.READ) & ~emit_ends)))
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

        # --- parameters, lanes and results
        self._start(m, writer, starts_writing, current, emitting)
        out_amount = Signal(6, reset_less=True)
        m.d.sync += out_amount.eq(Mux(wides[self.READ + NormLane.OUT_AMOUNT - 1], writing.shift16, writing.shift8) - 1)
        lanes = self._lanes(m, current.channels, gathering[self.READ], out_amount, wides[self.READ + NormLane.WIDE])
        self._sums(m, lanes, gathering, firsts)
        finished = self._results(m, writer, lanes, writing.signal, emitting[result], wides[result], lasts[result])
        m.d.comb += [
            writer.promise.eq(emit_reads),
            self.busy.eq((gather != Gather.IDLE) | (emit != Emit.IDLE) | writer.writing | finished),
        ]
        return m

    @staticmethod
    def _writes(m: Module, earlier: Signal, coming: Signal, *, name: str) -> Signal:
        """Whether ``earlier`` writes what ``coming`` reads, as it was a cycle ago."""
        flag = Signal(name=name)
        m.d.sync += flag.eq(earlier.out16 & (earlier.res == coming.src))
        return flag

    def _start(self, m: Module, writer: ResultWriter, start: Value, command: Signal, emitting: list) -> None:
        """Where results go, and their parameters come from: those of the 16-bit form follow those of the 8-bit form."""
        m.d.comb += [writer.start.eq(start), writer.act.eq(command.act), writer.res.eq(command.res)]
        with m.If(start):
            m.d.sync += self.read_norm.addr.eq(command.norm)
        with m.Elif(emitting[self._PARAMETERS]):
            m.d.sync += self.read_norm.addr.eq(self.read_norm.addr + 1)

    def _results(self, m: Module, writer: ResultWriter, lanes: list[NormLane], mask: Value, valid: Value, wide: Value,
                 last: Value) -> Signal:  # fmt: skip
        """Results to the writer, and ``mask`` signalled after the last; returns whether it is in this cycle."""
        finished = Signal()
        signal = Signal.like(self.signal, reset_less=True)
        for name in ("write_act", "write_res"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(writer, name))
        m.d.sync += [finished.eq(writer.written), signal.eq(mask)]
        m.d.comb += [
            writer.valid.eq(valid),
            Cat(writer.result).eq(Cat(lane.result for lane in lanes)),
            writer.wide.eq(wide),
            writer.last.eq(last),
            self.signal.eq(Mux(finished, signal, 0)),
        ]
        return finished

    def _lanes(self, m: Module, channels: Value, gather: Value, out_amount: Value, wide: Value) -> list[NormLane]:
        """The lanes, with the statistics of their rows and the parameters of their columns."""
        config, rows, statistics = self.config, self.config.rows, self._statistics
        lanes = [NormLane(config) for _ in range(config.lanes)]
        elements = Signal(data.ArrayLayout(signed(16), config.lanes), reset_less=True)
        m.d.sync += elements.eq(self.read_res.data)
        scales = [delay(m, statistics.scale[r], 1, name=f"scale{r}_") for r in range(rows)]  # the lanes lie far away
        for p in range(config.drain_columns):
            parameters = self.read_norm.data[p]
            beta = delay(m, parameters.beta, NormLane.BETA - NormLane.GAMMA, name=f"beta{p}_")
            for r in range(rows):
                m.submodules[f"lane{p * rows + r}"] = lane = lanes[p * rows + r]
                m.d.comb += [
                    lane.h.eq(elements[p * rows + r]),
                    lane.gather.eq(gather),
                    lane.channels.eq(channels),
                    lane.sum.eq(statistics.sum[r]),
                    lane.scale.eq(scales[r]),
                    lane.amount.eq(statistics.amount[r]),
                    lane.gamma.eq(parameters.gamma),
                    lane.beta.eq(beta),
                    lane.out_amount.eq(out_amount),
                    lane.wide.eq(wide),
                ]
        return lanes

    def _sums(self, m: Module, lanes: list[NormLane], gathering: list, firsts: list) -> None:
        """Sums of h and of its square over a block; ``gathering``, ``firsts``: each read, by cycles since."""
        statistics, tree = self._statistics, ceil_log2(self.config.drain_columns)
        for r in range(self.config.rows):
            of_row = lanes[r :: self.config.rows]
            for name, values, sums, at in (
                ("sum", [lane.h for lane in of_row], statistics.sums, self.READ + tree),
                ("square", [lane.square for lane in of_row], statistics.squares, self.summed(self.config)),
            ):
                total = _add_up(m, values, name=f"{name}{r}_")
                accumulator = Signal.like(sums[r], name=f"{name}{r}", reset_less=True)
                with m.If(gathering[at]):
                    m.d.sync += accumulator.eq(Mux(firsts[at], 0, accumulator) + total)
                m.d.comb += sums[r].eq(accumulator)


def _add_up(m: Module, values: list[Value], *, name: str) -> Value:
    """The sum of ``values`` (a power of two of them), a register after each level of additions."""
    while len(values) > 1:
        sums = [first + second for first, second in zip(values[::2], values[1::2], strict=True)]
        values = [Signal(s.shape(), name=f"{name}{len(sums)}_{i}", reset_less=True) for i, s in enumerate(sums)]
        m.d.sync += [value.eq(s) for value, s in zip(values, sums, strict=True)]
    return values[0]
