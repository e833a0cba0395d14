# SPDX-License-Identifier: Apache-2.0
"""Cycle model: exact to a cycle where it was measured on the Verilog, and it predicts that every speed bar is met."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gen.cycles.latencies import Latencies
from gen.cycles.predict import predict, predict_interval, useful_macs, utilisation
from gen.cycles.simulation import Simulation
from gen.emit.verilog import TOP, emit_core
from gen.model.randommodel import random_model, random_rows
from gen.program.assembler import Array, Loop, Operand, assemble
from gen.program.compiler import compile_model
from gen.simulate.session import Session
from hw.config import preset
from hw.program.isa import Format, Semaphore
from tests.sweep import KERNELS, core_of

EDGE = preset("edge")
ROOMY = {"max_tokens": 64, "w_words": 8192, "act_words": 2048, "kv_words": 2048, "res_words": 4096}
WORKLOADS = {
    "attention-s64-e64-h1 4x4x8": (
        {"layers": 0, "hidden": 64, "heads": 1, "tokens": 64}, replace(EDGE, **ROOMY), 0.97, None,
    ),
    "attention-s64-e64-h1 8x8x16": (
        {"layers": 0, "hidden": 64, "heads": 1, "tokens": 64}, replace(preset("large"), **ROOMY), 0.90, None,
    ),
    "encoder-s64-e128-h4-f512": (
        {"hidden": 128, "heads": 4, "ffn": 512, "tokens": 64}, preset("bench"), 0.95, None,
    ),
    "digits": (
        {"hidden": 64, "heads": 4, "ffn": 256, "layers": 2, "tokens": 17, "pixels": 4, "classes": 10},
        EDGE, 0.65, 0.75,
    ),
}  # fmt: skip
"""Model, core, least utilisation of a single run and of a stream."""

PRODUCT = Array(n=1, k=1, a=Operand(), b=Operand(), b_n=1, b_k=1, result=Format.INT8)


@pytest.mark.parametrize("name", WORKLOADS)
def test_bars_are_predicted_to_hold(name):
    shape, config, single, stream = WORKLOADS[name]
    model = random_model(**shape)
    image = compile_model(model, config)
    prediction = predict(image)
    macs = useful_macs(model)
    assert utilisation(macs, prediction.single, config) >= single
    if stream is not None:
        interval = predict_interval(image, prediction.tokens)
        assert utilisation(macs, interval, config) >= stream
        assert interval >= prediction.busy["array"]
    assert prediction.busy["macs"] <= prediction.busy["array"] <= prediction.single


MODELS = {
    "pixels": {
        "norm": "pre",
        "pixels": 4,
        "classes": 10,
        "layers": 2,
        "hidden": 64,
        "heads": 4,
        "ffn": 128,
        "tokens": 17,
    },
    "pre": {"norm": "pre", "hidden": 36, "heads": 3, "head_dim": 12, "ffn": 68, "tokens": 50},
    "post classes": {"norm": "post", "hidden": 50, "heads": 2, "head_dim": 8, "ffn": 96, "tokens": 50, "classes": 5},
    "post": {"norm": "post", "hidden": 50, "heads": 2, "head_dim": 8, "ffn": 96, "tokens": 50},
    "attention": {"layers": 0, "hidden": 64, "heads": 2, "tokens": 50},
}
MEASURED = {
    ("4x4x8", "pixels", 5): (5957, 5883),
    ("4x4x8", "pre", 1): (1383, 1288),
    ("4x4x8", "pre", 16): (2871, 2776),
    ("4x4x8", "post classes", 1): (1635, 1622),
    ("4x4x8", "post classes", 16): (3220, 3207),
    ("4x4x8", "post", 1): (1571, 1603),
    ("4x4x8", "post", 16): (3458, 3518),
    ("4x4x8", "post", 50): (10378, 10694),
    ("4x4x8", "attention", 1): (850, 776),
    ("4x4x8", "attention", 16): (2563, 2489),
    ("1x16x8", "pixels", 5): (4060, 4024),
    ("1x16x8", "pre", 16): (5033, 4963),
    ("1x16x8", "post classes", 16): (4845, 4829),
    ("1x16x8", "post", 1): (848, 843),
    ("1x16x8", "post", 16): (5410, 5405),
}
"""Cycles of a single run and between results of a stream, on the Verilog, by array, model and tokens."""


@cache
def image_of(array: str, name: str):
    exp, gelu = sorted(KERNELS[array])[0]
    model = random_model(exp=exp, gelu=gelu, **MODELS[name])
    return model, compile_model(model, core_of({"array": array, "exp": exp, "gelu": gelu}))


@pytest.mark.parametrize(("array", "name"), dict.fromkeys((array, name) for array, name, _ in MEASURED))
def test_predictions_are_what_was_measured(array: str, name: str):
    """To a cycle, single runs and streams: no constant of the model may change."""
    _, image = image_of(array, name)
    for tokens in (tokens for of_array, of_name, tokens in MEASURED if (of_array, of_name) == (array, name)):
        assert (predict(image, tokens).single, predict_interval(image, tokens)) == MEASURED[array, name, tokens], tokens


PLACED = {
    ("4x4x8", "post", 5, 8): (2283, 4453, 6623, 298965, 310761, 5748, 2652),
    ("4x4x8", "pre", 5, 1): (2041, 3844, 5566, 305676, 316929, 4416, 2526),
    ("2x4x16", "post classes", 5, 2): (2635, 5105, 7575, 490455, 506346, 6513, 2760),
    ("8x8x16", "attention", 50, 8): (2802, 4404, 6006, 691584, 707553, 6552, 3948),
    ("8x8x16", "post", 9, 1): (1703, 3147, 4591, 216669, 224643, 2586, 948),
}
"""By array, model, tokens and commands in a queue: frames' ends; sums of all operations' starts, ends, busy, macs."""


def placed(array: str, name: str, tokens: int, queue: int):
    _, image = image_of(array, name)
    late = replace(Latencies.of(image.config), queue=queue)
    run = Simulation(image.program, image.config, tokens, late, frames=3, input_words=image.input_words(tokens))
    run.go()
    fields = ("start", "end", "busy", "macs")
    return *run.frames, *(sum(getattr(operation, field) for operation in run.operations) for field in fields)


@pytest.mark.parametrize("case", PLACED)
def test_every_operation_is_where_it_was(case: tuple):
    """What the totals do not show: short queues, a full output buffer. No change of the model goes unnoticed."""
    assert placed(*case) == PLACED[case]


@pytest.mark.slow
@pytest.mark.parametrize("array", dict.fromkeys(array for array, _, _ in MEASURED))
def test_what_was_measured_is_what_the_verilog_takes(array: str):
    verilog = None
    for name in dict.fromkeys(name for of_array, name, _ in MEASURED if of_array == array):
        model, image = image_of(array, name)
        verilog = verilog or emit_core(image.config)
        with Session(image, verilog, top=TOP) as session:
            for tokens in (tokens for of_array, of_name, tokens in MEASURED if (of_array, of_name) == (array, name)):
                _, timing = session.timed(random_rows(model, tokens))
                _, ends = session.stream([random_rows(model, tokens, seed=seed) for seed in range(5)])
                assert (timing.single, np.diff(ends)[-2]) == MEASURED[array, name, tokens], (name, tokens)


def test_useful_work_is_counted_without_padding():
    model = random_model(**WORKLOADS["digits"][0])
    layer = 17 * (4 * 64 * 64 + 2 * 64 * 256) + 2 * 4 * 17 * 17 * 16
    assert useful_macs(model) == 17 * 64 * 4 + 2 * layer + 64 * 10
    assert useful_macs(model, 5) < useful_macs(model) / 3
    attention = random_model(layers=0, hidden=64, heads=1, tokens=64)
    assert useful_macs(attention) == 64 * 4 * 64 * 64 + 2 * 64 * 64 * 64
    pooled = random_model(norm="post", hidden=16, heads=2, ffn=16, tokens=8, classes=2, pooler=True)
    assert useful_macs(pooled) == 8 * (4 + 2) * 256 + 2 * 2 * 8 * 8 * 8 + 256 + 32
    assert utilisation(1280, 20, EDGE) == 0.5


def test_operations_tell_what_ran_when():
    model = random_model(layers=0, hidden=16, heads=2, tokens=12)
    image = compile_model(model, EDGE)
    prediction = predict(image)
    by_engine = {e: [o for o in prediction.operations if o.engine == e] for e in ("array", "softmax", "store")}
    assert [(o.name, o.j) for o in by_engine["array"][:4]] == [("k", 0), ("v", 0), ("k", 1), ("v", 1)]
    assert {(o.name, o.i, o.j) for o in by_engine["softmax"]} == {("exp", h, r) for h in range(2) for r in range(3)}
    assert [o.name for o in by_engine["store"]] == ["store"] * 3
    arrays = by_engine["array"]
    assert all(a.start + a.busy <= b.start for a, b in zip(arrays, arrays[1:], strict=False))
    outputs = [o for o in arrays if o.name == "output"]
    assert max(o.end for o in outputs) + 1 == prediction.single
    exps = {(o.i, o.j): o for o in by_engine["softmax"]}
    for scores in (o for o in arrays if o.name == "scores"):
        assert scores.start + scores.busy < exps[scores.i, scores.j].start


def test_a_product_takes_its_tiles_and_the_pipeline():
    late = Latencies.of(EDGE)
    for n, k in ((1, 1), (3, 4), (5, 9)):
        program = assemble([replace(PRODUCT, n=n, k=k)]).words
        run = Simulation(program, EDGE, 1, late)
        run.go()
        (operation,) = run.operations
        spacing = max(k, EDGE.tile_beats)
        assert operation.busy == n * spacing
        assert operation.macs == n * k
        assert operation.end - operation.start == n * spacing + late.to_write + EDGE.tile_beats - 1


def test_products_follow_each_other_without_a_gap():
    run = Simulation(assemble([Loop(inner=9, body=(replace(PRODUCT, n=4, k=8),))]).words, EDGE, 1, Latencies.of(EDGE))
    run.go()
    starts = [o.start for o in run.operations]
    assert np.diff(starts).tolist() == [32] * 8


@pytest.mark.parametrize(("pending", "overlap"), [(0, False), (1, True)])
def test_pending_holds_a_product_back(pending, overlap):
    run = Simulation(
        assemble([replace(PRODUCT, n=4), replace(PRODUCT, pending=pending)]).words, EDGE, 1, Latencies.of(EDGE)
    )
    run.go()
    first, second = run.operations
    assert (second.start < first.end) == overlap


def test_a_program_that_halts_is_reported():
    for behind in (0, 8):  # all dispatched, and not even that
        program = assemble([replace(PRODUCT, wait=(Semaphore.NORM_FULL,))] + [PRODUCT] * behind).words
        with pytest.raises(RuntimeError, match="comes to a halt"):
            Simulation(program, EDGE, 1, Latencies.of(EDGE)).go()


def test_shorter_inputs_take_fewer_cycles():
    model = random_model(hidden=32, heads=2, ffn=64, tokens=32)
    image = compile_model(model, EDGE)
    cycles = [predict(image, tokens).single for tokens in (1, 5, 16, 32)]
    assert cycles == sorted(cycles)
    assert cycles[0] < cycles[-1] / 4


def test_slower_hardware_is_predicted_to_be_slower():
    model = random_model(hidden=32, heads=2, ffn=64, tokens=32)
    image = compile_model(model, EDGE)
    late = Latencies.of(EDGE)
    base = predict(image).single
    for field in ("to_write", "softmax", "norm_statistics"):
        assert predict(image, latencies=replace(late, **{field: getattr(late, field) + 400})).single > base, field
