# SPDX-License-Identifier: Apache-2.0
"""Whole-model golden: evaluates a :class:`sim.qmodel.QuantModel` in exact integers and returns every intermediate."""

from __future__ import annotations

import numpy as np

from sim import golden
from sim.blocks import Part, beside
from sim.golden import IntArray
from sim.qmodel import (
    Activation,
    Attention,
    Classifier,
    FeedForward,
    FirstRow,
    IBertGelu,
    Linear,
    Norm,
    NormForm,
    PatchEmbedding,
    Pooler,
    QuantModel,
    Relu,
    Residual,
    Table,
)

Trace = dict[str, IntArray]


def linear(x: IntArray, layer: Linear, bits: int, *, signed: bool = True) -> IntArray:
    """``requantise(x @ weight.T + bias)`` to ``bits`` bits."""
    return golden.requantise(golden.matmul(x, layer.weight) + layer.bias, layer.mult, layer.shift, bits, signed=signed)


def activated(x: IntArray, layer: Linear, activation: Activation) -> IntArray:
    """A linear layer and its activation: the next matrix product's operand."""
    match activation:
        case Table():
            return golden.activation_table(linear(x, layer, 8, signed=False), activation.bank, activation.table)
        case Relu():
            return linear(x, layer, 8, signed=False)
        case IBertGelu():
            y = linear(x, layer, 8)
            return golden.gelu_ibert(y, activation.b, activation.c, activation.mult, activation.shift)


def layernorm(h: IntArray, norm: Norm, form: NormForm, bits: int) -> IntArray:
    """LayerNorm in one of its forms: 8 bits for the array's operand, 16 for the residual stream."""
    return golden.layernorm(h, form.gamma, form.beta, form.shift, norm.eps, bits)


def attention(x: IntArray, block: Attention, model: QuantModel, trace: Trace, name: str) -> IntArray:
    """Multi-head attention up to the output projection's int16 result; adds q, k, v, scores, exp, o to ``trace``.

    ``scores`` and ``exp`` are [heads, tokens, tokens]. ``name`` is the block's.
    """
    heads, head_dim, kernel = model.heads, model.head_dim, model.exp
    tokens = len(x)
    q, k, v = (linear(x, w, 8) for w in (block.q, block.k, block.v))
    split = lambda t: t.reshape(tokens, heads, head_dim).transpose(1, 0, 2)  # noqa: E731
    scores = golden.matmul(split(q), split(k))
    per_head = lambda c: np.asarray(c, dtype=np.int64)[:, None, None]  # noqa: E731
    index = golden.score_index(
        scores, scores.max(-1, keepdims=True), per_head(block.score_mult), per_head(block.score_shift), kernel
    )
    exps = golden.exponential(index, kernel)
    mult, shift = golden.row_scale(exps.sum(-1, keepdims=True), per_head(block.out_mult), per_head(block.out_shift))
    products = golden.matmul(exps, split(v).transpose(0, 2, 1))
    o = golden.requantise(products, mult, shift).transpose(1, 0, 2).reshape(tokens, heads * head_dim)
    made = {"q": q, "k": k, "v": v, "scores": scores, "exp": exps, "o": o}
    trace.update({beside(name, tensor): value for tensor, value in made.items()})
    return linear(o, block.o, 16)


def feed_forward(x: IntArray, block: FeedForward, trace: Trace, name: str) -> IntArray:
    """Two-layer FFN up to the second product's int16 result; adds ``hidden`` to ``trace``."""
    hidden = trace[beside(name, "hidden")] = activated(x, block.up, block.activation)
    return linear(hidden, block.down, 16)


def forward(model: QuantModel, inputs: IntArray) -> Trace:
    """Every named intermediate of one input, and the result under ``"output"``.

    ``inputs``: [tokens, features] integers as ``model.input`` says, tokens <= model.max_tokens. Names: ``input``, those
    of :meth:`sim.blocks.Transformer.named` for what a block makes (a norm: ``layerN.norm1`` the operand,
    ``layerN.norm1.residual`` the stream), and ``layerN.{q,k,v,scores,exp,o,hidden}`` inside attention and FFN.
    """
    inputs = np.asarray(inputs, dtype=np.int64)
    trace: Trace = {"input": inputs}
    x = h = update = logits = (
        inputs  # the input is one of them; order sees to it that no other is read before it is made
    )
    for name, block in model.named():
        match block:
            case PatchEmbedding():
                h = trace[name] = golden.residual_add(block.position[: len(x)], linear(x, block.linear, 16))
            case Norm():
                rows = h
                if block.narrow is not None:
                    x = trace[name] = layernorm(rows, block, block.narrow, 8)
                if block.wide is not None:
                    h = trace[f"{name}.residual"] = layernorm(rows, block, block.wide, 16)
            case Attention():
                update = attention(x, block, model, trace, name)
            case FeedForward():
                update = feed_forward(x, block, trace, name)
            case Residual():
                h = trace[name] = golden.residual_add(h, update)
            case FirstRow():
                x, h = x[:1], h[:1]
            case Pooler():
                x = trace[name] = activated(x, block.linear, block.activation)
            case Classifier():
                logits = linear(x, block.linear, 16)[0]
    trace["output"] = {Part.LOGITS: logits, Part.UPDATE: update}.get(model.result, h)
    return trace
