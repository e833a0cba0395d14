# SPDX-License-Identifier: Apache-2.0
"""Testbench of feeder, array and :class:`hw.drain.drain.Drain` together: every output, in every cycle, against golden.

The bench sees when the last words of a tile are addressed; from there on the latencies that the drain documents say in
which cycle each of its outputs must come, and golden says what it is.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hw import structs
from hw.array.feeder import FeedTag
from hw.drain.beats import BeatControl
from hw.program import isa, loads
from hw.program.commands import ArrayCommand
from hw.program.isa import SEMAPHORES, ASource, BSource, Destination, Format
from sim import golden
from sim.tb import built, parameters, rng, start, tick
from sim.tb.streams import StreamSource, pack, unpack

ADDRESSES = 1 << isa.ADDRESS_BITS
# Operand words from here on are all ones and the lowest byte, from there on the lowest and the highest (of A and of B).
EXTREME, EXTREME_TOO = ADDRESSES - 4096, ADDRESSES - 2048
SCORE_CONTRACTION = 512  # a score of fewer products than this fits
PRIME = 251  # distinct words of a memory
OPERANDS = [f"array_read_{name}__data" for name in ("act", "prob", "w", "kv")]


class Memory:
    """``data(address)`` of a read-only memory too large to fill: [lanes] integers of ``bits`` each."""

    def __init__(self, lanes: int, bits: int, extremes: tuple[int, int] = (0, 0)):
        random_numbers = rng()
        values = random_numbers.integers(-(1 << (bits - 1)), 1 << (bits - 1), (PRIME, lanes))
        values[:6] = random_numbers.choice([-(1 << (bits - 1)), -1, 0, 1, (1 << (bits - 1)) - 1], (6, lanes))
        self.values = np.vstack([values, *(np.full((1, lanes), extreme) for extreme in extremes)])
        self.words = pack(self.values, bits)

    def index(self, address: int) -> int:
        """Which of the distinct words."""
        if address >= EXTREME:
            return PRIME + (address >= EXTREME_TOO)
        return address % PRIME


class Channels(Memory):
    """CHAN: shifts such that results of every size occur, biases such that no sum leaves 32 bits."""

    def __init__(self, columns: int):
        draw, shape = rng(), (PRIME + 2, columns)
        limit = 1 << 30
        self.bias = draw.integers(-limit, limit, shape) >> draw.choice([0, 8, 16, 20, 30], shape)
        self.mult = draw.integers(0, 1 << 16, shape)
        self.shift = np.where(draw.random(shape) < 0.8, draw.integers(18, 34, shape), draw.integers(1, 64, shape))
        self.bank = draw.integers(0, 2, shape)
        fields = zip(self.bias & 0x7FFFFFFF, self.mult, self.shift, self.bank, strict=True)
        packed = [
            b | (m << 31) | (s << 47) | (k << 53) for b, m, s, k in ([x.astype(object) for x in f] for f in fields)
        ]
        assert [f.offset for _, f in loads.ChannelParameters.as_shape()] == [0, 31, 47, 53, 54]
        self.words = [sum(int(v) << (64 * p) for p, v in enumerate(word)) for word in packed]


@dataclass
class Expected:
    """What a command produces, a beat each."""

    command: dict
    slot: int = 0  # of the score ring
    data: list[int] = field(default_factory=list)  # scores, bytes or int16
    out: list[int] = field(default_factory=list)
    lane: list[int | None] = field(default_factory=list)
    maxima: int = 0


class Model:
    """The contract: what each command writes, from memories, row scales and tables."""

    def __init__(self):
        shape = parameters()
        self.rows, self.cols, self.depth = shape["rows"], shape["cols"], shape["depth"]
        self.columns, self.slots = shape["drain_columns"], shape["slots"]
        self.beats = self.cols // self.columns
        self.word_beats = self.depth // self.columns
        self.lanes = self.rows * self.columns
        self.ring_words = 1 << (-(-shape["max_tokens"] // self.depth) - 1).bit_length()
        self.ring_beats = 1 << (-(-shape["max_tokens"] // self.depth) * self.word_beats - 1).bit_length()
        self.act = Memory(self.depth * self.rows, 8, (-1, -128))
        self.prob = Memory(self.depth * self.rows, 8, (-1, -128))
        self.w = Memory(self.cols * self.depth, 8, (-128, 127))
        self.kv = Memory(self.cols * self.depth, 8, (-128, 127))
        self.res = Memory(self.lanes, 16)
        self.chan = Channels(self.columns)
        self.scale_mult = rng().integers(0, 1 << 16, (self.slots, self.rows))
        self.scale_shift = rng().integers(20, 36, (self.slots, self.rows))
        self.tables = rng().integers(0, 256, (shape["tables"], 2, 256))
        self.gelu = [self._gelu() for _ in range(shape["tables"])]
        self.tokens = 1
        self.prob_slot = self.score_slot = 0

    @staticmethod
    def _gelu() -> dict[str, int]:
        """Constants of a random input scale, and a requantisation into int8's range."""
        scale = 2.0 ** random.uniform(-7, -3) / 1.4142
        b, c = min(int(1.769 / scale) + 1, 4095), min(int(1 / (0.2888 * scale**2)) + 1, (1 << 20) - 1)
        mult = random.randrange(1 << 15, 1 << 16)
        return {"b": b, "c": c, "mult": mult, "shift": (2 * c * 128).bit_length() + 16 - random.choice([7, 8, 9])}

    def run(self, command: dict) -> Expected:
        """Outputs of the next command."""
        prob = command["a_source"] == ASource.PROB
        base, memory = (self.prob_slot * self.ring_words, self.prob) if prob else (command["a"], self.act)
        n, k = command["n"], command["k"]
        a = np.array([memory.index((base + d) % ADDRESSES) for d in range(k)])
        a = memory.values[a].reshape(k, self.depth, self.rows)
        a = a & 0xFF if command["a_unsigned"] else a
        weights = self.kv if command["b_source"] == BSource.KV else self.w
        acc = np.empty((self.rows, n, self.cols), dtype=np.int64)
        for tile in range(n):
            b = [command["b"] + tile * command["b_n"] + d * command["b_k"] for d in range(k)]
            b = weights.values[[weights.index(address % ADDRESSES) for address in b]]
            b = b.reshape(k, self.cols, self.depth)
            acc[:, tile] = np.einsum("kdr,kcd->rc", a, b)
        beat = np.arange(n * self.beats)
        # [beat][column][row]
        acc = acc.reshape(self.rows, len(beat), self.columns).transpose(1, 2, 0)
        channel = beat * self.columns
        expected = Expected(command)
        destination = command["destination"]
        if command["result"] == Format.SCORE:
            self._scores(expected, acc)
        else:
            if destination in (Destination.ACT, Destination.RES):
                out = command["out"] + beat
                expected.lane = [None] * len(beat)
            else:
                group = self.depth if destination == Destination.KEY else self.cols
                out = command["out"] + channel // group * command["out_step"]
                expected.lane = (channel % group // self.columns).tolist()
            expected.out = (out % ADDRESSES).tolist()
            expected.data = self._requantised(command, acc, beat)
        self.prob_slot = (self.prob_slot + prob) % self.slots
        return expected

    def _scores(self, expected: Expected, acc):
        assert np.abs(acc).max() < 1 << 23
        expected.slot = self.score_slot
        expected.data = pack(acc.reshape(len(acc), -1), 24)
        expected.out = [self.score_slot * self.ring_beats + beat for beat in range(len(acc))]
        keys = acc.reshape(-1, self.rows)[: self.tokens]
        expected.maxima = pack(keys.max(axis=0)[None], 24)[0]
        self.score_slot = (self.score_slot + 1) % self.slots

    def _requantised(self, command: dict, acc, beat) -> list[int]:
        index = np.array([self.chan.index((command["chan"] + b) % ADDRESSES) for b in beat.tolist()])
        bias, mult, shift = (x[index][:, :, None] for x in (self.chan.bias, self.chan.mult, self.chan.shift))
        if command["row_scale"]:
            bias, mult, shift = 0, self.scale_mult[self.prob_slot], self.scale_shift[self.prob_slot]
        total, result = acc + bias, command["result"]
        assert np.abs(total).max() < 1 << 31
        if result == Format.INT16:
            value = golden.requantise(total, mult, shift, 16)
            if command["add"]:
                res = [self.res.index((command["res"] + b) % ADDRESSES) for b in beat.tolist()]
                value = golden.residual_add(self.res.values[res].reshape(value.shape), value)
            return pack(value.reshape(len(beat), -1), 16)
        if result == Format.INT8:
            value = golden.requantise(total, mult, shift)
        elif result == Format.UINT8 or parameters()["gelu"] == "table":
            value = golden.requantise(total, mult, shift, signed=False)
        else:
            value = golden.requantise(total, mult, shift)
        if result == Format.ACTIVATION and parameters()["gelu"] == "table":
            value = golden.activation_table(value, self.chan.bank[index][:, :, None], self.tables[command["table"]])
        elif result == Format.ACTIVATION:
            value = golden.gelu_ibert(value, **self.gelu[command["table"]])
        return pack(value.reshape(len(beat), -1) & 0xFF, 8)

    def random_command(self, **chosen) -> dict:
        """Any format to any destination that takes it, all addresses anywhere."""
        address, small = random.randrange(EXTREME), random.randrange(1000)
        result = chosen.get("result", random.choice(built(Format)))
        a_source = random.choice(built(ASource))
        k = random.choice([1, 1, 2, max(1, self.beats - 1), self.beats, self.beats + 1, random.randint(1, 9)])
        n = random.choice([1, 1, 2, 3, random.randint(1, 8)])
        if result == Format.SCORE:
            n, k = min(n, self.ring_beats // self.beats), min(k, (SCORE_CONTRACTION - 1) // self.depth)
        destination = random.choice([Destination.ACT, Destination.KEY, Destination.VALUE])
        return {
            "wait": random.getrandbits(SEMAPHORES) & random.getrandbits(SEMAPHORES),
            "signal": random.choice([random.getrandbits(SEMAPHORES), 1 << random.randrange(SEMAPHORES), 0]),
            "pending": random.choice([0, 1, 2, 3, 4, 5, 6, 6, 6, 6]),
            "a_source": a_source,
            "a_unsigned": random.getrandbits(1),
            "b_source": random.choice(built(BSource)),
            "result": result,
            "destination": Destination.RES if result == Format.INT16 else destination,
            "row_scale": a_source == ASource.PROB and result != Format.SCORE and random.getrandbits(1),
            "add": result == Format.INT16 and random.getrandbits(1),
            "table": random.randrange(len(self.tables)),
            "n": n,
            "k": k,
            "b_n": random.getrandbits(14),
            "b_k": random.choice([1, random.getrandbits(12)]),
            "out_step": random.getrandbits(12),
            "a": random.choice([address, small]),
            "b": random.choice([address >> 1, small]),  # no step leads to EXTREME
            "out": random.choice([random.randrange(ADDRESSES), ADDRESSES - 2]),
            "res": random.choice([address, small + 1]),
            "chan": random.choice([address, small + 2]),
        } | chosen


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
