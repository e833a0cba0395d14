# SPDX-License-Identifier: Apache-2.0
"""Functional simulator of the command set: runs program words on memory contents, one command at a time, in order.

It knows only :mod:`hw.program`, :mod:`hw.config` and :mod:`sim.golden`. Whatever was never written holds random
garbage, so that a program that depends on it gives wrong results here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
from amaranth.lib import data

from hw.config import CoreConfig
from hw.memories import MEMORIES, TABLE_ENTRIES
from hw.program import loads
from hw.program.commands import Engine
from hw.program.isa import SEMAPHORE_INITIAL, ASource, BSource, Destination, Format, Semaphore
from hw.program.loads import Target
from hw.structs import fields_of, record
from sim import golden
from sim.golden import IntArray
from sim.order import OrderChecker
from sim.sequence import Command, ProgramError, commands, row_blocks

__all__ = ["Frame", "Machine", "ProgramError"]

Words = npt.NDArray[np.uint64]


def _fields(struct: type[data.Struct], memory: npt.NDArray[np.uint8]) -> dict[str, IntArray]:
    """Fields of 64-bit Structs, one for each eight bytes of ``memory``."""
    words = np.ascontiguousarray(memory).view(np.uint64).ravel()
    fields: dict[str, IntArray] = {}
    for name, place in fields_of(struct).items():
        # Up against the top bit, then down again: that extends the sign of a signed field.
        top = words << np.uint64(64 - place.width - place.offset)
        fields[name] = ((top.view(np.int64) if place.signed else top) >> (64 - place.width)).astype(np.int64)
    return fields


@dataclass
class Frame:
    """What one pass of the program made."""

    output: list[int] = field(default_factory=list)
    """Words of the output stream."""
    last: list[int] = field(default_factory=list)
    """Indices of the output words that carry tlast."""
    streams: dict[str, list[IntArray]] = field(default_factory=dict)
    """Beats [beats, lanes] by command, under the names of the core's probes (drain, score, softmax, norm8, norm16)."""

    def add(self, stream: str, beats: IntArray) -> None:
        """Log one command's beats."""
        self.streams.setdefault(stream, []).append(beats)

    def beats(self) -> dict[str, IntArray]:
        """All beats of each stream."""
        return {stream: np.concatenate(parts) for stream, parts in self.streams.items()}


class Machine:
    """One core, its memories and semaphores.

    Parameters
    ----------
    config : CoreConfig
    memories : initial contents by target, integers from word 0 on (PROG among them, unless it is loaded)
    seed : of the garbage in all else
    order : also prove every access safe for any timing (slower); see :mod:`sim.order`
    """

    def __init__(
        self,
        config: CoreConfig,
        memories: Mapping[Target, Sequence[int]] | None = None,
        *,
        seed: int = 0,
        order: bool = False,
    ):
        self.config = config
        self._rng = np.random.default_rng(seed)
        shapes = {name: memory.geometry(config) for name, memory in MEMORIES.items() if not memory.ring}
        self.memory = {
            name: self._rng.integers(0, 256, (shape.words, shape.bytes), dtype=np.uint8)
            for name, shape in shapes.items()
        }
        self.memory["REGION"][:] = 0  # as after power-up
        for target, words in (memories or {}).items():
            self._initialise(target.name, words)
        self.semaphores = {s: SEMAPHORE_INITIAL(config.slots).get(s, 0) for s in Semaphore}
        keys = config.key_words * config.depth
        score_keys = -(-config.max_tokens // config.cols) * config.cols
        self._scores = self._rng.integers(-(1 << 20), 1 << 20, (config.slots, config.rows, max(keys, score_keys)))
        self._probs = self._rng.integers(0, 256, (config.slots, config.rows, keys))
        self._scales = self._rng.integers(1, 64, (config.slots, 2, config.rows))
        self._inputs: list[int] = []  # row blocks of the inputs that have come
        self._slot = {"score": 0, "softmax": 0, "prob": 0}
        self._order: OrderChecker | None = None
        if order:
            watched = {
                name: config.slots if memory.ring else shapes[name].words
                for name, memory in MEMORIES.items()
                if memory.computed
            }
            self._order = OrderChecker(watched, config.slots)

    def _initialise(self, name: str, words: Sequence[int]) -> None:
        count, size = self.memory[name].shape
        if len(words) > count:
            raise ProgramError(f"{name} has {count} words, not {len(words)}")
        packed = b"".join(int(w).to_bytes(size, "little") for w in words)
        self.memory[name][: len(words)] = np.frombuffer(packed, np.uint8).reshape(-1, size)

    # --- loading

    def load(self, stream: npt.ArrayLike) -> None:
        """Load packets (header and data words, any number of packets) as the stream input takes them."""
        stream = np.asarray(stream, dtype=np.uint64)
        position = 0
        while position < len(stream):
            header = record(loads.PacketHeader, stream[position])
            data = stream[position + 1 : position + 1 + header.count]
            if len(data) != header.count:
                raise ProgramError(f"The packet at word {position} has {len(data)} words, not {header.count}")
            position += 1 + header.count
            if not isinstance(header.target, Target):
                raise ProgramError(f"A packet is for target {header.target}, which is no memory")
            name = header.target.name
            count, size = self.memory[name].shape
            if header.reserved:
                raise ProgramError(f"The packet of {name} has reserved bits set")
            if header.input:
                self._check_input(header)
            if size >= 8:
                units = self.memory[name].reshape(-1, 8)
                units[self._span(name, header.address, len(data), len(units))] = data.view(np.uint8).reshape(-1, 8)
                touched = np.arange(header.address, header.address + len(data)) // (size // 8)
            else:
                touched = self._span(name, header.address, len(data), count)
                self.memory[name][touched] = data.view(np.uint8).reshape(-1, 8)[:, :size]
            if header.input:
                self._take((Semaphore.INPUT_FREE,), "input packet")
                if self._order:
                    self._order.begin("LOADER", (Semaphore.INPUT_FREE,), None, "input packet")
                    self._order.write(name, touched)
                    self._order.end((Semaphore.INPUT_FULL,))
                self.semaphores[Semaphore.INPUT_FULL] += 1

    def _region(self) -> SimpleNamespace:
        return record(loads.InputRegion, self.memory["REGION"].view(np.uint64)[0, 0])

    def _check_input(self, header: SimpleNamespace) -> None:
        """Refuse an input packet that REGION does not describe, and remember how many row blocks it has."""
        region = self._region()
        at, place = (header.target, header.address), (region.target, region.address)
        if at != place or not header.count or not region.words or header.count % region.words:
            raise ProgramError(
                f"An input goes to {place[0].name} {place[1]}, {region.words} words for each row block, not to "
                f"{at[0].name} {at[1]} with {header.count}"
            )
        if header.count // region.words > row_blocks(region.tokens, self.config):
            raise ProgramError(f"An input has at most {region.tokens} tokens; {header.count} words are more")
        self._inputs.append(header.count // region.words)

    def _span(self, name: str, first: int, count: int, size: int | None = None) -> IntArray:
        size = len(self.memory[name]) if size is None else size
        if first + count > size:
            raise ProgramError(f"{name}[{first}..{first + count - 1}] lies outside its {size} words")
        return np.arange(first, first + count)

    def _take(self, semaphores: tuple[Semaphore, ...], what: str) -> None:
        for semaphore in semaphores:
            if not self.semaphores[semaphore]:
                raise ProgramError(f"{what} waits for {semaphore.name}, which nothing before it signals")
            self.semaphores[semaphore] -= 1

    def _touch(self, verb: str, memory: str, words: npt.ArrayLike) -> None:
        if self._order:
            getattr(self._order, verb)(memory, np.atleast_1d(np.asarray(words)))

    # --- running

    def run(self, tokens: int) -> Frame:
        """One pass of the program over ``tokens`` tokens.

        Raises
        ------
        ProgramError
            If a command waits for a semaphore that is 0, or reaches outside a memory.
        """
        if not 1 <= tokens <= self.config.max_tokens:
            raise ProgramError(f"tokens must lie in 1..{self.config.max_tokens}, not {tokens}")
        region = self._region()
        if tokens > region.tokens:
            raise ProgramError(f"The program takes 1..{region.tokens} tokens, not {tokens}")
        blocks = row_blocks(tokens, self.config)
        if self._inputs and self._inputs.pop(0) != blocks:
            raise ProgramError(f"The input must have {blocks} row blocks for {tokens} tokens")
        frame = Frame()
        program = self.memory["PROG"].view(np.uint64)[:, 0].tolist()
        run = {
            Engine.ARRAY: self._array,
            Engine.SOFTMAX: self._softmax,
            Engine.NORM: self._norm,
            Engine.STORE: self._store,
        }
        for command in commands(program, self.config, tokens):
            what = f"{command.engine.name} at word {command.address}, iteration ({command.i}, {command.j})"
            self._take(command.wait, what)
            if self._order:
                pending = command.pending if command.engine == Engine.ARRAY else None
                self._order.begin(command.engine.name, command.wait, pending, what)
            run[command.engine](command, tokens, frame)
            if self._order:
                self._order.end(command.signal)
            for semaphore in command.signal:
                self.semaphores[semaphore] += 1
        return frame

    def _advance(self, ring: str) -> int:
        slot = self._slot[ring]
        self._slot[ring] = (slot + 1) % self.config.slots
        return slot

    def _to_beats(self, rows: IntArray) -> IntArray:
        """[rows, columns] to beats [beats, lanes], element p * rows + r."""
        c = self.config
        return np.ascontiguousarray(rows.T).reshape(-1, c.drain_columns * c.rows)

    def _operand_a(self, command: Command) -> tuple[IntArray, int]:
        c = self.config
        if command.a_source == ASource.PROB:
            slot = self._advance("prob")
            self._touch("read", "PROB", slot)
            return self._probs[slot][:, : command.k * c.depth], slot
        words = self._span("ACT", command.a, command.k)
        self._touch("read", "ACT", words)
        a = self.memory["ACT"][words].reshape(-1, c.rows).T
        return a if command.a_unsigned else a.view(np.int8), 0

    def _array(self, command: Command, tokens: int, frame: Frame) -> None:
        c = self.config
        a, slot = self._operand_a(command)
        name = "KV" if command.b_source == BSource.KV else "W"
        words = command.b + np.arange(command.n)[:, None] * command.b_n + np.arange(command.k) * command.b_k
        self._span(name, int(words.max()), 1)
        if name == "KV":
            self._touch("read", "KV", words.ravel())
        b = self.memory[name][words.ravel()].view(np.int8).reshape(command.n, command.k, c.cols, c.depth)
        acc = golden.matmul(a, b.transpose(0, 2, 1, 3).reshape(command.n * c.cols, -1))
        if command.result == Format.SCORE:
            slot = self._advance("score")
            self._touch("write", "SCORE", slot)
            self._scores[slot][:, : acc.shape[1]] = acc
            frame.add("score", self._to_beats(acc))
            return
        beats = self._to_beats(self._formatted(command, acc, slot))
        frame.add("drain", beats)
        self._write(command, beats)

    def _formatted(self, command: Command, acc: IntArray, slot: int) -> IntArray:
        """Accumulators to the values that are written."""
        c = self.config
        if command.row_scale:
            mult, shift = self._scales[slot][:, :, None]
            bias: IntArray = np.zeros(1, np.int64)
            bank = bias
        else:
            words = self.memory["CHAN"][self._span("CHAN", command.chan, command.n * c.tile_beats)]
            channels = _fields(loads.ChannelParameters, words)
            bias, mult, shift, bank = (channels[name] for name in ("bias", "mult", "shift", "bank"))
        acc = acc + bias
        match command.result:
            case Format.INT8:
                return golden.requantise(acc, mult, shift, 8)
            case Format.UINT8:
                return golden.requantise(acc, mult, shift, 8, signed=False)
            case Format.ACTIVATION if c.gelu == "table":
                index = golden.requantise(acc, mult, shift, 8, signed=False)
                entries = self._span("TABLE", command.table * TABLE_ENTRIES, TABLE_ENTRIES)
                table = self.memory["TABLE"][entries].reshape(2, -1)
                return golden.activation_table(index, np.broadcast_to(bank, index.shape), table)
            case Format.ACTIVATION:
                word = self.memory["TABLE"][self._span("TABLE", command.table, 1)]
                p = record(loads.GeluParameters, word.view(np.uint64)[0, 0])
                index = golden.requantise(acc, mult, shift, 8)
                return golden.gelu_ibert(index, p.b, p.c, p.mult, p.shift)
            case Format.INT16:
                value = golden.requantise(acc, mult, shift, 16)
                if not command.add:
                    return value
                return golden.residual_add(self._residual(command.res, value.shape[1] // c.drain_columns), value)
        raise ProgramError(f"ARRAY at word {command.address} has no such result: {command.result}")

    def _residual(self, address: int, beats: int) -> IntArray:
        """Rows [rows, columns] of ``beats`` RES words."""
        words = self._span("RES", address, beats)
        self._touch("read", "RES", words)
        return self.memory["RES"][words].view(np.int16).reshape(-1, self.config.rows).T.astype(np.int64)

    def _write(self, command: Command, beats: IntArray) -> None:
        c = self.config
        match command.destination:
            case Destination.ACT:
                self._write_act(command.out, beats)
            case Destination.RES:
                self._write_res(command.out, beats)
            case Destination.KEY | Destination.VALUE:
                column = np.arange(len(beats) * c.drain_columns)
                by_key = command.destination == Destination.KEY
                split = (c.cols if by_key else c.depth) // c.rows  # row blocks of a word
                subword = command.out + column // (c.depth if by_key else c.cols) * command.out_step
                word, sub = subword // split, subword % split
                self._span("KV", int(word.max()), 1)
                kv = self.memory["KV"].reshape(-1, c.cols, c.depth)
                rows = beats.reshape(-1, c.rows).astype(np.uint8)  # [columns, rows]
                for r in range(c.rows):
                    if by_key:
                        kv[word, sub * c.rows + r, column % c.depth] = rows[:, r]
                    else:
                        kv[word, column % c.cols, sub * c.rows + r] = rows[:, r]
                self._touch("write", "KV", word)

    def _write_act(self, beat: int, beats: IntArray) -> None:
        """Beats to ACT from beat address ``beat`` on."""
        c = self.config
        span = self._span("ACT", beat, len(beats), c.act_words * c.word_beats)
        self.memory["ACT"].reshape(-1, c.lanes)[span] = beats.astype(np.uint8)
        self._touch("write", "ACT", span // c.word_beats)

    def _write_res(self, word: int, beats: IntArray) -> None:
        span = self._span("RES", word, len(beats))
        self.memory["RES"][span] = beats.astype(np.int16).view(np.uint8).reshape(len(beats), -1)
        self._touch("write", "RES", span)

    def _softmax(self, command: Command, tokens: int, frame: Frame) -> None:
        c = self.config
        slot = self._advance("softmax")  # the score and probability rings advance together
        self._touch("read", "SCORE", slot)
        self._touch("write", "PROB", slot)
        word = self.memory["HEAD"][self._span("HEAD", command.head, 1)]
        head = record(loads.HeadParameters, word.view(np.uint64)[0, 0])
        keys = -(-tokens // c.depth) * c.depth
        scores = self._scores[slot][:, :tokens]
        index = golden.score_index(scores, scores.max(1, keepdims=True), head.score_mult, head.score_shift, c.exp)
        exps = np.zeros((c.rows, keys), np.int64)
        exps[:, :tokens] = golden.exponential(index, c.exp)
        self._probs[slot][:, :keys] = exps
        self._scales[slot] = golden.row_scale(exps.sum(1), head.out_mult, head.out_shift)
        frame.add("softmax", self._to_beats(exps))

    def _norm(self, command: Command, tokens: int, frame: Frame) -> None:
        h = self._residual(command.src, command.beats)
        forms = command.out8 + command.out16
        words = self.memory["NORM"][self._span("NORM", command.norm, forms * command.beats)]
        parameters = _fields(loads.NormParameters, words)
        gamma, beta = parameters["gamma"], parameters["beta"]
        # Statistics over the true channels: padded ones must be zero, and are summed as the hardware does.
        s1, s2 = h.sum(1), (h * h).sum(1)
        r, e = golden.norm_statistics(s1, s2, command.channels, command.eps)
        t = golden.saturate(golden.shift_round((command.channels * h - s1[:, None]) * r[:, None], 21 + e[:, None]), 16)
        width = h.shape[1]
        if command.out8:
            y = golden.saturate(golden.shift_round(t * gamma[:width] + beta[:width], command.shift8), 8)
            frame.add("norm8", self._to_beats(y))
            self._write_act(command.act, self._to_beats(y))
            gamma, beta = gamma[width:], beta[width:]
        if command.out16:
            y = golden.saturate(golden.shift_round(t * gamma + beta, command.shift16), 16)
            frame.add("norm16", self._to_beats(y))
            self._write_res(command.res, self._to_beats(y))

    def _store(self, command: Command, tokens: int, frame: Frame) -> None:
        words = self._span("RES", command.src, command.beats)
        self._touch("read", "RES", words)
        data = self.memory["RES"][words]
        if data.shape[1] < 8:  # one stream word for each narrower memory word
            data = np.pad(data, ((0, 0), (0, 8 - data.shape[1])))
        frame.output += np.ascontiguousarray(data).view(np.uint64).ravel().tolist()
        if command.last:
            frame.last.append(len(frame.output) - 1)
