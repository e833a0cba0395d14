# SPDX-License-Identifier: Apache-2.0
"""Where the tensors of a checkpoint lie: one file, several and their index, or a format that is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gen.model.checkpoint import read_checkpoint
from gen.model.floatmodel import forward
from tests.checkpoints import BERT, edit_tensors, refusal

IDS = np.load(BERT / "expected.npz")["ids"]
INDEX = "model.safetensors.index.json"


def logits(folder: Path) -> np.ndarray:
    return forward(read_checkpoint(folder), IDS)


def shard(folder: Path) -> dict[str, str]:
    """Deal the tensors out to three files; returns the map of the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-{n % 3 + 1:05}-of-00003.safetensors" for n, name in enumerate(tensors)}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in names if names[name] == file}, folder / file)
    write_index(folder, names)
    return names


def write_index(folder: Path, names: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))


def test_shards_are_read_through_their_index(bert: Path):
    shard(bert)
    assert np.array_equal(logits(bert), logits(BERT))
    assert read_checkpoint(bert).source == read_checkpoint(BERT).source


def test_shards_that_do_not_go_with_the_index(bert: Path):
    names = shard(bert)
    name = "classifier.weight"
    write_index(bert, {key: file for key, file in names.items() if key != name})
    refusal(bert, names[name], f"holds tensor {name}", INDEX)
    write_index(bert, {**names, "more": names[name]})
    refusal(bert, names[name], "lacks tensor more", INDEX)
    write_index(bert, {**names, name: "../bert/" + names[name]})
    refusal(bert, INDEX, "no file of this folder")
    for wrong in (None, {}, ["x"], {name: 3}):
        write_index(bert, wrong)
        refusal(bert, INDEX, "weight_map must be")
    write_index(bert, names)
    (bert / names[name]).unlink()
    refusal(bert, names[name], "No such file")


def test_shards_without_their_index(bert: Path):
    shard(bert)
    (bert / INDEX).unlink()
    refusal(bert, "model-00001-of-00003.safetensors", "neither model.safetensors nor", INDEX)


def test_what_is_no_model_is_not_named(bert: Path):
    (bert / "model.safetensors").unlink()
    (bert / "training_args.bin").write_bytes(b"PK")
    refusal(bert, "model.safetensors: no such file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "tf_model.h5"])
def test_other_formats_name_the_conversion(bert: Path, name: str):
    (bert / "model.safetensors").unlink()
    (bert / name).write_bytes(b"PK")
    refusal(bert, name, "not in the safetensors format", "save_pretrained")


def test_prefix_of_data_parallel(bert: Path):
    edit_tensors(bert, lambda t: [t.update({f"module.{name}": t.pop(name)}) for name in list(t)])
    assert np.array_equal(logits(bert), logits(BERT))


def test_two_tensors_of_one_name(bert: Path):
    edit_tensors(bert, lambda t: t.update({"module.classifier.bias": t["classifier.bias"] + 1}))
    refusal(bert, "tensor classifier.bias is there twice")


@pytest.mark.parametrize("number", ["9" * 5000, "1" * 10, "²", "x"])
def test_layer_of_no_number(bert: Path, number: str):
    """Python makes no integer of 5000 digits."""
    edit_tensors(bert, lambda t: t.update({f"bert.encoder.layer.{number}.x": np.ones(1, np.float32)}))
    refusal(bert, f"tensor bert.encoder.layer.{number}.x has no place")
