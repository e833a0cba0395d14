# SPDX-License-Identifier: SHL-2.1
"""The instructions, in one table: words, engine, and how their fields become those of a command.

Sequencer, assembler, listing, interpreter and ``docs/program.md`` are derived from :data:`INSTRUCTIONS`. Every word of
an instruction is a Struct. A field of kind Operand is an address, at the bottom of its word; all others are literals.
Names of fields are unique within an instruction, and a command's field is filled by the instruction's of that name.
``wait``, ``signal`` and ``last`` come from the synchronisation and the loop. No command has a field without hardware.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from typing import Any

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from ..structs import fields_of
from .commands import COMMANDS, SEMAPHORES_OF, Engine
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
    Semaphore,
    Sync,
    When,
)

__all__ = [
    "INSTRUCTIONS", "NO_HARDWARE", "OPCODE_BITS", "ArrayA", "ArrayB", "ArrayChan", "ArrayCounts", "ArrayHeader",
    "ArrayOut", "ArrayRes", "End", "Instruction", "Loop", "NormCounts", "NormHeader", "Opcode", "RunTime",
    "SoftmaxHeader", "StoreCounts", "StoreHeader", "lacks", "live_bits", "opcode_of",
]  # fmt: skip

OPCODE_BITS = 4


class Opcode(enum.Enum, shape=OPCODE_BITS):
    """First bits of every instruction."""

    END = 0  # end of one input's work: start over when `run` is high
    LOOP = 1
    ARRAY = 2  # one row block: rows x (n tiles) x (k words) through the array and the drain
    SOFTMAX = 3  # one row block of scores to unnormalised exponentials and row scales
    NORM = 4  # LayerNorm of one row block
    STORE = 5  # one row block of RES to the output stream
    FETCH = 6  # a panel, or activations, from external memory
    SPILL = 7  # results or activations to external memory
    GATHER = 8  # rows of a table in external memory, by token, to RES
    SELECT = 9  # kept units of a row block from its predictions


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
    group: unsigned(6)  # outer iterations that share what operands with `group` address
    inner_kept: unsigned(1)  # the inner count comes from the list of kept units


class ArrayHeader(data.Struct):
    """ARRAY, word 0."""

    opcode: Opcode
    sync: Sync
    pending: unsigned(3)
    result: Format
    table: unsigned(6)  # Format.ACTIVATION: which table
    causal: unsigned(1)  # keys end at the query's own position
    masked: unsigned(1)  # keys of kept units only


class ArrayCounts(data.Struct):
    """ARRAY, word 1. ``k_keys``: k = ceil(keys / depth); ``n_keys``: n = ceil(keys / cols).

    B word of tile t, depth word d: ``b + t * b_n + d * b_k``.
    """

    n: unsigned(TILE_BITS)
    n_keys: unsigned(1)
    k: unsigned(DEPTH_BITS)
    k_keys: unsigned(1)
    b_n: unsigned(14)
    b_k: unsigned(STEP_BITS)
    out_step: unsigned(STEP_BITS)


class ArrayA(data.Struct):
    """ARRAY, word 2: the A operand."""

    a: Operand
    a_source: ASource
    a_unsigned: unsigned(1)  # uint8
    a_exponent: unsigned(1)  # undo the exponents of its rows


class ArrayB(data.Struct):
    """ARRAY, word 3: the B operand."""

    b: Operand
    b_source: BSource


class ArrayOut(data.Struct):
    """ARRAY, word 4: where results go."""

    out: Operand
    destination: Destination
    out_exponent: unsigned(1)  # find an exponent for each row


class ArrayRes(data.Struct):
    """ARRAY, word 5: the residual operand."""

    res: Operand
    add: unsigned(1)  # Format.INT16: add RES
    rotate: unsigned(1)  # pairs of columns, by the table there (RoPE)


class ArrayChan(data.Struct):
    """ARRAY, word 6: the constants of the output channels."""

    chan: Operand
    row_scale: unsigned(1)  # multiplier and shift come from the softmax's row scales, and the bias is 0


class SoftmaxHeader(data.Struct):
    """SOFTMAX, word 0."""

    opcode: Opcode
    sync: Sync
    causal: unsigned(1)
    masked: unsigned(1)
    panel: unsigned(1)  # HEAD in the panel ring


class NormHeader(data.Struct):
    """NORM, word 0; its operands are SRC (RES words), ACT (beats), RES (words) and NORM (words).

    ``out8`` writes the int8 form to ACT with the parameters at NORM; ``out16`` writes the int16 form to RES with the
    parameters that follow those of the 8-bit form where both are made (at NORM + beats), else those at NORM.
    """

    opcode: Opcode
    sync: Sync
    out8: unsigned(1)
    out16: unsigned(1)
    shift8: unsigned(6)
    shift16: unsigned(6)
    rms: unsigned(1)  # leave the mean out
    exponent: unsigned(1)  # find an exponent for each row of the int8 form
    panel: unsigned(1)  # NORM in the panel ring


class NormCounts(data.Struct):
    """NORM, word 1: ``beats`` of a row block (padded channels must be zero), true ``channels``, and ``eps``."""

    beats: unsigned(BEAT_BITS)
    channels: unsigned(CHANNEL_BITS)
    eps: unsigned(EPS_BITS)


class StoreHeader(data.Struct):
    """STORE, word 0; its operand is SRC (RES words). tlast marks the end of a loop's last iteration."""

    opcode: Opcode
    sync: Sync


class StoreCounts(data.Struct):
    """STORE, word 1."""

    beats: unsigned(BEAT_BITS)


NO_HARDWARE: dict[type, tuple[str, ...]] = {
    ASource: ("PANEL",),
    BSource: ("PANEL",),
    Format: ("PREDICT", "PRODUCT"),
    Destination: ("MASK", "EXTERNAL"),
    Sync: ("acts",),
    Operand: ("position", "group"),
    Loop: ("group", "inner_kept"),
    ArrayHeader: ("causal", "masked"),
    ArrayA: ("a_exponent",),
    ArrayOut: ("out_exponent",),
    ArrayRes: ("rotate",),
    SoftmaxHeader: ("causal", "masked", "panel"),
    NormHeader: ("rms", "exponent", "panel"),
}
"""Members of enumerations and fields of Structs that have no hardware yet: such a field must be 0. (An opcode has none
while it is not in :data:`INSTRUCTIONS`.)"""


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

    @property
    def goes_to(self) -> Engine:
        """The engine, of an instruction that has one.

        Raises
        ------
        ValueError
            If it has none.
        """
        if self.engine is None:
            raise ValueError(f"{self.opcode.name} goes to no engine")
        return self.engine

    def struct_of(self, name: str) -> type[data.Struct]:
        """The word that a field is in."""
        return next(struct for struct in self.words if name in fields_of(struct))

    def place(self, name: str) -> Any:
        """Where a field lies in its word."""
        return fields_of(self.struct_of(name))[name]


def _operands(*names: str) -> tuple[type[data.Struct], ...]:
    """Words that hold an operand and nothing else."""
    metaclass: Any = type(data.Struct)
    return tuple(
        metaclass(
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
            words=(ArrayHeader, ArrayCounts, ArrayA, ArrayB, ArrayOut, ArrayRes, ArrayChan),
            engine=Engine.ARRAY,
            run_time=(
                RunTime(field="n", flag="n_keys", length="key_tiles"),
                RunTime(field="k", flag="k_keys", length="key_words"),
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
"""Every instruction with hardware, by opcode."""


def live_bits(enumeration: type[enum.Enum]) -> int:
    """Bits that are set in any member with hardware."""
    lacking = NO_HARDWARE.get(enumeration, ())
    return reduce(or_, (member.value for member in enumeration if member.name not in lacking))


def lacks(kind: Instruction, values: Mapping[str, Any]) -> str | None:
    """What the field values of an instruction ask for that has no hardware yet: a field, or the value of one."""
    for struct in kind.words:
        fields = {name: values[name] for name in fields_of(struct) if name in values}
        for lacking in _lacking(struct, fields, ""):
            return lacking
    counted = SEMAPHORES_OF[kind.engine] if kind.engine in SEMAPHORES_OF else ()
    for role, semaphores in zip(("wait", "signal"), counted, strict=False):
        for number in (0, 1):
            event = values["sync"][f"{role}{number}"]
            if event["when"] != When.NEVER and event["semaphore"] not in semaphores:
                known = event["semaphore"] in set(Semaphore)
                return f"{role} {Semaphore(event['semaphore']).name if known else event['semaphore']}"
    return None


def _lacking(struct: type[data.Struct], values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        place, full = fields_of(struct)[name], f"{prefix}{name}"
        if place.struct:
            yield from _lacking(place.shape, value, f"{full}.")
        elif name in NO_HARDWARE.get(struct, ()) and (value.value if place.enum else value):
            yield full
        elif place.enum and not isinstance(value, place.shape):
            yield f"{full} {value}"
        elif place.enum and value.name in NO_HARDWARE.get(place.shape, ()):
            yield f"{full} {value.name}"
