# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is taken for: by its architectures, else by its tensors, and said; what no core runs is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gen.cli.app import run
from gen.model.checkpoint import read_checkpoint
from gen.model.floatmodel import forward
from tests.checkpoints import BERT, edit_config, edit_tensors, refusal
from tests.commandline import quantize

IDS = np.load(BERT / "expected.npz")["ids"]


def drop(folder: Path, *parts: str) -> None:
    """Take out tensors in whose names one of ``parts`` is."""
    edit_tensors(folder, lambda t: [t.pop(name) for name in list(t) if any(part in name for part in parts)])


def add(folder: Path, **shapes: tuple[int, ...]) -> None:
    """Put in tensors of ones; ``__`` stands for a dot."""
    edit_tensors(folder, lambda t: t.update({n.replace("__", "."): np.ones(s, np.float32) for n, s in shapes.items()}))


@pytest.mark.parametrize("pooler", [True, False])
def test_token_classification_is_refused(bert: Path, pooler: bool):
    """A pooler that the file carries does not make a sequence classifier of it."""
    edit_config(bert, architectures=["BertForTokenClassification"])
    if not pooler:
        drop(bert, ".pooler.")
    refusal(bert, "config.json", "BertForTokenClassification", "every token", "BertModel")


def test_token_classification_by_tensors_is_refused(bert: Path):
    edit_config(bert, architectures=None)
    drop(bert, ".pooler.")
    refusal(bert, "names no architectures, by its tensors taken for BertForTokenClassification")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["BertForQuestionAnswering"], ["BertForQuestionAnswering", "BertForSequenceClassification, BertModel"]),
        (["BertForMultipleChoice"], ["BertForMultipleChoice"]),
        (["ViTModel"], ["ViTModel"]),
        (["BertModel", "BertForMaskedLM"], ["architectures must be a list of one name"]),
        ("BertModel", ["architectures must be a list of one name"]),
        ([7], ["architectures must be a list of one name"]),
        (["BertModel"], ["tensor classifier.bias has no place in a BertModel"]),
        (["BertForMaskedLM"], ["tensor classifier.bias has no place in a BertForMaskedLM"]),
    ],
)
def test_other_architectures_are_refused(bert: Path, names: object, words: list[str]):
    edit_config(bert, architectures=names)
    refusal(bert, *words)


def test_classifier_that_is_not_there(bert: Path, vit: Path):
    for folder in (bert, vit):
        drop(folder, "classifier.")
        refusal(folder, "tensor classifier.weight is missing")


@pytest.mark.parametrize("absent", [None, []])
def test_what_is_assumed_is_said(bert: Path, vit: Path, absent: object):
    assert read_checkpoint(bert).notes == read_checkpoint(vit).notes == ()
    for folder, classifier, encoder in (
        (bert, "BertForSequenceClassification", "BertModel"), (vit, "ViTForImageClassification", "ViTModel"),
    ):  # fmt: skip
        edit_config(folder, architectures=absent)
        (note,) = read_checkpoint(folder).notes
        assert "names no architectures" in note and f"{classifier}: its classifier reads the first token" in note
        drop(folder, "classifier.")
        (note,) = read_checkpoint(folder).notes
        assert f"{encoder}: hidden rows come out" in note
        assert not read_checkpoint(folder).labels


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction", None])
def test_pretraining_heads_are_left_out_and_said(bert: Path, name: str | None):
    edit_config(bert, architectures=name and [name])
    drop(bert, "classifier.")
    add(bert, cls__predictions__bias=(11,), cls__seq_relationship__weight=(2, 12))
    checkpoint = read_checkpoint(bert)
    assert {"cls.predictions.bias", "cls.seq_relationship.weight"} <= set(checkpoint.unused)
    assert "pre-training head (cls.*) is left out: hidden rows come out" in checkpoint.notes[-1]
    assert [rows.shape for rows in forward(checkpoint, IDS)] == [(9, 12), (4, 12), (5, 12)]


def test_image_pretraining_head(vit: Path):
    edit_config(vit, architectures=["ViTForMaskedImageModeling"])
    drop(vit, "classifier.")
    add(vit, decoder__0__weight=(4, 64, 1, 1), vit__embeddings__mask_token=(1, 1, 64))
    assert "(decoder.*) is left out: hidden rows come out" in read_checkpoint(vit).notes[0]


def test_classifier_beside_a_pretraining_head(bert: Path):
    add(bert, cls__predictions__bias=(11,))
    checkpoint = read_checkpoint(bert)
    assert "is left out: the classifier's logits come out" in checkpoint.notes[0]
    assert np.array_equal(forward(checkpoint, IDS), forward(read_checkpoint(BERT), IDS))


def test_quantize_says_it(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    edit_config(bert, architectures=["BertForMaskedLM"])
    drop(bert, "classifier.")
    add(bert, cls__predictions__bias=(11,))
    np.save(tmp_path / "x.npy", IDS)
    arguments = [str(a) for a in quantize(bert, tmp_path / "m", "--force", calibration=tmp_path / "x.npy")]
    assert run(arguments) == 0
    assert "is left out: hidden rows come out" in " ".join(capsys.readouterr().out.split())
    assert run([*arguments, "--json"]) == 0
    assert "hidden rows" in json.loads(capsys.readouterr().out)["notes"][0]
