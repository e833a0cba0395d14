# SPDX-License-Identifier: Apache-2.0
"""Assembler: instructions to 64-bit program words and back, by the layouts of :mod:`hw.program.isa` alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cache

from amaranth.hdl import Shape
from amaranth.lib import data

from gen.errors import InputError
from hw.program import isa
from hw.program.isa import ASource, BSource, Destination, Format, Opcode, Semaphore, When

__all__ = ["ROWS", "Array", "Assembled", "Loop", "Norm", "Operand", "Softmax", "Store", "assemble", "fields_of",
           "listing", "pack", "unpack"]  # fmt: skip

ROWS = "rows"
"""Loop count that stands for the number of row blocks at run time."""


@dataclass(frozen=True)
class Operand:
    """Address ``base + outer * i + inner * j`` of loop indices i and j."""

    base: int = 0
    outer: int = 0
    inner: int = 0


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What ARRAY, SOFTMAX, NORM and STORE share: synchronisation, and a ``tag`` that is only carried along."""

    lag: int = 0
    wait: tuple[Semaphore, ...] = ()
    wait_first: bool = False
    signal: tuple[Semaphore, ...] = ()
    signal_when: When = When.ALWAYS
    tag: object = None


@dataclass(frozen=True, kw_only=True)
class Array(Instruction):
    """ARRAY. ``n`` or ``k`` None: from the run-time sequence length (``n_tokens``, ``k_tokens``)."""

    n: int | None
    k: int | None
    a: Operand
    b: Operand
    b_n: int
    b_k: int
    result: Format
    out: Operand = Operand()
    res: Operand = Operand()
    chan: Operand = Operand()
    out_step: int = 0
    destination: Destination = Destination.ACT
    pending: int = isa.PENDING_MAX
    a_source: ASource = ASource.ACT
    a_unsigned: bool = False
    b_source: BSource = BSource.W
    row_scale: bool = False
    add: bool = False
    table: int = 0


@dataclass(frozen=True, kw_only=True)
class Softmax(Instruction):
    """SOFTMAX."""

    head: Operand


@dataclass(frozen=True, kw_only=True)
class Norm(Instruction):
    """NORM."""

    beats: int
    channels: int
    eps: int
    src: Operand
    norm: Operand
    act: Operand = Operand()
    res: Operand = Operand()
    out8: bool = False
    out16: bool = False
    shift8: int = 1
    shift16: int = 1


@dataclass(frozen=True, kw_only=True)
class Store(Instruction):
    """STORE."""

    beats: int
    src: Operand


@dataclass(frozen=True, kw_only=True)
class Loop:
    """LOOP over ``body``; a count may be :data:`ROWS`."""

    body: tuple[Instruction, ...]
    outer: int | str = 1
    inner: int | str = ROWS
    lag: int = 0


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """Program words, and the tag of the instruction that starts at each word address."""

    words: tuple[int, ...]
    tags: Mapping[int, object] = field(default_factory=dict)


ENGINES = {Array: Opcode.ARRAY, Softmax: Opcode.SOFTMAX, Norm: Opcode.NORM, Store: Opcode.STORE}
_COUNTS = {Opcode.ARRAY: isa.ArrayCounts, Opcode.NORM: isa.NormCounts, Opcode.STORE: isa.StoreCounts}
_HEADERS = {
    Opcode.END: isa.End,
    Opcode.LOOP: isa.Loop,
    Opcode.ARRAY: isa.ArrayHeader,
    Opcode.SOFTMAX: isa.SoftmaxHeader,
    Opcode.NORM: isa.NormHeader,
    Opcode.STORE: isa.StoreHeader,
}
_OPERANDS = {
    Opcode.ARRAY: ("a", "b", "out", "res", "chan"),
    Opcode.SOFTMAX: ("head",),
    Opcode.NORM: ("src", "act", "res", "norm"),
    Opcode.STORE: ("src",),
}


@cache
def fields_of(struct: type) -> dict[str, tuple[int, int, bool, object]]:
    """Offset, width, signedness and shape of each field of a Struct."""
    return {
        name: (f.offset, f.width, Shape.cast(f.shape).signed, f.shape)
        for name, f in data.Layout.cast(struct)
        if name != "reserved"
    }


def pack(struct: type, values: Mapping[str, object], *, where: str = "") -> int:
    """Word of the amaranth Struct ``struct`` (fields not given are 0; nested structs take mappings).

    Raises
    ------
    InputError
        If a value does not fit its field; the message names the struct and the field, and ``where`` it is used.
    """
    word = 0
    layout = fields_of(struct)
    if unknown := set(values) - set(layout):
        raise KeyError(f"{struct.__name__} has no field {', '.join(sorted(unknown))}")
    for name, value in values.items():
        offset, width, signed, shape = layout[name]
        if isinstance(value, Mapping):
            value = pack(shape, value, where=where)
        value = int(value.value if isinstance(value, Enum) else value)
        lo, hi = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
        if not lo <= value <= hi:
            what = f"{where}: " if where else ""
            raise InputError(
                f"{what}field {name} of {struct.__name__} holds {lo}..{hi} and {value} is needed; "
                "use a smaller model or a larger array"
            )
        word |= (value & ((1 << width) - 1)) << offset
    return word


def unpack(struct: type, word: int) -> dict[str, object]:
    """Fields of a word, the inverse of :func:`pack`; enumerations and nested structs come back as such."""
    values: dict[str, object] = {}
    for name, (offset, width, signed, shape) in fields_of(struct).items():
        value = (word >> offset) & ((1 << width) - 1)
        if signed and value >> (width - 1):
            value -= 1 << width
        if isinstance(shape, type) and issubclass(shape, data.Struct):
            values[name] = unpack(shape, value)
        elif isinstance(shape, type) and issubclass(shape, Enum):
            values[name] = shape(value)
        else:
            values[name] = value
    return values


def _mask(semaphores: Iterable[Semaphore]) -> int:
    return sum(1 << s for s in set(semaphores))


def _encode(instruction: Instruction) -> list[int]:
    opcode = ENGINES[type(instruction)]
    where = f"{opcode.name} {instruction.tag or ''}".strip()
    values = {f.name: getattr(instruction, f.name) for f in fields(instruction)}
    if opcode == Opcode.ARRAY:
        for count in ("n", "k"):
            values[f"{count}_tokens"] = values[count] is None
            values[count] = values[count] or 0
    values["opcode"] = opcode
    values["sync"] = {
        "lag": instruction.lag,
        "wait": _mask(instruction.wait),
        "wait_first": instruction.wait_first,
        "signal": _mask(instruction.signal),
        "signal_when": instruction.signal_when,
    }
    structs = [_HEADERS[opcode]] + ([_COUNTS[opcode]] if opcode in _COUNTS else [])
    words = [pack(s, {name: values[name] for name in fields_of(s)}, where=where) for s in structs]
    for name in _OPERANDS[opcode]:
        operand = values[name]
        words.append(
            pack(
                isa.Operand,
                {"base": operand.base, "outer": operand.outer, "inner": operand.inner},
                where=f"{where} {name}",
            )
        )
    if len(words) != isa.WORDS[opcode]:
        raise AssertionError(f"{opcode.name} has {isa.WORDS[opcode]} words, not {len(words)}")
    return words


def _check_semaphores(instructions: Sequence[Instruction]) -> None:
    """Each semaphore has one engine that waits for it, and one that signals it (so that its order is known)."""
    own = {Semaphore.INPUT_FREE: "the loader"}, {Semaphore.INPUT_FULL: "the loader"}
    for role, owner in zip(("wait", "signal"), own, strict=True):
        for instruction in instructions:
            engine = ENGINES[type(instruction)].name
            for semaphore in getattr(instruction, role):
                if owner.setdefault(semaphore, engine) != engine:
                    raise ValueError(
                        f"Semaphore {semaphore.name} must have a single engine to {role}, "
                        f"not {owner[semaphore]} and {engine}"
                    )


def assemble(program: Sequence[Instruction | Loop]) -> Assembled:
    """Program words of ``program``, followed by END.

    Raises
    ------
    ValueError
        If the program breaks a rule of :mod:`hw.program.isa`: two consumers of a semaphore, a lag above its loop's.
    InputError
        If a value does not fit its field.
    """
    words: list[int] = []
    tags: dict[int, object] = {}
    flat: list[Instruction] = []

    def emit(instruction: Instruction) -> None:
        tags[len(words)] = instruction.tag
        flat.append(instruction)
        words.extend(_encode(instruction))

    for item in program:
        if not isinstance(item, Loop):
            if item.lag:
                raise ValueError(f"Lag must be 0 outside a loop, not {item.lag}")
            emit(item)
            continue
        if not item.body or not 0 <= item.lag <= isa.LAG_MAX:
            raise ValueError(f"A loop must have a body and a lag of 0..{isa.LAG_MAX}, not {item.lag}")
        if any(i.lag > item.lag for i in item.body):
            raise ValueError(f"Lags in a body must be at most the loop's {item.lag}")
        counts = {"outer": item.outer, "inner": item.inner}
        header = {"opcode": Opcode.LOOP, "lag": item.lag, "body": sum(isa.WORDS[ENGINES[type(i)]] for i in item.body)}
        for name, count in counts.items():
            if count != ROWS and count < 1:
                raise ValueError(f"Loop count {name} must be positive, not {count}")
            header |= {name: 0 if count == ROWS else count, f"{name}_rows": count == ROWS}
        words.append(pack(isa.Loop, header, where="LOOP"))
        for instruction in item.body:
            emit(instruction)
    words.append(pack(isa.End, {"opcode": Opcode.END}))
    _check_semaphores(flat)
    return Assembled(words=tuple(words), tags=tags)


def _semaphores(mask: int) -> str:
    return "+".join(s.name for s in Semaphore if mask >> s & 1)


def _describe(opcode: Opcode, words: Sequence[int]) -> str:
    header = unpack(_HEADERS[opcode], words[0])
    values = dict(header)
    rest = list(words[1:])
    if opcode in _COUNTS:
        values |= unpack(_COUNTS[opcode], rest.pop(0))
    sync = values.pop("sync")
    values.pop("opcode")
    parts = []
    for count in ("n", "k"):
        if values.pop(f"{count}_tokens", 0):
            values[count] = "tokens"
    for name, value in values.items():
        if isinstance(value, Enum):
            parts.append(f"{name}={value.name}")
        elif value not in (0, False):
            parts.append(f"{name}={value}")
    for name, word in zip(_OPERANDS[opcode], rest, strict=True):
        operand = unpack(isa.Operand, word)
        if any(operand.values()):
            terms = [str(operand["base"])]
            terms += [f"{index}*{operand[key]}" for index, key in (("i", "outer"), ("j", "inner")) if operand[key]]
            parts.append(f"{name}={'+'.join(terms)}")
    if sync["lag"]:
        parts.append(f"lag={sync['lag']}")
    if sync["wait"]:
        parts.append(f"wait{'_first' if sync['wait_first'] else ''}={_semaphores(sync['wait'])}")
    if sync["signal"]:
        when = "" if sync["signal_when"] == When.ALWAYS else f"_{sync['signal_when'].name.lower()}"
        parts.append(f"signal{when}={_semaphores(sync['signal'])}")
    return " ".join([f"{opcode.name:8}", *parts])


def listing(words: Sequence[int], tags: Mapping[int, object] | None = None) -> str:
    """Readable disassembly, one instruction a line: address, mnemonic, non-zero fields, and the tag as a comment."""
    lines, address, body_end = [], 0, 0
    while address < len(words):
        opcode = Opcode(words[address] & 7)
        indent = "  " if address < body_end else ""
        if opcode == Opcode.LOOP:
            loop = unpack(isa.Loop, words[address])
            body_end = address + 1 + loop["body"]
            counts = " x ".join("rows" if loop[f"{name}_rows"] else str(loop[name]) for name in ("outer", "inner"))
            text = f"LOOP     {counts}" + (f" lag={loop['lag']}" if loop["lag"] else "")
        elif opcode == Opcode.END:
            text = "END"
        else:
            text = _describe(opcode, words[address : address + isa.WORDS[opcode]])
        tag = (tags or {}).get(address)
        lines.append(f"{address:4}  {indent}{text}" + (f"  ; {tag}" if tag else ""))
        address += isa.WORDS[opcode]
    return "\n".join(lines)
