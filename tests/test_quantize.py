# SPDX-License-Identifier: Apache-2.0
"""The quantiser: accuracy on the digits model and on random encoders, constants inside their fields, refusals."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gen.errors import InputError
from gen.model.activations import quantise_activation, tanh_table
from gen.model.blocks import Checkpoint, Dense, Norm
from gen.model.calibration import calibrate, measure
from gen.model.checkpoint import read_checkpoint
from gen.model.fixedpoint import linear, multiplier, norm, smoothing
from gen.model.floatmodel import forward, gelu, trace
from gen.model.quantize import integer_inputs, quantise
from gen.model.randommodel import random_checkpoint, random_model, random_rows, random_samples
from sim import golden, qmodel, reference
from sim.qmodel import Linear, NormForm, QuantModel

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
BERT = ROOT / "tests" / "data" / "bert_tiny"
KERNELS = [("base2", "table"), ("ibert", "ibert")]


@cache
def digits() -> Checkpoint:
    return read_checkpoint(DIGITS / "checkpoint")


def integer_results(checkpoint: Checkpoint, model: QuantModel, inputs) -> np.ndarray:
    """Every result of the integer model as real numbers, one behind the other."""
    rows = integer_inputs(checkpoint, model, inputs)
    return np.concatenate([np.ravel(reference.forward(model, r)["output"]) for r in rows]) * model.scales["output"]


def relative_error(checkpoint: Checkpoint, model: QuantModel, inputs) -> float:
    """RMS of integer minus float results over the float results' standard deviation."""
    expected = np.concatenate([np.ravel(value) for value in forward(checkpoint, inputs)])
    return float(np.sqrt(np.mean((integer_results(checkpoint, model, inputs) - expected) ** 2)) / expected.std())


def parts(value: object, kind: type) -> list:
    """All dataclass instances of ``kind`` inside ``value``."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, tuple):
        return [found for item in value for found in parts(item, kind)]
    if dataclasses.is_dataclass(value):
        return [f for field in dataclasses.fields(value) for f in parts(getattr(value, field.name), kind)]
    return []


# --- accuracy


@pytest.mark.parametrize(
    ("exp", "gelu"), [("base2", "table"), ("base2", "ibert"), ("ibert", "table"), ("ibert", "ibert")]
)
def test_digits_accuracy(exp: str, gelu: str):
    images, labels = np.load(DIGITS / "test_images.npy"), np.load(DIGITS / "test_labels.npy")
    model = quantise(digits(), np.load(DIGITS / "calibration.npy"), exp=exp, gelu=gelu)
    expected = forward(digits(), images)
    logits = integer_results(digits(), model, images).reshape(expected.shape)
    accuracy, float_accuracy = (logits.argmax(1) == labels).mean(), (expected.argmax(1) == labels).mean()
    error = np.sqrt(np.mean((logits - expected) ** 2)) / expected.std()
    print(f"{exp}, {gelu}: accuracy {accuracy:.2%} (float {float_accuracy:.2%}), logit error {error:.2%}")
    assert abs(accuracy - float_accuracy) <= 0.005
    assert error <= (0.02 if gelu == "table" else 0.03)


@pytest.mark.parametrize(("exp", "gelu"), KERNELS)
@pytest.mark.parametrize(
    "shape",
    [
        {"norm": "pre", "hidden": 32, "heads": 2, "ffn": 64, "tokens": 16},
        {"norm": "post", "hidden": 32, "heads": 2, "ffn": 64, "tokens": 16, "classes": 5},
        {"norm": "pre", "hidden": 37, "heads": 3, "head_dim": 12, "ffn": 50, "tokens": 17, "pixels": 5, "classes": 10},
        {"norm": "post", "hidden": 13, "heads": 3, "head_dim": 32, "ffn": 41, "tokens": 50},
        {"norm": "pre", "hidden": 24, "heads": 1, "head_dim": 8, "ffn": 96, "tokens": 1, "activation": "relu"},
        {"norm": "post", "hidden": 50, "heads": 4, "head_dim": 16, "ffn": 33, "tokens": 5, "activation": "gelu_tanh"},
        {"layers": 0, "hidden": 64, "heads": 1, "tokens": 64},
    ],
)
def test_random_encoders_follow_float(shape: dict, exp: str, gelu: str):
    checkpoint = random_checkpoint(**{"layers": 2, **shape}, seed=5)
    model = random_model(**{"layers": 2, **shape}, exp=exp, gelu=gelu, seed=5)
    assert relative_error(checkpoint, model, random_samples(checkpoint, 3, 99)) < 0.1


def test_pooler_follows_float():
    shape = {"norm": "post", "hidden": 40, "heads": 4, "ffn": 80, "tokens": 9, "classes": 3, "pooler": True}
    checkpoint = random_checkpoint(**shape, seed=3)
    assert relative_error(checkpoint, random_model(**shape, seed=3), random_samples(checkpoint, 60, 99)) < 0.1


@pytest.mark.parametrize(("count", "limit"), [(1, 0.16), (6, 0.12)])
@pytest.mark.parametrize(
    "shape",
    [
        {"norm": "pre", "hidden": 64, "heads": 4, "ffn": 128, "tokens": 17, "pixels": 16, "classes": 2, "seed": 2},
        {"norm": "pre", "hidden": 36, "heads": 3, "ffn": 72, "tokens": 17, "pixels": 16, "classes": 10, "seed": 5},
        {"norm": "post", "hidden": 64, "heads": 4, "ffn": 128, "tokens": 16, "classes": 3, "seed": 0},
        {"norm": "post", "hidden": 64, "heads": 4, "ffn": 128, "tokens": 16, "seed": 1},
    ],
)
def test_few_samples_are_enough_for_others(shape: dict, count: int, limit: float):
    """Ranges look beyond few samples: on others the error stays small, and no logit is at the end of its range."""
    checkpoint = random_checkpoint(**shape, layers=2)
    samples = random_samples(checkpoint, count + 50, 3)
    model = quantise(checkpoint, samples[:count])
    assert relative_error(checkpoint, model, samples[count:]) < limit
    if "classes" in shape:
        assert np.abs(integer_results(checkpoint, model, samples[count:])).max() < 32767 * model.scales["logits"]


def test_ranges_of_many_rows_are_what_was_seen():
    random = np.random.default_rng(0)
    value = random.standard_normal((4096, 8))
    found = measure(value, 2)
    assert (found.peak == np.abs(value).max(0)).all() and (found.high == value.max(0)).all()
    assert found.largest == np.abs(value).max() and found.rows == 4096
    few = measure(value[:16], 2)
    assert (few.peak > np.abs(value[:16]).max(0)).all() and (few.tail > few.largest / 2).all()
    assert few.lower < value[:16].min() and few.far > value[:16].max()


def test_bert_from_token_ids():
    checkpoint = read_checkpoint(BERT)
    random = np.random.default_rng(0)
    ids = [random.integers(1, 11, random.integers(1, 10)) for _ in range(200)]
    model = quantise(checkpoint, ids)
    assert relative_error(checkpoint, model, ids[:50]) < 0.1
    rows = integer_inputs(checkpoint, model, np.load(BERT / "expected.npz")["ids"])
    assert [(r.shape, r.dtype) for r in rows] == [((n, 12), np.int16) for n in (9, 4, 5)]


def test_every_intermediate_of_a_layer_follows_float():
    """Residual rows and attention outputs, not only the result, are the float model's in their scales."""
    images = np.load(DIGITS / "test_images.npy")[:8]
    model = quantise(digits(), np.load(DIGITS / "calibration.npy"))
    expected = trace(digits(), images)
    found = [reference.forward(model, rows) for rows in integer_inputs(digits(), model, images)]
    for name in ("embedding", "layer0.residual1", "layer0.residual2", "layer1.residual1", "layer1.residual2"):
        values = np.concatenate([t[name] for t in found]) * model.scales["residual"]
        error = np.sqrt(np.mean((values - expected[name]) ** 2)) / expected[name].std()
        assert error < 0.03, name


def test_operands_use_their_range():
    """Calibrated on training images, ranges hold on test images: well used, and one value in a thousand beyond."""
    ranges = calibrate(digits(), np.load(DIGITS / "calibration.npy"))
    model = quantise(digits(), np.load(DIGITS / "calibration.npy"))
    images = np.load(DIGITS / "test_images.npy")[:32]
    expected = trace(digits(), images)
    found = [reference.forward(model, rows) for rows in integer_inputs(digits(), model, images)]
    for name in (f"layer{i}.{n}" for i in range(2) for n in "qkvo"):
        values = np.abs(np.concatenate([t[name] for t in found])).reshape(-1, 4, 16).max((0, 2))
        assert (values > 100).all(), name
        beyond = np.abs(expected[name]).reshape(-1, 4, 16) > ranges[name].tail[:, None] * 128 / 127
        assert (beyond.mean((0, 2)) < 1e-3).all(), name


def test_quantisation_is_deterministic():
    one, two = (random_model(norm="post", hidden=20, heads=2, ffn=24, tokens=6, seed=8) for _ in range(2))
    for a, b in zip(parts(one, Linear), parts(two, Linear), strict=True):
        assert np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias) and np.array_equal(a.mult, b.mult)


# --- fields


@pytest.mark.parametrize("gelu", ["table", "ibert"])
@pytest.mark.parametrize("norm_kind", ["pre", "post"])
def test_constants_fit_their_fields(norm_kind: str, gelu: str):
    model = random_model(norm=norm_kind, hidden=30, heads=3, ffn=70, layers=2, tokens=8, classes=4, gelu=gelu, seed=1)
    linears, norms = parts(model, Linear), parts(model, qmodel.Norm)
    activations = parts(model, qmodel.IBertGelu if gelu == "ibert" else qmodel.Table)
    assert len(linears) == 13 and len(activations) == 2 and len(norms) == 5
    for part in linears:
        assert part.weight.dtype == np.int8 and part.weight.min() >= -127
        assert part.bias.dtype == np.int32 and np.abs(part.bias.astype(int)).max() < 1 << 30
        assert part.mult.dtype == np.uint16 and part.mult.min() >= 1 << 15
        assert part.shift.dtype == np.uint8 and 1 <= part.shift.min() and part.shift.max() <= 63
        assert (np.abs(part.weight.astype(int)).max(1) == 127).all()
    for part in norms:
        assert 1 <= part.eps < 1 << 40
        for form in parts(part, NormForm):
            assert form.gamma.dtype == np.int16 and form.beta.dtype == np.int32 and 1 <= form.shift <= 63
            assert np.abs(form.gamma.astype(int)).max() > 1 << 13 or np.abs(form.beta).max() > 1 << 28  # to the full
    for part in activations:
        if gelu == "ibert":
            assert 0 < part.b < 1 << 12 and 0 < part.c < 1 << 20 and part.mult < 1 << 16 and 1 <= part.shift <= 63
        else:
            assert part.table.shape == (2, 256) and part.table.dtype == np.uint8 and part.bank.shape == (70,)
            assert 0 < part.bank.sum() < 70  # both banks are in use
    assert (model.block("layer0.norm1").wide is None) == (norm_kind == "pre")
    assert all(part.narrow is not None for part in norms)


def test_zero_weights_and_dead_channels_quantise():
    """A pruned model: zero rows, zero columns, a channel that LayerNorm switches off, an unused head."""
    checkpoint = random_checkpoint(hidden=16, heads=2, ffn=20, tokens=4, pixels=3, classes=3, seed=2)
    attention, ffn = checkpoint.block("layer0.attention"), checkpoint.block("layer0.ffn")
    for weights in (ffn.up, ffn.down, attention.o):
        weights.weight[3] = 0
        weights.weight[:, 5] = 0
        weights.bias[3] = 0
    for weights in (attention.q, attention.v):
        weights.weight[:8], weights.bias[:8] = 0, 0
    norm1, norm2 = checkpoint.block("layer0.norm1"), checkpoint.block("layer0.norm2")
    norm1.gamma[2] = norm1.beta[2] = 0
    norm2.gamma[:] = 0
    samples = random_samples(checkpoint, 64, 0)
    model = quantise(checkpoint, samples)
    assert relative_error(checkpoint, model, samples[:8]) < 0.1


def test_multiplier_is_within_half_a_step():
    ratio = np.exp2(np.random.default_rng(0).uniform(-48, 14, 10000))
    mult, shift = multiplier(ratio, "x")
    assert mult.min() >= 1 << 15 and shift.min() >= 1 and shift.max() <= 63
    assert np.abs(mult * 2.0 ** -shift.astype(float) / ratio - 1).max() <= 2.0**-16
    mult, shift = multiplier([1.0, 1 - 2.0**-20, 2.0**-60, 2.0**-90], "x")
    assert mult.tolist() == [1 << 15, 1 << 15, 1 << 3, 0] and shift.tolist() == [15, 15, 63, 63]


def test_linear_folds_zero_points():
    random = np.random.default_rng(1)
    weight, bias = random.standard_normal((7, 40)), random.standard_normal(7)
    in_scale, in_zero = random.uniform(0.01, 0.03, 40), random.integers(0, 60, 40)
    x = random.integers(0, 256, (100, 40))
    exact = ((x - in_zero) * in_scale) @ weight.T + bias
    out_scale, out_zero = exact.std(0) / 20, np.full(7, 100)
    layer = linear(weight * in_scale, bias, out_scale, "x", in_zero=in_zero, out_zero=out_zero)
    found = reference.linear(x, layer, 8, signed=False)
    assert np.abs(found - np.clip(exact / out_scale + out_zero, 0, 255)).max() < 1.5


def test_norm_equals_float_layernorm():
    random = np.random.default_rng(2)
    h = np.rint(3000 * random.standard_normal((50, 33))).astype(np.int64)
    block = Norm(gamma=random.lognormal(0, 0.5, 33), beta=random.standard_normal(33))
    scale = 1 / 5000
    real = h * scale
    centred = real - real.mean(1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-3) * block.gamma + block.beta
    constants = norm(block, 1e-3, scale, "x", narrow=np.full(33, 0.1), wide=1e-3)
    narrow = reference.layernorm(h, constants, constants.narrow, 8)
    assert np.abs(narrow - np.clip(exact / 0.1, -128, 127)).max() <= 0.6
    assert np.abs(reference.layernorm(h, constants, constants.wide, 16) * 1e-3 - exact).max() < 0.006


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("width", [64, 512, 1024])
@pytest.mark.parametrize("norm_kind", ["pre", "post"])
def test_every_eps_fits_every_width_and_deviation(norm_kind: str, width: int, eps: float):
    """eps is up to 2^40 squared steps of the residual; where that is not enough, coarser steps lose nothing."""
    shape = {"norm": norm_kind, "hidden": width, "heads": 4, "head_dim": 8, "ffn": 16, "tokens": 4}
    checkpoint = replace(random_checkpoint(**shape), eps=eps)
    for deviation in (0.02, 0.002):
        samples = random_samples(checkpoint, 4, 0) * deviation
        error = relative_error(checkpoint, quantise(checkpoint, samples), samples)
        # Where eps is small, a small embedding counts, and is a few steps of a stream that grows to order one.
        assert error < (0.2 if norm_kind == "pre" and eps < 1e-3 else 0.06), deviation


@pytest.mark.parametrize("eps", [1e-12, 1e-5])
@pytest.mark.parametrize(
    "shape",
    [
        {"norm": "pre"},
        {"norm": "pre", "classes": 3},
        {"norm": "post"},
        {"norm": "post", "classes": 3, "pooler": True},
        {"norm": "post", "activation": "relu"},
        {"norm": "pre", "gelu": "ibert"},
    ],
)
def test_constant_and_zero_rows_give_beta(shape: dict, eps: float):
    """A row without variance is normalised to beta, be it among others or all that calibration sees; beta zero too."""
    gelu = shape.get("gelu", "table")
    shape = {"hidden": 32, "heads": 2, "ffn": 24, "tokens": 4} | {k: v for k, v in shape.items() if k != "gelu"}
    for biases in (True, False):
        checkpoint = replace(random_checkpoint(**shape), eps=eps)
        if not biases:
            for part in parts(checkpoint, Norm):
                part.beta[:] = 0
            for part in parts(checkpoint, Dense):
                part.bias[:] = 0
        for value in (0.0, 0.5):
            samples = np.full((4, 4, 32), value)
            model = quantise(checkpoint, samples, gelu=gelu)
            rows = integer_inputs(checkpoint, model, samples)
            name = "embedding.norm" if shape["norm"] == "post" else "layer0.norm1"
            first = model.block(name).narrow
            beta = golden.saturate(golden.shift_round(first.beta.astype(np.int64), first.shift), 8)
            assert (reference.forward(model, rows[0])[name] == beta).all()
            expected = np.concatenate([np.ravel(result) for result in forward(checkpoint, samples)])
            error = np.abs(integer_results(checkpoint, model, samples) - expected).max()
            assert error <= 0.1 * np.abs(expected).max(), value
        samples = np.concatenate([samples, random_samples(checkpoint, 8, 1)])
        assert relative_error(checkpoint, quantise(checkpoint, samples, gelu=gelu), samples) < 0.1


def test_smoothing_has_geometric_mean_one():
    scale = smoothing(np.array([1.0, 100.0, 0.0, 3.0]), np.array([1.0, 0.5, 2.0, 0.0]))
    assert np.isfinite(scale).all() and np.log(scale).mean() == pytest.approx(0, abs=1e-12)
    ratio = smoothing(np.array([1.0, 32.0]), np.array([1.0, 1.0]))
    assert ratio[1] / ratio[0] == pytest.approx(32**0.7)


# --- activations


def up_range(high: float):
    values = np.random.default_rng(4).uniform(-4, high, (4000, 6))
    values[:, 3:] = np.minimum(values[:, 3:], high / 3)
    return measure(values)


def test_gelu_table_follows_gelu_and_uses_both_banks():
    quantised = quantise_activation(
        "gelu", "table", up_range(6.0), Dense(weight=np.ones((2, 6)), bias=np.zeros(2)), "x"
    )
    table, bank = quantised.activation.table, quantised.activation.bank
    assert bank.tolist() == [0, 0, 0, 1, 1, 1]
    index = np.arange(256)
    for channel in (0, 5):
        real = (index - quantised.in_zero[channel]) * quantised.in_scale[channel]
        assert real[0] == pytest.approx(-3, abs=0.05) and real[-1] == pytest.approx(6 if channel == 0 else 3, abs=0.05)
        out = (table[bank[channel]].astype(float) - quantised.out_zero[channel]) * quantised.out_scale[channel]
        assert np.abs(out - gelu(real)).max() <= 0.51 * quantised.out_scale[channel]


@pytest.mark.parametrize("high", [0.1, 2.0, 6.0, 20.0])
def test_gelu_ibert_follows_gelu(high: float):
    """Within the polynomial's own error (about 0.02) and half a step of the int8 result."""
    quantised = quantise_activation(
        "gelu", "ibert", up_range(high), Dense(weight=np.ones((2, 6)), bias=np.zeros(2)), "x"
    )
    act = quantised.activation
    assert 0 < act.b < 1 << 12 and 0 < act.c < 1 << 20
    x = np.arange(-128, 128)
    out = golden.gelu_ibert(x, act.b, act.c, act.mult, act.shift) * quantised.out_scale[0]
    assert np.abs(out - gelu(x * quantised.in_scale[0])).max() < 0.02 + quantised.out_scale[0] / 2


def test_tanh_table_follows_tanh():
    for peak in (0.01, 1.0, 30.0):
        quantised = tanh_table(measure(np.linspace(-peak, peak, 50)[:, None]))
        index = np.arange(256)
        real = (index - quantised.in_zero[0]) * quantised.in_scale[0]
        out = (quantised.activation.table[0].astype(float) - quantised.out_zero[0]) * quantised.out_scale[0]
        assert np.abs(out - np.tanh(real)).max() <= quantised.out_scale[0]


# --- the factory


def test_random_rows_have_the_form_the_model_takes():
    patches = random_rows(random_model(hidden=16, heads=2, ffn=16, tokens=5, pixels=3, classes=2), 4)
    assert patches.dtype == np.uint8 and patches.shape == (4, 3) and not patches[0].any() and patches[1:].any()
    rows = random_rows(random_model(norm="post", hidden=16, heads=2, ffn=16, tokens=5), 5)
    assert rows.dtype == np.int16 and rows.shape == (5, 16) and np.abs(rows.astype(int)).max() > 1000
    operands = random_rows(random_model(layers=0, hidden=16, heads=2, tokens=5), 5)
    assert operands.dtype == np.int8 and operands.shape == (5, 16) and np.abs(operands.astype(int)).max() > 50


def test_shorter_inputs_than_calibrated_run():
    model = random_model(norm="post", hidden=16, heads=2, ffn=16, tokens=9, seed=4)
    for tokens in (1, 4, 9):
        assert reference.forward(model, random_rows(model, tokens))["output"].shape == (tokens, 16)


# --- refusals


def refusal(call, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_unknown_kernels_refused():
    calibration = np.load(DIGITS / "calibration.npy")
    refusal(lambda: quantise(digits(), calibration, exp="exact"), "exp", "exact", "base2, ibert")
    refusal(lambda: quantise(digits(), calibration, gelu="erf"), "gelu", "erf", "table, ibert")


def test_pooler_needs_the_table_kernel():
    refusal(lambda: random_model(norm="post", classes=2, pooler=True, gelu="ibert"), "pooler", 'gelu = "table"')


def test_calibration_that_does_not_fit_refused():
    calibration = np.load(DIGITS / "calibration.npy")
    refusal(lambda: quantise(digits(), calibration.astype(np.float32)), "float32", "uint8")
    refusal(lambda: quantise(digits(), calibration[:0]), "no sample")


def test_ratio_outside_the_field_refused():
    refusal(lambda: multiplier([1.0, 1e6], "layer3.q"), "layer3.q", "representative")


def test_norm_weight_outside_the_field_refused():
    block = Norm(gamma=np.full(4, 1e9), beta=np.zeros(4))
    refusal(lambda: norm(block, 1e-5, 1e-3, "layer1.norm2", wide=1e-3), "layer1.norm2", "too large")


@pytest.mark.parametrize(
    ("shape", "change", "words"),
    [
        ({"pixels": 3, "classes": 2}, lambda c: {"head": c.head[2:]}, ["classifier reads operand rows"]),
        ({"norm": "post"}, lambda c: {"stem": ()}, ["layer0.attention reads operand rows"]),
        ({}, lambda c: {"stem": (c.block("final_norm"),), "layers": (c.layers[0][1:],)}, []),
        ({}, lambda c: {"layers": (c.layers[0][:2] + c.layers[0][3:],)}, ["layer0.ffn makes an update"]),
        ({}, lambda c: {"layers": (c.layers[0][:-1],), "head": ()}, ["no block adds the last update"]),
        ({}, lambda c: {"layers": (c.layers[0][:3] + c.layers[0][1:],)}, ["more than one block layer0.attention"]),
        ({"pixels": 3}, lambda c: {"stem": ()}, ["layer0.norm1 reads the residual stream"]),
        ({"layers": 0}, lambda c: {"head": ()}, ["nothing comes out"]),
    ],
)
def test_blocks_that_do_not_follow_from_each_other_are_refused(shape: dict, change, words: list[str]):
    """A norm that makes the operand may stand anywhere before its readers."""
    checkpoint = random_checkpoint(**{"hidden": 32, "heads": 2, "ffn": 64, "tokens": 4, **shape})
    checkpoint = replace(checkpoint, **change(checkpoint))
    samples = random_samples(checkpoint, 8, 0)
    if words:
        refusal(lambda: quantise(checkpoint, samples), checkpoint.name, *words)
    else:
        assert relative_error(checkpoint, quantise(checkpoint, samples), samples) < 0.1


def test_a_norm_makes_what_is_read():
    """Nothing reads operands behind the last layer of a post-norm model whose rows come out."""
    shape = {"norm": "post", "hidden": 16, "heads": 2, "ffn": 16, "layers": 2, "tokens": 4}
    rows, logits = random_model(**shape), random_model(**shape, classes=2)
    assert rows.block("layer1.norm2").narrow is None and rows.block("layer0.norm2").narrow is not None
    assert logits.block("layer1.norm2").narrow is not None


def test_calibration_covers_every_tensor():
    ranges = calibrate(digits(), np.load(DIGITS / "calibration.npy")[:16])
    assert ranges["layer1.q"].tail.shape == (4,) and ranges["layer0.up"].peak.shape == (256,)
    for value in ranges.values():
        assert (value.tail <= value.peak.max() + 1e-12).all() and (value.high <= value.peak + 1e-12).all()
        assert value.lower <= value.upper <= value.far <= value.high.max() + 1e-12
