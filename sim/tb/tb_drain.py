# SPDX-License-Identifier: Apache-2.0
"""Testbench of feeder, array and :class:`hw.drain.drain.Drain` together: every output, in every cycle, against golden.

The bench sees when the last words of a tile are addressed; from there on the latencies that the drain documents say in
which cycle each of its outputs must come, and golden says what it is.
"""

import random
from collections import defaultdict

import cocotb
from cocotb.triggers import RisingEdge

from hw import structs
from hw.array.feeder import FeedTag
from hw.drain.beats import BeatControl
from hw.program import loads
from hw.program.commands import ArrayCommand
from hw.program.isa import SEMAPHORES, ASource, Format
from sim.tb import parameters, rng, start, tick
from sim.tb.drained import ADDRESSES, EXTREME, EXTREME_TOO, OPERANDS, SCORE_CONTRACTION, Expected, Model
from sim.tb.streams import StreamSource, unpack


class Bench:
    """Memories and a cycle-exact monitor round the device."""

    def __init__(self, dut, model: Model, *, stall: float):
        self.dut, self.model = dut, model
        self.source = StreamSource(dut, "command", stall=stall)
        self.queue: list[Expected] = []  # commands whose tiles are still to be fed
        self.tile = 0
        self.cycle, self.passed, self.done = 0, 0, 0
        self.commands: list[dict] = []
        self.scores: dict[int, tuple] = {}
        self.writes: dict[int, tuple] = {}
        self.dones: set[int] = set()
        self.signals: tuple[defaultdict, defaultdict] = defaultdict(int), defaultdict(int)
        self.maxima: dict[int, tuple[int, int]] = {}
        self.reads: list[int] = []
        self.accepted: list[int] = []
        self.addressed: list[int] = []

    async def setup(self):
        """Fills scales and tables."""
        dut, model = self.dut, self.model
        await self.set_scales()
        if parameters()["gelu"] == "table":
            entries = model.tables.reshape(-1).tolist()
        else:
            entries = [structs.pack(loads.GeluParameters, gelu) for gelu in model.gelu]
        dut.write_table__en.value = 1
        for address, entry in enumerate(entries):
            dut.write_table__addr.value, dut.write_table__data.value = address, entry
            await tick(dut)
        dut.write_table__en.value = 0
        dut.write_table__addr.value, dut.write_table__data.value = 1, random.getrandbits(64)
        cocotb.start_soon(self._run())
        cocotb.start_soon(self._semaphores())

    async def set_scales(self):
        """Writes every row scale."""
        dut, model = self.dut, self.model
        dut.scales__valid.value = 1
        for slot in range(model.slots):
            for row in range(model.rows):
                dut.scales__slot.value, dut.scales__row.value = slot, row
                dut.scales__scale.value = int(model.scale_mult[slot, row]) | int(model.scale_shift[slot, row]) << 16
                await tick(dut)
        dut.scales__valid.value = 0

    def send(self, commands: list[dict]):
        expected = [self.model.run(command) for command in commands]
        self.queue += expected
        self.commands += commands
        self.source.send(structs.pack(ArrayCommand, command) for command in commands)

    async def finish(self):
        """Waits until everything has been written, then sees that nothing more comes."""
        while self.done < len(self.commands):
            await tick(self.dut)
        await tick(self.dut, 40)
        assert not (self.queue or self.scores or self.writes or self.dones or self.maxima)
        assert not any(self.signals) and not self.reads and int(self.dut.busy.value) == 0

    async def _semaphores(self):
        """Every semaphore is positive at times; once it is, it stays so until taken."""
        dut, edge, positive = self.dut, RisingEdge(self.dut.clk), 0
        while True:
            await edge
            positive &= ~int(dut.take.value)
            positive |= random.getrandbits(SEMAPHORES) | random.getrandbits(SEMAPHORES)
            dut.positive.value = positive

    async def _run(self):
        dut, model, edge = self.dut, self.model, RisingEdge(self.dut.clk)
        later = [dict.fromkeys((*OPERANDS, "drain_read_chan__data", "drain_read_res__data"), 0)]
        ring: dict[int, int] = {}  # row maxima as they stand
        slot = None
        ports = {name: getattr(dut, name) for name in later[0]}
        residual = 0  # comes a cycle later than the others
        while True:
            await edge
            self.cycle += 1
            a, b = int(dut.array_read_act__addr.value), int(dut.array_read_w__addr.value)
            assert (int(dut.array_read_prob__addr.value), int(dut.array_read_kv__addr.value)) == (a, b)
            chan, res = int(dut.drain_read_chan__addr.value), int(dut.drain_read_res__addr.value)
            res_valid = int(dut.drain_read_res__valid.value)
            later.append(
                {
                    "array_read_act__data": model.act.words[model.act.index(a)],
                    "array_read_prob__data": model.prob.words[model.prob.index(a)],
                    "array_read_w__data": model.w.words[model.w.index(b)],
                    "array_read_kv__data": model.kv.words[model.kv.index(b)],
                    "drain_read_chan__data": model.chan.words[model.chan.index(chan)],
                    "drain_read_res__data": residual,
                }
            )
            residual = model.res.words[model.res.index(res)] if res_valid else self.cycle
            for name, word in later.pop(0).items():
                ports[name].value = word

            self._gate()
            self._feed(a, b)
            if res_valid:
                assert self.reads and res == self.reads.pop(0)
            self._outputs()
            if self.cycle in self.maxima:
                written, value = self.maxima.pop(self.cycle)
                ring[written] = value
            if slot in ring:
                assert int(dut.maxima__maxima.value) == ring[slot], f"row maxima of slot {slot}"
            slot = random.randrange(model.slots)
            dut.maxima__slot.value = slot

    def _gate(self):
        """``pending``, and how many are ever in flight. What is written in this cycle has not been seen yet."""
        if int(self.dut.passed.value):
            command = self.commands[self.passed]
            assert self.passed - self.done <= command["pending"]
            assert int(self.dut.take.value) == command["wait"]
            assert not command["wait"] & ~int(self.dut.positive.value)
            self.passed += 1
        else:
            assert int(self.dut.take.value) == 0

    def _feed(self, a: int, b: int):
        """At the last words of a tile, notes what must come of it, and when."""
        tag, model = int(self.dut.feed.value), self.model
        flag = {name: tag >> at.offset & 1 for name, at in FeedTag.as_shape()}
        if not (flag["valid"] and flag["last"]):
            return
        expected = self.queue[0]
        command, tile = expected.command, self.tile
        last_tile = tile == command["n"] - 1
        assert (flag["first_tile"], flag["last_tile"]) == (tile == 0, last_tile)
        for beat in range(model.beats):
            number = tile * model.beats + beat
            last = last_tile and beat == model.beats - 1
            written = self.cycle + parameters()["write_latency"] + beat
            if command["result"] == Format.SCORE:
                at = self.cycle + parameters()["score_latency"] + beat
                self.scores[at] = expected.out[number], expected.data[number]
                if last:
                    readable = at + parameters()["maximum_latency"]
                    self.maxima[readable] = expected.slot, expected.maxima
                    self.signals[1][readable] = command["signal"]
            else:
                self.writes[written] = command, expected.out[number], expected.lane[number], expected.data[number]
                if command["add"]:
                    self.reads.append((command["res"] + number) % ADDRESSES)
                if last:
                    self.signals[0][written] = command["signal"]
            if last:
                self.dones.add(written)
        self.tile = 0 if last_tile else tile + 1
        if last_tile:
            self.queue.pop(0)

    def _outputs(self):
        """Exactly what is due in this cycle."""
        dut, cycle = self.dut, self.cycle
        score = self.scores.pop(cycle, None)
        assert int(dut.drain_write_score__en.value) == (score is not None), f"score strobe, due is {score}"
        if score:
            port = dut.drain_write_score__addr, dut.drain_write_score__data
            assert tuple(int(part.value) for part in port) == score
        write = self.writes.pop(cycle, None)
        control = int(dut.result__control.value)
        got = {name: control >> at.offset & ((1 << at.width) - 1) for name, at in BeatControl.as_shape()}
        assert got["valid"] == (write is not None), f"write strobe, due is {write}"
        if write:
            command, out, lane, data = write
            assert (got["destination"], got["out"]) == (command["destination"].value, out)
            assert lane is None or got["lane"] == lane
            port, bits = (dut.result__wide, 16) if command["result"] == Format.INT16 else (dut.result__narrow, 8)
            value = int(port.value)
            assert value == data, (
                f"{command['result'].name} at {out}: {unpack([value], bits, self.model.lanes).tolist()}, "
                f"not {unpack([data], bits, self.model.lanes).tolist()}: {command}"
            )
        assert int(dut.done.value) == (cycle in self.dones)
        if cycle in self.dones:
            self.dones.remove(cycle)
            self.done += 1
        signal = int(dut.signal.value)
        due = tuple(signals.pop(cycle, 0) for signals in self.signals)
        assert (signal & (1 << SEMAPHORES) - 1, signal >> SEMAPHORES) == due, "semaphores signalled"
        if write or score:
            assert int(dut.busy.value) & 2


@cocotb.test()
async def random_commands(dut):
    """Every format to every destination, back to back."""
    await _random_commands(dut, stall=0.0)


@cocotb.test()
async def random_commands_with_gaps(dut):
    """The same with an array that is idle at times."""
    await _random_commands(dut, stall=0.95)


async def _random_commands(dut, *, stall: float):
    """In three batches, with row scales and lengths of their own."""
    await start(dut, limit=100_000)
    model = Model()
    bench = Bench(dut, model, stall=stall)
    await bench.setup()
    for tokens in (1, parameters()["max_tokens"], random.randint(2, parameters()["max_tokens"] - 1)):
        model.tokens = tokens
        dut.tokens.value = tokens
        model.scale_mult = rng().integers(0, 1 << 16, model.scale_mult.shape)
        model.scale_shift = rng().integers(15, 40, model.scale_shift.shape)
        await bench.set_scales()
        bench.send([model.random_command() for _ in range(40)])
        await bench.finish()


@cocotb.test()
async def short_tiles_back_to_back(dut):
    """One word a tile and one tile a command, scores and writes in turn: the densest traffic of control."""
    await start(dut, limit=100_000)
    model = Model()
    bench = Bench(dut, model, stall=0.0)
    await bench.setup()
    dut.tokens.value = model.tokens = 3
    long = {"k": 9, "n": 1, "pending": 6, "wait": 0}
    short = {"k": 1, "n": 1, "pending": 6, "wait": 0}
    commands = [model.random_command(**random.choice([short, short, short, long])) for _ in range(120)]
    bench.send(commands)
    await bench.finish()


@cocotb.test()
async def largest_accumulators(dut):
    """4096 products of 255 or -128 by -128 or 127, and the longest scores, lose no bit."""
    await start(dut, limit=100_000)
    model = Model()
    bench = Bench(dut, model, stall=0.3)
    await bench.setup()
    dut.tokens.value = model.tokens = parameters()["max_tokens"]
    commands = []
    for a in (EXTREME, EXTREME_TOO):
        for b in (EXTREME, EXTREME_TOO):
            extreme = {"a": a, "b": b, "b_n": 1, "b_k": 1, "a_source": ASource.ACT, "row_scale": 0, "n": 1}
            for result in (Format.INT16, random.choice([Format.INT8, Format.UINT8, Format.ACTIVATION])):
                k, unsigned = min(4096 // model.depth, 1023), random.getrandbits(1)
                commands.append(model.random_command(result=result, k=k, a_unsigned=unsigned, **extreme))
            k = (SCORE_CONTRACTION - 1) // model.depth
            commands.append(model.random_command(result=Format.SCORE, k=k, a_unsigned=0, **extreme))
    bench.send(commands)
    await bench.finish()


@cocotb.test()
async def reset_ends_everything(dut):
    """Of commands in flight at a one-cycle reset nothing is written afterwards, and the next ones start from slot 0."""
    await start(dut, limit=100_000)
    for delay in (5, 20, 35, 50):
        dut.command__payload.value = structs.pack(ArrayCommand, Model().random_command(k=1, n=8, wait=0))
        dut.command__valid.value = 1
        await tick(dut, delay)
        dut.command__valid.value, dut.rst.value = 0, 1
        await tick(dut)
        dut.rst.value = 0
        for _ in range(parameters()["write_latency"] + 10):
            await tick(dut)
            strobes = (dut.drain_write_score__en, dut.drain_read_res__valid, dut.done, dut.signal, dut.busy)
            assert not any(int(strobe.value) for strobe in strobes) and not int(dut.result__control.value) & 1
    model = Model()
    bench = Bench(dut, model, stall=0.0)
    await bench.setup()
    dut.tokens.value = model.tokens = 7
    bench.send([model.random_command(pending=6, wait=0) for _ in range(10)])
    await bench.finish()
