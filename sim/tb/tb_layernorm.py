# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.norm.layernorm.NormEngine`."""

import random
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hw import structs
from hw.config import CoreConfig
from hw.program.commands import NormCommand
from hw.program.isa import EPS_BITS, SEMAPHORES
from hw.program.loads import NormParameters
from sim import golden
from sim.tb import parameters, rng, start, tick
from sim.tb.streams import StreamSource, pack

SIGNAL = 0x85  # semaphores of the first command; the others have rotations of it


@dataclass
class Block:
    """A row block in RES: int16 [rows, channels], padded with zeros to ``beats`` words."""

    address: int
    rows: np.ndarray


def _words(rows: np.ndarray, config: CoreConfig, bits: int) -> list[int]:
    """Beats of ``rows`` [rows, channels], ``bits`` an element: column p and row r of a beat at p * config.rows + r."""
    beats = -(-rows.shape[1] // config.drain_columns)
    padded = np.zeros((config.rows, beats * config.drain_columns), dtype=np.int64)
    padded[:, : rows.shape[1]] = rows
    return pack(padded.T.reshape(beats, -1), bits)


class Memories:
    """RES, NORM and the write port of ACT, with stalls; checks writes and signals against those expected, in order."""

    def __init__(self, dut, blocks: list[Block], config: CoreConfig, read_stall=0.0, write_stall=0.0):
        self.dut, self.blocks, self.config = dut, blocks, config
        self.read_stall, self.write_stall = read_stall, write_stall
        self.res = {block.address + i: w for block in blocks for i, w in enumerate(_words(block.rows, config, 16))}
        self.norm: dict[int, int] = {}
        self.expected: list[tuple[str, int, int]] = []  # port, address, word
        self.signals: list[tuple[int, int]] = []  # mask, and how many writes come before it
        self.random = random.Random(random.getrandbits(64))
        self.writes = self.cycle = 0
        self.accepted: list[int] = []  # cycles
        self.signalled: list[int] = []

    def _ready(self, stall: float) -> bool:
        return self.random.random() >= stall

    async def run(self) -> None:
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        res_word, arriving, norm_word, waiting = None, None, 0, None
        while True:
            dut.read_res__ready.value = self._ready(self.read_stall)
            for ready in (dut.write_act__ready, dut.write_res__ready):
                ready.value = self._ready(self.write_stall)
            await edge
            self.cycle += 1
            if int(dut.command__valid.value) and int(dut.command__ready.value):
                self.accepted.append(self.cycle)
            if int(dut.signal.value):
                signal, writes = self.signals[len(self.signalled)]
                assert (int(dut.signal.value), self.writes) == (signal, writes)
                assert int(dut.busy.value)
                self.signalled.append(self.cycle)
            offer = None
            for port in ("act", "res"):
                if int(getattr(dut, f"write_{port}__en").value):
                    assert offer is None
                    address, word = (int(getattr(dut, f"write_{port}__{part}").value) for part in ("addr", "data"))
                    offer = (port, address, word)
            assert waiting in (None, offer), f"offered {waiting}, which was not taken, and then {offer}"
            taken = offer is not None and int(getattr(dut, f"write_{offer[0]}__ready").value)
            waiting = None if taken else offer

            # Words come after two cycles from NORM, after three from RES; other cycles show noise.
            noise = self.random.getrandbits(len(dut.read_res__data))
            dut.read_res__data.value = noise if arriving is None else arriving
            dut.read_norm__data.value = norm_word
            arriving, res_word = res_word, None
            if int(dut.read_res__valid.value) and int(dut.read_res__ready.value):
                res_word = self.res[int(dut.read_res__addr.value)]
            norm_word = self.norm.get(int(dut.read_norm__addr.value), self.random.getrandbits(len(dut.read_norm__data)))
            if taken:
                assert offer == self.expected[self.writes], f"write {self.writes}"
                self.writes += 1
                if offer[0] == "res":
                    self.res[offer[1]] = offer[2]


@cocotb.test()
@cocotb.parametrize((("read_stall", "write_stall"), [(0, 0), (0.3, 0.3), (0, 0.8), (0.8, 0)]))
async def equals_golden(dut, read_stall, write_stall):
    """Corner rows and random ones, both forms and either, in place or not, a command on the results of another."""
    params = parameters()
    config, draw = CoreConfig(**params["config"]), rng()
    blocks, address = [], int(draw.integers(0, 64))
    for channels in params["channels"] * 2:
        blocks.append(Block(address, _rows(draw, config.rows, channels)))
        address += -(-channels // config.drain_columns)
    memories = Memories(dut, blocks, config, read_stall, write_stall)
    commands = [_command(draw, memories, number) for number in range(params["commands"])]
    await start(dut)
    cocotb.start_soon(memories.run())
    StreamSource(dut, "command", stall=read_stall).send(commands)
    while len(memories.signalled) < len(commands):
        await tick(dut, 20)
    await tick(dut, 100)
    assert memories.writes == len(memories.expected)
    assert not int(dut.busy.value)


@cocotb.test()
async def takes_the_cycles_it_says(dut):
    """Without stalls: commands one by one, then all at once, where the second is accepted as soon as promised."""
    params = parameters()
    config, draw = CoreConfig(**params["config"]), rng()
    await start(dut)
    source = StreamSource(dut, "command", stall=0)
    for channels, passes, cycles, next_cycles in params["cycles"]:
        memories = Memories(dut, [Block(0, _rows(draw, config.rows, channels))], config)
        forms = [(1, 1)] if passes == 2 else [(1, 0), (0, 1)]
        commands = [_command(draw, memories, number, form) for number, form in enumerate(forms * 2)]
        running = cocotb.start_soon(memories.run())
        for number, command in enumerate(commands):
            source.send([command])
            while len(memories.signalled) <= number:
                await tick(dut)
            assert memories.signalled[number] - memories.accepted[number] == cycles
        running.cancel()
        memories = Memories(dut, [Block(0, _rows(draw, config.rows, channels))], config)
        commands = [_command(draw, memories, number, (1, 0)) for number in range(3)]
        running = cocotb.start_soon(memories.run())
        source.send(commands)
        while len(memories.signalled) < len(commands):
            await tick(dut)
        assert memories.accepted[1] - memories.accepted[0] == next_cycles
        running.cancel()


def _rows(draw, rows: int, channels: int) -> np.ndarray:
    kinds = [
        lambda: np.zeros(channels),
        lambda: np.full(channels, draw.integers(-32768, 32768)),
        lambda: np.full(channels, -32768),
        lambda: draw.choice([-32768, 32767], channels),
        lambda: draw.integers(-32768, 32768) + draw.integers(-1, 2, channels),  # tiny variance
        lambda: np.where(np.arange(channels) == draw.integers(channels), 32767, 0),
        lambda: draw.normal(draw.normal(0, 300), 10 ** draw.uniform(0, 4.5), channels),
        lambda: draw.normal(0, 1000, channels) + np.where(np.arange(channels) == 0, 30000, 0),
    ]
    made = np.array([kinds[draw.integers(len(kinds))]() for _ in range(rows)])
    return golden.saturate(np.rint(made).astype(np.int64), 16)


def _command(draw, memories: Memories, number: int, form: tuple[int, int] | None = None) -> int:
    """A random command's payload; adds what it needs and what it must write, and does its work on the blocks."""
    config, blocks = memories.config, memories.blocks
    source = blocks[draw.integers(len(blocks))]
    channels = source.rows.shape[1]
    beats = -(-channels // config.drain_columns)
    targets = [block for block in blocks if block.rows.shape[1] == channels]
    target = source if draw.random() < 0.4 else targets[draw.integers(len(targets))]
    out8, out16 = form or ((1, 0), (0, 1), (1, 1))[draw.integers(3)]
    eps = int(draw.choice([1, 2**EPS_BITS - 1, *(draw.integers(1, 2**bits) for bits in (EPS_BITS, 32, 16))]))
    act, norm = int(draw.integers(0, 1 << 19)), number * 2 * config.max_hidden
    fields = {"out8": out8, "out16": out16, "beats": beats, "channels": channels, "eps": eps, "src": source.address}
    fields |= {"act": act, "res": target.address, "norm": norm, "wait": int(draw.integers(1 << SEMAPHORES))}
    for port, bits, wanted, address in (("act", 8, out8, act), ("res", 16, out16, target.address)):
        if not wanted:
            continue
        gamma, beta, fields[f"shift{bits}"] = _constants(draw, channels, bits)
        rows = golden.layernorm(source.rows, gamma, beta, fields[f"shift{bits}"], eps, bits)
        memories.expected += [(port, address + i, word) for i, word in enumerate(_words(rows, config, bits))]
        for beat, word in enumerate(_parameter_words(gamma, beta, config)):
            memories.norm[norm + beat] = word
        norm += beats
        if bits == 16:
            target.rows = rows
    turn = number % SEMAPHORES
    fields["signal"] = ((SIGNAL << turn) | (SIGNAL << turn) >> SEMAPHORES) & (1 << SEMAPHORES) - 1
    memories.signals.append((fields["signal"], len(memories.expected)))
    return structs.pack(NormCommand, fields)


def _parameter_words(gamma, beta, config: CoreConfig) -> list[int]:
    sets = [
        NormParameters.const({"gamma": int(g), "beta": int(b)}).as_value() for g, b in zip(gamma, beta, strict=True)
    ]
    values = [one.value % (1 << 64) for one in sets]
    columns = config.drain_columns
    starts = range(0, len(values), columns)
    return [sum(v << (64 * p) for p, v in enumerate(values[start : start + columns])) for start in starts]


def _constants(draw, channels: int, bits: int):
    """gamma, beta and shift: now and then the largest, mostly such that results fill ``bits`` bits."""
    if draw.random() < 0.2:
        gamma, beta = draw.choice([-32768, 32767], channels), draw.choice([-(2**31), 2**31 - 1], channels)
        return gamma, beta, int(draw.integers(1, 64))
    shift = int(draw.integers(10, 20)) + (8 if bits == 8 else 0) - 6
    gamma = np.clip(draw.normal(1, 0.3, channels) * 2 ** (shift + bits - 13), -32768, 32767)
    beta = draw.normal(0, 0.3, channels) * 2 ** (shift + bits - 3)
    return np.rint(gamma).astype(np.int64), np.rint(beta).astype(np.int64), shift
