# SPDX-License-Identifier: Apache-2.0
"""What the sequencer does with a program: decoding, skewed loops, operand resolution, run-time lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hw.config import CoreConfig
from hw.program import isa
from hw.program.isa import Opcode, Semaphore, When

__all__ = ["Command", "ProgramError", "Step", "commands", "row_blocks", "walk"]

_HEADERS = {
    Opcode.LOOP: isa.Loop,
    Opcode.ARRAY: isa.ArrayHeader,
    Opcode.SOFTMAX: isa.SoftmaxHeader,
    Opcode.NORM: isa.NormHeader,
    Opcode.STORE: isa.StoreHeader,
}
_COUNTS = {Opcode.ARRAY: isa.ArrayCounts, Opcode.NORM: isa.NormCounts, Opcode.STORE: isa.StoreCounts}
_OPERANDS = {
    Opcode.ARRAY: ("a", "b", "out", "res", "chan"),
    Opcode.SOFTMAX: ("head",),
    Opcode.NORM: ("src", "act", "res", "norm"),
    Opcode.STORE: ("src",),
}


class ProgramError(RuntimeError):
    """A program that breaks the rules of :mod:`hw.program.isa` when run in order."""


@dataclass(frozen=True, slots=True)
class Command:
    """A resolved command. ``fields`` are those of the engine's command Struct; ``i`` and ``j`` the loop indices."""

    engine: Opcode
    address: int
    i: int
    j: int
    wait: tuple[Semaphore, ...]
    signal: tuple[Semaphore, ...]
    fields: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction passing the decoder. ``command`` is None for LOOP, END and what a lag skips; ``redirect``: the
    fetch starts anew behind it."""

    opcode: Opcode
    words: int
    command: Command | None = None
    redirect: bool = False


@dataclass(frozen=True, slots=True)
class _Instruction:
    opcode: Opcode
    address: int
    words: int
    values: dict[str, Any]
    operands: dict[str, tuple[int, int, int]] = field(default_factory=dict)


def row_blocks(tokens: int, config: CoreConfig) -> int:
    """Row blocks of a sequence."""
    return -(-tokens // config.rows)


@lru_cache(maxsize=16)
def _decode(program: tuple[int, ...]) -> dict[int, _Instruction]:
    """Instructions by their word address, up to the first END."""
    instructions, address = {}, 0
    while True:
        if address >= len(program):
            raise ProgramError("The program has no END")
        opcode = Opcode(program[address] & 7)
        words = isa.WORDS[opcode]
        values: dict[str, Any] = {}
        operands = {}
        if opcode in _HEADERS:
            rest = list(program[address + 1 : address + words])
            structs = [(_HEADERS[opcode], program[address])]
            if opcode in _COUNTS:
                structs.append((_COUNTS[opcode], rest.pop(0)))
            for struct, word in structs:
                const = struct.from_bits(word & ((1 << struct.as_shape().size) - 1))
                values |= {name: getattr(const, name) for name, _ in struct.as_shape() if name != "opcode"}
            for name, word in zip(_OPERANDS.get(opcode, ()), rest, strict=True):
                operand = isa.Operand.from_bits(word & ((1 << isa.Operand.as_shape().size) - 1))
                operands[name] = (operand.base, operand.outer, operand.inner)
        instructions[address] = _Instruction(opcode, address, words, values, operands)
        if opcode == Opcode.END:
            return instructions
        address += words


def _resolve(
    instruction: _Instruction, i: int, j: int, first: bool, last: bool, tokens: int, config: CoreConfig
) -> Command:
    values = dict(instruction.values)
    sync = values.pop("sync")
    for name, (base, outer, inner) in instruction.operands.items():
        values[name] = (base + i * outer + j * inner) % (1 << isa.ADDRESS_BITS)
    if instruction.opcode == Opcode.ARRAY:
        if values.pop("n_tokens"):
            values["n"] = -(-tokens // config.cols)
        if values.pop("k_tokens"):
            values["k"] = -(-tokens // config.depth)
        if values["pending"] == isa.PENDING_ROWS:
            values["pending"] = min(row_blocks(tokens, config) - 1, isa.PENDING_MAX)
    if instruction.opcode == Opcode.STORE:
        values["last"] = last
    signals = sync.signal_when == When.ALWAYS or (first if sync.signal_when == When.FIRST else last)
    return Command(
        instruction.opcode,
        instruction.address,
        i,
        j,
        tuple(s for s in Semaphore if sync.wait >> s & 1 and (first or not sync.wait_first)),
        tuple(s for s in Semaphore if sync.signal >> s & 1 and signals),
        values,
    )


def walk(program: Sequence[int], config: CoreConfig, tokens: int) -> Iterator[Step]:
    """Every instruction that passes the decoder in one pass of the program, END included."""
    instructions = _decode(tuple(program))
    address = 0
    while True:
        here = instructions[address]
        address += here.words
        if here.opcode == Opcode.END:
            yield Step(here.opcode, here.words, redirect=True)
            return
        if here.opcode != Opcode.LOOP:
            yield Step(here.opcode, here.words, _resolve(here, 0, 0, True, True, tokens, config))
            continue
        yield Step(here.opcode, here.words, redirect=True)
        loop = here.values
        outer, inner = (
            row_blocks(tokens, config) if loop[f"{name}_rows"] else loop[name] for name in ("outer", "inner")
        )
        end, trips = address + loop["body"], outer * inner
        body = [instructions[a] for a in sorted(instructions) if address <= a < end]
        if not body or body[-1].address + body[-1].words != end:
            raise ProgramError(f"The body of the loop at word {here.address} does not end with an instruction")
        if any(b.opcode in (Opcode.LOOP, Opcode.END) for b in body):
            raise ProgramError(f"The loop at word {here.address} holds a LOOP or END")
        for t in range(trips + loop["lag"]):
            for b in body:
                u = t - b.values["sync"].lag
                command = None
                if 0 <= u < trips:
                    command = _resolve(b, u // inner, u % inner, u == 0, u == trips - 1, tokens, config)
                yield Step(b.opcode, b.words, command, redirect=t == trips + loop["lag"] - 1 and b is body[-1])
        address = end


def commands(program: Sequence[int], config: CoreConfig, tokens: int) -> Iterator[Command]:
    """The commands of one pass of the program, in program order."""
    return (step.command for step in walk(program, config, tokens) if step.command is not None)
