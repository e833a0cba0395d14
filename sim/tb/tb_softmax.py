# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.softmax.softmax.SoftmaxEngine`."""

from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import Event, RisingEdge, Timer
from cocotb.utils import get_sim_time

from hw import structs
from hw.config import CoreConfig
from hw.program.commands import Lengths, SoftmaxCommand
from hw.program.isa import SEMAPHORES, TOKEN_BITS
from hw.program.loads import HeadParameters
from hw.softmax.softmax import SoftmaxEngine
from sim.golden import exponential, row_scale, score_index
from sim.tb import CLOCK_NS, parameters, rng, start, tick
from sim.tb.streams import StreamSource, pack, unpack

SCORE_LOW, SCORE_HIGH = -(1 << 23), (1 << 23) - 1


@dataclass
class Command:
    """One row block: what the engine is given, and what it must write."""

    word: int
    signal: int
    head: int
    parameters: int
    scores: np.ndarray  # [rows, columns of all beats]; keys that do not exist hold garbage
    row_max: np.ndarray  # [rows]
    e: np.ndarray  # [rows, columns of all beats]
    scales: list[tuple[int, int]]
    taken: int = -1  # cycle


def make_command(random: np.random.Generator, config: CoreConfig, tokens: int, number: int, *, usual: bool) -> Command:
    """``usual``: indices spread over the exponential's range; else every operand is taken from its whole range."""
    columns = -(-tokens // config.depth) * config.depth
    shape = (config.rows, columns)
    if usual:
        spread = 1 << int(random.integers(2, 20))
        scores = random.integers(-spread, spread + 1, shape)
        mult = int(random.integers(1 << 15, 1 << 16))
        limit = {"base2": 8, "ibert": 12}[config.exp]
        shift = int(np.clip(np.ceil(np.log2(2 * spread * mult)) - random.integers(limit - 3, limit + 2), 1, 63))
    else:
        scores = random.choice([SCORE_LOW, SCORE_HIGH, 0, 1, -1], shape)
        scores = np.where(random.random(shape) < 0.7, random.integers(SCORE_LOW, SCORE_HIGH + 1, shape), scores)
        mult, shift = int(random.choice([0, 1, 32768, 65535])), int(random.integers(1, 64))
    row_max = scores[:, :tokens].max(axis=1)
    scores[:, tokens:] = random.integers(SCORE_LOW, SCORE_HIGH + 1, (config.rows, columns - tokens))
    out_mult, out_shift = int(random.integers(0, 1 << 16)), int(random.integers(1, 40))
    e = exponential(score_index(scores, np.maximum(row_max[:, None], scores), mult, shift, config.exp), config.exp)
    e[:, tokens:] = 0
    scales = zip(*row_scale(e.sum(axis=1), out_mult, out_shift), strict=True)
    fields = {"score_mult": mult, "score_shift": shift, "out_mult": out_mult, "out_shift": out_shift}
    fields["reserved"] = int(random.integers(1 << 20))
    head, signal = 7 * number % config.head_words, int(random.integers(1, 1 << SEMAPHORES))  # no head twice in flight
    word = structs.pack(SoftmaxCommand, {"wait": int(random.integers(1 << SEMAPHORES)), "signal": signal, "head": head})
    return Command(
        word=word,
        signal=signal,
        head=head,
        parameters=structs.pack(HeadParameters, fields),
        scores=scores,
        row_max=row_max,
        e=e,
        scales=[(int(m), int(s)) for m, s in scales],
    )


class Bench:
    """Memories around the engine, and a check of everything it writes, when it writes it and when it signals."""

    def __init__(self, dut, config: CoreConfig, random: np.random.Generator):
        self.dut, self.config, self.random = dut, config, random
        beats = config.key_words * config.word_beats
        self.beat_bits = (beats - 1).bit_length()
        garbage = random.integers(SCORE_LOW, SCORE_HIGH + 1, (config.slots, beats, config.lanes))
        self.score = [pack(slot, 24) for slot in garbage]
        self.row_max = [0] * config.slots
        self.heads = [0] * config.head_words
        self.commands: list[Command] = []  # all, in order
        self.accepted = self.signalled = 0
        self.prob_cycles: list[int] = []
        self.progress = Event()
        for task in (self._memories(), self._row_maxima(), self._observe()):
            cocotb.start_soon(task)

    def set_tokens(self, tokens: int) -> None:
        """While the engine is idle."""
        assert not self.dut.busy.value
        lengths = {
            "tokens": tokens,
            "row_blocks": int(self.random.integers(1 << TOKEN_BITS)),
            "key_tiles": int(self.random.integers(1 << TOKEN_BITS)),
            "key_words": -(-tokens // self.config.depth),
        }
        self.dut.lengths.value = structs.pack(Lengths, lengths)

    async def add(self, command: Command) -> None:
        """Waits, as the semaphores make the real engine wait, for the slot; then fills it."""
        slot = len(self.commands) % self.config.slots
        while len(self.commands) - self.signalled >= self.config.slots:
            await self._next_signal()
        rows, lanes = self.config.rows, self.config.lanes
        beats = command.scores.T.reshape(-1, lanes)  # column major: element p * rows + r
        self.score[slot][: len(beats)] = pack(beats, 24)
        self.row_max[slot] = pack(command.row_max.reshape(1, rows), 24)[0]
        self.heads[command.head] = command.parameters
        self.commands.append(command)

    async def finished(self) -> None:
        """Waits until every command has signalled, and then until nothing more can come."""
        while self.signalled < len(self.commands):
            await self._next_signal()
        await tick(self.dut, 2 * SoftmaxEngine.latency(self.config))
        assert not self.dut.busy.value

    async def _next_signal(self) -> None:
        self.progress.clear()
        await self.progress.wait()

    async def _memories(self) -> None:
        """Two cycles from address to data."""
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        score = head = 0
        while True:
            await edge
            dut.read_score__data.value, dut.read_head__data.value = score, head
            address = int(dut.read_score__addr.value)
            slot, beat = address >> self.beat_bits, address & ((1 << self.beat_bits) - 1)
            score = self.score[slot][beat] if beat < len(self.score[slot]) else 0
            head = self.heads[int(dut.read_head__addr.value) % len(self.heads)]

    async def _row_maxima(self) -> None:
        """Answered in the same cycle."""
        while True:
            await RisingEdge(self.dut.clk)
            await Timer(1, "ns")
            self.dut.maxima__maxima.value = self.row_max[int(self.dut.maxima__slot.value)]

    async def _observe(self) -> None:
        dut, config = self.dut, self.config
        edge = RisingEdge(dut.clk)
        probs: list[int] = []  # beats of the command whose exponentials are being written
        written = scaled = 0  # commands whose exponentials are complete; rows that have been scaled
        while True:
            await edge
            cycle = round(get_sim_time("ns")) // CLOCK_NS
            assert bool(dut.busy.value) == (self.accepted > self.signalled), "busy"
            if dut.command__valid.value and dut.command__ready.value:
                assert int(dut.command__payload.value) == self.commands[self.accepted].word
                self.commands[self.accepted].taken = cycle
                self.accepted += 1
            if dut.write_prob__en.value:
                command = self.commands[written]
                assert int(dut.write_prob__addr.value) == (written % config.slots) << self.beat_bits | len(probs)
                probs.append(int(dut.write_prob__data.value))
                self.prob_cycles.append(cycle)
                if len(probs) * config.drain_columns == command.scores.shape[1]:
                    e = unpack(probs, 8, config.lanes, signed=False).reshape(-1, config.rows).T
                    assert (e == command.e).all(), f"command {written}"
                    written, probs = written + 1, []
            if dut.scales__valid.value:
                number, row = divmod(scaled, config.rows)
                assert int(dut.scales__slot.value) == number % config.slots
                assert int(dut.scales__row.value) == row
                scale = int(dut.scales__scale.value) & 0xFFFF, int(dut.scales__scale.value) >> 16
                assert scale == self.commands[number].scales[row], f"command {number} row {row}"
                scaled += 1
            if dut.signal.value:
                command = self.commands[self.signalled]
                assert int(dut.signal.value) == command.signal
                assert written > self.signalled
                assert scaled == (self.signalled + 1) * config.rows
                beats = command.scores.shape[1] // config.drain_columns
                assert cycle - command.taken == beats - 1 + SoftmaxEngine.latency(config)
                self.signalled += 1
                self.progress.set()


async def _begin(dut) -> Bench:
    await start(dut)
    return Bench(dut, CoreConfig(**parameters()["config"]), rng())


@cocotb.test()
async def equals_golden(dut):
    """Commands at random times, of other heads and magnitudes each, for several sequence lengths."""
    bench = await _begin(dut)
    source = StreamSource(dut, "command", stall=0.3)
    for tokens in parameters()["tokens"]:
        bench.set_tokens(tokens)
        for number in range(24):
            command = make_command(bench.random, bench.config, tokens, number, usual=number % 4 != 3)
            await bench.add(command)
            source.send([command.word])
            if bench.random.random() < 0.3:
                await tick(dut, int(bench.random.integers(1, 60)))
        await bench.finished()


@cocotb.test()
async def streams_a_beat_a_cycle(dut):
    """Commands that wait at the engine follow one another without a bubble."""
    bench = await _begin(dut)
    config = bench.config
    source = StreamSource(dut, "command", stall=0)
    for tokens in parameters()["tokens"]:
        bench.set_tokens(tokens)
        bench.prob_cycles.clear()
        commands = [make_command(bench.random, config, tokens, number, usual=True) for number in range(config.slots)]
        for command in commands:
            await bench.add(command)
        source.send([command.word for command in commands])
        await bench.finished()
        assert bench.prob_cycles[-1] - bench.prob_cycles[0] == len(bench.prob_cycles) - 1
        assert len(bench.prob_cycles) == config.slots * -(-tokens // config.depth) * config.word_beats
