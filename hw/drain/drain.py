# SPDX-License-Identifier: SHL-2.1
"""Drain: takes finished tiles out of the array, a beat a cycle, and turns accumulators into the next operand."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..array.feeder import FeedTag
from ..array.pe_array import ACC_BITS, PEArray
from ..config import CoreConfig
from ..memory import READ_LATENCY, SHARED_READ_LATENCY
from ..ports import RowMaxima, RowScales, WritePort, read_port, write_port
from ..program.commands import ArrayCommand
from ..program.isa import SEMAPHORES, TOKEN_BITS, Destination, Format
from ..program.loads import ChannelParameters
from .activation import ActivationUnit
from .beats import DRAIN_QUEUE, BeatCounter, beat_stages
from .capture import Capture
from .formats import FormatStage
from .requantise import RequantiseStage
from .scores import ScoreStage
from .write import DrainResult

__all__ = ["Drain"]


class Drain(wiring.Component):
    """A pure pipeline of fixed latency; nothing in it can stall, because the feeder spaces tiles by ``tile_beats``.

    A tile is captured as its last sums reach the accumulators, and shifts out ``drain_columns`` columns at a time:
    bias, requantisation with the channel's constants (or, for P.V, with the row's deferred softmax division),
    then int8 / uint8 / activation / int16 with residual. Raw scores leave early, beside their running row maximum.
    Each stage is a component of its own; what accompanies a beat (:class:`hw.drain.beats.BeatControl`) travels beside
    them.

    Parameters
    ----------
    config : CoreConfig
    tables : list of int
        First contents of TABLE.

    Attributes
    ----------
    tag : in, FeedTag
        From the feeder, in the cycle of its addresses.
    context, context_valid : in, ArrayCommand, 1
        The command, pushed as its first words are fed.
    tokens : in, unsigned(TOKEN_BITS)
        Keys that exist.
    acc : in, [cols][rows] of signed(ACC_BITS)
        The array's accumulators.
    read_chan, read_res : out
        The drain is the first reader of RES.
    scales : in
        Row scales from the softmax, written before the P.V that takes them begins.
    write_score : out
        The score ring.
    maxima : in
        Row maxima of its slots.
    write_table : in
        TABLE's load port: 64 bits, of which a table's byte is the lowest.
    result : out
        Finished beats.
    signal : out, [2] of unsigned(SEMAPHORES)
        Semaphores signalled in this cycle: by commands that write, and by scores.
    done : out
        A command's last beat is written.
    busy : out
        A command has been pushed that is not done.
    """

    RESIDUAL = RequantiseStage.LATENCY - SHARED_READ_LATENCY
    """Cycles from a beat's standing before the requantisers to its residual's address."""

    def __init__(self, config: CoreConfig, *, tables: list[int] | None = None):
        self.config = config
        self._tables = tables
        columns, lanes = config.drain_columns, config.lanes
        super().__init__(
            {
                "tag": In(FeedTag),
                "context": In(ArrayCommand),
                "context_valid": In(1),
                "tokens": In(TOKEN_BITS),
                "acc": In(data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), config.rows), config.cols)),
                "read_chan": Out(read_port("CHAN", config, data.ArrayLayout(ChannelParameters, columns))),
                "read_res": Out(read_port("RES", config, data.ArrayLayout(signed(16), lanes))),
                "scales": In(RowScales(config)),
                "write_score": Out(write_port("SCORE", config)),
                "maxima": In(RowMaxima(config)),
                "write_table": In(WritePort(unsigned(64))),
                "result": Out(DrainResult(config)),
                "signal": Out(data.ArrayLayout(unsigned(SEMAPHORES), 2)),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    @staticmethod
    def beat_latency(config: CoreConfig) -> int:
        """Cycles from the feeder's address of a tile's last words to the tile's beat 0 before the requantisers."""
        return READ_LATENCY + 1 + PEArray.latency(config) + 1

    @staticmethod
    def result_latency(config: CoreConfig) -> int:
        """Cycles from a beat's standing before the requantisers to its write strobe."""
        return RequantiseStage.LATENCY + FormatStage.latency(config)

    @staticmethod
    def write_latency(config: CoreConfig) -> int:
        """Cycles from the feeder's address of a tile's last words to the write strobe of the tile's beat 0."""
        return Drain.beat_latency(config) + Drain.result_latency(config)

    @staticmethod
    def score_latency(config: CoreConfig) -> int:
        """The same of raw scores."""
        return Drain.beat_latency(config) + ScoreStage.LATENCY

    @staticmethod
    def score_signal_latency(config: CoreConfig) -> int:
        """Cycles from the last beat of scores before the requantisers to their signal."""
        return ScoreStage.signal_latency(config)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.beats = beats = BeatCounter(config, latency=self.beat_latency(config) - READ_LATENCY - 1)
        m.submodules.capture = capture = Capture(config)
        m.submodules.scores = scores = ScoreStage(config)
        m.submodules.requantise = requantise = RequantiseStage(config)
        m.submodules.activation = activation = ActivationUnit(config, init=self._tables)
        m.submodules.formats = formats = FormatStage(config)
        to_write = self.result_latency(config)
        control = beat_stages(m, beats.control, READ_LATENCY + to_write)

        def at(cycle: int):
            """Control beside a beat, ``cycle`` cycles after it left the capture register."""
            return control[READ_LATENCY + cycle]

        wiring.connect(m, wiring.flipped(self.write_score), scores.write_score)
        wiring.connect(m, wiring.flipped(self.maxima), scores.maxima)
        wiring.connect(m, wiring.flipped(self.scales), requantise.scales)
        value = requantise.LATENCY
        m.d.comb += [
            beats.tag.eq(self.tag),
            beats.context.eq(self.context),
            beats.context_valid.eq(self.context_valid),
            self.read_chan.addr.eq(beats.chan_addr),
            capture.tile.eq(beats.tile),
            capture.acc.eq(self.acc),
            scores.beat.eq(capture.beat),
            scores.control.eq(at(0)),
            scores.index.eq(beats.index),
            scores.tokens.eq(self.tokens),
            requantise.beat.eq(capture.beat),
            requantise.by_row.eq(at(0).row_scale),
            requantise.channels.eq(self.read_chan.data),
            requantise.prob_slot.eq(beats.prob_slot),
            activation.value.eq(requantise.values),
            activation.bank.eq(requantise.bank),
            activation.table.eq(at(value).table),
            activation.w_en.eq(self.write_table.en),
            activation.w_addr.eq(self.write_table.addr),
            activation.w_data.eq(self.write_table.data),
            formats.values.eq(requantise.values),
            formats.result.eq(at(value).result),
            formats.add.eq(at(value).add),
            formats.residual.eq(self.read_res.data),
            formats.activated.eq(activation.result),
        ]
        reads = at(self.RESIDUAL - 1)
        m.d.comb += [self.read_res.next.eq(reads.valid & reads.add), self.read_res.addr.eq(at(self.RESIDUAL).res)]
        m.d.sync += self.read_res.valid.eq(self.read_res.next)
        self._finish(m, formats, at(to_write - 1), at(to_write))
        m.d.comb += self.signal[1].eq(scores.signal)
        in_flight = Signal(range(DRAIN_QUEUE + 1))
        m.d.sync += in_flight.eq(in_flight + self.context_valid - self.done)
        m.d.comb += self.busy.eq(in_flight != 0)
        return m

    def _finish(self, m: Module, formats: FormatStage, final: data.View, write: data.View) -> None:
        """The result and its strobes; ``final`` comes a cycle before, ``write`` beside it."""
        reaches, is_final = Signal(), Signal()
        m.d.comb += [
            reaches.eq(final.valid & (final.result != Format.SCORE)),
            formats.is_activated.eq(final.result == Format.ACTIVATION),
        ]
        m.d.sync += is_final.eq(reaches)
        for name in ("act", "res", "key", "value"):
            m.d.sync += self.result.to[name].eq(reaches & (final.destination == Destination[name.upper()]))
        m.d.comb += [
            self.result.control.eq(write),
            self.result.control.valid.eq(is_final),
            self.result.narrow.eq(formats.narrow),
            self.result.wide.eq(formats.wide),
            self.done.eq(write.valid & write.last),
            self.signal[0].eq(Mux(is_final & write.last, write.signal, 0)),
        ]
