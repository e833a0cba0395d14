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
from hw.program.instructions import INSTRUCTIONS, Instruction, Opcode, lacks, opcode_of
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
        try:
            opcode = opcode_of(program[address])
        except ValueError as error:
            raise ProgramError(f"Word {address} is no instruction: {error}") from None
        if opcode not in INSTRUCTIONS:
            raise ProgramError(f"{opcode.name} at word {address}: no hardware yet")
        kind = INSTRUCTIONS[opcode]
        values: dict[str, Any] = {}
        for struct, word in zip(kind.words, program[address:], strict=False):
            values |= unpack(struct, word)
        if what := lacks(kind, values):
            raise ProgramError(f"{opcode.name} at word {address}: {what}: no hardware yet")
        instructions[address] = _Instruction(kind, address, values)
        if opcode == Opcode.END:
            return instructions
        address += len(kind.words)


def _at_run_time(instruction: _Instruction, tokens: int, config: CoreConfig) -> dict[str, Any]:
    """Its fields, with those that the length of the sequence gives."""
    values, given = dict(instruction.values), lengths(tokens, config)
    for rule in instruction.kind.run_time:
        if instruction.values[rule.flag] == rule.value:
            values[rule.field] = given[rule.length]
    return values


def _holds(when: When, i: int, j: int, outer: int, inner: int) -> bool:
    """Whether iteration (i, j) of a loop of outer x inner is one of those."""
    return {
        When.ALWAYS: True,
        When.FIRST: i == j == 0,
        When.LAST: i == outer - 1 and j == inner - 1,
        When.INNER_FIRST: j == 0,
        When.INNER_LAST: j == inner - 1,
        When.OUTER_FIRST: i == 0,
        When.OUTER_LAST: i == outer - 1,
        When.NEVER: False,
    }[when]


def _resolve(
    instruction: _Instruction, tokens: int, config: CoreConfig, i: int = 0, j: int = 0, outer: int = 1, inner: int = 1
) -> Command:
    """The command of an instruction in iteration (i, j) of a loop of outer x inner."""
    kind, values = instruction.kind, _at_run_time(instruction, tokens, config)
    if kind.engine is None:
        raise ValueError(f"{kind.opcode.name} is no engine's")
    for name in kind.operands:
        operand = values[name]
        address = operand["base"] + i * operand["outer"] + j * operand["inner"]
        values[name] = address % (1 << isa.ADDRESS_BITS)
    values |= kind.fixed | {"last": _holds(When.LAST, i, j, outer, inner)}
    semaphores: dict[str, tuple[Semaphore, ...]] = {}
    for role in ("wait", "signal"):
        events = (values["sync"][f"{role}{number}"] for number in (0, 1))
        counting = {event["semaphore"] for event in events if _holds(event["when"], i, j, outer, inner)}
        semaphores[role] = tuple(Semaphore(number) for number in sorted(counting))
    fields = {name: values[name] for name in fields_of(COMMANDS[kind.goes_to]) if name not in semaphores}
    return Command(kind.goes_to, instruction.address, i, j, semaphores["wait"], semaphores["signal"], fields)


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
            yield Step(here.kind, _resolve(here, tokens, config))
            continue
        yield Step(here.kind, redirect=True)
        loop = _at_run_time(here, tokens, config)
        outer, inner, lag = loop["outer"], loop["inner"], loop["lag"]
        end, trips = address + loop["body"], outer * inner
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
                    command = _resolve(b, tokens, config, u // inner, u % inner, outer, inner)
                redirect = t == trips + lag - 1 and b is body[-1]
                yield Step(b.kind, command, redirect)
        address = end


def commands(program: Sequence[int], config: CoreConfig, tokens: int) -> Iterator[Command]:
    """The commands of one pass of the program, in program order."""
    return (step.command for step in walk(program, config, tokens) if step.command is not None)
