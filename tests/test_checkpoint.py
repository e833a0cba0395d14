# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: what is read is what torch computes with it, and what cannot be read is refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from gen.errors import InputError
from gen.model.checkpoint import read_checkpoint, shortened
from gen.model.floatmodel import forward, gelu, gelu_tanh, trace
from gen.model.inputs import Images, patches
from tests.checkpoints import BERT, edit_config, edit_tensors, refusal
from tests.commandline import DIGITS

# --- float reference


def test_digits_float_model_equals_torch():
    images, expected = np.load(DIGITS / "test_images.npy"), np.load(DIGITS / "test_logits.npy")
    logits = forward(read_checkpoint(DIGITS / "checkpoint"), images)
    assert np.abs(logits - expected).max() < 2e-5


def test_digits_float_accuracy_meets_the_bar():
    images, labels = np.load(DIGITS / "test_images.npy"), np.load(DIGITS / "test_labels.npy")
    assert len(labels) >= 360
    accuracy = (forward(read_checkpoint(DIGITS / "checkpoint"), images).argmax(1) == labels).mean()
    assert accuracy >= 0.985
    assert accuracy * len(labels) == json.loads((DIGITS / "metrics.json").read_text())["test_correct"]


def test_digits_splits_do_not_overlap():
    test, calibration = np.load(DIGITS / "test_images.npy"), np.load(DIGITS / "calibration.npy")
    assert test.dtype == calibration.dtype == np.uint8 and max(test.max(), calibration.max()) <= 16
    assert not {image.tobytes() for image in test} & {image.tobytes() for image in calibration}


def test_bert_float_model_equals_torch():
    expected = np.load(BERT / "expected.npz")
    checkpoint = read_checkpoint(BERT)
    assert checkpoint.norm == "post" and checkpoint.labels == ("no", "yes", "maybe")
    found = trace(checkpoint, expected["ids"])
    assert np.abs(found["output"] - expected["logits"]).max() < 1e-6
    assert np.abs(found["layer1.norm2"] - expected["rows"]).max() < 5e-6


def test_samples_do_not_influence_each_other():
    expected = np.load(BERT / "expected.npz")
    checkpoint = read_checkpoint(BERT)
    alone = [
        forward(checkpoint, row[None, :length])[0]
        for row, length in zip(expected["ids"], expected["lengths"], strict=True)
    ]
    assert np.allclose(alone, forward(checkpoint, expected["ids"]), rtol=0, atol=1e-12)


def test_activations_at_known_points():
    assert gelu(np.array([1.0, -1.0])) == pytest.approx([0.8413447460685429, -0.15865525393145707])
    assert gelu_tanh(np.array([1.0, -1.0])) == pytest.approx([0.8411919906082768, -0.15880800939172324])


def test_patches_run_by_channel_row_column():
    images = np.arange(2 * 2 * 4 * 6).reshape(2, 2, 4, 6)
    rows = patches(images, (2, 3))
    assert rows.shape == (2, 4, 12)
    assert rows[1, 3].tolist() == images[1, :, 2:4, 3:6].ravel().tolist()
    entering, lengths = Images(image=(2, 4, 6), patch=(2, 3)).rows(list(images))
    assert lengths == [5, 5] and not entering[::5].any()
    assert np.array_equal(entering.reshape(2, 5, 12)[:, 1:], rows)


# --- forms that are read alike


def test_prefix_is_optional(vit: Path, bert: Path):
    for folder, prefix in ((vit, "vit."), (bert, "bert.")):
        before = read_checkpoint(folder)

        def strip(tensors, prefix=prefix):
            for name in list(tensors):
                tensors[name.removeprefix(prefix)] = tensors.pop(name)

        edit_tensors(folder, strip)
        after = read_checkpoint(folder)
        assert np.array_equal(before.block("layer1.ffn").down.weight, after.block("layer1.ffn").down.weight)
        assert np.array_equal(before.block("classifier").dense.weight, after.block("classifier").dense.weight)


def test_encoder_without_classifier(vit: Path, bert: Path):
    for folder, name in ((vit, "ViTModel"), (bert, "BertModel")):
        edit_config(folder, architectures=[name])
        edit_tensors(folder, lambda tensors: [tensors.pop(n) for n in list(tensors) if n.startswith("classifier")])
    images, ids = np.load(DIGITS / "test_images.npy")[:3], np.load(BERT / "expected.npz")["ids"]
    assert [rows.shape for rows in forward(read_checkpoint(vit), images)] == [(17, 64)] * 3
    checkpoint = read_checkpoint(bert)
    assert [rows.shape for rows in forward(checkpoint, ids)] == [(9, 12), (4, 12), (5, 12)]
    assert checkpoint.head == ()
    assert checkpoint.unused == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")


def test_qkv_bias_false_means_zeros(vit: Path):
    edit_config(vit, qkv_bias=False)
    edit_tensors(vit, lambda t: [t.pop(n) for n in list(t) if n.endswith((".query.bias", ".key.bias", ".value.bias"))])
    assert not read_checkpoint(vit).block("layer0.attention").k.bias.any()


def test_old_layernorm_names(bert: Path):
    before = read_checkpoint(bert)

    def rename(tensors):
        for name in list(tensors):
            if "LayerNorm" in name:
                tensors[name.replace(".weight", ".gamma").replace(".bias", ".beta")] = tensors.pop(name)

    edit_tensors(bert, rename)
    name = "layer0.norm1"
    assert np.array_equal(before.block(name).gamma, read_checkpoint(bert).block(name).gamma)


@pytest.mark.parametrize("kind", ["F16", "BF16", "F64"])
def test_stored_float_types(vit: Path, kind: str):
    before = read_checkpoint(vit).block("layer0.attention").q.weight
    path = vit / "model.safetensors"
    raw = {}
    for name, value in load_file(path).items():
        if kind == "BF16":
            data = (value.view(np.uint32) >> 16).astype("<u2")
        else:
            data = value.astype({"F16": "<f2", "F64": "<f8"}[kind])
        raw[name] = (kind, value.shape, data.tobytes())
    path.write_bytes(pack(raw))
    after = read_checkpoint(vit).block("layer0.attention").q.weight
    assert np.allclose(before, after, rtol=2**-7 if kind == "BF16" else 2**-10, atol=1e-4 if kind == "F16" else 0)


def pack(entries: dict) -> bytes:
    """A safetensors file from (type, shape, bytes)."""
    header, offset = {}, 0
    for name, (kind, shape, data) in entries.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in entries.values())


def test_preprocessing(vit: Path):
    path = vit / "preprocessor_config.json"
    path.write_text(json.dumps({"rescale_factor": 0.5, "image_mean": [0.25], "image_std": [4.0]}))
    embedding = read_checkpoint(vit).block("embedding")
    assert embedding.scale == pytest.approx([0.125]) and embedding.offset == pytest.approx([-0.0625])
    path.unlink()
    embedding = read_checkpoint(vit).block("embedding")
    assert embedding.scale == pytest.approx([2 / 255]) and embedding.offset == pytest.approx([-1])


def test_model_name(vit: Path):
    assert read_checkpoint(vit).name == "digits-vit"
    edit_config(vit, _name_or_path="somebody/a name")
    assert read_checkpoint(vit).name == "a-name"
    edit_config(vit, _name_or_path=None)
    assert read_checkpoint(vit).name == "vit"


def test_names_of_one_gelu(vit: Path):
    for name, expected in (
        ("gelu", "gelu"), ("gelu_python", "gelu"), ("gelu_new", "gelu_tanh"), ("gelu_fast", "gelu_tanh"),
        ("gelu_accurate", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh"),
    ):  # fmt: skip
        edit_config(vit, hidden_act=name)
        assert read_checkpoint(vit).block("layer0.ffn").activation == expected


def test_labels_of_one_output(bert: Path):
    """A regression has a value, not a class; a name that somebody gave it stays."""
    edit_tensors(bert, lambda t: t.update({n: t[n][:1].copy() for n in ("classifier.weight", "classifier.bias")}))
    for names, expected in ((None, ()), ({"0": "LABEL_0"}, ()), ({"0": "stars"}, ("stars",))):
        edit_config(bert, id2label=names)
        assert read_checkpoint(bert).labels == expected


def test_shortened(bert: Path, vit: Path):
    whole = read_checkpoint(bert)
    short, ids = shortened(whole, 4), np.load(BERT / "expected.npz")["ids"][1:2]
    assert short.max_tokens == len(short.input.position) == 4 and short.source == whole.source
    assert np.array_equal(forward(short, ids), forward(whole, ids))
    assert shortened(whole, 9) is whole
    for checkpoint, count, words in (
        (whole, 10, ("--max-tokens 10", "1..9")),
        (whole, 0, ("--max-tokens 0", "1..9")),
        (read_checkpoint(vit), 5, ("--max-tokens 5", "17 tokens", "leave --max-tokens out")),
    ):
        with pytest.raises(InputError) as caught:
            shortened(checkpoint, count)
        assert all(word in str(caught.value) for word in words)
    with pytest.raises(InputError, match=r"sample 0 has 9 tokens, the model takes 1\.\.4; .*--max-tokens.*--fit"):
        forward(short, np.load(BERT / "expected.npz")["ids"])


def test_no_padding_id(bert: Path):
    """Without one, every id is a token."""
    edit_config(bert, pad_token_id=None)
    assert [len(x) for x in read_checkpoint(bert).samples(np.array([[0, 3, 0]]))] == [3]


def test_source_is_of_content(bert: Path, vit: Path, tmp_path: Path):
    """The hash of configuration and tensors goes with neither the folder's name nor the model's."""
    first = read_checkpoint(bert).source
    assert len(first) == 64 and read_checkpoint(bert.rename(tmp_path / "elsewhere")).source == first
    bert = tmp_path / "elsewhere"
    edit_tensors(bert, lambda tensors: tensors["bert.embeddings.word_embeddings.weight"].__setitem__((3, 3), 0.5))
    second = read_checkpoint(bert).source
    edit_config(bert, layer_norm_eps=1e-6)
    seen = {first, second, read_checkpoint(bert).source, read_checkpoint(vit).source}
    (vit / "preprocessor_config.json").write_text("{}")
    assert len(seen | {read_checkpoint(vit).source}) == 5


# --- refusals: files


def test_missing_folder_and_files(vit: Path):
    refusal(vit / "nothing", "nothing", "no such folder")
    (vit / "model.safetensors").unlink()
    refusal(vit, "model.safetensors: no such file")
    (vit / "config.json").unlink()
    refusal(vit, "config.json: no such file")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100000, b'{"model_type": NaN'])
def test_config_that_is_not_json(vit: Path, text: bytes):
    (vit / "config.json").write_bytes(text)
    refusal(vit, "config.json", "not valid JSON")


def test_config_that_is_not_an_object(vit: Path):
    (vit / "config.json").write_text("[1]")
    refusal(vit, "config.json", "JSON list")


def test_value_as_deep_as_the_stack(vit: Path):
    """At some depth a value can be read, and not be written into the message."""
    edit_config(vit, hidden_size="deep")
    text = (vit / "config.json").read_text()
    for depth in range(700, 1000):
        (vit / "config.json").write_text(text.replace('"deep"', "[" * depth + "]" * depth))
        refusal(vit, "config.json")


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_truncated_tensors(vit: Path, keep: int):
    path = vit / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refusal(vit, "model.safetensors", "truncated or altered")


def test_altered_tensor_header(vit: Path):
    path = vit / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"dtype":"F32"', b'"dtype":"F99"', 1))
    refusal(vit, "model.safetensors", "truncated or altered")
    path.write_bytes(data + b"\0")
    refusal(vit, "model.safetensors", "truncated or altered")


# --- refusals: configuration


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2"}, ["model_type", "gpt2", '"bert" or "vit"']),
        ({"model_type": None}, ["model_type is missing"]),
        ({"model_type": 3}, ["model_type must be a string"]),
        ({"hidden_act": "swish"}, ["hidden_act", "swish", "gelu_new"]),
        ({"hidden_act": ["gelu"]}, ["hidden_act must be a string"]),
        ({"hidden_size": None}, ["hidden_size is missing"]),
        ({"hidden_size": 63}, ["hidden_size 63", "num_attention_heads 4"]),
        ({"hidden_size": "64"}, ["hidden_size must be an integer"]),
        ({"hidden_size": True}, ["hidden_size must be an integer"]),
        ({"hidden_size": 1 << 40}, ["hidden_size must be an integer"]),
        ({"num_hidden_layers": 0}, ["num_hidden_layers must be an integer"]),
        ({"num_hidden_layers": 1}, ["config.json: num_hidden_layers is 1", "model.safetensors holds 2 layers"]),
        ({"num_hidden_layers": 3}, ["config.json: num_hidden_layers is 3", "model.safetensors holds 2 layers"]),
        ({"layer_norm_eps": 0}, ["layer_norm_eps must be a positive number"]),
        ({"layer_norm_eps": float("nan")}, ["layer_norm_eps"]),
        ({"is_decoder": True}, ["is_decoder", "only encoders"]),
        ({"add_cross_attention": True}, ["add_cross_attention", "only encoders"]),
        ({"qkv_bias": "yes"}, ["qkv_bias must be true or false"]),
        ({"qkv_bias": False}, ["attention.attention.key.bias", "no place"]),
        ({"image_size": [8, 9]}, ["image_size 8 x 9", "patch_size 2 x 2"]),
        ({"image_size": [8, 8, 8]}, ["image_size must be one or two"]),
        ({"image_size": 16}, ["position_embeddings", "1 x 17 x 64", "1 x 65 x 64"]),
        ({"num_channels": 3}, ["projection.weight", "64 x 1 x 2 x 2", "64 x 3 x 2 x 2"]),
        ({"id2label": {"0": "zero"}}, ["id2label", "0..9"]),
        ({"id2label": ["zero"]}, ["id2label"]),
    ],
)
def test_vit_options_refused(vit: Path, changes: dict, words: list[str]):
    edit_config(vit, **changes)
    refusal(vit, *words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type", "relative_key", "absolute"]),
        ({"is_decoder": True}, ["is_decoder", "only encoders"]),
        ({"hidden_act": "silu"}, ["hidden_act", "silu"]),
        ({"vocab_size": 12}, ["word_embeddings", "11 x 12", "12 x 12"]),
        ({"max_position_embeddings": None}, ["max_position_embeddings is missing"]),
        ({"type_vocab_size": 1}, ["token_type_embeddings"]),
        ({"pad_token_id": "0"}, ["pad_token_id must be an integer or null"]),
        ({"pad_token_id": False}, ["pad_token_id must be an integer or null"]),
    ],
)
def test_bert_options_refused(bert: Path, changes: dict, words: list[str]):
    edit_config(bert, **changes)
    refusal(bert, *words)


def test_preprocessing_refused(vit: Path):
    path = vit / "preprocessor_config.json"
    for values, words in (
        ({"image_mean": [0.5, 0.5, 0.5]}, ["image_mean", "1 number"]),
        ({"image_std": [0.0]}, ["image_std", "positive"]),
        ({"rescale_factor": "1/16"}, ["rescale_factor", "positive number"]),
        ({"do_rescale": 1}, ["do_rescale", "true or false"]),
    ):
        path.write_text(json.dumps(values))
        refusal(vit, "preprocessor_config.json", *words)


# --- refusals: tensors

NAMES = [
    "vit.embeddings.cls_token",
    "vit.encoder.layer.1.attention.output.dense.bias",
    "vit.layernorm.weight",
    "classifier.bias",
]


@pytest.mark.parametrize("name", NAMES)
def test_missing_tensor(vit: Path, name: str):
    edit_tensors(vit, lambda tensors: tensors.pop(name))
    refusal(vit, f"tensor {name} is missing")


@pytest.mark.parametrize("name", NAMES[:3])
def test_misshapen_tensor(vit: Path, name: str):
    def cut(tensors):
        tensors[name] = np.ascontiguousarray(tensors[name][..., :-1])

    edit_tensors(vit, cut)
    refusal(vit, name, "63", "64")


def test_transposed_tensor(vit: Path):
    name = "vit.encoder.layer.0.intermediate.dense.weight"
    edit_tensors(vit, lambda tensors: tensors.update({name: np.ascontiguousarray(tensors[name].T)}))
    refusal(vit, name, "64 x 256", "256 x 64")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(vit: Path, value: float):
    name = "vit.encoder.layer.0.output.dense.weight"
    edit_tensors(vit, lambda tensors: tensors[name].__setitem__((3, 4), value))
    refusal(vit, name, "1 NaN or infinite")


def test_integer_weights(vit: Path):
    name = "vit.layernorm.weight"
    edit_tensors(vit, lambda tensors: tensors.update({name: np.ones(64, np.int8)}))
    refusal(vit, name, "type I8")


def test_unknown_tensor(bert: Path):
    edit_tensors(bert, lambda tensors: tensors.update({"qa_outputs.weight": np.ones((2, 12), np.float32)}))
    refusal(bert, "qa_outputs.weight", "no place")


# --- refusals: inputs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.astype(np.float32), ["float32", "uint8"]),
        (lambda x: x[:, 0], ["(4, 8, 8)", "(N, 1, 8, 8)"]),
        (lambda x: x[..., :7], ["(4, 1, 8, 7)"]),
        (lambda x: x[:0], ["no sample"]),
        (lambda x: np.array(3), ["one number"]),
        (lambda x: [x[0], x[1, :, :7]], ["2 shapes"]),
    ],
)
def test_images_refused(change, words: list[str]):
    images = np.load(DIGITS / "test_images.npy")[:4]
    with pytest.raises(InputError) as caught:
        forward(read_checkpoint(DIGITS / "checkpoint"), change(images))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.array([[1, 11]]), ["token id 11", "0..10"]),
        (np.array([[-1, 3]]), ["token id -1"]),
        (np.array([[0, 0]]), ["0 tokens"]),
        (np.ones((1, 10), int), ["10 tokens", "1..9"]),
        (np.ones((1, 3)), ["float64"]),
        (np.ones((0, 3), int), ["no sample"]),
        (np.array(3), ["one number"]),
    ],
)
def test_token_ids_refused(ids, words: list[str]):
    checkpoint = read_checkpoint(BERT)
    with pytest.raises(InputError) as caught:
        forward(checkpoint, ids)
    assert all(word in str(caught.value) for word in words)
