# SPDX-License-Identifier: Apache-2.0
"""What the sequencer does with a program: decoding, skewed loops, operand resolution, run-time lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hw.config import CoreConfig
from hw.program import isa
from hw.program.commands import COMMANDS, Engine
from hw.program.instructions import INSTRUCTIONS, Instruction, Opcode, opcode_of
from hw.program.isa import Semaphore, When
from hw.structs import fields_of, unpack

__all__ = ["Command", "ProgramError", "Step", "commands", "lengths", "row_blocks", "walk"]


class ProgramError(RuntimeError):
    """A program that breaks the rules of :mod:`hw.program.isa` when run in order."""


@dataclass(frozen=True, slots=True)
class Command:
    """A resolved command. ``fields`` are those of the engine's command Struct; ``i`` and ``j`` the loop indices."""

    engine: Engine
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

    kind: Instruction
    command: Command | None = None
    redirect: bool = False


@dataclass(frozen=True, slots=True)
class _Instruction:
    """Fields of one instruction of a program; an operand's value is a dict of base and strides."""

    kind: Instruction
    address: int
    values: dict[str, Any]

    @property
    def end(self) -> int:
        return self.address + len(self.kind.words)


def row_blocks(tokens: int, config: CoreConfig) -> int:
    """Row blocks of a sequence."""
    return -(-tokens // config.rows)


def lengths(tokens: int, config: CoreConfig) -> dict[str, int]:
    """What instructions take from the length of the sequence, by name: see :class:`hw.program.instructions.RunTime`."""
    blocks = row_blocks(tokens, config)
    return {
        "row_blocks": blocks,
        "key_tiles": -(-tokens // config.cols),
        "key_words": -(-tokens // config.depth),
        "pending_rows": min(blocks - 1, isa.PENDING_MAX),
    }


@lru_cache(maxsize=16)
def _decode(program: tuple[int, ...]) -> dict[int, _Instruction]:
    """Instructions by their word address, up to the first END."""
    instructions: dict[int, _Instruction] = {}
    address = 0
    while True:
        if address >= len(program):
            raise ProgramError("The program has no END")
        kind = INSTRUCTIONS[opcode_of(program[address])]
        values: dict[str, Any] = {}
        for struct, word in zip(kind.words, program[address:], strict=False):
            values |= unpack(struct, word)
        instructions[address] = _Instruction(kind, address, values)
        if kind.opcode == Opcode.END:
            return instructions
        address += len(kind.words)


def _at_run_time(instruction: _Instruction, tokens: int, config: CoreConfig) -> dict[str, Any]:
    """Its fields, with those that the length of the sequence gives."""
    values, given = dict(instruction.values), lengths(tokens, config)
    for rule in instruction.kind.run_time:
        if instruction.values[rule.flag] == rule.value:
            values[rule.field] = given[rule.length]
    return values


def _resolve(
    instruction: _Instruction, i: int, j: int, first: bool, last: bool, tokens: int, config: CoreConfig
) -> Command:
    values = _at_run_time(instruction, tokens, config)
    for name in instruction.kind.operands:
        operand = values[name]
        address = operand["base"] + i * operand["outer"] + j * operand["inner"]
        values[name] = address % (1 << isa.ADDRESS_BITS)
    values |= instruction.kind.fixed | {"last": last}
    sync = values["sync"]
    signals = sync["signal_when"] == When.ALWAYS or (first if sync["signal_when"] == When.FIRST else last)
    engine = instruction.kind.engine
    return Command(
        engine,
        instruction.address,
        i,
        j,
        tuple(s for s in Semaphore if sync["wait"] >> s & 1 and (first or not sync["wait_first"])),
        tuple(s for s in Semaphore if sync["signal"] >> s & 1 and signals),
        {name: values[name] for name in fields_of(COMMANDS[engine]) if name not in ("wait", "signal")},
    )


def walk(program: Sequence[int], config: CoreConfig, tokens: int) -> Iterator[Step]:
    """Every instruction that passes the decoder in one pass of the program, END included."""
    instructions = _decode(tuple(program))
    address = 0
    while True:
        here = instructions[address]
        address = here.end
        if here.kind.opcode == Opcode.END:
            yield Step(here.kind, redirect=True)
            return
        if here.kind.opcode != Opcode.LOOP:
            yield Step(here.kind, _resolve(here, 0, 0, True, True, tokens, config))
            continue
        yield Step(here.kind, redirect=True)
        loop = _at_run_time(here, tokens, config)
        inner, lag = loop["inner"], loop["lag"]
        end, trips = address + loop["body"], loop["outer"] * inner
        body = [instructions[a] for a in sorted(instructions) if address <= a < end]
        if not body or body[-1].end != end:
            raise ProgramError(f"The body of the loop at word {here.address} does not end with an instruction")
        if any(b.kind.engine is None for b in body):
            raise ProgramError(f"The loop at word {here.address} holds a LOOP or END")
        for t in range(trips + lag):
            for b in body:
                u = t - b.values["sync"]["lag"]
                command = None
                if 0 <= u < trips:
                    command = _resolve(b, u // inner, u % inner, u == 0, u == trips - 1, tokens, config)
                redirect = t == trips + lag - 1 and b is body[-1]
                yield Step(b.kind, command, redirect)
        address = end


def commands(program: Sequence[int], config: CoreConfig, tokens: int) -> Iterator[Command]:
    """The commands of one pass of the program, in program order."""
    return (step.command for step in walk(program, config, tokens) if step.command is not None)
