# SPDX-License-Identifier: Apache-2.0
"""The reference of the command set, ``docs/program.md``, written from the table in :mod:`hw.program.instructions`.

``python -m gen.program.isadoc > docs/program.md`` renews it; a test holds the two together.
"""

import inspect
from enum import Enum

from amaranth.lib import data

from hw.program import commands, instructions, isa, loads
from hw.program.commands import SEMAPHORES_OF
from hw.program.instructions import INSTRUCTIONS, NO_HARDWARE, Instruction
from hw.structs import fields_of

_PARAMETERS = (loads.ChannelParameters, loads.NormParameters, loads.HeadParameters, loads.GeluParameters)
_LOADING = (loads.PacketHeader, loads.InputRegion)
_ENUMS = (
    instructions.Opcode,
    isa.Semaphore,
    isa.When,
    isa.ASource,
    isa.BSource,
    isa.Format,
    isa.Destination,
    loads.Target,
)


_LACKS = "no hardware yet"


def _fields(struct: type[data.Struct], offset: int = 0, prefix: str = "") -> list[tuple[str, int, int, str]]:
    """Name, lowest bit, width and kind of every leaf field, nested Structs flattened."""
    rows = []
    for name, place in fields_of(struct).items():
        start = offset + place.offset
        if place.struct:
            rows += _fields(place.shape, start, f"{prefix}{name}.")
        else:
            kind = [place.shape.__name__] if place.enum else ["signed"] if place.signed else []
            kind += [_LACKS] if name in NO_HARDWARE.get(struct, ()) else []
            rows.append((prefix + name, start, place.width, ", ".join(kind)))
    return rows


def _table(struct: type[data.Struct]) -> str:
    lines = ["| bits | field | kind |", "|---|---|---|"]
    for name, start, width, kind in _fields(struct):
        bits = f"{start + width - 1}:{start}" if width > 1 else f"{start}"
        lines.append(f"| {bits} | {name} | {kind} |")
    return "\n".join(lines)


def _room(kind: Instruction) -> str:
    """What is left in each word."""
    left = [isa.WORD_BITS - struct.as_shape().size for struct in kind.words]
    return f"Bits left, word by word: {', '.join(map(str, left))}."


def _member(member: Enum) -> str:
    """Its name, and whether it has hardware."""
    if isinstance(member, isa.Semaphore):
        roles = zip(("waited for", "signalled"), (0, 1), strict=True)
        users = [(verb, [e.name for e, of in SEMAPHORES_OF.items() if member in of[role]]) for verb, role in roles]
        told = "; ".join(f"{verb} by {', '.join(engines)}" for verb, engines in users if engines)
        return f"{member.name} ({told or _LACKS})"
    if isinstance(member, instructions.Opcode):
        lacks = member not in INSTRUCTIONS
    else:
        lacks = member.name in NO_HARDWARE.get(type(member), ())
    return f"{member.name} ({_LACKS})" if lacks else member.name


def _doc(thing: object) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def _word(number: int, struct: type[data.Struct]) -> str:
    """What stands in a word: its Struct, or the operand that it is."""
    fields = fields_of(struct)
    return f"word {number} ({next(iter(fields)).upper() if _is_operand(struct) else struct.__name__})"


def _is_operand(struct: type[data.Struct]) -> bool:
    return [place.shape for place in fields_of(struct).values()] == [isa.Operand]


def _rules(kind: Instruction) -> list[str]:
    """Fields that the length of the sequence gives."""
    return [f"- `{r.field}` is `{r.length}` at run time where `{r.flag}` is {r.value}" for r in kind.run_time]


def markdown() -> str:
    """The whole document."""
    parts = [
        "# Program format",
        "Written by `python -m gen.program.isadoc` from `hw/program/instructions.py`, where every instruction is "
        "declared once: the sequencer, the assembler, the machine and this page are derived from it. Words have "
        f"{isa.WORD_BITS} bits; bit 0 is the lowest.",
        _doc(isa),
        "## Instructions",
    ]
    for opcode, kind in INSTRUCTIONS.items():
        words = [_word(number, struct) for number, struct in enumerate(kind.words)]
        engine = [] if kind.engine is None else [f"Engine: {kind.engine.name}."]
        parts += [f"### {opcode.name}", " ".join([", ".join(words) + ".", *engine, _room(kind)])]
        for struct in kind.words:
            if not _is_operand(struct):
                parts += [f"`{struct.__name__}`: {_doc(struct)}", _table(struct)]
        if rules := _rules(kind):
            parts.append("\n".join(rules))
    codes = 1 << instructions.OPCODE_BITS
    parts.append(
        f"Left: {codes - len(instructions.Opcode)} of {codes} opcodes, "
        f"{isa.SEMAPHORES - len(isa.Semaphore)} of {isa.SEMAPHORES} semaphores."
    )
    parts += ["### Operand words", _doc(isa.Operand), _table(isa.Operand), "## Enumerations"]
    for enumeration in _ENUMS:
        parts += [
            f"### {enumeration.__name__}",
            _doc(enumeration),
            "\n".join(f"- {member.value}: {_member(member)}" for member in enumeration),
        ]
    parts += ["## Lengths", _doc(commands.Lengths), _table(commands.Lengths), "## Parameters and load packets"]
    for struct in (*_PARAMETERS, *_LOADING):
        parts += [f"### {struct.__name__}", _doc(struct), _table(struct)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
