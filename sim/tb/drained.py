# SPDX-License-Identifier: Apache-2.0
"""What feeder, array and drain must come to: memories too large to fill, and a command's results by golden."""

import random
from dataclasses import dataclass, field

import numpy as np

from hw.program import isa, loads
from hw.program.isa import SEMAPHORES, ASource, BSource, Destination, Format
from sim import golden
from sim.tb import built, parameters, rng
from sim.tb.streams import pack

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
