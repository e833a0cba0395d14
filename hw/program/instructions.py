# SPDX-License-Identifier: SHL-2.1
"""The instructions, in one table: words, engine, and how their fields become those of a command.

Sequencer, assembler, listing, interpreter and ``docs/program.md`` are derived from :data:`INSTRUCTIONS`. Every word of
an instruction is a Struct. A field of kind Operand is an address, at the bottom of its word; all others are literals.
Names of fields are unique within an instruction, and a command's field is filled by the instruction's of that name.
``wait``, ``signal`` and ``last`` come from the synchronisation and the loop.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from ..structs import fields_of
from .commands import COMMANDS, Engine
from .isa import (
    BEAT_BITS,
    CHANNEL_BITS,
    DEPTH_BITS,
    EPS_BITS,
    INDEX_BITS,
    LAG_BITS,
    PENDING_ROWS,
    STEP_BITS,
    TILE_BITS,
    WORD_BITS,
    ASource,
    BSource,
    Destination,
    Format,
    Operand,
    Sync,
)

__all__ = [
    "INSTRUCTIONS", "ArrayCounts", "ArrayHeader", "End", "Instruction", "Loop", "NormCounts", "NormHeader", "Opcode",
    "OPCODE_BITS", "RunTime", "SoftmaxHeader", "StoreCounts", "StoreHeader", "opcode_of",
]  # fmt: skip

OPCODE_BITS = 3


class Opcode(enum.Enum, shape=OPCODE_BITS):
    """First bits of every instruction."""

    END = 0  # end of one input's work: start over when `run` is high
    LOOP = 1
    ARRAY = 2  # one row block: rows x (n tiles) x (k words) through the array and the drain
    SOFTMAX = 3  # one row block of scores to unnormalised exponentials and row scales
    NORM = 4  # LayerNorm of one row block
    STORE = 5  # one row block of RES to the output stream


def opcode_of(word: int) -> Opcode:
    """Opcode of an instruction's first word.

    Raises
    ------
    ValueError
        If there is none of that number.
    """
    return Opcode(word & ((1 << OPCODE_BITS) - 1))


class End(data.Struct):
    """END header."""

    opcode: Opcode


class Loop(data.Struct):
    """LOOP header. A count whose ``rows`` flag is set is the number of row blocks at run time instead."""

    opcode: Opcode
    outer: unsigned(INDEX_BITS)
    outer_rows: unsigned(1)
    inner: unsigned(INDEX_BITS)
    inner_rows: unsigned(1)
    lag: unsigned(LAG_BITS)
    body: unsigned(8)


class ArrayHeader(data.Struct):
    """ARRAY, word 0; then ArrayCounts and the operands A, B, OUT, RES, CHAN."""

    opcode: Opcode
    sync: Sync
    pending: unsigned(3)
    a_source: ASource
    a_unsigned: unsigned(1)  # the A operand is uint8
    b_source: BSource
    result: Format
    destination: Destination
    row_scale: unsigned(1)  # multiplier and shift come from the softmax's row scales, and the bias is 0
    add: unsigned(1)  # Format.INT16: add RES
    table: unsigned(6)  # Format.ACTIVATION: which table


class ArrayCounts(data.Struct):
    """ARRAY, word 1. ``k_tokens``: k = ceil(tokens / depth); ``n_tokens``: n = ceil(tokens / cols).

    B word of tile t, depth word d: ``b + t * b_n + d * b_k``.
    """

    n: unsigned(TILE_BITS)
    n_tokens: unsigned(1)
    k: unsigned(DEPTH_BITS)
    k_tokens: unsigned(1)
    b_n: unsigned(14)
    b_k: unsigned(STEP_BITS)
    out_step: unsigned(STEP_BITS)


class SoftmaxHeader(data.Struct):
    """SOFTMAX, word 0; then the operand HEAD."""

    opcode: Opcode
    sync: Sync


class NormHeader(data.Struct):
    """NORM, word 0; then NormCounts and the operands SRC (RES words), ACT (beats), RES (words), NORM (words).

    ``out8`` writes the int8 form to ACT with the parameters at NORM; ``out16`` writes the int16 form to RES with the
    parameters that follow those of the 8-bit form where both are made (at NORM + beats), else those at NORM.
    """

    opcode: Opcode
    sync: Sync
    out8: unsigned(1)
    out16: unsigned(1)
    shift8: unsigned(6)
    shift16: unsigned(6)


class NormCounts(data.Struct):
    """NORM, word 1: ``beats`` of a row block (padded channels must be zero), true ``channels``, and ``eps``."""

    beats: unsigned(BEAT_BITS)
    channels: unsigned(CHANNEL_BITS)
    eps: unsigned(EPS_BITS)


class StoreHeader(data.Struct):
    """STORE, word 0; then StoreCounts and the operand SRC (RES words). tlast marks a loop's last iteration's end."""

    opcode: Opcode
    sync: Sync


class StoreCounts(data.Struct):
    """STORE, word 1."""

    beats: unsigned(BEAT_BITS)


@dataclass(frozen=True, kw_only=True)
class RunTime:
    """Where field ``flag`` is ``value``, the length of the sequence gives the value of ``field``."""

    field: str
    flag: str
    value: int = 1
    length: str
    """Of :class:`hw.program.commands.Lengths`, or ``pending_rows``: min(row_blocks - 1, PENDING_MAX)."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """An entry of :data:`INSTRUCTIONS`."""

    opcode: Opcode
    words: tuple[type[data.Struct], ...]
    """Struct of each word, the header first."""
    engine: Engine | None = None
    """Whose queue it goes to; None: the sequencer carries it out itself."""
    run_time: tuple[RunTime, ...] = ()
    fixed: dict[str, int] = field(default_factory=dict)
    """Command fields that are the same in every instruction of this kind."""

    def __post_init__(self) -> None:
        names = [name for struct in self.words for name in fields_of(struct)]
        if len(names) != len(set(names)):
            raise ValueError(f"{self.opcode.name} has a field twice")
        for struct in self.words:
            if struct.as_shape().size > WORD_BITS:
                raise ValueError(f"{struct.__name__} has more than {WORD_BITS} bits")
            if any(place.shape is Operand and place.offset for place in fields_of(struct).values()):
                raise ValueError(f"{struct.__name__} must have its Operand at the bottom")
        if self.engine is not None:
            filled = {*names, *self.fixed, "wait", "signal", "last"}
            if lacking := set(fields_of(COMMANDS[self.engine])) - filled:
                raise ValueError(f"{self.opcode.name} does not fill {', '.join(sorted(lacking))}")

    @cached_property
    def operands(self) -> dict[str, int]:
        """Number of the word of each operand, by name."""
        return {n: i for i, s in enumerate(self.words) for n, place in fields_of(s).items() if place.shape is Operand}

    @cached_property
    def literals(self) -> dict[str, int]:
        """Number of the word of each other field, by name; ``opcode`` and ``sync`` apart."""
        skip = {"opcode", "sync", "reserved", *self.operands}
        return {n: i for i, s in enumerate(self.words) for n in fields_of(s) if n not in skip}

    def struct_of(self, name: str) -> type[data.Struct]:
        """The word that a field is in."""
        return next(struct for struct in self.words if name in fields_of(struct))

    def place(self, name: str) -> Any:
        """Where a field lies in its word."""
        return fields_of(self.struct_of(name))[name]


def _operands(*names: str) -> tuple[type[data.Struct], ...]:
    """Words that hold an operand and nothing else."""
    return tuple(
        type(data.Struct)(
            f"{name.capitalize()}Operand",
            (data.Struct,),
            {"__annotations__": {name: Operand}, "__doc__": "", "__module__": __name__},
        )
        for name in names
    )


INSTRUCTIONS: dict[Opcode, Instruction] = {
    instruction.opcode: instruction
    for instruction in (
        Instruction(opcode=Opcode.END, words=(End,)),
        Instruction(
            opcode=Opcode.LOOP,
            words=(Loop,),
            run_time=(
                RunTime(field="outer", flag="outer_rows", length="row_blocks"),
                RunTime(field="inner", flag="inner_rows", length="row_blocks"),
            ),
        ),
        Instruction(
            opcode=Opcode.ARRAY,
            words=(ArrayHeader, ArrayCounts, *_operands("a", "b", "out", "res", "chan")),
            engine=Engine.ARRAY,
            run_time=(
                RunTime(field="n", flag="n_tokens", length="key_tiles"),
                RunTime(field="k", flag="k_tokens", length="key_words"),
                RunTime(field="pending", flag="pending", value=PENDING_ROWS, length="pending_rows"),
            ),
        ),
        Instruction(opcode=Opcode.SOFTMAX, words=(SoftmaxHeader, *_operands("head")), engine=Engine.SOFTMAX),
        Instruction(
            opcode=Opcode.NORM,
            words=(NormHeader, NormCounts, *_operands("src", "act", "res", "norm")),
            engine=Engine.NORM,
        ),
        Instruction(opcode=Opcode.STORE, words=(StoreHeader, StoreCounts, *_operands("src")), engine=Engine.STORE),
    )
}
"""Every instruction, by opcode."""
