# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.io.loader.Loader`."""

import random
import zlib

import cocotb
from cocotb.triggers import RisingEdge

from hw import structs
from hw.io.loader import LOAD_ERRORS
from hw.program.isa import Semaphore
from hw.program.loads import InputRegion, PacketHeader, Target
from sim.tb import parameters, start, tick
from sim.tb.streams import StreamSource

FREE, FULL = 1 << Semaphore.INPUT_FREE, 1 << Semaphore.INPUT_FULL


class Reference:
    """What packets must come to: writes and takes in order, signals in order, errors by kind, and the CRC."""

    def __init__(self, units: dict[int, int], region: int, rows: int, row_blocks: int, crc: int = 0):
        self.units, self.rows, self.row_blocks, self.crc = units, rows, row_blocks, crc
        self.region = structs.record(InputRegion, region)
        self.events: list = []
        self.signals: list[int] = []
        self.errors = dict.fromkeys(LOAD_ERRORS, 0)
        self.written = 0

    def packet(self, words: list[int]) -> None:
        """A header and its data."""
        header, data = structs.record(PacketHeader, words[0]), words[1:]
        target, address = words[0] & 0xF, header.address
        if not header.input:
            self.crc = zlib.crc32(b"".join(word.to_bytes(8, "little") for word in words), self.crc)
            self.written += 1
        if target not in self.units or header.reserved:
            self.errors["header"] += 1
            return
        room = 1 << 30
        if header.input:
            here = (self.region.target.value, self.region.address)
            if (target, address) != here or not data or not self.region.words:
                self.errors["input"] += 1
                return
            room = self.region.words * -(-self.region.tokens // self.rows)
            self.events.append("take")
        for number, word in enumerate(data[:room]):
            if address + number < self.units[target]:
                self.events.append((target, address + number, word))
            else:
                self.errors["range"] += 1
        if header.input:
            suits = len(data) == self.row_blocks * self.region.words
            self.errors["input"] += not suits
            self.signals.append(FULL if suits else FREE)
            self.events.append("end")
        if target == Target.REGION.value and data and address == 0:
            self.region = structs.record(InputRegion, data[0])


@cocotb.test()
async def writes_what_fits(dut):
    """Packets of every kind, right and wrong: just the right ones have an effect, and each wrong one is named."""
    await start(dut, limit=200_000)
    given = parameters()
    units = {int(target): count for target, count in given["units"].items()}
    reference = Reference(units, given["region"], given["rows"], given["row_blocks"], given["crc"])
    words = []
    for packet in (_packet(reference) for _ in range(150)):
        words += packet
        reference.packet(packet)
    dut.row_blocks.value = given["row_blocks"]
    source = StreamSource(dut, "i", stall=given["source_stall"])
    source.send(words)
    edge, idle, held, ready, free, waiting = RisingEdge(dut.clk), 0, None, 0, True, 0
    open_input, to_give = False, 0
    events, signals = list(reference.events), list(reference.signals)
    errors, written = dict.fromkeys(LOAD_ERRORS, 0), 0
    while idle < 300:
        await edge
        idle = 0 if events or signals else idle + 1
        take, signal = int(dut.take.value), int(dut.signal.value)
        if take:
            assert take == FREE and free, "took what was not there"
            assert events.pop(0) == "take"
            free = False
        offered = tuple(int(port.value) for port in (dut.load__target, dut.load__addr, dut.load__data))
        write = offered if int(dut.load__valid.value) else None
        assert held is None or write == held, "a write was changed before it was done"
        if write and ready:
            assert events.pop(0) == write
        held = None if ready else write
        assert not write or int(dut.busy.value)
        if events and events[0] == "end":
            events.pop(0)
            open_input = True
        if signal:
            assert open_input and signal == signals.pop(0)
            assert waiting, "signalled for no pass"
            open_input = False
            waiting -= signal == FULL
            free, to_give = signal == FREE, to_give + (signal == FULL)
        for bit, name in enumerate(LOAD_ERRORS):
            errors[name] += int(dut.errors.value) >> bit & 1
        written += int(dut.written.value)
        begun = waiting < 3 and random.random() < given["begin"]
        waiting += begun
        if to_give and not free and random.random() >= given["scarce"]:
            free, to_give = True, to_give - 1
        others = random.getrandbits(given["semaphores"]) & ~FREE
        ready = int(random.random() >= given["refuse"])
        dut.positive.value, dut.load__ready.value, dut.begun.value = others | free * FREE, ready, int(begun)
    assert errors == reference.errors and written == reference.written
    assert all(errors.values()), "a kind of error was not tried"
    assert int(dut.busy.value) == 0
    assert int(dut.crc.value) == reference.crc
    dut.clear_crc.value = 1
    await tick(dut)
    dut.clear_crc.value = 0
    await tick(dut, 2)
    assert int(dut.crc.value) == 0
    await source.drained()


@cocotb.test()
async def a_word_a_cycle(dut):
    """Where neither side stalls: n words take n cycles, and a packet four more, for its header and its end."""
    await start(dut, limit=1000)
    dut.load__ready.value = 1
    source = StreamSource(dut, "i", stall=0.0)
    for packet in range(3):
        source.send([_header(Target.W, 0, 20 * packet, 20), *range(20)])
    times = []
    for cycle in range(100):
        await tick(dut)
        if int(dut.load__valid.value):
            times.append(cycle)
    assert [b - a for a, b in zip(times, times[1:], strict=False)] == ([1] * 19 + [5]) * 2 + [1] * 19


@cocotb.test()
async def no_input_without_a_region(dut):
    """Where REGION is all zeros no input packet is taken; a load of REGION changes that, and no reset undoes it."""
    await start(dut, limit=1000)
    dut.load__ready.value, dut.positive.value, dut.row_blocks.value = 1, FREE, 1
    source = StreamSource(dut, "i", stall=0.0)
    region = {"target": Target.ACT, "address": 0, "words": 2, "tokens": 1, "reserved": 0}
    packet = [_header(Target.ACT, 1, 0, 2), 5, 6]

    async def outcome() -> tuple[int, int, int]:
        seen = [0, 0, 0]
        for cycle in range(40):
            dut.begun.value = int(cycle == 20)
            await tick(dut)
            for number, port in enumerate((dut.errors, dut.take, dut.signal)):
                seen[number] |= int(port.value)
        errors, take, signal = seen
        return errors, take, signal

    input_error = 1 << list(LOAD_ERRORS).index("input")
    source.send([_header(Target.REGION, 0, 0, 1), 0, *packet])
    assert await outcome() == (input_error, 0, 0)
    source.send([_header(Target.REGION, 0, 0, 1), structs.pack(InputRegion, region)])
    assert await outcome() == (0, 0, 0)
    assert int(dut.tokens.value) == 1
    dut.rst.value = 1
    await tick(dut, 2)
    dut.rst.value = 0
    source.send(packet)
    assert await outcome() == (0, FREE, FULL)


def _packet(reference: Reference) -> list[int]:
    """A packet of some kind: more are right than wrong."""
    region, kind, units = reference.region, random.random(), reference.units
    right = reference.row_blocks * region.words
    target, address, is_input = region.target, region.address, kind < 0.6
    if kind < 0.3:
        count = right
    elif kind < 0.5:
        room = region.words * -(-region.tokens // reference.rows)
        count = random.choice([0, 1, right - 1, right + 1, right + region.words, room, room + 1, 2 * room])
    elif kind < 0.55:
        count, address = right, address + random.choice([-1, 1])
    elif kind < 0.6:
        count, target = right, random.choice([Target.W, Target.RES, Target.REGION])
    else:
        target = random.choice([target for target in Target if target != Target.REGION])
        count, size = random.choice([0, 1, 1, 2, 3, random.randint(0, 30)]), units[target.value]
        address = random.choice([0, max(size - count, 0), size, size - 1, (1 << 24) - 40, random.randrange(size)])
    header = _header(target, is_input, address, count)
    if kind > 0.9:
        header = header & ~0xF | random.choice([9, 12, 15]) if kind > 0.95 else header | 1 << random.randint(53, 63)
    return [header, *(random.getrandbits(64) for _ in range(count))]


def _header(target: Target, is_input: int, address: int, count: int) -> int:
    header = {"target": target, "input": is_input, "address": address, "count": count, "reserved": 0}
    return structs.pack(PacketHeader, header)
