# SPDX-License-Identifier: Apache-2.0
"""Model files: a model comes back as it was saved, and a file that is not whole is refused."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gen.model.modelfile
from gen.errors import InputError
from gen.model.modelfile import FORMAT, content_hash, load_model, save_model
from gen.model.randommodel import random_model, random_rows
from sim import reference
from sim.qmodel import QuantModel

SHAPES = [
    {"norm": "pre", "hidden": 16, "heads": 2, "ffn": 24, "tokens": 5, "pixels": 3, "classes": 4},
    {"norm": "post", "hidden": 16, "heads": 2, "ffn": 24, "tokens": 5, "classes": 4, "pooler": True},
    {"norm": "post", "hidden": 12, "heads": 3, "ffn": 20, "tokens": 4, "layers": 2, "exp": "ibert", "gelu": "ibert"},
    {"norm": "pre", "hidden": 16, "heads": 2, "ffn": 24, "tokens": 5, "activation": "relu"},
    {"layers": 0, "hidden": 16, "heads": 2, "tokens": 5},
]


@pytest.fixture
def model() -> QuantModel:
    return random_model(**SHAPES[0])


@pytest.fixture
def saved(tmp_path: Path, model: QuantModel) -> Path:
    path = tmp_path / "model.rtlf"
    save_model(model, path)
    return path


def equal(a: object, b: object) -> bool:
    if dataclasses.is_dataclass(a):
        fields = dataclasses.fields(a)
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


def refusal(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message and path.name in message and "; " in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip(tmp_path: Path, shape: dict):
    model = random_model(**shape)
    digest = save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert equal(model, loaded) and digest == content_hash(model) == content_hash(loaded)
    rows = random_rows(model, 4)
    assert np.array_equal(reference.forward(model, rows)["output"], reference.forward(loaded, rows)["output"])
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_bytes_depend_on_the_model_alone(tmp_path: Path, model: QuantModel, saved: Path):
    save_model(load_model(saved), tmp_path / "again")
    assert saved.read_bytes() == (tmp_path / "again").read_bytes()


def test_hash_tells_models_apart(model: QuantModel):
    other = random_model(**SHAPES[0], seed=1)
    renamed = dataclasses.replace(model, name="other")
    assert len({content_hash(model), content_hash(other), content_hash(renamed)}) == 3


def test_any_truncation_is_refused(saved: Path):
    data = saved.read_bytes()
    for keep in (0, 4, 8, 50, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:keep])
        refusal(saved, "truncated or altered")


def test_any_altered_byte_is_refused(saved: Path):
    data = bytearray(saved.read_bytes())
    (header,) = struct.unpack("<Q", data[:8])
    random = np.random.default_rng(0)
    positions = [*random.integers(8 + header, len(data), 40), *random.integers(8, 8 + header, 40), 3]
    for position in positions:
        altered = bytearray(data)
        altered[position] ^= 1
        saved.write_bytes(altered)
        if altered[8 : 8 + header].split() == data[8 : 8 + header].split() and position < 8 + header and position >= 8:
            continue  # only padding changed
        refusal(saved)


def test_altered_structure_is_refused(saved: Path):
    data = saved.read_bytes()
    assert data.count(b'\\"max_tokens\\": 5') == 1
    saved.write_bytes(data.replace(b'\\"max_tokens\\": 5', b'\\"max_tokens\\": 9'))
    refusal(saved, "does not match its hash")


@pytest.mark.parametrize("number", [2, 7])
def test_other_format_version_is_refused(saved: Path, number: int):
    data = saved.read_bytes()
    saved.write_bytes(data.replace(b'\\"format\\": 3', b'\\"format\\": %d' % number))
    refusal(saved, f"format {number}", "reads 3")


def test_other_files_are_refused(tmp_path: Path, saved: Path):
    plain = tmp_path / "plain"
    save_file({"x": np.zeros(3, np.float32)}, plain)
    refusal(plain, "not a quantised model")
    tensors = load_file(saved)
    for metadata in ({"rtlformer": "{"}, {"rtlformer": "[1]"}, {"rtlformer": "{}"}):
        save_file(tensors, plain, metadata)
        refusal(plain, "damaged header")
    refusal(tmp_path / "nothing", "No such file")
    refusal(tmp_path, "directory")


def test_structure_of_another_version_is_refused(tmp_path: Path):
    for structure, word in (({"class": "Unheard"}, "Unheard"), ({"class": "Linear"}, "another version")):
        header = {"format": FORMAT, "model": structure, "sha256": gen.model.modelfile._digest(structure, {})}
        save_file({}, tmp_path / "m", {"rtlformer": json.dumps(header)})
        refusal(tmp_path / "m", word)
    header = {"format": FORMAT, "model": [], "sha256": gen.model.modelfile._digest([], {})}
    save_file({}, tmp_path / "m", {"rtlformer": json.dumps(header)})
    refusal(tmp_path / "m", "must be an object, not a list")


def test_failed_write_leaves_the_earlier_file(saved: Path, model: QuantModel, monkeypatch: pytest.MonkeyPatch):
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gen.files.os.fsync", full)
    with pytest.raises(InputError, match="No space left on device; choose another place"):
        save_model(dataclasses.replace(model, name="other"), saved)
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gen.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(dataclasses.replace(model, name="other"), saved)
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


def test_what_would_be_refused_is_not_written(tmp_path: Path, model: QuantModel):
    """Weights of type float64 reach scales that no number of the model may have."""
    wide = dataclasses.replace(model, scales=model.scales | {"output": 1e40})
    with pytest.raises(InputError, match=r"m: no core runs this model \(scales.output must lie in .*; "):
        save_model(wide, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_unwritable_place_is_refused(tmp_path: Path, model: QuantModel):
    with pytest.raises(InputError, match="No such file or directory"):
        save_model(model, tmp_path / "none" / "m")


NORM1, FFN, CLASSIFIER = ("layers", 0, 0), ("layers", 0, 4), ("head", 2)


def at(structure: dict, place: tuple) -> dict:
    for key in place:
        structure = structure[key]
    return structure


NONSENSE = [
    (lambda s, t: s.update(max_tokens={}), ("max_tokens must be an integer", "an object")),
    (lambda s, t: s.update(max_tokens=True), ("max_tokens must be an integer", "True")),
    (lambda s, t: s.update(hidden=10**30), ("hidden must lie in 1..65536",)),
    (lambda s, t: s.update(heads=1), ("layer0.attention.q.weight must be of shape [8, 16], not [16, 16]",)),
    (lambda s, t: s.update(exp="taylor"), ("exp must be one of base2, ibert",)),
    (lambda s, t: s["scales"]["map"].update(output=float("1e300")), ("scales.output must lie in",)),
    (lambda s, t: s["scales"]["map"].pop("input"), ("scales lacks 'input'",)),
    (lambda s, t: s.update(name="[/x]"), ("name must be of letters",)),
    (lambda s, t: s["labels"].pop(), ("labels must be 4",)),
    (lambda s, t: s.update(source="0" * 63), ("source must be a SHA-256",)),
    (lambda s, t: s["input"].update({"class": "Unheard"}), ("input must be of class Input",)),
    (lambda s, t: s["input"].update(kind="images"), ("input.kind must be one of patches, residual, operands",)),
    (lambda s, t: s["input"].update(features=0), ("input.features must lie in 1..65536",)),
    (lambda s, t: s["input"].update(features=4), ("embedding.linear.weight must be of shape [16, 4], not [16, 3]",)),
    (lambda s, t: s["input"].update(kind="residual"), ("input.features must be 16, as hidden is, not 3",)),
    (lambda s, t: s.update(layers=[s["layers"]]), ("layers.0.0 must be one of PatchEmbedding, Norm",)),
    (lambda s, t: s["stem"][0].update({"class": "Unheard"}), ("stem.0 must be one of PatchEmbedding",)),
    (lambda s, t: at(s, NORM1).update(extra=1), ("layers.0.0 has an unknown field 'extra'",)),
    (lambda s, t: at(s, NORM1).update(noun="x"), ("layers.0.0 has an unknown field 'noun'",)),
    (lambda s, t: at(s, NORM1).update(stream=True), ("layer0.norm1 lacks its wide form",)),
    (lambda s, t: at(s, NORM1).update(eps=0), ("layer0.norm1.eps must lie in 1..",)),
    (lambda s, t: at(s, NORM1)["narrow"].update(shift=0), ("layer0.norm1.narrow.shift must lie in 1..31",)),
    (lambda s, t: at(s, FFN)["activation"].pop("bank"), ("layers.0.4.activation lacks field 'bank'",)),
    (lambda s, t: at(s, FFN)["activation"].update({"class": "Relu"}), ("activation has an unknown field 'bank'",)),
    (lambda s, t: at(s, CLASSIFIER)["linear"].pop("bias"), ("head.2.linear lacks field 'bias'",)),
    (lambda s, t: at(s, CLASSIFIER)["linear"].update(bias={"tensor": "x"}), ("linear.bias must be of type ndarray",)),
    (lambda s, t: t.update({"head.2.linear.mult": t["head.2.linear.mult"][:2]}), ("linear.mult must be of shape [4]",)),
    (lambda s, t: t.update({"head.2.linear.shift": t["head.2.linear.shift"] * 0}), ("shift must lie in 1..63, not 0",)),
    (lambda s, t: t["layers.0.1.out_shift"].fill(60), ("layer0.attention.out_shift must lie in 1..53",)),
    (lambda s, t: t.update({"head.2.linear.weight": t["head.2.linear.weight"] * 1.0}), ("must be int8, not float64",)),
]


@pytest.mark.parametrize(("change", "words"), NONSENSE)
def test_nonsense_under_a_right_hash_is_refused(tmp_path: Path, saved: Path, change, words: tuple[str, ...]):
    tensors = {name: tensor.copy() for name, tensor in load_file(saved).items()}
    structure = gen.model.modelfile._encode(load_model(saved))[0]
    change(structure, tensors)
    header = {"format": FORMAT, "model": structure, "sha256": gen.model.modelfile._digest(structure, tensors)}
    save_file(tensors, saved, {"rtlformer": json.dumps(header)})
    refusal(saved, *words)


ORDERS = [
    (lambda m: {"layers": (m.layers[0][1:] + m.layers[0][:1],)}, "layer0.attention reads operand rows, which no block"),
    (lambda m: {"layers": (m.layers[0][:2] + m.layers[0][3:],)}, "layer0.ffn makes an update where no block has added"),
    (lambda m: {"layers": (m.layers[0][:-1],)}, "no block adds the last update to the residual stream"),
    (lambda m: {"layers": ((),)}, None),
    (lambda m: {"stem": ()}, "layer0.norm1 reads the residual stream, which no block before it makes"),
    (lambda m: {"head": (*m.head[:2], *m.head[1:])}, "there is more than one block final_norm"),
    (lambda m: {"head": m.head[:-1], "labels": ()}, "final_norm has a narrow form, which nothing reads"),
    (lambda m: {"head": m.head[2:]}, "classifier reads operand rows, which no block before it makes"),
    (lambda m: {"head": (), "labels": ()}, None),
]


@pytest.mark.parametrize(("change", "message"), ORDERS)
def test_blocks_that_do_not_follow_from_each_other_are_refused(tmp_path: Path, model: QuantModel, change, message: str):
    """What is written can be read, and the golden model can run it, whether a core can or not."""
    changed = dataclasses.replace(model, **change(model))
    if message is None:
        save_model(changed, tmp_path / "m")
        assert reference.forward(load_model(tmp_path / "m"), random_rows(changed, 4))["output"].size
        return
    with pytest.raises(InputError, match=message):
        save_model(changed, tmp_path / "m")
    structure, tensors = gen.model.modelfile._encode(changed)
    header = {"format": FORMAT, "model": structure, "sha256": gen.model.modelfile._digest(structure, tensors)}
    save_file(tensors, tmp_path / "m", {"rtlformer": json.dumps(header)})
    refusal(tmp_path / "m", message)


@pytest.mark.parametrize(
    ("form", "message"), [("narrow", "lacks its narrow form"), ("wide", "wide form, which nothing")]
)
def test_a_norm_has_the_forms_that_are_needed(tmp_path: Path, model: QuantModel, form: str, message: str):
    norm = model.block("layer0.norm1")
    other = dataclasses.replace(norm, **{form: None if form == "narrow" else norm.narrow})
    changed = dataclasses.replace(model, **model.mapped(lambda _, block: other if block is norm else block))
    with pytest.raises(InputError, match=message):
        save_model(changed, tmp_path / "m")
