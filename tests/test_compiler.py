# SPDX-License-Identifier: Apache-2.0
"""Compiler: what it refuses and how, where padding goes, and how inputs and outputs are packed."""

from dataclasses import replace

import numpy as np
import pytest

from gen.errors import InputError
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model, memory_usage
from gen.program.layout import Pool, pack_arrays
from gen.program.tensors import differences, gather
from hw.config import CoreConfig, preset
from hw.memories import LOADABLE
from hw.program import loads
from hw.program.loads import Target
from hw.structs import record
from sim.qmodel import linears

EDGE = preset("edge")
LARGE = preset("large")
DECODE = preset("decode")
DIGITS = {"hidden": 64, "heads": 4, "ffn": 256, "layers": 2, "tokens": 17, "pixels": 4, "classes": 10}


@pytest.fixture(scope="module")
def digits():
    return random_model(**DIGITS)


@pytest.fixture(scope="module")
def post():
    return random_model(norm="post", hidden=20, heads=3, head_dim=12, ffn=28, tokens=17)


def test_the_digits_model_fits_the_edge_preset(digits):
    image = compile_model(digits, EDGE)
    for needed, available in image.usage.values():
        assert needed <= available
    assert all(len(image.memories[t]) <= image.usage[t.name][0] for t in Target if t != Target.REGION)
    assert image.usage == memory_usage(digits, EDGE)


def refused(model, config, message):
    with pytest.raises(InputError, match=message) as caught:
        compile_model(model, config)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)  # the way out


@pytest.mark.parametrize(
    ("field", "words", "message"),
    [
        ("w_words", 3000, r"W needs 3112 words and has 3000 \(w_words\)"),
        ("act_words", 100, r"ACT needs \d+ words and has 100 \(act_words\)"),
        ("kv_words", 80, r"KV needs 88 words and has 80 \(kv_words\)"),
        ("res_words", 600, r"RES needs 652 words and has 600 \(res_words\)"),
        ("chan_words", 1024, r"CHAN needs \d+ words and has 1024 \(chan_words\)"),
        ("norm_words", 200, r"NORM needs 320 words and has 200 \(norm_words\)"),
        ("head_words", 7, r"HEAD needs 8 words and has 7 \(head_words\)"),
        ("tables", 1, r"TABLE needs 2 tables and has 1 \(tables\)"),
        ("prog_words", 64, r"PROG needs \d+ words and has 64 \(prog_words\)"),
    ],
)
def test_every_memory_that_is_too_small_is_named(digits, field, words, message):
    refused(digits, replace(EDGE, **{field: words}), f"does not fit a 4x4x8 core: {message}; use a larger preset")
    assert any(
        needed > available for needed, available in memory_usage(digits, replace(EDGE, **{field: words})).values()
    )


def test_all_that_is_too_small_is_named_at_once(digits):
    refused(digits, replace(EDGE, w_words=8, kv_words=8), "W needs .*; KV needs 88")


def test_kernels_that_differ_are_refused(digits):
    refused(digits, replace(EDGE, exp="ibert"), "quantised for exp=base2 and the core has exp=ibert")
    refused(digits, replace(EDGE, gelu="ibert"), "quantised for gelu=table and the core has gelu=ibert")


def test_relu_runs_on_any_kernel():
    model = random_model(hidden=16, heads=2, ffn=16, tokens=8, activation="relu")
    for gelu in ("table", "ibert"):
        assert compile_model(model, replace(EDGE, gelu=gelu)).usage["TABLE"][0] == 0


def test_limits_are_refused_by_name(digits):
    refused(digits, replace(EDGE, max_tokens=16), "its 17 tokens exceed the core's max_tokens of 16")
    refused(digits, replace(EDGE, max_hidden=60), "its hidden size 64 exceeds the core's max_hidden of 60")
    refused(replace(digits, head_dim=512), EDGE, "a head size of 512 overflows the 24-bit scores")


def test_a_contraction_that_overflows_the_accumulator_is_refused(digits):
    ffn = digits.block("layer0.ffn")
    wide = replace(ffn, down=replace(ffn.down, weight=np.zeros((64, 4097), np.int8)))
    model = replace(digits, **digits.mapped(lambda _, block: wide if block is ffn else block))
    refused(model, EDGE, "a contraction of 4097 overflows the 28-bit accumulators")


def test_models_without_a_schedule_are_refused_by_name(digits, post):
    head = random_model(hidden=20, heads=3, head_dim=12, ffn=28, tokens=17, classes=4).head
    for model, message in [
        (
            replace(digits, stem=digits.stem + post.stem, layers=post.layers),
            r"there is no schedule for patches, embedding, norm\* before post-norm layers",
        ),
        (replace(digits, layers=()), "no schedule for no layers between patches, embedding and first_row, norm, class"),
        (
            replace(digits, layers=(*digits.layers, digits.layers[0][:3])),
            "no schedule for layer 2 of norm, attention, residual behind layers of norm, attention, residual, norm",
        ),
        (replace(digits, layers=(digits.layers[0][:3],)), "no schedule for layers of norm, attention, residual; use"),
        (replace(post, head=head), "no schedule for first_row, norm, classifier behind post-norm layers"),
        (replace(digits, head=digits.head[:1]), "no schedule for first_row behind pre-norm layers"),
        (replace(digits, head=digits.head[2:]), "classifier reads operand rows, which no block before it makes"),
        (replace(post, stem=()), "layer0.attention reads operand rows"),
        (replace(digits, stem=()), "layer0.norm1 reads the residual stream"),
        (replace(post, head=(*head, head[-1])), "there is more than one block classifier"),
    ]:
        refused(model, EDGE, message)


@pytest.mark.parametrize("lag", [0, 3])
def test_lag_out_of_range_is_refused(digits, lag):
    with pytest.raises(InputError, match=f"lag must lie in 1..2, not {lag}"):
        compile_model(digits, replace(EDGE, slots=2), lag=lag)


def test_a_field_that_overflows_is_refused():
    with pytest.raises(InputError, match=r"ChannelParameters: field mult holds 0..65535, not 5..65536"):
        pack_arrays(loads.ChannelParameters, mult=[5, 65536])


def test_a_contraction_that_overflows_its_field_is_refused():
    model = random_model(hidden=16, heads=2, ffn=4096, tokens=4)
    config = CoreConfig(rows=1, cols=4, depth=4, w_words=1 << 17, chan_words=1 << 17, act_words=8192)
    refused(model, config, "field k of ArrayCounts holds 0..1023 and 1024 is needed")


# --- padding


def weight_bytes(image):
    c = image.config
    words = [w.to_bytes(c.cols * c.depth, "little") for w in image.memories[Target.W]]
    return np.frombuffer(b"".join(words), np.int8).reshape(-1, c.cols, c.depth)


@pytest.mark.parametrize("config", [EDGE, LARGE, DECODE], ids=lambda c: c.array)
def test_weights_are_all_there_and_the_rest_is_zero(post, config):
    """Every weight once, in tiles of columns and words of contraction; nothing but zeros beside them."""
    image = compile_model(post, config)
    stored = weight_bytes(image)
    matrices = [*linears(post.block("layer0.attention")), *linears(post.block("layer0.ffn"))]
    stored_values, counts = np.unique(stored[stored != 0], return_counts=True)
    weights = np.concatenate([w.weight.ravel() for w in matrices])
    values, expected = np.unique(weights[weights != 0], return_counts=True)
    assert (stored_values == values).all()
    assert (counts == expected).all()


def test_each_head_starts_on_a_tile_and_on_a_word(post):
    """Q of head h: rows h * 16 .. of the padded matrix on a 4x4x8 array, heads of 12 padded to 16."""
    image = compile_model(post, EDGE)
    q = post.block("layer0.attention").q.weight  # [36, 20]: 12 tiles of 3 words, the first matrix in W
    tiles = weight_bytes(image)[: 12 * 3].reshape(12, 3, 4, 8).transpose(0, 2, 1, 3).reshape(48, 24)
    for head in range(3):
        assert (tiles[16 * head : 16 * head + 12, :20] == q[12 * head : 12 * head + 12]).all()
        assert not tiles[16 * head + 12 : 16 * head + 16].any()
    assert not tiles[:, 20:].any()


def test_padded_channels_give_zero(post):
    """Multiplier 0, bias 0, shift 1 (a legal shift)."""
    image = compile_model(post, EDGE)
    first = [record(loads.ChannelParameters, w) for w in image.memories[Target.CHAN][:16]]
    attention = post.block("layer0.attention")
    assert [p.mult for p in first] == [*attention.q.mult[:12], 0, 0, 0, 0]
    assert [(p.bias, p.shift, p.bank) for p in first[12:]] == [(0, 1, 0)] * 4


def test_a_pool_pads_before_it_places():
    pool = Pool("RES", 10)
    assert (pool.reserve(3), pool.place([7, 8]), pool.size, pool.words) == (0, 3, 5, [0, 0, 0, 7, 8])


# --- inputs and outputs


@pytest.mark.parametrize("kind", ["patches", "residual", "operands"])
def test_inputs_are_padded_to_whole_memory_words(kind):
    shape = {
        "patches": {"pixels": 6, "classes": 3},
        "residual": {"norm": "post"},
        "operands": {"layers": 0},
    }[kind]
    model = random_model(**({"hidden": 20, "heads": 2, "ffn": 24, "tokens": 9, "layers": 1} | shape))
    for config in (EDGE, LARGE, DECODE, preset("tiny")):
        image = compile_model(model, config)
        port = image.input
        assert port.form.kind == kind
        x = random_rows(model, 7)
        packet = image.input_packet(x)
        header = record(loads.PacketHeader, packet[0])
        size = LOADABLE[port.target].geometry(config).bytes
        assert (header.target, header.input) == (port.target, 1)
        assert header.address == port.address * max(size // 8, 1)
        assert len(packet) == header.count + 1 == image.input_words(7)
        width = 2 if kind == "residual" else 1
        data = packet[1:].view(np.uint8).reshape(-1, max(size, 8))[:, :size].reshape(-1)
        values = np.ascontiguousarray(data).view({1: np.uint8, 2: np.uint16}[width]).reshape(-1, config.rows)
        blocks = -(-7 // config.rows)
        rows = values.reshape(blocks, -1, config.rows).transpose(0, 2, 1).reshape(blocks * config.rows, -1)
        assert (rows[:7, : x.shape[1]] == x.astype(rows.dtype)).all()
        assert not rows[7:].any()
        assert not rows[:, x.shape[1] :].any()


def test_bad_inputs_are_refused(digits):
    image = compile_model(digits, EDGE)
    good = random_rows(digits, 17)
    for bad, message in [
        (good[:, :3], r"input: the shape must be \[tokens, 4\], not \[17, 3\]"),
        (good[0], r"input: the shape must be \[tokens, 4\], not \[4\]"),
        (np.concatenate([good, good]), "input: 34 tokens, and model random-0 takes 1 to 17"),
        (good[:0], "input: 0 tokens, and model random-0 takes 1 to 17"),
        (good / 255, r"input: values must be integers 0..255, not float64"),
        (good.astype(int) - 300, r"input: values must lie in 0..255, not -300.."),
    ]:
        with pytest.raises(InputError, match=message):
            image.input_packet(bad)


def test_outputs_of_the_wrong_length_are_refused(digits):
    image = compile_model(digits, EDGE)
    assert image.output_words(17) == image.output_words(1) == 10
    with pytest.raises(ValueError, match="The output must have 10 words, not 9"):
        image.decode_output(np.zeros(9, np.uint64), 17)
    with pytest.raises(InputError, match="18 tokens"):
        image.decode_output(np.zeros(10, np.uint64), 18)


def test_packets_hold_all_memories(digits):
    image = compile_model(digits, EDGE)
    found = {}
    for packet in image.load_packets():
        header = record(loads.PacketHeader, packet[0])
        assert (header.input, header.address, header.count) == (0, 0, len(packet) - 1)
        found[header.target] = packet[1:]
    assert set(found) == {t for t in Target if image.memories[t]}
    assert list(found)[-1] == Target.REGION  # without it no input is taken
    region, port = record(loads.InputRegion, found[Target.REGION][0]), image.input
    assert (region.target, region.address, region.words, region.tokens) == (
        port.target,
        port.address * 4,
        port.words * 4,
        17,
    )
    assert found[Target.PROG].tolist() == list(image.program)
    assert found[Target.TABLE].tolist() == list(image.memories[Target.TABLE])  # a stream word for each byte
    weights = b"".join(w.to_bytes(32, "little") for w in image.memories[Target.W])
    assert found[Target.W].tobytes() == weights


def test_compiling_twice_gives_the_same_image(digits):
    one, two = compile_model(digits, EDGE), compile_model(digits, EDGE)
    assert one.memories == two.memories
    assert one.listing == two.listing
    assert "; layer1.scores" in one.listing


# --- tensors from beats


def test_streams_of_the_wrong_length_are_refused(digits):
    image = compile_model(digits, EDGE)
    counts = image.stream_beats(17)
    beats = {name: np.zeros((count, 4), int) for name, count in counts.items()}
    assert set(image.collect(17, beats)) > {"embedding", "layer0.scores", "final_norm", "output"}
    for name, count in counts.items():
        if count:
            with pytest.raises(ValueError, match=f"{name} must have {count} beats of 4 lanes, not"):
                image.collect(17, {**beats, name: beats[name][1:]})
    with pytest.raises(ValueError, match="lanes"):
        gather(image.slices(17), {**beats, "drain": np.zeros((counts["drain"], 2), int)}, EDGE)


def test_differences_are_counted_and_placed():
    reference = {"x": np.arange(12).reshape(3, 4), "y": np.zeros((2, 3, 3), int)}
    assert differences({"x": reference["x"][:2], "y": reference["y"]}, reference) == {}
    wrong = reference["x"].copy()
    wrong[1, 2], wrong[2, 0] = 50, 51
    assert differences({"x": wrong}, reference) == {"x": "2 of 12 differ, first at (1, 2): 50, not 6"}
    assert differences({"x": wrong[:, :3]}, reference) == {"x": "has shape (3, 3), not (3, 4)"}


def test_ibert_tables_are_parameters():
    model = random_model(hidden=16, heads=2, ffn=16, tokens=8, gelu="ibert")
    image = compile_model(model, replace(EDGE, gelu="ibert"))
    activation = model.block("layer0.ffn").activation
    parameters = record(loads.GeluParameters, image.memories[Target.TABLE][0])
    names = ("b", "c", "mult", "shift")
    assert [getattr(parameters, n) for n in names] == [getattr(activation, n) for n in names]
