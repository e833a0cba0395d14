# SPDX-License-Identifier: SHL-2.1
"""Drain: takes finished tiles out of the array, a beat a cycle, and turns accumulators into the next operand."""

from amaranth.hdl import Cat, Module, Mux, ResetSignal, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arith.requantise import Requantiser, saturate_signed, saturate_unsigned
from ..config import CoreConfig
from ..memory import READ_LATENCY, SHARED_READ_LATENCY
from ..program.commands import ArrayCommand
from ..program.isa import ADDRESS_BITS, BEAT_BITS, SEMAPHORES, TOKEN_BITS, Destination, Format
from ..program.loads import ChannelParameters
from .activation import ActivationUnit
from .feeder import FeedTag
from .pe_array import ACC_BITS, PEArray
from .rowmax import SCORE_BITS, RowMaximum

__all__ = ["BeatControl", "Drain", "WriteStrobes", "DRAIN_QUEUE"]

DRAIN_QUEUE = 8
"""Commands in flight between the feeder and their last write; one more than ``pending`` admits."""


class BeatControl(data.Struct):
    """What accompanies a beat through the drain."""

    valid: unsigned(1)
    first: unsigned(1)  # first beat of its command
    last: unsigned(1)  # last beat of its command
    result: Format
    destination: Destination
    row_scale: unsigned(1)
    add: unsigned(1)
    table: unsigned(6)
    lane: unsigned(6)  # beat within the KV word (KEY, VALUE)
    out: unsigned(ADDRESS_BITS)
    res: unsigned(ADDRESS_BITS)
    signal: unsigned(SEMAPHORES)


class WriteStrobes(data.Struct):
    """Where a final beat goes: at most one bit is set. From registers, unlike a decoded :class:`BeatControl`."""

    act: unsigned(1)
    res: unsigned(1)
    key: unsigned(1)
    value: unsigned(1)


class Drain(wiring.Component):
    """A pure pipeline of fixed latency; nothing in it can stall, because the feeder spaces tiles by ``tile_beats``.

    A tile is captured as its last sums reach the accumulators, and shifts out ``drain_columns`` columns at a time:
    bias, requantisation with the channel's constants (or, for P.V, with the row's deferred softmax division),
    then int8 / uint8 / activation / int16 with residual. Raw scores leave early, beside their running row maximum.

    Ports
    -----
    tag : from the feeder, in the cycle of its addresses
    context, context_valid : the command, pushed as its first words are fed
    acc : the array's accumulators [cols][rows]
    chan_addr, chan_data : CHAN read port, private
    res_addr, res_valid, res_data : RES read; the drain has priority, so an address is always accepted
    res_next : what res_valid is in the next cycle
    scale_* : row scales from the softmax, [row] of a slot
    score_* : write port of the score ring; row_max_slot, row_max : its maxima
    write, write_to, write_beat, write_res : final beat: control, strobes, bytes, int16 (element p * rows + r)
    table_* : load port of the activation unit
    signal : semaphores signalled in this cycle; done : a command's last beat has been written
    """

    RESIDUAL = Requantiser.LATENCY - SHARED_READ_LATENCY
    """Cycles from a beat's standing before the requantisers to its residual's address."""

    def __init__(self, config: CoreConfig, *, tables: list[int] | None = None):
        self.config = config
        self.activation = ActivationUnit(config, init=tables)
        lanes, columns = config.lanes, config.drain_columns
        beat_bits = ceil_log2(config.key_words * config.word_beats)
        self.score_address = beat_bits + ceil_log2(config.slots)
        super().__init__(
            {
                "tag": In(FeedTag),
                "context": In(ArrayCommand),
                "context_valid": In(1),
                "tokens": In(TOKEN_BITS),
                "acc": In(data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), config.rows), config.cols)),
                "chan_addr": Out(ADDRESS_BITS),
                "chan_data": In(data.ArrayLayout(ChannelParameters, columns)),
                "res_valid": Out(1),
                "res_next": Out(1),
                "res_addr": Out(ADDRESS_BITS),
                "res_data": In(data.ArrayLayout(signed(16), lanes)),
                "scale_valid": In(1),
                "scale_slot": In(range(config.slots)),
                "scale_row": In(range(max(config.rows, 2))),
                "scale_mult": In(16),
                "scale_shift": In(6),
                "score_valid": Out(1),
                "score_addr": Out(self.score_address),
                "score_data": Out(data.ArrayLayout(signed(SCORE_BITS), lanes)),
                "row_max_slot": In(range(config.slots)),
                "row_max": Out(data.ArrayLayout(signed(SCORE_BITS), config.rows)),
                "write": Out(BeatControl),
                "write_to": Out(WriteStrobes),
                "write_beat": Out(data.ArrayLayout(unsigned(8), lanes)),
                "write_res": Out(data.ArrayLayout(signed(16), lanes)),
                "table_en": In(1),
                "table_addr": In(ADDRESS_BITS),
                "table_data": In(64),
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
        return Requantiser.LATENCY + max(2, ActivationUnit.latency(config)) + 1

    @staticmethod
    def write_latency(config: CoreConfig) -> int:
        """Cycles from the feeder's address of a tile's last words to the write strobe of the tile's beat 0."""
        return Drain.beat_latency(config) + Drain.result_latency(config)

    @staticmethod
    def score_latency(config: CoreConfig) -> int:
        """The same of raw scores."""
        return Drain.beat_latency(config) + 1

    @staticmethod
    def score_signal_latency(config: CoreConfig) -> int:
        """Cycles from the last beat of scores before the requantisers to their signal."""
        return RowMaximum.latency(config) + 1

    def elaborate(self, platform):
        m = Module()
        config = self.config
        rows, columns, lanes = config.rows, config.drain_columns, config.lanes
        to_write = self.result_latency(config)

        # Tag of a tile's last words, at the cycle before its first beat's addresses are presented.
        tag = self.tag
        tile_start, command_start = Signal(), Signal()
        for stage in range(self.beat_latency(config) - READ_LATENCY - 1):
            delayed = Signal(FeedTag, name=f"tag{stage}")
            m.d.sync += delayed.eq(tag)
            before, tag = tag, delayed
        m.d.sync += tile_start.eq(before.valid & before.last)
        m.d.sync += command_start.eq(before.valid & before.last & before.first_tile)

        # Commands wait here while their first words travel through the array: at most DRAIN_QUEUE, and never none when
        # one is taken.
        m.submodules.contexts = contexts = memory.Memory(shape=ArrayCommand, depth=DRAIN_QUEUE, init=[])
        push, pop = contexts.write_port(), contexts.read_port(domain="comb")
        pushed, popped = Signal(range(DRAIN_QUEUE)), Signal(range(DRAIN_QUEUE))
        head = Signal(ArrayCommand)
        m.d.comb += [
            push.addr.eq(pushed),
            push.data.eq(self.context),
            push.en.eq(self.context_valid),
            pop.addr.eq(popped),
            head.eq(pop.data),
        ]
        m.d.sync += [pushed.eq(pushed + self.context_valid), popped.eq(popped + command_start)]

        # --- beats: addresses and control of beat 0 stand READ_LATENCY cycles before the beat itself
        context = Signal(ArrayCommand)
        control = Signal(BeatControl)
        slot_bits = ceil_log2(config.slots)
        score_slot = Signal(slot_bits)
        beats_left, last_tile = Signal(range(config.tile_beats + 1)), Signal()
        index = Signal(BEAT_BITS)  # beat within the command
        active = Signal()
        next_beat, wraps = Signal(), Signal()
        m.d.comb += [
            next_beat.eq(tile_start | (active & (beats_left != 0))),
            wraps.eq(
                Mux(
                    context.destination == Destination.KEY,
                    control.lane == config.word_beats - 1,
                    control.lane == config.tile_beats - 1,
                )
            ),
        ]
        m.d.sync += [control.valid.eq(next_beat), control.first.eq(command_start)]
        with m.If(tile_start):
            m.d.sync += [active.eq(1), beats_left.eq(config.tile_beats - 1), last_tile.eq(tag.last_tile)]
            m.d.sync += control.last.eq(tag.last_tile & (config.tile_beats == 1))
        with m.Elif(active):
            m.d.sync += [beats_left.eq(beats_left - 1), control.last.eq(last_tile & (beats_left == 1))]
            with m.If(beats_left == 0):
                m.d.sync += active.eq(0)
        with m.If(command_start):
            m.d.sync += [
                context.eq(head),
                self.chan_addr.eq(head.chan),
                index.eq(0),
                control.result.eq(head.result),
                control.destination.eq(head.destination),
                control.row_scale.eq(head.row_scale),
                control.add.eq(head.add),
                control.table.eq(head.table),
                control.lane.eq(0),
                control.out.eq(head.out),
                control.res.eq(head.res),
                control.signal.eq(head.signal),
            ]
        with m.Elif(next_beat):
            m.d.sync += [
                self.chan_addr.eq(self.chan_addr + 1),
                index.eq(index + 1),
                control.res.eq(control.res + 1),
                control.lane.eq(Mux(wraps, 0, control.lane + 1)),
            ]
            with m.If((context.destination == Destination.ACT) | (context.destination == Destination.RES)):
                m.d.sync += control.out.eq(control.out + 1)
            with m.Elif(wraps):
                m.d.sync += control.out.eq(control.out + context.out_step)

        # stages[READ_LATENCY + d]: control beside a beat d cycles after it left the capture register
        stages = [control]
        for stage in range(READ_LATENCY + to_write):
            delayed = Signal(BeatControl, name=f"control{stage}", reset_less=True)
            m.d.sync += delayed.eq(stages[-1])
            with m.If(ResetSignal(allow_reset_less=True)):  # beats on their way end here; the rest of them may stay
                m.d.sync += delayed.valid.eq(0)
            stages.append(delayed)

        def at(d: int):
            return stages[READ_LATENCY + d]

        # --- capture: column 0 .. drain_columns-1 are this cycle's beat
        captured = Signal(data.ArrayLayout(unsigned(ACC_BITS * rows), config.cols), reset_less=True)
        load = Signal(READ_LATENCY)  # tile_start, READ_LATENCY cycles on: the sums are in the accumulators
        m.d.sync += load.eq(Cat(tile_start, load))
        with m.If(load[READ_LATENCY - 1]):
            m.d.sync += captured.eq(self.acc)
        with m.Else():
            m.d.sync += captured.eq(captured.as_value() >> (ACC_BITS * rows * columns))
        beat = Signal(data.ArrayLayout(signed(ACC_BITS), lanes))
        m.d.comb += beat.eq(captured.as_value())

        # --- scores: raw, with their row maximum
        m.submodules.row_maximum = row_maximum = RowMaximum(config)
        score_index, mask = index, Signal(columns)
        for stage in range(READ_LATENCY):
            delayed = Signal.like(index, name=f"index{stage}", reset_less=True)
            m.d.sync += delayed.eq(score_index)
            if stage == READ_LATENCY - 1:
                m.d.sync += mask.eq(Cat((score_index * columns + p) < self.tokens for p in range(columns)))
            score_index = delayed
        is_score = Signal()
        score_done_signal = [at(0).signal]
        m.d.comb += is_score.eq(at(0).valid & (at(0).result == Format.SCORE))
        m.d.sync += [
            self.score_valid.eq(is_score),
            self.score_addr.eq(Cat(score_index[: self.score_address - slot_bits], score_slot)),
        ]
        for lane in range(lanes):
            m.d.sync += self.score_data[lane].eq(beat[lane])
            m.d.comb += row_maximum.score[lane].eq(beat[lane])
        with m.If(is_score & at(0).last):
            m.d.sync += score_slot.eq(score_slot + 1)
        m.d.comb += [
            row_maximum.valid.eq(is_score),
            row_maximum.first.eq(at(0).first),
            row_maximum.last.eq(at(0).last),
            row_maximum.slot.eq(score_slot),
            row_maximum.mask.eq(mask),
            row_maximum.read_slot.eq(self.row_max_slot),
            self.row_max.eq(row_maximum.row_max),
        ]
        for stage in range(self.score_signal_latency(config)):
            delayed = Signal(SEMAPHORES, name=f"score_signal{stage}", reset_less=True)
            m.d.sync += delayed.eq(score_done_signal[-1])
            score_done_signal.append(delayed)

        # --- row scales: one small memory a row, read as the beat's parameters arrive
        scales = []
        for r in range(rows):
            m.submodules[f"scale{r}"] = ring = memory.Memory(shape=unsigned(22), depth=config.slots, init=[])
            write, read = ring.write_port(), ring.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(self.scale_slot),
                write.data.eq(Cat(self.scale_mult, self.scale_shift)),
                write.en.eq(self.scale_valid & (self.scale_row == r)),
                read.addr.eq(context.a),  # the feeder put the slot here
            ]
            scale, scale_q = (
                Signal(22, name=f"scale{r}_read", reset_less=True),
                Signal(22, name=f"scale{r}_q", reset_less=True),
            )
            m.d.sync += [scale.eq(read.data), scale_q.eq(scale)]
            scales.append(scale_q)

        # --- requantise
        values = Signal(data.ArrayLayout(signed(17), lanes))
        banks = Signal(columns)
        for p in range(columns):
            channel = self.chan_data[p]
            m.d.comb += banks[p].eq(channel.bank)
            for r in range(rows):
                lane = p * rows + r
                m.submodules[f"requantise{lane}"] = requantise = Requantiser(acc_bits=ACC_BITS)
                by_row = at(0).row_scale
                m.d.comb += [
                    requantise.acc.eq(beat[lane]),
                    requantise.bias.eq(Mux(by_row, 0, channel.bias)),
                    requantise.mult.eq(Mux(by_row, scales[r][:16], channel.mult)),
                    requantise.shift.eq(Mux(by_row, scales[r][16:], channel.shift)),
                    values[lane].eq(requantise.value),
                ]
        bank = banks
        for stage in range(Requantiser.LATENCY):
            delayed = Signal(columns, name=f"bank{stage}", reset_less=True)
            m.d.sync += delayed.eq(bank)
            bank = delayed
        done = Requantiser.LATENCY
        m.submodules.activation = activation = self.activation
        m.d.comb += [
            activation.value.eq(values),
            activation.bank.eq(bank),
            activation.table.eq(at(done).table),
            activation.w_en.eq(self.table_en),
            activation.w_addr.eq(self.table_addr),
            activation.w_data.eq(self.table_data),
            self.res_addr.eq(at(self.RESIDUAL).res),
        ]
        reads = at(self.RESIDUAL - 1)
        m.d.comb += self.res_next.eq(reads.valid & reads.add)
        m.d.sync += self.res_valid.eq(self.res_next)

        # --- formats: narrow, add the residual, and wait for the activation
        final = at(to_write - 1)
        for lane in range(lanes):
            value = values[lane]
            int16, res = (
                Signal(signed(16), name=f"int16_{lane}", reset_less=True),
                Signal(signed(16), name=f"res{lane}", reset_less=True),
            )
            total = Signal(signed(16), name=f"total{lane}", reset_less=True)
            m.d.sync += [
                int16.eq(saturate_signed(value, 16)),
                res.eq(Mux(at(done).add, self.res_data[lane], 0)),
                total.eq(saturate_signed(int16 + res, 16)),
            ]
            byte, byte_q = (
                Signal(8, name=f"byte{lane}", reset_less=True),
                Signal(8, name=f"byte{lane}_q", reset_less=True),
            )
            m.d.sync += [
                byte.eq(Mux(at(done).result == Format.UINT8, saturate_unsigned(value, 8), saturate_signed(value, 8))),
                byte_q.eq(byte),
            ]
            wide, narrow = total, byte_q
            for stage in range(done + 2, to_write - 1):
                wide_q = Signal.like(wide, name=f"wide{lane}_{stage}", reset_less=True)
                narrow_q = Signal.like(narrow, name=f"narrow{lane}_{stage}", reset_less=True)
                m.d.sync += [wide_q.eq(wide), narrow_q.eq(narrow)]
                wide, narrow = wide_q, narrow_q
            activated = activation.result[lane]
            for stage in range(done + ActivationUnit.latency(config), to_write - 1):
                delayed = Signal.like(activated, name=f"activated{lane}_{stage}", reset_less=True)
                m.d.sync += delayed.eq(activated)
                activated = delayed
            m.d.sync += [
                self.write_res[lane].eq(wide),
                self.write_beat[lane].eq(Mux(final.result == Format.ACTIVATION, activated, narrow)),
            ]
        write = at(to_write)
        reaches, is_final = Signal(), Signal()
        m.d.comb += reaches.eq(final.valid & (final.result != Format.SCORE))
        m.d.sync += is_final.eq(reaches)
        for name in ("act", "res", "key", "value"):
            m.d.sync += self.write_to[name].eq(reaches & (final.destination == Destination[name.upper()]))
        m.d.comb += [
            self.write.eq(write),
            self.write.valid.eq(is_final),
            self.done.eq(write.valid & write.last),
            self.signal[0].eq(Mux(is_final & write.last, write.signal, 0)),
            self.signal[1].eq(Mux(row_maximum.done, score_done_signal[-1], 0)),
        ]
        in_flight = Signal(range(DRAIN_QUEUE + 1))
        m.d.sync += in_flight.eq(in_flight + self.context_valid - self.done)
        m.d.comb += self.busy.eq(in_flight != 0)
        return m
