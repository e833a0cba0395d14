# SPDX-License-Identifier: Apache-2.0
"""hw/program/instructions.py: what an entry of the table must be, and that it is all that an instruction needs."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.config import preset
from hw.program.commands import SEMAPHORES_OF, Engine
from hw.program.instructions import INSTRUCTIONS, Instruction, Opcode, StoreHeader, opcode_of
from hw.program.isa import Operand, Semaphore, When
from hw.program.sequencer import Sequencer
from hw.structs import pack
from sim.sequence import commands

EDGE = preset("edge")


class Source(data.Struct):
    """A word that is an operand."""

    src: Operand


class Shifted(data.Struct):
    """An operand that is not at the bottom of its word."""

    flag: unsigned(1)
    src: Operand


class Long(data.Struct):
    """More than a word."""

    src: Operand
    rest: unsigned(20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((StoreHeader, Shifted), "Shifted must have its Operand at the bottom"),
        ((StoreHeader, Long), "Long has more than 64 bits"),
        ((StoreHeader, Source, Source), "FETCH has a field twice"),
        ((StoreHeader, Source), "FETCH does not fill beats"),
    ],
)
def test_entries_that_cannot_be_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Instruction(opcode=Opcode.FETCH, words=words, engine=Engine.STORE)


def test_an_instruction_of_an_engine_that_is_there_is_an_entry_alone(monkeypatch):
    """One beat to the output stream, in two words: interpreter and sequencer know it from the table."""
    kind = Instruction(opcode=Opcode.FETCH, words=(StoreHeader, Source), engine=Engine.STORE, fixed={"beats": 1})
    monkeypatch.setitem(INSTRUCTIONS, Opcode.FETCH, kind)
    never = {"semaphore": 0, "when": When.NEVER}
    wait = {"semaphore": Semaphore.OUTPUT_FULL, "when": When.ALWAYS}
    sync = {"wait0": never, "wait1": wait, "signal0": never, "signal1": never}
    header = pack(StoreHeader, {"opcode": Opcode.FETCH, "sync": sync})
    program = [header, pack(Source, {"src": {"base": 7}}), Opcode.END.value]
    (found,) = commands(program, EDGE, 1)
    assert (found.engine, found.wait, found.fields) == (
        Engine.STORE,
        (Semaphore.OUTPUT_FULL,),
        {"beats": 1, "src": 7, "last": True},
    )
    assert "push_store" in rtlil.convert(Sequencer(EDGE))


def test_each_semaphore_is_waited_for_and_signalled_by_some_engine_or_by_none():
    """The loader waits for INPUT_FREE, and signals INPUT_FULL."""
    waited = {s for waits, _ in SEMAPHORES_OF.values() for s in waits} | {Semaphore.INPUT_FREE}
    signalled = {s for _, signals in SEMAPHORES_OF.values() for s in signals} | {Semaphore.INPUT_FULL}
    assert waited == signalled


def test_opcodes_are_the_lowest_bits():
    assert opcode_of(0xFFF0 | Opcode.STORE.value) == Opcode.STORE
    with pytest.raises(ValueError, match="15"):
        opcode_of(15)
