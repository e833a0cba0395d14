# SPDX-License-Identifier: SHL-2.1
"""First stage of the drain: which beat comes next, where it goes, and what it needs."""

from amaranth.hdl import Module, Mux, ResetSignal, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..array.feeder import FeedTag
from ..config import CoreConfig
from ..pipeline import delay
from ..program.commands import ArrayCommand
from ..program.isa import ADDRESS_BITS, BEAT_BITS, SEMAPHORES, Destination, Format

__all__ = ["BeatControl", "BeatCounter", "DRAIN_QUEUE", "WriteStrobes", "beat_stages"]

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


def beat_stages(m: Module, control: Signal | data.View, cycles: int) -> list[Signal | data.View]:
    """``control`` and, at index n, ``control`` as it was n cycles ago. A reset ends all beats on their way."""
    found = [control]
    for stage in range(cycles):
        delayed = Signal(BeatControl, name=f"control{stage}", reset_less=True)
        m.d.sync += delayed.eq(found[-1])
        with m.If(ResetSignal(allow_reset_less=True)):  # the rest of them may stay
            m.d.sync += delayed.valid.eq(0)
        found.append(delayed)
    return found


class BeatCounter(wiring.Component):
    """Turns the tag of a tile's last words into the tile's beats, one in each of the following cycles.

    Parameters
    ----------
    config : CoreConfig
    latency : int
        Cycles from ``tag`` to ``tile``.

    Attributes
    ----------
    tag : in, FeedTag
        From the feeder, in the cycle of its addresses.
    context, context_valid : in, ArrayCommand, 1
        A command, as its first words are fed.
    tile : out
        The sums of a tile's last words are in the accumulators READ_LATENCY cycles later.
    control : out, BeatControl
        Of a beat, READ_LATENCY cycles before the beat itself; beat 0 comes the cycle after ``tile``.
    index : out, unsigned(BEAT_BITS)
        Of that beat within its command.
    chan_addr : out, unsigned(ADDRESS_BITS)
        CHAN word of that beat.
    prob_slot : out, unsigned(ADDRESS_BITS)
        Slot of the probability ring that the command takes its A operand from, where it does.
    """

    def __init__(self, config: CoreConfig, *, latency: int):
        self.config, self.latency = config, latency
        super().__init__(
            {
                "tag": In(FeedTag),
                "context": In(ArrayCommand),
                "context_valid": In(1),
                "tile": Out(1),
                "control": Out(BeatControl),
                "index": Out(BEAT_BITS),
                "chan_addr": Out(ADDRESS_BITS),
                "prob_slot": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, control = self.config, self.control
        before = delay(m, self.tag, self.latency - 1, name="tag", reset=True)
        tag = delay(m, before, 1, name="last_tag", reset=True)
        command_start = Signal()
        m.d.sync += self.tile.eq(before.valid & before.last)
        m.d.sync += command_start.eq(before.valid & before.last & before.first_tile)
        head = self._commands(m, command_start)

        context = Signal(ArrayCommand)
        beats_left, last_tile = Signal(range(config.tile_beats + 1)), Signal()
        active = Signal()
        next_beat, wraps = Signal(), Signal()
        m.d.comb += [
            self.prob_slot.eq(context.a),  # the feeder put the slot here
            next_beat.eq(self.tile | (active & (beats_left != 0))),
            wraps.eq(
                Mux(
                    context.destination == Destination.KEY,
                    control.lane == config.word_beats - 1,
                    control.lane == config.tile_beats - 1,
                )
            ),
        ]
        m.d.sync += [control.valid.eq(next_beat), control.first.eq(command_start)]
        with m.If(self.tile):
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
                self.index.eq(0),
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
                self.index.eq(self.index + 1),
                control.res.eq(control.res + 1),
                control.lane.eq(Mux(wraps, 0, control.lane + 1)),
            ]
            with m.If((context.destination == Destination.ACT) | (context.destination == Destination.RES)):
                m.d.sync += control.out.eq(control.out + 1)
            with m.Elif(wraps):
                m.d.sync += control.out.eq(control.out + context.out_step)
        return m

    def _commands(self, m: Module, taken: Signal) -> Signal:
        """The oldest of the commands whose first words travel through the array: at most DRAIN_QUEUE, never none."""
        contexts: memory.Memory = memory.Memory(shape=ArrayCommand, depth=DRAIN_QUEUE, init=[])
        m.submodules.contexts = contexts
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
        m.d.sync += [pushed.eq(pushed + self.context_valid), popped.eq(popped + taken)]
        return head
