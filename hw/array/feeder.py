# SPDX-License-Identifier: SHL-2.1
"""Feeder: turns an ARRAY command into the addresses of its operand words, a pair each cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..program.commands import ArrayCommand
from ..program.isa import ADDRESS_BITS, BEAT_BITS, TILE_BITS, ASource, BSource

__all__ = ["Feeder", "FeedTag"]


class FeedTag(data.Struct):
    """What travels down the array beside a pair of operand words."""

    valid: unsigned(1)
    first: unsigned(1)  # first contraction word of a tile
    last: unsigned(1)  # last contraction word of a tile
    first_tile: unsigned(1)
    last_tile: unsigned(1)
    prob: unsigned(1)  # A from PROB
    kv: unsigned(1)  # B from KV
    a_unsigned: unsigned(1)


class Feeder(wiring.Component):
    """Walks a command's tiles and contraction words: ``A[a + k]``, ``B[b + tile * b_n + k * b_k]``.

    A tile takes ``max(k, tile_beats)`` cycles and is fed in the last ``k`` of them, so that its results have left the
    drain before those of the next tile arrive, whatever the contraction lengths of the two; commands follow one
    another without a bubble. The first tile's cycles begin ``LATENCY`` cycles after the command was taken. With
    PROB as A operand, the address is that of the ring's current slot, which then advances.

    ``context`` carries the command, with the PROB slot in ``a``, to the drain as the command is taken.
    """

    LATENCY = 1

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "command": In(stream.Signature(ArrayCommand)),
                "a_addr": Out(ADDRESS_BITS),
                "b_addr": Out(ADDRESS_BITS),
                "tag": Out(FeedTag),
                "context": Out(ArrayCommand),
                "context_valid": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slot_bits, word_bits = ceil_log2(config.slots), ceil_log2(config.key_words)
        beats = config.tile_beats

        command = self.command.payload
        slot = Signal(slot_bits)
        start = Signal()
        active = Signal()
        current = Signal(ArrayCommand)
        b_tile = Signal(ADDRESS_BITS)
        a_start = Signal(ADDRESS_BITS)
        last_cycle = Signal(BEAT_BITS)
        tiles_left, cycles_left = Signal(TILE_BITS), Signal(BEAT_BITS)
        feeding, full, starts_full = Signal(), Signal(), Signal()
        first, first_tile = Signal(), Signal()
        # Decided a cycle ahead, since much hangs on them: last cycle of a tile, last tile, room for a command (always
        # so in the last cycle of the last tile, or if no command is under way).
        tile_end, last_tile, free = Signal(), Signal(), Signal(init=1)
        m.d.comb += [
            start.eq(self.command.valid & free),
            self.command.ready.eq(free),
            self.tag.eq(
                Cat(
                    feeding,
                    first,
                    tile_end,
                    first_tile,
                    last_tile,
                    current.a_source == ASource.PROB,
                    current.b_source == BSource.KV,
                    current.a_unsigned,
                )
            ),
            self.context.eq(command),
            self.context.a.eq(slot),
            self.context_valid.eq(start),
            self.busy.eq(active),
        ]
        from_prob = command.a_source == ASource.PROB
        a_first = Signal(ADDRESS_BITS)
        cycles = Signal.like(last_cycle)
        single = Signal()  # tiles of one cycle
        m.d.comb += [
            a_first.eq(Mux(from_prob, Cat(Const(0, word_bits), slot), command.a)),
            starts_full.eq(command.k >= beats),
            cycles.eq(Mux(starts_full, command.k - 1, beats - 1)),
        ]
        # Between commands the registers may hold anything: they follow what is offered, valid or not. Addresses need
        # no enable, which keeps their way short.
        with m.If(free):
            m.d.sync += [
                current.eq(command),
                active.eq(start),
                full.eq(starts_full),
                feeding.eq(start & starts_full),
                first.eq(starts_full),
                first_tile.eq(1),
                self.a_addr.eq(a_first),
                a_start.eq(a_first),
                self.b_addr.eq(command.b),
                b_tile.eq(command.b + command.b_n),
                last_cycle.eq(cycles),
                cycles_left.eq(cycles),
                tiles_left.eq(command.n - 1),
                single.eq(cycles == 0),
                tile_end.eq(start & (cycles == 0)),
                last_tile.eq(command.n == 1),
                free.eq(~start | ((cycles == 0) & (command.n == 1))),
                slot.eq(slot + (start & from_prob)),
            ]
        with m.Elif(tile_end):  # and it is not the last tile's
            m.d.sync += [
                feeding.eq(full),
                first.eq(full),
                first_tile.eq(0),
                self.a_addr.eq(a_start),
                self.b_addr.eq(b_tile),
                b_tile.eq(b_tile + current.b_n),
                cycles_left.eq(last_cycle),
                tiles_left.eq(tiles_left - 1),
                tile_end.eq(single),
                last_tile.eq(tiles_left == 1),
                free.eq(single & (tiles_left == 1)),
            ]
        with m.Else():
            m.d.sync += [
                cycles_left.eq(cycles_left - 1),
                tile_end.eq(cycles_left == 1),
                free.eq((cycles_left == 1) & last_tile),
                first.eq(cycles_left == current.k),
                self.a_addr.eq(self.a_addr + feeding),
                self.b_addr.eq(self.b_addr + Mux(feeding, current.b_k, 0)),
            ]
            with m.If(cycles_left == current.k):
                m.d.sync += feeding.eq(1)
        return m
