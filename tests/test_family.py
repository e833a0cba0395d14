# SPDX-License-Identifier: Apache-2.0
"""A model family of known blocks is one file: put into the folder of the readers, it is found, and the rest follows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gen.model.families
from gen.errors import InputError
from gen.model.checkpoint import read_checkpoint
from gen.model.family import FAMILIES
from gen.model.floatmodel import forward
from gen.model.quantize import integer_inputs, quantise
from gen.program.compiler import compile_model
from gen.program.tensors import differences
from hw.config import preset
from sim import reference
from sim.machine import Machine
from tests.checkpoints import BERT, edit_config, refusal

READERS = Path(__file__).resolve().parent / "data" / "families"

NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
    "bert.encoder": "distilbert.transformer",
    "bert.embeddings": "distilbert.embeddings",
}
"""BERT's names to DistilBERT's; the first that is in a name counts, and then that of the beginning."""


@pytest.fixture
def distilbert(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of readers has one more, and a small text classifier's encoder is stored as DistilBERT's would be."""
    before = dict(FAMILIES)
    monkeypatch.setattr(gen.model.families, "__path__", [*gen.model.families.__path__, str(READERS)])
    gen.model.families.discover()
    tensors = {}
    for name, tensor in load_file(BERT / "model.safetensors").items():
        if not name.startswith(("classifier", "bert.pooler", "bert.embeddings.token_type")):
            for old, new in NAMES.items():
                if old in name:
                    name = name.replace(old, new)
                    if not old.startswith("bert."):
                        name = name.replace("bert.encoder", NAMES["bert.encoder"])
                    break
            tensors[name] = tensor
    types = load_file(BERT / "model.safetensors")["bert.embeddings.token_type_embeddings.weight"]
    tensors["distilbert.embeddings.word_embeddings.weight"] += types[0]
    save_file(tensors, tmp_path / "model.safetensors")
    config = {
        "architectures": ["DistilBertModel"], "model_type": "distilbert", "activation": "gelu_new", "dim": 12,
        "hidden_dim": 20, "n_heads": 3, "n_layers": 2, "max_position_embeddings": 9, "vocab_size": 11,
        "layer_norm_eps": 1e-5,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    yield tmp_path
    FAMILIES.clear()
    FAMILIES.update(before)
    sys.modules.pop("gen.model.families.distilbert", None)


def test_it_is_not_there_by_itself():
    assert set(FAMILIES) == {"bert", "vit"}


def test_one_more_file_is_one_more_family(distilbert: Path):
    """Read, quantised and compiled: what comes out of the machine is the golden model's, and that follows torch's."""
    checkpoint, expected = read_checkpoint(distilbert), np.load(BERT / "expected.npz")
    rows = np.concatenate(forward(checkpoint, expected["ids"]))
    assert np.abs(rows - expected["rows"]).max() < 5e-6
    random = np.random.default_rng(0)
    samples = [random.integers(1, 11, random.integers(2, 10)) for _ in range(100)]
    model = quantise(checkpoint, samples)
    image = compile_model(model, preset("edge"))
    machine = Machine(image.config, image.memories, order=True)
    (entering,) = integer_inputs(checkpoint, model, samples[:1])
    machine.load(image.input_packet(entering))
    frame = machine.run(len(entering))
    golden = reference.forward(model, entering)
    assert not differences(image.collect(len(entering), frame.beats()), golden)
    (floats,) = forward(checkpoint, samples[:1])
    assert np.sqrt(np.mean((golden["output"] * model.scales["output"] - floats) ** 2)) / floats.std() < 0.1


def test_its_names_stand_in_messages(distilbert: Path):
    edit_config(distilbert, dim=13)
    refusal(distilbert, "dim 13 is not a multiple of n_heads 3")
    edit_config(distilbert, dim=12, n_layers=3)
    refusal(distilbert, "n_layers is 3", "holds 2 layers")
    edit_config(distilbert, n_layers=2, activation="silu")
    refusal(distilbert, 'activation is "silu"')
    edit_config(distilbert, model_type="gpt2")
    with pytest.raises(InputError, match='use a "bert" or "vit" or "distilbert" encoder'):
        read_checkpoint(distilbert)
