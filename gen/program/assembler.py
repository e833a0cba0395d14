# SPDX-License-Identifier: Apache-2.0
"""Assembler: instructions to 64-bit program words and back, by the table of :mod:`hw.program.instructions` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from gen.errors import InputError
from hw import structs
from hw.program import isa
from hw.program.instructions import INSTRUCTIONS, Opcode, lacks, opcode_of
from hw.program.isa import ASource, BSource, Destination, Format, Semaphore, When
from hw.structs import FieldError, fields_of, unpack

__all__ = ["ROWS", "Array", "Assembled", "Loop", "Norm", "Operand", "Softmax", "Store", "assemble", "listing", "pack"]

_EVENTS = 2
"""Waits, and signals, of an instruction."""

ROWS = "rows"
"""Loop count that stands for the number of row blocks at run time."""


@dataclass(frozen=True)
class Operand:
    """Address ``base + outer * i + inner * j`` of loop indices i and j."""

    base: int = 0
    outer: int = 0
    inner: int = 0
    position: bool = False
    group: bool = False


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What ARRAY, SOFTMAX, NORM and STORE share: synchronisation, and a ``tag`` that is only carried along.

    A semaphore of ``wait`` or ``signal`` counts in the iterations of ``wait_when`` and ``signal_when``, or in those
    that a pair (semaphore, When) names.
    """

    lag: int = 0
    acts: When = When.ALWAYS
    wait: tuple[Semaphore | tuple[Semaphore, When], ...] = ()
    wait_when: When = When.ALWAYS
    signal: tuple[Semaphore | tuple[Semaphore, When], ...] = ()
    signal_when: When = When.ALWAYS
    tag: object = None


@dataclass(frozen=True, kw_only=True)
class Array(Instruction):
    """ARRAY. ``n`` or ``k`` None: from the number of keys at run time (``n_keys``, ``k_keys``)."""

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
    causal: bool = False
    masked: bool = False
    a_exponent: bool = False
    out_exponent: bool = False
    rotate: bool = False


@dataclass(frozen=True, kw_only=True)
class Softmax(Instruction):
    """SOFTMAX."""

    head: Operand
    causal: bool = False
    masked: bool = False
    panel: bool = False


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
    rms: bool = False
    exponent: bool = False
    panel: bool = False


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
    group: int = 0
    inner_kept: bool = False


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """Program words, and the tag of the instruction that starts at each word address."""

    words: tuple[int, ...]
    tags: Mapping[int, object] = field(default_factory=dict)


_OPCODES = {Array: Opcode.ARRAY, Softmax: Opcode.SOFTMAX, Norm: Opcode.NORM, Store: Opcode.STORE}


def pack(struct: type, values: Mapping[str, Any], *, where: str = "") -> int:
    """Word of a Struct, as :func:`hw.structs.pack` makes it.

    Raises
    ------
    InputError
        If a value does not fit its field; the message names the struct and the field, and ``where`` it is used.
    """
    try:
        return structs.pack(struct, values)
    except FieldError as error:
        raise InputError(f"{where}{': ' if where else ''}{error}; use a smaller model or a larger array") from None


def _events(instruction: Instruction, role: str) -> list[tuple[Semaphore, When]]:
    """Semaphores of ``role``, wait or signal, and when they count."""
    default = getattr(instruction, f"{role}_when")
    return [event if isinstance(event, tuple) else (event, default) for event in getattr(instruction, role)]


def _words(opcode: Opcode, values: Mapping[str, Any], where: str) -> list[int]:
    """Words of an instruction; a field that the length of the sequence gives is None (or :data:`ROWS`) there."""
    kind = INSTRUCTIONS[opcode]
    values = {"opcode": opcode, **values}
    for rule in kind.run_time:
        if rule.flag != rule.field:
            given = values[rule.field] in (None, ROWS)
            values |= {rule.flag: rule.value if given else 0, rule.field: 0 if given else values[rule.field]}
    if what := lacks(kind, values):
        raise ValueError(f"{where}: {what}: no hardware yet")
    encoded = []
    for struct in kind.words:
        present = {name: values[name] for name in fields_of(struct) if name in values}
        operand = "".join(f" {name}" for name in present if name in kind.operands)
        encoded.append(pack(struct, present, where=where + operand))
    return encoded


def _encode(instruction: Instruction) -> list[int]:
    opcode = _OPCODES[type(instruction)]
    values = {f.name: getattr(instruction, f.name) for f in fields(instruction)}
    values |= {name: vars(value) for name, value in values.items() if isinstance(value, Operand)}
    sync: dict[str, Any] = {"lag": instruction.lag, "acts": instruction.acts}
    for role in ("wait", "signal"):
        events = _events(instruction, role)
        if len(events) > _EVENTS:
            raise ValueError(f"{opcode.name} can {role} at most {_EVENTS} semaphores, not {len(events)}")
        for number in range(_EVENTS):
            semaphore, when = events[number] if number < len(events) else (0, When.NEVER)
            sync[f"{role}{number}"] = {"semaphore": semaphore, "when": when}
    return _words(opcode, values | {"sync": sync}, f"{opcode.name} {instruction.tag or ''}".strip())


def _check_semaphores(instructions: Sequence[Instruction]) -> None:
    """Each semaphore has one engine that waits for it, and one that signals it (so that its order is known)."""
    own = {Semaphore.INPUT_FREE: "the loader"}, {Semaphore.INPUT_FULL: "the loader"}
    for role, owner in zip(("wait", "signal"), own, strict=True):
        for instruction in instructions:
            engine = INSTRUCTIONS[_OPCODES[type(instruction)]].goes_to.name
            for semaphore, _ in _events(instruction, role):
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
        If the program breaks a rule of :mod:`hw.program.isa`: two consumers of a semaphore, a lag above its loop's;
        or if it asks for what has no hardware yet.
    InputError
        If a value does not fit its field.
    """
    encoded: list[int] = []
    tags: dict[int, object] = {}
    flat: list[Instruction] = []

    def emit(instruction: Instruction) -> None:
        tags[len(encoded)] = instruction.tag
        flat.append(instruction)
        encoded.extend(_encode(instruction))

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
        counts: dict[str, Any] = {"outer": item.outer, "inner": item.inner}
        for name, count in counts.items():
            if not isinstance(count, str) and count < 1:
                raise ValueError(f"Loop count {name} must be positive, not {count}")
        body = sum(len(INSTRUCTIONS[_OPCODES[type(i)]].words) for i in item.body)
        encoded.extend(
            _words(
                Opcode.LOOP,
                counts | {"lag": item.lag, "body": body, "group": item.group, "inner_kept": item.inner_kept},
                "LOOP",
            )
        )
        for instruction in item.body:
            emit(instruction)
    encoded.extend(_words(Opcode.END, {}, "END"))
    _check_semaphores(flat)
    return Assembled(words=tuple(encoded), tags=tags)


def _describe(opcode: Opcode, words: Sequence[int]) -> str:
    kind = INSTRUCTIONS[opcode]
    values: dict[str, Any] = {}
    for struct, word in zip(kind.words, words, strict=True):
        values |= unpack(struct, word)
    for rule in kind.run_time:
        if rule.flag != rule.field and values.pop(rule.flag) == rule.value:
            values[rule.field] = "keys"
    parts = []
    for name in kind.literals:
        value = values.get(name, 0)
        if isinstance(value, Enum):
            parts.append(f"{name}={value.name}")
        elif value not in (0, False):
            parts.append(f"{name}={value}")
    for name in kind.operands:
        operand = values[name]
        if any(operand.values()):
            i, j = "i/group" if operand["group"] else "i", "(j+position)" if operand["position"] else "j"
            terms = [str(operand["base"])]
            terms += [f"{index}*{operand[key]}" for index, key in ((i, "outer"), (j, "inner")) if operand[key]]
            parts.append(f"{name}={'+'.join(terms)}")
    sync = values["sync"]
    if sync["lag"]:
        parts.append(f"lag={sync['lag']}")
    if sync["acts"] != When.ALWAYS:
        parts.append(f"acts={sync['acts'].name.lower()}")
    for role in ("wait", "signal"):
        for number in range(_EVENTS):
            event = sync[f"{role}{number}"]
            if event["when"] != When.NEVER:
                when = "" if event["when"] == When.ALWAYS else f"@{event['when'].name.lower()}"
                parts.append(f"{role}={Semaphore(event['semaphore']).name}{when}")
    return " ".join([f"{opcode.name:8}", *parts])


def listing(program: Sequence[int], tags: Mapping[int, object] | None = None) -> str:
    """Readable disassembly, one instruction a line: address, mnemonic, non-zero fields, and the tag as a comment."""
    lines, address, body_end = [], 0, 0
    while address < len(program):
        opcode = opcode_of(program[address])
        end = address + len(INSTRUCTIONS[opcode].words)
        indent = "  " if address < body_end else ""
        if opcode == Opcode.LOOP:
            loop = unpack(INSTRUCTIONS[opcode].words[0], program[address])
            body_end = end + loop["body"]
            counts = " x ".join("rows" if loop[f"{name}_rows"] else str(loop[name]) for name in ("outer", "inner"))
            rest = [f"{name}={loop[name]}" for name in ("lag", "group", "inner_kept") if loop[name]]
            text = " ".join([f"LOOP     {counts}", *rest])
        elif opcode == Opcode.END:
            text = "END"
        else:
            text = _describe(opcode, program[address:end])
        tag = (tags or {}).get(address)
        lines.append(f"{address:4}  {indent}{text}" + (f"  ; {tag}" if tag else ""))
        address = end
    return "\n".join(lines)
