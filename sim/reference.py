# SPDX-License-Identifier: Apache-2.0
"""Whole-model golden: evaluates a :class:`sim.qmodel.QuantModel` in exact integers and returns every intermediate."""

from __future__ import annotations

import numpy as np

from sim import golden
from sim.golden import IntArray
from sim.qmodel import (
    Activation,
    Attention,
    FeedForward,
    Linear,
    Norm,
    OperandInput,
    PatchInput,
    QuantModel,
)

Trace = dict[str, IntArray]


def linear(x: IntArray, layer: Linear, bits: int, *, signed: bool = True) -> IntArray:
    """``requantise(x @ weight.T + bias)`` to ``bits`` bits."""
    return golden.requantise(golden.matmul(x, layer.weight) + layer.bias, layer.mult, layer.shift, bits, signed=signed)


def activated(x: IntArray, layer: Linear, activation: Activation) -> IntArray:
    """A linear layer and its activation: the next matrix product's operand."""
    match activation.kind:
        case "table":
            return golden.activation_table(linear(x, layer, 8, signed=False), activation.bank, activation.table)
        case "relu":
            return linear(x, layer, 8, signed=False)
        case "ibert":
            y = linear(x, layer, 8)
            return golden.gelu_ibert(y, activation.b, activation.c, activation.mult, activation.shift)


def norm8(h: IntArray, norm: Norm) -> IntArray:
    """LayerNorm to the int8 array operand."""
    return golden.layernorm(h, norm.gamma8, norm.beta8, norm.shift8, norm.eps, 8)


def norm16(h: IntArray, norm: Norm) -> IntArray:
    """LayerNorm to the int16 residual stream."""
    return golden.layernorm(h, norm.gamma16, norm.beta16, norm.shift16, norm.eps, 16)


def attention(
    x: IntArray, block: Attention, heads: int, head_dim: int, kernel: str, trace: Trace, prefix: str
) -> IntArray:
    """Multi-head attention up to the output projection's int16 result; adds q, k, v, scores, exp, o to ``trace``.

    ``scores`` and ``exp`` are [heads, tokens, tokens].
    """
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
    trace.update(
        {
            f"{prefix}q": q,
            f"{prefix}k": k,
            f"{prefix}v": v,
            f"{prefix}scores": scores,
            f"{prefix}exp": exps,
            f"{prefix}o": o,
        }
    )
    return linear(o, block.o, 16)


def feed_forward(x: IntArray, ffn: FeedForward, trace: Trace, prefix: str) -> IntArray:
    """Two-layer FFN up to the second product's int16 result; adds ``hidden`` to ``trace``."""
    hidden = activated(x, ffn.up, ffn.activation)
    trace[f"{prefix}hidden"] = hidden
    return linear(hidden, ffn.down, 16)


def forward(model: QuantModel, inputs: IntArray) -> Trace:
    """Every named intermediate of one input, and the result under ``"output"``.

    ``inputs``: [tokens, pixels] uint8 patches (class-token row of zeros first), [tokens, hidden] int16 rows or
    [tokens, hidden] int8 operands, by the kind of ``model.input``. tokens <= model.max_tokens.
    Names: ``input``, ``embedding``, ``embedding.norm``,
    ``layerN.{norm1,q,k,v,scores,exp,o,residual1,norm2,hidden,residual2}``
    (post-norm: also ``layerN.{norm1,norm2}.residual``), ``final_norm``, ``pooler``, ``output``.
    """
    inputs = np.asarray(inputs, dtype=np.int64)
    trace: Trace = {"input": inputs}
    heads, head_dim, kernel = model.heads, model.head_dim, model.exp
    x = h = inputs
    match model.input:
        case OperandInput(attention=block):
            trace["output"] = attention(inputs, block, heads, head_dim, kernel, trace, "")
            return trace
        case PatchInput(linear=patch, position=position):
            h = golden.residual_add(position[: len(inputs)], linear(inputs, patch, 16))
            trace["embedding"] = h
        case _:
            if model.input.norm is not None:
                x, h = norm8(inputs, model.input.norm), norm16(inputs, model.input.norm)
                trace["embedding.norm"], trace["embedding.norm.residual"] = x, h
    for index, layer in enumerate(model.layers):
        p = f"layer{index}."
        if model.norm == "pre":
            x = trace[f"{p}norm1"] = norm8(h, layer.norm1)
            h = trace[f"{p}residual1"] = golden.residual_add(
                h, attention(x, layer.attention, heads, head_dim, kernel, trace, p)
            )
            x = trace[f"{p}norm2"] = norm8(h, layer.norm2)
            h = trace[f"{p}residual2"] = golden.residual_add(h, feed_forward(x, layer.ffn, trace, p))
        else:
            s = trace[f"{p}residual1"] = golden.residual_add(
                h, attention(x, layer.attention, heads, head_dim, kernel, trace, p)
            )
            x = trace[f"{p}norm1"] = norm8(s, layer.norm1)
            h = trace[f"{p}norm1.residual"] = norm16(s, layer.norm1)
            s = trace[f"{p}residual2"] = golden.residual_add(h, feed_forward(x, layer.ffn, trace, p))
            x = trace[f"{p}norm2"] = norm8(s, layer.norm2)
            h = trace[f"{p}norm2.residual"] = norm16(s, layer.norm2)
    if model.classifier is None:
        trace["output"] = norm16(h, model.final_norm) if model.final_norm is not None else h
        return trace
    first = x[:1]
    if model.final_norm is not None:
        first = trace["final_norm"] = norm8(h[:1], model.final_norm)
    if model.pooler is not None:
        first = trace["pooler"] = activated(first, model.pooler.linear, model.pooler.activation)
    trace["output"] = linear(first, model.classifier, 16)[0]
    return trace
