# SPDX-License-Identifier: Apache-2.0
"""Assembler: every field survives, what does not fit is named, and the sequencer's rules hold."""

import dataclasses
import enum
import random

import pytest

from gen.errors import InputError
from gen.program.assembler import (
    ROWS,
    Array,
    Loop,
    Norm,
    Operand,
    Softmax,
    Store,
    assemble,
    listing,
    pack,
)
from hw.config import preset
from hw.program import instructions, isa, loads
from hw.program.commands import COMMANDS, Engine
from hw.program.instructions import INSTRUCTIONS, NO_HARDWARE, Opcode
from hw.program.isa import Format, Semaphore, When
from hw.structs import fields_of, unpack
from sim.sequence import ProgramError, commands, walk

STRUCTS = [*dict.fromkeys(s for kind in INSTRUCTIONS.values() for s in kind.words), isa.Operand,
           loads.ChannelParameters, loads.NormParameters, loads.HeadParameters, loads.GeluParameters,
           loads.PacketHeader]  # fmt: skip

EDGE = preset("edge")


def random_values(struct, rng):
    values = {}
    for name, place in fields_of(struct).items():
        if place.struct:
            values[name] = random_values(place.shape, rng)
        else:
            values[name] = rng.choice(list(place.shape)) if place.enum else rng.randint(place.low, place.high)
    return values


def array(**fields):
    defaults = {"n": 1, "k": 1, "a": Operand(), "b": Operand(), "b_n": 1, "b_k": 1, "result": Format.INT8}
    return Array(**(defaults | fields))


def norm(**fields):
    return Norm(**({"beats": 1, "channels": 1, "eps": 1, "src": Operand(), "norm": Operand(), "out8": True} | fields))


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda s: s.__name__)
def test_packed_words_are_amaranths_own(struct):
    rng = random.Random(1)
    for _ in range(20):
        values = random_values(struct, rng)
        word = pack(struct, values)
        assert word == struct.const(values).as_bits()  # by Amaranth
        assert unpack(struct, word) == values


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda s: s.__name__)
def test_overflow_names_the_field(struct):
    for name, place in fields_of(struct).items():
        if not place.struct and not place.enum:
            for value in (place.high + 1, place.low - 1):
                with pytest.raises(InputError, match=rf"K of b: field {name} of {struct.__name__} holds .*{value}"):
                    pack(struct, {name: value}, where="K of b")


def test_unknown_field_is_refused():
    with pytest.raises(KeyError, match="colour"):
        pack(instructions.Loop, {"colour": 1})


def test_an_independent_decoder_reads_the_same_commands():
    fields = {
        "n": 3, "k": 5, "b_n": 7, "b_k": 11, "out_step": 13, "pending": 2, "result": Format.INT16, "add": True,
        "destination": isa.Destination.RES, "b_source": isa.BSource.KV, "a_source": isa.ASource.PROB,
        "a_unsigned": True, "row_scale": True, "table": 9,
    }  # fmt: skip
    operands = {name: Operand(100 * i, 10 * i, i) for i, name in enumerate(("a", "b", "out", "res", "chan"), 1)}
    program = assemble(
        [
            Loop(outer=2, inner=3, lag=1, body=(array(**fields, **operands, lag=1), Softmax(head=Operand(4, 2, 1)))),
            norm(beats=6, channels=23, eps=99, out16=True, shift8=3, shift16=4, src=Operand(5), res=Operand(6)),
            Store(beats=8, src=Operand(77)),
        ]
    )
    found = list(commands(program.words, EDGE, 9))
    assert [c.engine for c in found[:3]] == [Engine.SOFTMAX, Engine.ARRAY, Engine.SOFTMAX]
    arrays = [c for c in found if c.engine == Engine.ARRAY]
    assert [(c.i, c.j) for c in arrays] == [(i, j) for i in range(2) for j in range(3)]
    for command in arrays:
        assert {name: getattr(command, name) for name in fields} == fields
        for i, name in enumerate(operands, 1):
            assert getattr(command, name) == 100 * i + 10 * i * command.i + i * command.j
    assert [c.head for c in found if c.engine == Engine.SOFTMAX] == [4, 5, 6, 6, 7, 8]
    expected = {"beats": 6, "channels": 23, "eps": 99, "out8": 1, "out16": 1, "shift8": 3, "shift16": 4, "src": 5}
    assert {name: getattr(found[-2], name) for name in expected} == expected
    assert (found[-1].engine, found[-1].beats, found[-1].src, found[-1].last) == (Engine.STORE, 8, 77, True)


@pytest.mark.parametrize(("tokens", "blocks"), [(1, 1), (4, 1), (5, 2), (17, 5)])
def test_lengths_are_taken_at_run_time(tokens, blocks):
    body = array(n=None, k=None, pending=isa.PENDING_ROWS, a=Operand(0, 0, 1))
    found = list(commands(assemble([Loop(body=(body,))]).words, EDGE, tokens))
    assert [c.a for c in found] == list(range(blocks))
    for command in found:
        assert (command.n, command.k) == (-(-tokens // EDGE.cols), -(-tokens // EDGE.depth))
        assert command.pending == min(blocks - 1, 6)


def test_waits_and_signals_of_a_loop():
    body = (
        array(
            wait=((Semaphore.INPUT_FULL, When.FIRST), (Semaphore.NORM_FULL, When.OUTER_FIRST)),
            signal=((Semaphore.SUM_FULL, When.INNER_LAST), (Semaphore.INPUT_FREE, When.LAST)),
        ),
        norm(
            lag=2,
            wait=((Semaphore.OUTPUT_FREE, When.INNER_FIRST), Semaphore.SUM_FULL),
            signal=((Semaphore.NORM_FULL, When.OUTER_LAST), (Semaphore.OUTPUT_FULL, When.NEVER)),
        ),
    )
    found = list(commands(assemble([Loop(outer=2, inner=2, lag=2, body=body)]).words, EDGE, 1))
    arrays, norms = ([c for c in found if c.engine == e] for e in (Engine.ARRAY, Engine.NORM))
    s = Semaphore
    assert [c.wait for c in arrays] == [(s.INPUT_FULL, s.NORM_FULL), (s.NORM_FULL,), (), ()]
    assert [c.signal for c in arrays] == [(), (s.SUM_FULL,), (), (s.INPUT_FREE, s.SUM_FULL)]
    assert [c.wait for c in norms] == [(s.SUM_FULL, s.OUTPUT_FREE), (s.SUM_FULL,)] * 2
    assert [c.signal for c in norms] == [(), (), (s.NORM_FULL,), (s.NORM_FULL,)]


def test_outside_a_loop_every_end_holds():
    for when in When:
        (found,) = commands(assemble([norm(wait=(Semaphore.SUM_FULL,), wait_when=when)]).words, EDGE, 9)
        assert found.wait == (() if when == When.NEVER else (Semaphore.SUM_FULL,))


UNBUILT = {
    "causal": (array(causal=True), "ARRAY: causal"),
    "a_source": (array(a_source=isa.ASource.PANEL), "ARRAY: a_source PANEL"),
    "result": (array(result=Format.PRODUCT), "ARRAY: result PRODUCT"),
    "destination": (array(destination=isa.Destination.EXTERNAL), "ARRAY: destination EXTERNAL"),
    "position": (array(b=Operand(3, position=True)), "ARRAY: b.position"),
    "acts": (norm(acts=When.OUTER_FIRST), "NORM: sync.acts"),
    "rms": (norm(rms=True), "NORM: rms"),
    "masked": (Softmax(head=Operand(), masked=True), "SOFTMAX: masked"),
    "PANEL_FREE": (array(signal=(Semaphore.PANEL_FREE,)), "ARRAY: signal PANEL_FREE"),
    "NORM_FULL": (Store(beats=1, src=Operand(), wait=(Semaphore.NORM_FULL,)), "STORE: wait NORM_FULL"),
    "group": (Loop(body=(array(),), group=2), "LOOP: group"),
}


@pytest.mark.parametrize("field", UNBUILT)
def test_what_has_no_hardware_is_refused_by_name(field):
    """By the assembler; and of words that have it all the same, by what runs them."""
    instruction, message = UNBUILT[field]
    with pytest.raises(ValueError, match=f"{message}: no hardware yet"):
        assemble([instruction])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gen.program.assembler.lacks", lambda kind, values: None)
        words = assemble([instruction]).words
    where = message.replace(":", " at word 0:", 1)
    with pytest.raises(ProgramError, match=f"{where}: no hardware yet"):
        list(commands(words, EDGE, 1))


def test_opcodes_without_hardware_are_refused_by_name():
    with pytest.raises(ProgramError, match="FETCH at word 0: no hardware yet"):
        list(commands([Opcode.FETCH.value, 0], EDGE, 1))
    with pytest.raises(ProgramError, match="Word 0 is no instruction: 15"):
        list(commands([15], EDGE, 1))


def test_every_field_that_a_command_lacks_is_declared_without_hardware():
    for kind in INSTRUCTIONS.values():
        if kind.engine is not None:
            carried = {*fields_of(COMMANDS[kind.engine]), *(rule.flag for rule in kind.run_time)}
            for name in {*kind.literals} - carried:
                assert name in NO_HARDWARE[kind.struct_of(name)]


def test_steps_show_what_the_fetch_sees():
    program = assemble([Loop(inner=2, lag=1, body=(array(), norm(lag=1)))])
    steps = [(s.kind.opcode, s.command is None, s.redirect) for s in walk(program.words, EDGE, 1)]
    assert steps == [
        (Opcode.LOOP, True, True),
        (Opcode.ARRAY, False, False),
        (Opcode.NORM, True, False),
        (Opcode.ARRAY, False, False),
        (Opcode.NORM, False, False),
        (Opcode.ARRAY, True, False),
        (Opcode.NORM, False, True),
        (Opcode.END, True, True),
    ]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([array(lag=1)], "Lag must be 0 outside a loop, not 1"),
        ([Loop(body=(array(lag=2),), lag=1)], "Lags in a body must be at most the loop's 1"),
        ([Loop(body=(array(),), lag=5)], "a lag of 0..4, not 5"),
        ([Loop(body=())], "must have a body"),
        ([Loop(body=(array(),), inner=0)], "Loop count inner must be positive, not 0"),
        (
            [array(wait=(Semaphore.INPUT_FULL,)), norm(wait=(Semaphore.INPUT_FULL,))],
            "Semaphore INPUT_FULL must have a single engine to wait, not ARRAY and NORM",
        ),
        (
            [array(signal=(Semaphore.OUTPUT_FULL,)), norm(signal=(Semaphore.OUTPUT_FULL,))],
            "Semaphore OUTPUT_FULL must have a single engine to signal, not ARRAY and NORM",
        ),
        ([array(wait=(Semaphore.INPUT_FREE,))], "ARRAY: wait INPUT_FREE: no hardware yet"),
        (
            [array(wait=(Semaphore.NORM_FULL, Semaphore.INPUT_FULL, Semaphore.OUTPUT_FREE))],
            "ARRAY can wait at most 2 semaphores, not 3",
        ),
    ],
)
def test_broken_rules_are_refused(program, message):
    with pytest.raises(ValueError, match=message):
        assemble(program)


def test_a_body_longer_than_its_field_is_refused():
    with pytest.raises(InputError, match="LOOP: field body of Loop holds 0..255 and 259 is needed"):
        assemble([Loop(body=(array(),) * 37)])


def test_an_address_that_overflows_is_refused_by_name():
    with pytest.raises(InputError, match="ARRAY out: field base of Operand holds"):
        assemble([array(out=Operand(1 << isa.ADDRESS_BITS))])


def test_programs_that_cannot_run_are_refused():
    loop = assemble([Loop(body=(array(),))]).words
    with pytest.raises(ProgramError, match="no END"):
        list(commands(loop[:-1], EDGE, 1))
    longer = (loop[0] + (1 << fields_of(instructions.Loop)["body"].offset), *loop[1:])
    with pytest.raises(ProgramError, match="holds a LOOP or END"):
        list(commands(longer, EDGE, 1))


def test_listing_reads_like_the_program():
    scores = array(
        n=None,
        k=4,
        a=Operand(8, 0, 2),
        result=Format.SCORE,
        lag=1,
        wait=(Semaphore.SCORE_FREE,),
        tag="scores",
    )
    program = [
        Loop(outer=2, inner=ROWS, lag=1, body=(scores,)),
        norm(signal=(Semaphore.NORM_FULL,), signal_when=When.LAST),
    ]
    assembled = assemble(program)
    text = listing(assembled.words, assembled.tags)
    assert text.splitlines() == [
        "   0  LOOP     2 x rows lag=1",
        "   1    ARRAY    pending=6 result=SCORE n=keys k=4 b_n=1 b_k=1 a_source=ACT b_source=W destination=ACT"
        " a=8+j*2 lag=1 wait=SCORE_FREE  ; scores",
        "   8  NORM     out8=1 shift8=1 shift16=1 beats=1 channels=1 eps=1 signal=NORM_FULL@last",
        "  14  END",
    ]


def listed(instruction) -> str:
    """The instruction's line in a listing."""
    return listing(assemble([instruction]).words).splitlines()[0]


PLAIN = [
    array(wait=(Semaphore.NORM_FULL,), signal=(Semaphore.PROB_FREE,)),
    Softmax(head=Operand(), wait=(Semaphore.SCORE_FULL,), signal=(Semaphore.PROB_FULL,)),
    norm(wait=(Semaphore.SUM_FULL,), signal=(Semaphore.NORM_FULL,)),
    Store(beats=1, src=Operand(), wait=(Semaphore.OUTPUT_FULL,), signal=(Semaphore.OUTPUT_FREE,)),
]


@pytest.mark.parametrize("plain", PLAIN, ids=lambda i: type(i).__name__)
def test_every_field_shows_in_the_listing(plain, monkeypatch):
    """Changed alone, each changes the line, and its own entry in it: those without hardware too."""
    monkeypatch.setattr("gen.program.assembler.lacks", lambda kind, values: None)
    waited, signalled = plain.wait[0].name, plain.signal[0].name
    others = {
        "wait": ((Semaphore.MASK_FULL,), "wait=MASK_FULL"), "signal": ((Semaphore.PANEL_FREE,), "signal=PANEL_FREE"),
        "wait_when": (When.FIRST, f"wait={waited}@first"), "signal_when": (When.LAST, f"signal={signalled}@last"),
        "acts": (When.INNER_FIRST, "acts=inner_first"), "n": (None, "n=keys"), "k": (None, "k=keys"),
    }  # fmt: skip
    for member in dataclasses.fields(plain):
        name, value = member.name, getattr(plain, member.name)
        if name in ("tag", "lag"):
            continue  # of a listing and of a loop: see below
        if name in others:
            other, text = others[name]
        elif isinstance(value, Operand):
            other, text = Operand(5, 6, 7, position=True, group=True), f"{name}=5+i/group*6+(j+position)*7"
        elif isinstance(value, enum.Enum):
            other = next(choice for choice in type(value) if choice != value)
            text = f"{name}={other.name}"
        else:
            other = 1 - value if isinstance(value, bool) else value - 1 if value > 1 else value + 1
            text = f"{name}={int(other)}" if other else ""
        line = listed(dataclasses.replace(plain, **{name: other}))
        assert line != listed(plain), name
        if text:
            assert text in line.split(), name


def test_loops_and_tags_show_in_the_listing():
    program = assemble([Loop(outer=ROWS, inner=3, lag=2, body=(array(lag=2, tag="q"), norm(tag="n"))), norm(tag="m")])
    lines = listing(program.words, program.tags).splitlines()
    assert lines[0] == "   0  LOOP     rows x 3 lag=2"
    assert lines[1].startswith("   1    ARRAY ") and lines[1].endswith(" lag=2  ; q")
    assert lines[2].startswith("   8    NORM ") and lines[2].endswith("  ; n") and "lag" not in lines[2]
    assert lines[3].startswith("  14  NORM ") and lines[3].endswith("  ; m")
    assert lines[4] == "  20  END" and len(lines) == 5
