# SPDX-License-Identifier: SHL-2.1
"""What a word asks for if it is a header: known before it comes to the decoder, whose decisions are then short."""

from amaranth.hdl import Cat, Value

from .commands import COMMANDS
from .instructions import INSTRUCTIONS, OPCODE_BITS

__all__ = ["ENGINES", "asked_engines"]

ENGINES = len(COMMANDS)


def asked_engines(word: Value) -> Value:
    """One bit per engine, in order of COMMANDS: the word, taken as a header, is of an instruction for it."""
    opcode = word[:OPCODE_BITS]
    return Cat(
        opcode.matches(*(kind.opcode.value for kind in INSTRUCTIONS.values() if kind.engine == engine))
        for engine in COMMANDS
    )
