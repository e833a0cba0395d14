# SPDX-License-Identifier: Apache-2.0
"""A model as blocks: their names, who reads what, and orders in which something is missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gen.model.randommodel import random_checkpoint, random_model
from sim.blocks import Attention, Block, FeedForward, Input, Norm, OrderError, Part, Residual, beside, check_order
from sim.qmodel import Classifier, Pooler

SHAPES = {
    "pre": {"norm": "pre", "layers": 2},
    "patches": {"norm": "pre", "pixels": 3, "classes": 3},
    "post": {"norm": "post", "layers": 2},
    "pooler": {"norm": "post", "classes": 2, "pooler": True},
    "attention": {"layers": 0},
}
PRE = ("norm1", "attention", "residual1", "norm2", "ffn", "residual2")
POST = ("attention", "residual1", "norm1", "ffn", "residual2", "norm2")


def small(kind: str):
    return random_model(**{"hidden": 16, "heads": 2, "ffn": 16, "tokens": 4, "layers": 1} | SHAPES[kind])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("pre", [*(f"layer{index}.{name}" for index in (0, 1) for name in PRE), "final_norm"]),
        ("patches", ["embedding", *(f"layer0.{name}" for name in PRE), "first_row", "final_norm", "classifier"]),
        ("post", ["embedding.norm", *(f"layer{index}.{name}" for index in (0, 1) for name in POST)]),
        ("pooler", ["embedding.norm", *(f"layer0.{name}" for name in POST), "first_row", "pooler", "classifier"]),
        ("attention", ["attention"]),
    ],
)
def test_places_give_names(kind: str, names: list[str]):
    model = small(kind)
    assert [name for name, _ in model.named()] == names
    assert all(model.block(name) is block for name, block in model.named())
    assert model.head_names == names[len(names) - len(model.head) :]
    assert beside("layer3.attention", "q") == "layer3.q" and beside("attention", "q") == "q"


@pytest.mark.parametrize("kind", SHAPES)
def test_quantising_keeps_the_description(kind: str):
    """Both forms have the same blocks under the same names; only the numbers differ."""
    shape = {"hidden": 16, "heads": 2, "ffn": 16, "tokens": 4, "layers": 1} | SHAPES[kind]
    checkpoint, model = random_checkpoint(**shape), small(kind)
    for (name, block), (found, integers) in zip(checkpoint.named(), model.named(), strict=True):
        described = [base for base in type(block).__mro__ if base.__module__ == "sim.blocks"]
        assert name == found and described == [b for b in type(integers).__mro__ if b.__module__ == "sim.blocks"]
        for field in dataclasses.fields(described[0]):
            assert getattr(block, field.name) == getattr(integers, field.name)
    assert checkpoint.result == model.result and checkpoint.norm == model.norm
    assert checkpoint.input.form == model.input


@pytest.mark.parametrize(
    ("kind", "name", "readers"),
    [
        ("pre", "layer0.norm1", [Attention]),
        ("pre", "layer1.norm2", [FeedForward]),
        ("pre", "final_norm", []),
        ("patches", "final_norm", [Classifier]),
        ("post", "embedding.norm", [Attention]),
        ("post", "layer0.norm2", [Attention]),
        ("post", "layer1.norm2", []),
        ("pooler", "layer0.norm2", [Pooler]),
        ("pooler", "pooler", [Classifier]),
    ],
)
def test_who_reads_an_operand(kind: str, name: str, readers: list[type[Block]]):
    found = small(kind).readers(name)
    assert len(found) == len(readers) and all(map(isinstance, found, readers))


def test_who_reads_the_stream():
    for kind, name, read in [
        ("post", "layer0.norm2", True), ("post", "layer1.norm2", True), ("pooler", "layer0.norm2", False),
        ("pooler", "layer0.norm1", True), ("patches", "layer0.residual2", True), ("pre", "final_norm", True),
    ]:  # fmt: skip
        assert small(kind).stream_is_read(name) == read, (kind, name)


def test_results():
    assert [small(kind).result for kind in SHAPES] == [
        Part.STREAM, Part.LOGITS, Part.STREAM, Part.LOGITS, Part.UPDATE
    ]  # fmt: skip
    assert [small(kind).classes for kind in SHAPES] == [0, 3, 0, 2, 0]


def test_a_change_keeps_every_place():
    model = small("patches")
    changed = model.mapped(lambda name, block: name)
    assert changed == {
        "stem": ("embedding",),
        "layers": (tuple(f"layer0.{name}" for name in PRE),),
        "head": ("first_row", "final_norm", "classifier"),
    }
    assert dataclasses.replace(model, **model.mapped(lambda name, block: block)).layers == model.layers


def test_orders_in_which_something_is_missing():
    """A sum ends the operand that its update was made of: the stream has moved on."""
    rows = Input(kind="residual", features=8)
    norm, attention, ffn, residual = Norm(), Attention(), FeedForward(), Residual()
    check_order(enumerate_blocks(norm, attention, residual, norm, ffn, residual), rows)
    with pytest.raises(OrderError, match="4 reads operand rows, which no block before it makes"):
        check_order(enumerate_blocks(norm, attention, residual, ffn, residual), rows)
    with pytest.raises(OrderError, match="3 makes an update where no block has added the last one"):
        check_order(enumerate_blocks(norm, attention, ffn, residual), rows)
    with pytest.raises(OrderError, match="1 reads an update and the residual stream"):
        check_order(enumerate_blocks(residual), Input(kind="patches", features=8))
    with pytest.raises(OrderError, match="no block adds the last update"):
        check_order(enumerate_blocks(norm, attention), rows)
    with pytest.raises(OrderError, match="nothing comes out"):
        check_order([], Input(kind="operands", features=8))


def enumerate_blocks(*blocks: Block):
    return [(str(number), block) for number, block in enumerate(blocks, 1)]


@pytest.mark.parametrize(
    ("kind", "dtype", "limits"),
    [("patches", np.uint8, (0, 255)), ("residual", np.int16, (-32768, 32767)), ("operands", np.int8, (-128, 127))],
)
def test_inputs_round_and_saturate(kind: str, dtype: type, limits: tuple[int, int]):
    form = Input(kind=kind, features=4)
    rows = form.rounded(np.array([[-1e9, 1e9, 1.5, 2.5]]))
    assert rows.dtype == form.dtype == dtype and form.limits == limits
    assert rows.tolist() == [[*limits, 2, 2]]
    drawn = form.random(np.random.default_rng(0), 5, 0.02)
    assert drawn.dtype == dtype and drawn.shape == (5, 4) and drawn.any()
