# SPDX-License-Identifier: Apache-2.0
"""The reference of the command set, ``docs/program.md``, written from the layouts in :mod:`hw.program.isa`.

``python -m gen.program.isadoc > docs/program.md`` renews it; a test holds the two together.
"""

import inspect
from enum import Enum

from amaranth.hdl import Shape
from amaranth.lib import data

from hw.program import isa

_INSTRUCTIONS = (
    ("END", isa.End, ()),
    ("LOOP", isa.Loop, ()),
    ("ARRAY", isa.ArrayHeader, (isa.ArrayCounts, "A", "B", "OUT", "RES", "CHAN")),
    ("SOFTMAX", isa.SoftmaxHeader, ("HEAD",)),
    ("NORM", isa.NormHeader, (isa.NormCounts, "SRC", "ACT", "RES", "NORM")),
    ("STORE", isa.StoreHeader, (isa.StoreCounts, "SRC")),
)
_PARAMETERS = (isa.ChannelParameters, isa.NormParameters, isa.HeadParameters, isa.GeluParameters)
_LOADING = (isa.PacketHeader, isa.InputRegion)
_ENUMS = (isa.Opcode, isa.Semaphore, isa.When, isa.ASource, isa.BSource, isa.Format, isa.Destination, isa.Target)


def _fields(layout: data.Layout, offset: int = 0, prefix: str = "") -> list[tuple[str, int, int, str]]:
    """Name, lowest bit, width and kind of every leaf field, nested structures flattened."""
    rows = []
    for name, field in layout:
        shape, start = field.shape, offset + field.offset
        if isinstance(shape, type) and issubclass(shape, data.Struct):
            rows += _fields(data.Layout.cast(shape), start, f"{prefix}{name}.")
            continue
        cast = Shape.cast(shape)
        kind = (
            shape.__name__ if isinstance(shape, type) and issubclass(shape, Enum) else "signed" if cast.signed else ""
        )
        rows.append((prefix + name, start, cast.width, kind))
    return rows


def _table(struct: type[data.Struct]) -> str:
    lines = ["| bits | field | kind |", "|---|---|---|"]
    for name, start, width, kind in _fields(data.Layout.cast(struct)):
        bits = f"{start + width - 1}:{start}" if width > 1 else f"{start}"
        lines.append(f"| {bits} | {name} | {kind} |")
    return "\n".join(lines)


def _doc(thing: object) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def markdown() -> str:
    """The whole document."""
    parts = [
        "# Program format",
        "Written by `python -m gen.program.isadoc` from `hw/program/isa.py`, where every layout is declared once: the "
        "sequencer, the assembler and this page are derived from it. Words have 64 bits; bit 0 is the lowest.",
        _doc(isa),
        "## Instructions",
    ]
    for name, header, rest in _INSTRUCTIONS:
        words = [f"word 0 ({header.__name__})"]
        words += [f"word {i} ({w if isinstance(w, str) else w.__name__})" for i, w in enumerate(rest, 1)]
        parts += [f"### {name}", ", ".join(words) + ".", _doc(header), _table(header)]
        for word in rest:
            if not isinstance(word, str):
                parts += [f"`{word.__name__}`: {_doc(word)}", _table(word)]
    parts += ["### Operand words", _doc(isa.Operand), _table(isa.Operand), "## Enumerations"]
    for enumeration in _ENUMS:
        parts += [
            f"### {enumeration.__name__}",
            _doc(enumeration),
            "\n".join(f"- {member.value}: {member.name}" for member in enumeration),
        ]
    parts.append("## Parameters and load packets")
    for struct in (*_PARAMETERS, *_LOADING):
        parts += [f"### {struct.__name__}", _doc(struct), _table(struct)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
