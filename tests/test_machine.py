# SPDX-License-Identifier: Apache-2.0
"""Compiled programs, run command by command without Verilog, equal the golden model; and no timing can break them."""

from dataclasses import replace

import numpy as np
import pytest

from gen.model.quantize import quantise
from gen.model.randommodel import random_checkpoint, random_model, random_rows, random_samples
from gen.program.assembler import Array, Loop, Norm, Operand, Softmax, Store, assemble
from gen.program.compiler import _Compiler, compile_model
from gen.program.image import Image
from gen.program.tensors import differences
from hw import structs
from hw.config import preset
from hw.io.targets import packet_header
from hw.program.isa import PENDING_MAX, PENDING_ROWS, Destination, Format, Semaphore, When
from hw.program.loads import InputRegion, Target
from sim import qmodel
from sim.machine import Machine, ProgramError
from sim.order import HazardError
from sim.reference import forward
from tests.sweep import SHAPES, core_of, covering_cases

KINDS = {
    "patches-classifier": {"norm": "pre", "pixels": 6, "classes": 5, "layers": 2},
    "patches-rows": {"norm": "pre", "pixels": 6, "layers": 1},
    "rows-classifier": {"norm": "pre", "classes": 5, "layers": 2},
    "rows-rows": {"norm": "pre", "layers": 2},
    "post-rows": {"norm": "post", "layers": 2},
    "post-classifier": {"norm": "post", "classes": 5, "layers": 1},
    "post-pooler": {"norm": "post", "classes": 5, "layers": 1, "pooler": True},
    "relu": {"norm": "post", "layers": 1, "activation": "relu"},
    "attention": {"layers": 0},
}
FRAMES = (17, 5, 17, 1, 16)
"""Tokens of the inputs that follow each other."""


def small_model(kind, **shape):
    return random_model(**({"hidden": 20, "heads": 3, "head_dim": 12, "ffn": 44, "tokens": 17} | KINDS[kind] | shape))


def core(array, exp="base2", gelu="table"):
    return core_of({"array": array, "exp": exp, "gelu": gelu})


def run(machine: Machine, image: Image, model, tokens: int, seed: int) -> dict:
    """One input through the machine; asserts every tensor and the output stream."""
    x = random_rows(model, tokens, seed=seed)
    machine.load(image.input_packet(x))
    frame = machine.run(tokens)
    expected = forward(model, x)
    beats = frame.beats()
    assert {name: len(b) for name, b in beats.items()} == {n: c for n, c in image.stream_beats(tokens).items() if c}
    collected = image.collect(tokens, beats)
    assert not differences(collected, expected)
    assert (image.decode_output(frame.output, tokens) == expected["output"]).all()
    assert frame.last == [len(frame.output) - 1] == [image.output_words(tokens) - 1]
    return collected


CASES = covering_cases()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)))
def test_sweep(number):
    """Each case of the sweep at its length, at the longest, and again, in one machine."""
    case = CASES[number]
    config = core_of(case)
    shape = {name: case[name] for name in ("heads", "head_dim", "hidden", "norm", "layers", "exp", "gelu")}
    classes = 7 if case["head"] == "classifier" else None
    model = random_model(**shape, ffn=2 * case["hidden"] - 4, tokens=50, classes=classes, seed=number)
    image = compile_model(model, config)
    machine = Machine(config, image.memories, seed=number, order=True)
    for seed, tokens in enumerate((case["tokens"], 50, case["tokens"])):
        run(machine, image, model, tokens, seed)


@pytest.mark.parametrize("array", [a if a == "4x4x8" else pytest.param(a, marks=pytest.mark.slow) for a in SHAPES])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_frame_after_frame(kind, array):
    model = small_model(kind)
    image = compile_model(model, core(array))
    machine = Machine(image.config, image.memories, seed=1, order=True)
    for seed, tokens in enumerate(FRAMES):
        collected = run(machine, image, model, tokens, seed)
    made = set(collected) | {"input"}
    if model.norm == "post" and model.classes:  # nothing reads the stream behind the last norm
        made.add(f"layer{len(model.layers) - 1}.norm2.residual")
    assert set(forward(model, random_rows(model, 16))) <= made


@pytest.mark.parametrize("kind", ["post-rows", "rows-rows"])
def test_an_eps_of_forty_bits(kind):
    shape = {"hidden": 20, "heads": 3, "head_dim": 12, "ffn": 44, "tokens": 17} | KINDS[kind]
    checkpoint = replace(random_checkpoint(**shape), eps=1.0)
    model = quantise(checkpoint, random_samples(checkpoint, 16, 0) / 100)
    assert next(block for _, block in model.named() if isinstance(block, qmodel.Norm)).eps >> 32
    image = compile_model(model, core("4x4x8"))
    machine = Machine(image.config, image.memories, seed=1, order=True)
    for seed, tokens in enumerate(FRAMES):
        run(machine, image, model, tokens, seed)


def test_rows_without_a_last_norm():
    model = replace(small_model("rows-rows"), head=())
    image = compile_model(model, core("4x4x8"))
    machine = Machine(image.config, image.memories, seed=1, order=True)
    for seed, tokens in enumerate(FRAMES):
        run(machine, image, model, tokens, seed)


@pytest.mark.parametrize("lag", [1, 2, 3, 4])
def test_every_lag(lag):
    model = small_model("attention")
    image = compile_model(model, core("4x4x8"), lag=lag)
    assert image.lag == lag
    machine = Machine(image.config, image.memories, seed=1, order=True)
    for seed, tokens in enumerate(FRAMES):
        run(machine, image, model, tokens, seed)


def test_models_are_loaded_over_the_stream():
    """Two models one after the other in one machine that starts with garbage everywhere."""
    config = core("8x8x16")
    machine = Machine(config, seed=5)
    for kind in ("post-rows", "patches-classifier"):
        model = small_model(kind)
        image = compile_model(model, config)
        for packet in image.load_packets():
            machine.load(packet)
        run(machine, image, model, 17, 0)


def test_garbage_does_not_matter():
    model = small_model("post-classifier")
    image = compile_model(model, core("2x4x16"))
    outputs = []
    for seed in (1, 2):
        machine = Machine(image.config, image.memories, seed=seed)
        machine.load(image.input_packet(random_rows(model, 5)))
        outputs.append(machine.run(5).output[::1])
    first = [image.decode_output(o, 5).tolist() for o in outputs]
    assert first[0] == first[1]


# --- the proof that no timing breaks a program, and that it would notice


def scheduled(model, lag: int = 4) -> _Compiler:
    """A compiler that has not built yet; with the largest lag nothing but semaphores holds the score ring."""
    compiler = _Compiler(model, core("4x4x8"))
    compiler.lag = lag
    return compiler


def mutated(compiler: _Compiler, change) -> Image:
    """The compiler's image with ``change`` applied to every instruction."""
    image = compiler.build()
    program = [
        replace(item, body=tuple(change(i) for i in item.body)) if isinstance(item, Loop) else change(item)
        for item in compiler.program
    ]
    words = assemble(program).words
    return replace(image, memories={**image.memories, Target.PROG: words})


def hazard(image: Image, model) -> str:
    """The first hazard of a series of inputs, or nothing."""
    machine = Machine(image.config, image.memories, seed=1, order=True)
    try:
        for seed, tokens in enumerate((17, 17, 5, 1, 17)):
            machine.load(image.input_packet(random_rows(model, tokens, seed=seed)))
            machine.run(tokens)
    except HazardError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_no_semaphore_can_be_left_out(kind):
    """Without any one of its semaphores, each program has a hazard that the checker names."""
    model = small_model(kind, layers=KINDS[kind]["layers"] and 1)
    for semaphore in set(Semaphore) - {Semaphore.INPUT_FREE, Semaphore.OUTPUT_FREE}:

        def without(i, semaphore=semaphore):
            keep = lambda names: tuple(s for s in names if s != semaphore)  # noqa: E731
            return replace(i, wait=keep(i.wait), signal=keep(i.signal))

        compiler = scheduled(model)
        image = compiler.build()
        if any(semaphore in i.wait for item in compiler.program for i in getattr(item, "body", (item,))):
            assert not hazard(image, model)
            assert hazard(mutated(scheduled(model), without), model), semaphore.name


@pytest.mark.parametrize("kind", KINDS)
def test_output_free_cannot_be_left_out(kind):
    """STORE of one input must be over before the next input overwrites what it reads."""
    model = small_model(kind, layers=KINDS[kind]["layers"] and 1)

    def without(i):
        keep = lambda names: tuple(s for s in names if s != Semaphore.OUTPUT_FREE)  # noqa: E731
        return replace(i, wait=keep(i.wait), signal=keep(i.signal))

    assert "may still be at work" in hazard(mutated(scheduled(model), without), model)


def test_input_free_may_not_come_early():
    """The input region is free only once its last reader is past."""

    def early(i):
        return replace(i, signal_when=When.FIRST) if Semaphore.INPUT_FREE in i.signal else i

    model = small_model("attention")
    found = hazard(mutated(scheduled(model), early), model)
    assert found.startswith("input packet: writes ACT")


@pytest.mark.parametrize("kind", ["patches-classifier", "post-pooler", "attention"])
def test_every_bound_on_pending_commands_is_needed(kind):
    model = small_model(kind, layers=KINDS[kind]["layers"] and 1)
    bounded = {
        i.tag
        for compiler in [scheduled(model)]
        if compiler.build()
        for item in compiler.program
        for i in getattr(item, "body", (item,))
        if isinstance(i, Array) and i.pending != PENDING_MAX
    }
    assert any(tag.names[0].endswith("scores") for tag in bounded)
    for tag in bounded:

        def relaxed(i, tag=tag):
            return replace(i, pending=PENDING_MAX) if i.tag == tag and isinstance(i, Array) else i

        assert "while its writer may still be at work" in hazard(mutated(scheduled(model), relaxed), model), tag


def test_a_bound_one_too_large_is_noticed():
    """``row_blocks - 1`` is exact: the sequence of five row blocks with 5 commands pending has a hazard."""
    model = small_model("attention")

    def looser(i):
        return replace(i, pending=5) if isinstance(i, Array) and i.pending == PENDING_ROWS else i

    assert hazard(mutated(scheduled(model), looser), model)


# --- what the machine itself refuses

EDGE = preset("edge")
PRODUCT = Array(n=1, k=1, a=Operand(), b=Operand(), b_n=1, b_k=1, result=Format.INT8)
NORM = Norm(beats=1, channels=1, eps=1, src=Operand(), norm=Operand(), out16=True)


def region(target=Target.ACT, tokens=EDGE.max_tokens):
    fields = {"target": target, "address": 0, "words": 16, "tokens": tokens, "reserved": 0}
    return structs.pack(InputRegion, fields)


def machine_of(*program):
    return Machine(EDGE, {Target.PROG: assemble(program).words, Target.REGION: [region()]})


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (replace(PRODUCT, wait=(Semaphore.NORM_FULL,)), "ARRAY at word 0, .* waits for NORM_FULL"),
        (replace(PRODUCT, a=Operand(EDGE.act_words)), r"ACT\[512..512\] lies outside its 512 words"),
        (replace(PRODUCT, b=Operand(EDGE.w_words)), r"W\[4096..4096\]"),
        (replace(PRODUCT, chan=Operand(EDGE.chan_words)), r"CHAN\[2048..2051\]"),
        (replace(PRODUCT, out=Operand(EDGE.act_words * 8)), r"ACT\[4096..4099\]"),
        (replace(PRODUCT, destination=Destination.KEY, out=Operand(EDGE.kv_words)), r"KV\[512..512\]"),
        (replace(PRODUCT, destination=Destination.RES, out=Operand(EDGE.res_words)), r"RES\[1024..1027\]"),
        (replace(NORM, norm=Operand(EDGE.norm_words)), r"NORM\[512..512\]"),
        (Softmax(head=Operand(EDGE.head_words)), r"HEAD\[64..64\]"),
        (Store(beats=2, src=Operand(EDGE.res_words - 1)), r"RES\[1023..1024\]"),
    ],
)
def test_bad_commands_are_refused(instruction, message):
    with pytest.raises(ProgramError, match=message):
        machine_of(instruction).run(1)


def test_tokens_out_of_range_are_refused():
    with pytest.raises(ProgramError, match="tokens must lie in 1..32, not 33"):
        machine_of(NORM).run(33)
    with pytest.raises(ProgramError, match="The program takes 1..7 tokens, not 8"):
        Machine(EDGE, {Target.PROG: assemble([NORM]).words, Target.REGION: [region(tokens=7)]}).run(8)
    with pytest.raises(ProgramError, match="The program takes 1..0 tokens, not 1"):
        Machine(EDGE, {Target.PROG: assemble([NORM]).words}).run(1)


def test_inputs_that_the_program_does_not_take_are_refused():
    model = small_model("attention")
    image = compile_model(model, core("4x4x8"))
    header, *data = (int(word) for word in image.input_packet(random_rows(model, 5)))
    each = len(data) // 2  # words of a row block
    for wrong, message in (
        ((packet_header(Target.W, count=len(data), is_input=True), data), "An input goes to ACT 0, .* not to W 0"),
        ((packet_header(Target.ACT, count=each, address=8, is_input=True), data[:each]), "not to ACT 8"),
        ((packet_header(Target.ACT, count=0, is_input=True), []), "with 0"),
        ((packet_header(Target.ACT, count=each - 1, is_input=True), data[: each - 1]), f"with {each - 1}"),
        ((packet_header(Target.ACT, count=20 * each, is_input=True), data * 10), "at most 17 tokens"),
        ((header | 1 << 60, data), "reserved bits"),
    ):
        with pytest.raises(ProgramError, match=message):
            Machine(image.config, image.memories).load([wrong[0], *wrong[1]])
    machine = Machine(image.config, image.memories)
    machine.load([header, *data])
    with pytest.raises(ProgramError, match="The input must have 1 row blocks for 4 tokens"):
        machine.run(4)


def test_packets_that_do_not_fit_are_refused():
    model = small_model("attention")
    image = compile_model(model, core("4x4x8"))
    machine = Machine(image.config, image.memories)
    packet = image.input_packet(random_rows(model, 17))
    with pytest.raises(ProgramError, match=f"has {len(packet) - 2} words, not {len(packet) - 1}"):
        machine.load(packet[:-1])
    machine.load(packet)
    with pytest.raises(ProgramError, match="input packet waits for INPUT_FREE"):
        machine.load(packet)
    with pytest.raises(ProgramError, match="PROG has 512 words, not 513"):
        Machine(EDGE, {Target.PROG: [0] * 513})


def test_store_packs_beats_into_stream_words():
    """Lanes of a beat, low ones first; a beat narrower than 64 bits takes a word of its own."""
    for name, lanes in (("tiny", 2), ("edge", 4), ("large", 16)):
        config = preset(name)
        beats = np.arange(3 * lanes).reshape(3, lanes)
        words = [sum(int(v) << (16 * i) for i, v in enumerate(beat)) for beat in beats]
        program = assemble([Store(beats=3, src=Operand())]).words
        frame = Machine(config, {Target.PROG: program, Target.RES: words, Target.REGION: [region()]}).run(1)
        assert len(frame.output) == 3 * max(lanes // 4, 1)
        found = np.array(frame.output, np.uint64).view(np.int16).reshape(3, -1)[:, :lanes]
        assert (found == beats).all()
