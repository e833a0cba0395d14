# SPDX-License-Identifier: Apache-2.0
"""Sequences as tokenizers write them: types count, padding does not, and what the core cannot do is refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gen.errors import InputError
from gen.model.blocks import Checkpoint
from gen.model.checkpoint import read_checkpoint
from gen.model.floatmodel import forward
from gen.model.inputs import Tokens, tokenized
from gen.model.quantize import integer_inputs, quantise
from gen.model.randommodel import random_checkpoint
from sim import reference
from tests.checkpoints import BERT
from tests.commandline import DIGITS


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(BERT)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """40 sequences of 2 to 9 tokens in two segments, padded on the left."""
    random = np.random.default_rng(3)
    lengths = random.integers(2, 10, 40)
    mask = (np.arange(9) >= 9 - lengths[:, None]).astype(np.int64)
    types = (np.arange(9) >= 9 - lengths[:, None] // 2) * mask
    return {"input_ids": random.integers(1, 11, (40, 9)) * mask, "token_type_ids": types, "attention_mask": mask}


def refused(checkpoint: Checkpoint, samples: object, *words: str) -> None:
    for use in (checkpoint.samples, lambda samples: forward(checkpoint, samples)):
        with pytest.raises(InputError) as caught:
            use(samples)
        assert all(word in str(caught.value) for word in ("; ", *words)), caught.value


def test_types_reach_the_float_model(checkpoint: Checkpoint):
    """All of type 1 is what a checkpoint computes whose types 0 and 1 are exchanged; and each token has its own."""
    source = checkpoint.input
    swapped = replace(checkpoint, input=replace(source, token_type=source.token_type[::-1]))
    ids = np.array([3, 1, 4, 1, 5])
    assert np.array_equal(forward(checkpoint, [Tokens(ids, np.ones(5, int))]), forward(swapped, [ids]))
    types = np.array([0, 0, 1, 0, 1])
    rows, _ = source.rows(checkpoint.samples([Tokens(ids, types)]))
    expected = [source.word[i] + source.position[n] + source.token_type[t] for n, (i, t) in
                enumerate(zip(ids, types, strict=True))]  # fmt: skip
    assert np.allclose(rows, expected, rtol=0, atol=1e-6)


def test_types_reach_the_integer_model(checkpoint: Checkpoint, batch: dict[str, np.ndarray]):
    samples = tokenized(batch, "x.npz")
    model = quantise(checkpoint, samples)
    expected = forward(checkpoint, samples)
    found = [reference.forward(model, rows)["output"] for rows in integer_inputs(checkpoint, model, samples)]
    error = np.sqrt(np.mean((np.array(found) * model.scales["output"] - expected) ** 2)) / expected.std()
    assert error < 0.1
    untyped = forward(checkpoint, tokenized({**batch, "token_type_ids": batch["token_type_ids"] * 0}, "x.npz"))
    assert np.abs(untyped - expected).max() > expected.std()


def test_padding_on_either_side_counts_for_nothing(checkpoint: Checkpoint, batch: dict[str, np.ndarray]):
    left = tokenized(batch, "x.npz")
    alone = [Tokens(s.ids[s.mask == 1], s.types[s.mask == 1]) for s in left]
    order = [np.argsort(1 - s.mask, kind="stable") for s in left]
    right = [Tokens(s.ids[o], s.types[o], s.mask[o]) for s, o in zip(left, order, strict=True)]
    model = quantise(checkpoint, left)
    for samples in (alone, right):
        assert np.array_equal(forward(checkpoint, left), forward(checkpoint, samples))
        rows = zip(*(integer_inputs(checkpoint, model, s) for s in (left, samples)), strict=True)
        assert all(np.array_equal(a, b) for a, b in rows)
    assert np.array_equal(forward(checkpoint, right), forward(checkpoint, [replace(s, mask=None) for s in right]))


def test_mask_decides_over_padding_ids(checkpoint: Checkpoint):
    ids, mask = np.array([0, 3, 0, 0, 7]), np.array([1, 1, 1, 1, 0])
    (kept,) = checkpoint.samples([Tokens(ids, mask=mask)])
    assert kept.ids.tolist() == [0, 3, 0, 0]
    (again,) = checkpoint.samples([kept])
    assert again.ids.tolist() == [0, 3, 0, 0]
    (kept,) = checkpoint.samples([Tokens(ids, mask=mask.astype(bool))])
    assert kept.ids.tolist() == [0, 3, 0, 0]


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (Tokens(np.array([3, 4, 5, 6]), mask=np.array([0, 1, 0, 1])), ["attention_mask has a hole", "token 2"]),
        (Tokens(np.array([3, 4]), mask=np.array([1, 2])), ["attention_mask holds 2"]),
        (Tokens(np.array([3, 4]), mask=np.array([1.0, 1.0])), ["attention_mask", "2 integers", "float64"]),
        (Tokens(np.array([3, 4]), mask=np.array([1, 1, 0])), ["attention_mask", "2 integers", "(3)"]),
        (Tokens(np.array([3, 4]), mask=np.array([0, 0])), ["0 tokens"]),
        (Tokens(np.array([3, 4]), np.array([0, 2])), ["token_type_ids entry 2", "0..1"]),
        (Tokens(np.array([3, 4]), np.array([0, -1])), ["token_type_ids entry -1", "0..1"]),
        (Tokens(np.array([3, 4]), np.array([0])), ["token_type_ids", "2 integers"]),
        (np.array([0, 0, 3, 4]), ["begins with the padding id 0", "attention_mask"]),
        (Tokens(np.array([0, 3, 4]), np.array([0, 0, 1])), ["begins with the padding id 0", "attention_mask"]),
    ],
)
def test_sequences_refused(checkpoint: Checkpoint, sample: Tokens, words: list[str]):
    refused(checkpoint, [np.array([1, 2]), sample], "input: sample 1", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"position_ids": np.zeros((40, 9), int)}, ["position_ids", "not understood"]),
        ({"token_type_ids": np.zeros((40, 8), int)}, ["token_type_ids", "(40, 8)"]),
        ({"attention_mask": np.zeros(9, int)}, ["attention_mask", "(9)"]),
        ({"input_ids": np.zeros(9, int)}, ["input_ids must be integers (N, T), not int64 of shape (9)"]),
        ({"input_ids": None}, ["attention_mask, token_type_ids without input_ids"]),
    ],
)
def test_batches_refused(batch: dict[str, np.ndarray], change: dict, words: list[str]):
    arrays = {name: array for name, array in {**batch, **change}.items() if array is not None}
    with pytest.raises(InputError) as caught:
        tokenized(arrays, "x.npz")
    assert all(word in str(caught.value) for word in ("x.npz: ", "; ", *words)), caught.value


def test_tokens_for_a_model_without_a_vocabulary(batch: dict[str, np.ndarray]):
    samples = tokenized(batch, "x.npz")
    refused(read_checkpoint(DIGITS / "checkpoint"), samples, "token ids", "digits-vit takes images")
    refused(random_checkpoint(), samples, "token ids", "rows of floats")
