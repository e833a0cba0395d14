# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.io.store.StoreEngine`."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from hw import structs
from hw.program.commands import StoreCommand
from hw.program.isa import ADDRESS_BITS, SEMAPHORES
from sim.tb import parameters, start, tick
from sim.tb.streams import StreamSink, StreamSource

PRIME = 251  # distinct words of RES


class Bench:
    """RES, refusing reads at times, and a record of what the engine says."""

    def __init__(self, dut, *, refuse: float):
        self.dut, self.refuse = dut, refuse
        width = 16 * parameters()["lanes"]
        self.width, self.words = width, [random.getrandbits(width) for _ in range(PRIME)]
        self.reads: list[int] = []
        self.signals: list[tuple[int, int]] = []  # words read so far, this one included, and what was signalled
        self.frames = 0  # told by `frame`
        self.lasts = 0  # taken from the stream
        cocotb.start_soon(self._run())

    async def _run(self):
        dut, edge, ready, later, before = self.dut, RisingEdge(self.dut.clk), 0, [0, 0], 0
        while True:
            await edge
            address, taken = int(dut.read_res__addr.value), int(dut.read_res__valid.value) and ready
            if taken:
                self.reads.append(address)
            # What another engine reads arrives at the cycles between.
            later.append(self.words[address % PRIME] if taken else random.getrandbits(self.width))
            dut.read_res__data.value = later.pop(0)
            if int(dut.signal.value):
                assert before and not taken, "signalled, but not just behind a read"
                self.signals.append((len(self.reads), int(dut.signal.value)))
            before = taken
            self.frames += int(dut.frame.value)
            if int(dut.o__valid.value) and int(dut.o__ready.value):
                last = int(dut.o__payload.value) >> 64
                self.lasts += last
                assert int(dut.frame.value) == last
            else:
                assert not int(dut.frame.value)
            ready = int(random.random() >= self.refuse)
            dut.read_res__ready.value = ready

    def expect(self, commands: list[dict]) -> list[int]:
        """The stream's words, ``last`` above the data."""
        words = []
        for command in commands:
            for beat in range(command["beats"]):
                value = self.words[(command["src"] + beat) % (1 << ADDRESS_BITS) % PRIME]
                parts = [value >> at & ((1 << 64) - 1) for at in range(0, self.width, 64)]
                final = beat == command["beats"] - 1 and command["last"]
                words += [part | (final and number == len(parts) - 1) << 64 for number, part in enumerate(parts)]
        return words


@cocotb.test()
async def stores_row_blocks(dut):
    """Commands of every length: words, frame ends, signals and their time, whatever stalls."""
    await start(dut, limit=100_000)
    stalls = {name: parameters()[name] for name in ("refuse", "sink", "source")}
    bench = Bench(dut, refuse=stalls["refuse"])
    sink = StreamSink(dut, "o", stall=stalls["sink"])
    source = StreamSource(dut, "command", stall=stalls["source"])
    commands = [_command() for _ in range(60)]
    source.send(structs.pack(StoreCommand, command) for command in commands)
    expected = bench.expect(commands)
    got = await sink.receive(len(expected))
    assert got == expected
    await sink.expect_nothing()
    assert bench.frames == sum(command["last"] for command in commands)
    reads, signals = [], []
    for command in commands:
        reads += [(command["src"] + beat) % (1 << ADDRESS_BITS) for beat in range(command["beats"])]
        signals += [(len(reads), command["signal"])] if command["signal"] else []
    assert bench.reads == reads
    assert bench.signals == signals
    assert int(dut.busy.value) == 0


@cocotb.test()
async def reads_no_more_than_it_can_hold(dut):
    """An output that waits for ever stops the reads, and ``busy`` stays until all is out."""
    await start(dut, limit=5000)
    bench = Bench(dut, refuse=0.0)
    source = StreamSource(dut, "command", stall=0.0)
    command = _command(beats=40, last=1)
    source.send([structs.pack(StoreCommand, command)])
    await tick(dut, 100)
    assert 4 <= len(bench.reads) < 40
    assert int(dut.busy.value) == 1
    sink = StreamSink(dut, "o", stall=0.5)
    assert await sink.receive(len(bench.expect([command]))) == bench.expect([command])
    await tick(dut, 5)
    assert int(dut.busy.value) == 0


@cocotb.test()
async def a_word_a_cycle(dut):
    """Where nothing stalls, the words of a command leave in consecutive cycles, the first five after the command."""
    await start(dut, limit=5000)
    dut.o__ready.value = 1
    bench = Bench(dut, refuse=0.0)
    await tick(dut, 3)
    dut.command__payload.value = structs.pack(StoreCommand, _command(beats=40))
    dut.command__valid.value = 1
    await tick(dut)
    dut.command__valid.value = 0
    times = []
    words = 40 * -(-bench.width // 64)
    for cycle in range(1, words + 20):
        await tick(dut)
        if int(dut.o__valid.value):
            times.append(cycle)
    assert times == list(range(6, 6 + words))


def _command(**chosen) -> dict:
    top = (1 << ADDRESS_BITS) - 1
    return {
        "wait": random.getrandbits(SEMAPHORES),
        "signal": random.choice([0, random.getrandbits(SEMAPHORES), 1 << random.randrange(SEMAPHORES)]),
        "last": random.getrandbits(1),
        "beats": random.choice([1, 1, 2, 3, random.randint(1, 30)]),
        "src": random.choice([0, top, top - 2, random.getrandbits(ADDRESS_BITS)]),
    } | chosen
