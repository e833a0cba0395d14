# SPDX-License-Identifier: Apache-2.0
"""How quantize measures a model: the error that it prints, where that arises, what saturates, and the limit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gen.cli.app import run
from gen.errors import InputError
from gen.model.accuracy import assess, held_out, output_error
from gen.model.checkpoint import read_checkpoint
from gen.model.modelfile import content_hash, load_model
from gen.model.quantize import integer_inputs, quantise
from gen.model.randommodel import random_checkpoint, random_samples
from sim import reference
from tests.commandline import CALIBRATION, quantize


def test_output_error():
    assert output_error([1.0, 3.0], [0.0, 4.0]) == 0.5
    assert output_error(np.zeros((2, 3)), np.arange(6).reshape(2, 3)) == pytest.approx(np.sqrt(55 / 6 / (35 / 12)))


@pytest.mark.parametrize("expected", [[0.0] * 4, [0.1] * 7, [5.0]])
def test_output_error_that_is_not_defined(expected: list[float]):
    """Warnings are errors here: none may come of the division either."""
    assert output_error(np.ones(len(expected)), expected) is None


@pytest.mark.parametrize("kind", ["classifier of zeros", "one label, one sample"])
def test_quantize_says_so(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, kind: str):
    tensors = {name: tensor.copy() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    samples = np.load(CALIBRATION)[:32]
    if kind == "classifier of zeros":
        tensors["classifier.weight"][:], tensors["classifier.bias"][:] = 0, 0.1
    else:
        samples = samples[:1]
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][:1].copy()
        config = json.loads((checkpoint / "config.json").read_text()) | {"id2label": {"0": "x"}, "label2id": {"x": 0}}
        (checkpoint / "config.json").write_text(json.dumps(config))
    save_file(tensors, checkpoint / "model.safetensors")
    np.save(tmp_path / "x.npy", samples)
    arguments = [str(a) for a in quantize(checkpoint, tmp_path / "m", "--force", calibration=tmp_path / "x.npy")]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output_error"] is None
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert "not defined" in captured.out and "inf" not in captured.out and "nan" not in captured.out
    assert "Warning" not in captured.err


def test_held_out_samples_are_spread_and_a_quarter():
    for count in (2, 3, 5, 6, 8, 31, 100, 128, 129, 1000):
        samples = list(range(count))
        calibrate, measure = held_out(samples)
        assert sorted(calibrate + measure) == samples
        assert len(measure) == min(max(count // 4, 1), 32)
        assert np.diff([-1, *measure, count]).max() <= 2 * count / len(measure)
    assert held_out([7]) == ([7], [])


def sharp(scale: float, **shape: object):
    """A random encoder whose scores are ``scale`` times sharper, and samples for it."""
    checkpoint = random_checkpoint(**{"hidden": 32, "heads": 2, "ffn": 64, "layers": 1, "tokens": 8} | shape)
    attention = checkpoint.block("layer0.attention")
    for weights in (attention.q, attention.k):
        weights.weight[:], weights.bias[:] = weights.weight * scale, weights.bias * scale
    return checkpoint, list(random_samples(checkpoint, 32, 1))


@pytest.mark.parametrize("exp", ["base2", "ibert"])
@pytest.mark.parametrize("scale", [3e3, 1e9, 1e60])
def test_one_hot_attention(exp: str, scale: float):
    """Scores so sharp that a step of them is beyond the exponential's range: the multiplier is the largest there is."""
    checkpoint, samples = sharp(scale)
    model = quantise(checkpoint, samples[:24], exp=exp)
    attention = model.block("layer0.attention")
    assert (attention.score_mult == 65535).all() and (attention.score_shift == 1).all()
    trace = reference.forward(model, integer_inputs(checkpoint, model, samples)[0])
    best = trace["layer0.scores"] == trace["layer0.scores"].max(-1, keepdims=True)
    assert (trace["layer0.exp"] == 255 * best).all()
    assert assess(checkpoint, model, samples[24:]).error < 0.25


@pytest.mark.parametrize("scale", [1e160, 1e300])
@pytest.mark.parametrize("part", ["q", "up", "gamma", "classifier"])
def test_numbers_that_overflow_are_refused_by_name(part: str, scale: float):
    """Warnings are errors here. A classifier may be as large as it likes."""
    checkpoint = random_checkpoint(hidden=16, heads=2, ffn=16, layers=2, tokens=4, classes=2)
    samples = list(random_samples(checkpoint, 12, 0))
    attention, ffn = checkpoint.block("layer1.attention"), checkpoint.block("layer1.ffn")
    arrays = {
        "q": [attention.q.weight, attention.k.weight],
        "up": [ffn.up.weight, ffn.down.weight],
        "gamma": [checkpoint.block("layer1.norm1").gamma],
        "classifier": [checkpoint.block("classifier").dense.weight],
    }
    for array in arrays[part]:
        array[:] *= scale
    if part == "classifier":
        assert assess(checkpoint, quantise(checkpoint, samples[:8]), samples[8:]).error < 0.25
        return
    with pytest.raises(InputError, match="overflow behind layer1.*scale its weights down"):
        quantise(checkpoint, samples)
    layer_one = replace(checkpoint, layers=checkpoint.layers[:1])
    with pytest.raises(InputError, match="overflow behind layer1"):  # where other inputs than the calibration's do
        assess(checkpoint, quantise(layer_one, samples), samples)


@pytest.mark.parametrize(("part", "origin"), [("down", "layer1.ffn"), ("o", "layer1.attention")])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_an_error_names_the_layer_where_it_arises(norm: str, part: str, origin: str):
    """Values of 1e20 leave nothing of the rest of the residual stream, layer 0's included."""
    checkpoint = random_checkpoint(norm=norm, hidden=16, heads=2, ffn=32, layers=3, tokens=4)
    samples = list(random_samples(checkpoint, 40, 0))
    good = assess(checkpoint, quantise(checkpoint, samples[:32]), samples[32:])
    assert good.error < 0.1 and good.origin is None and good.samples == 8
    assert list(good.stages) == [f"layer{index}.{stage}" for index in range(3) for stage in ("attention", "ffn")]
    (checkpoint.block("layer1.ffn").down if part == "down" else checkpoint.block("layer1.attention").o).weight[:] *= (
        1e20
    )
    bad = assess(checkpoint, quantise(checkpoint, samples[:32]), samples[32:])
    assert bad.error > 0.5 and bad.origin == origin


def test_shares_of_saturated_values_are_counted():
    checkpoint = random_checkpoint(hidden=16, heads=2, ffn=32, tokens=4, classes=3)
    samples = random_samples(checkpoint, 600, 0)
    model = quantise(checkpoint, samples)
    found = assess(checkpoint, model, samples[:50])
    traces = [reference.forward(model, rows) for rows in integer_inputs(checkpoint, model, samples[:50])]
    for name, share in found.saturated.items():
        values = np.concatenate([trace[name].ravel() for trace in traces])
        ends = (-1, 255) if name.endswith("hidden") else (-128, 127)
        if name.endswith(("residual1", "residual2", "input", "output")):
            ends = (-32768, 32767)
        assert share == np.mean((values <= ends[0]) | (values >= ends[1])), name
        assert share < 0.01, name
    assert {"layer0.q", "layer0.hidden", "layer0.residual2", "final_norm", "output"} <= set(found.saturated)
    wide = assess(checkpoint, model, samples[:50] * 1000)  # more than the residual stream holds
    assert wide.saturated["layer0.residual1"] > 0.4


def arguments_of(checkpoint: Path, output: Path, samples: np.ndarray, folder: Path, *more: object) -> list[str]:
    np.save(folder / "x.npy", samples)
    return [str(a) for a in quantize(checkpoint, output, "--json", *more, calibration=folder / "x.npy")]


def test_quantize_measures_on_what_calibration_has_not_seen(checkpoint: Path, tmp_path: Path, capsys):
    images = np.load(CALIBRATION)[:40]
    assert run(arguments_of(checkpoint, tmp_path / "a", images, tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["calibration_samples"], found["output_error_samples"]) == (40, 10)
    assert found["output_error_held_out"] and 0 < found["output_error"] < 0.05 and not found["warnings"]
    source = read_checkpoint(checkpoint)
    calibrate, measure = held_out(list(images))
    expected = assess(source, quantise(source, calibrate), measure)
    assert (found["output_error"], found["saturated"]) == (expected.error, expected.saturated)
    assert content_hash(load_model(tmp_path / "a")) == content_hash(quantise(source, images))

    np.save(tmp_path / "y.npy", np.load(CALIBRATION)[100:103])
    assert run(arguments_of(checkpoint, tmp_path / "b", images, tmp_path, "--evaluate", tmp_path / "y.npy")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["calibration_samples"], found["output_error_samples"]) == (40, 3)
    assert found["warnings"] == ["only 3 samples measured with; give 8 or more"]
    assert content_hash(load_model(tmp_path / "b")) == content_hash(quantise(source, images))

    assert run(arguments_of(checkpoint, tmp_path / "d", images[:12], tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["warnings"] == ["only 3 samples measured with; give 32 or more to --calibration, or --evaluate"]

    assert run(arguments_of(checkpoint, tmp_path / "c", images[:1], tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["output_error_held_out"] and "give more, or --evaluate" in found["warnings"][0]


def test_a_deviation_of_few_samples_is_that_of_all(checkpoint: Path, tmp_path: Path, capsys):
    """Two held-out images that are almost equal give one label's value almost no deviation of its own."""
    tensors = {name: tensor.copy() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][:1].copy()
    save_file(tensors, checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text()) | {"id2label": {"0": "x"}, "label2id": {"x": 0}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    images = np.load(CALIBRATION)[:8]
    images[6] = images[2]
    images[6, 0, 0, 0] += 1
    assert run(arguments_of(checkpoint, tmp_path / "m", images, tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output_error"] < 0.1
    source = read_checkpoint(checkpoint)
    calibrate, measure = held_out(list(images))
    model = quantise(source, calibrate)
    assert assess(source, model, measure).error > 0.25
    assert assess(source, model, measure, among=calibrate + measure).error == found["output_error"]


def test_quantize_refuses_bad_inputs_to_measure_with(checkpoint: Path, tmp_path: Path, capsys):
    np.save(tmp_path / "y.npy", np.zeros((2, 3)))
    more = ("--evaluate", tmp_path / "y.npy")
    assert run(arguments_of(checkpoint, tmp_path / "m", np.load(CALIBRATION)[:4], tmp_path, *more)) == 2
    assert "y.npy: must be uint8 images" in capsys.readouterr().err


def test_quantize_writes_no_model_whose_error_is_above_the_limit(checkpoint: Path, tmp_path: Path, capsys):
    tensors = {name: tensor.copy() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    (name,) = (name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    tensors[name] *= 1e20
    save_file(tensors, checkpoint / "model.safetensors")
    command = arguments_of(checkpoint, tmp_path / "m", np.load(CALIBRATION)[:64], tmp_path)
    assert run(command) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["output_error"] > found["max_error"] == 0.25 and found["model"] is None
    assert found["error_origin"] == "layer1.ffn"
    assert "above the limit of 25% and arises in layer1.ffn" in captured.err and captured.err.count("\n") <= 2
    assert not (tmp_path / "m").exists()
    assert run([*command, "--max-error", "1000"]) == 0
    assert (tmp_path / "m").exists()


def test_quantize_shows_what_saturates(checkpoint: Path, tmp_path: Path, capsys):
    np.save(tmp_path / "x.npy", np.load(CALIBRATION)[:16] // 8)  # darker than what it is measured with
    np.save(tmp_path / "y.npy", np.load(CALIBRATION)[16:24])
    more = ("--evaluate", tmp_path / "y.npy", "--max-error", "1000")
    assert run([str(a) for a in quantize(checkpoint, tmp_path / "m", *more, calibration=tmp_path / "x.npy")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("values at the ends"))
    assert line.count("%") == 5 and line.endswith("more")
