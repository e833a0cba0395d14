# SPDX-License-Identifier: Apache-2.0
"""Float forward pass of a :class:`gen.model.checkpoint.Checkpoint`: the reference, and what calibration observes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from gen.errors import InputError
from gen.model.checkpoint import (
    Affine,
    AttentionWeights,
    BareAttention,
    Checkpoint,
    Dense,
    EncoderLayer,
    PatchEmbedding,
    TokenEmbedding,
)
from gen.model.inputs import Tokens, check_inputs, patches

Float = npt.NDArray[np.floating]
Observer = Callable[[str, Float], None]


def gelu(x: Float) -> Float:
    """``x * Phi(x)``, Phi the normal distribution function."""
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x: Float) -> Float:
    """The tanh approximation of GELU."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu(x: Float) -> Float:
    """``max(x, 0)``."""
    return np.maximum(x, 0)


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "relu": relu}


def dense(x: Float, layer: Dense) -> Float:
    """``x @ weight.T + bias``."""
    return x @ layer.weight.T.astype(x.dtype) + layer.bias


def layernorm(x: Float, norm: Affine, eps: float) -> Float:
    """LayerNorm with the biased variance."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * norm.gamma + norm.beta


def softmax(x: Float) -> Float:
    """Softmax along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def embed(checkpoint: Checkpoint, samples: Sequence[npt.NDArray] | Sequence[Tokens]) -> tuple[Float, list[int]]:
    """Checked samples to residual rows of all of them [rows, hidden] (before any LayerNorm), and rows of each."""
    embedding = checkpoint.embedding
    if isinstance(embedding, PatchEmbedding):
        images = np.stack(samples).astype(np.float64)
        pixels = images * embedding.scale[:, None, None] + embedding.offset[:, None, None]
        tokens = dense(patches(pixels, embedding.patch), embedding.dense)
        cls = np.broadcast_to(embedding.cls, (len(images), 1, checkpoint.hidden))
        rows = np.concatenate([cls, tokens], axis=1) + embedding.position
        return rows.reshape(-1, checkpoint.hidden), [rows.shape[1]] * len(images)
    if isinstance(embedding, TokenEmbedding):
        ids, types = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("ids", "types"))
        positions = np.concatenate([np.arange(len(sample)) for sample in samples])
        rows = embedding.word[ids].astype(np.float64) + embedding.position[positions] + embedding.token_type[types]
        return rows, [len(sample) for sample in samples]
    return np.concatenate(samples).astype(np.float64), [len(rows) for rows in samples]


def attention(
    x: Float, weights: AttentionWeights, heads: int, lengths: list[int], prefix: str, observe: Observer
) -> Float:
    """Multi-head attention with its output projection; ``x`` holds the rows of all sequences.

    Observes q, k, v, o [rows, heads * head_dim], and for each sequence length scores and probabilities
    [sequences, heads, tokens, tokens].
    """
    q, k, v = (dense(x, w) for w in (weights.q, weights.k, weights.v))
    o = np.empty_like(q)
    head_dim = q.shape[1] // heads
    starts = np.cumsum([0, *lengths[:-1]])
    for name, value in zip("qkv", (q, k, v), strict=True):
        observe(prefix + name, value)
    for length in sorted(set(lengths)):
        rows = starts[np.array(lengths) == length][:, None] + np.arange(length)
        split = [t[rows].reshape(*rows.shape, heads, head_dim).transpose(0, 2, 1, 3) for t in (q, k, v)]
        scores = split[0] @ split[1].transpose(0, 1, 3, 2) / math.sqrt(head_dim)
        probabilities = softmax(scores)
        o[rows] = (probabilities @ split[2]).transpose(0, 2, 1, 3).reshape(*rows.shape, -1)
        observe(f"{prefix}scores", scores)
        observe(f"{prefix}probabilities", probabilities)
    observe(f"{prefix}o", o)
    return dense(o, weights.o)


def feed_forward(x: Float, layer: EncoderLayer, activation: str, prefix: str, observe: Observer) -> Float:
    """Two-layer FFN; observes up (before the activation) and hidden (behind it)."""
    up = dense(x, layer.up)
    hidden = ACTIVATIONS[activation](up)
    observe(f"{prefix}up", up)
    observe(f"{prefix}hidden", hidden)
    return dense(hidden, layer.down)


def forward(
    checkpoint: Checkpoint,
    inputs: npt.NDArray | Sequence[npt.NDArray] | Sequence[Tokens],
    observe: Observer = lambda name, value: None,
) -> Float | list[Float]:
    """Logits [N, classes], or where there is no classifier the last hidden rows of each sample, in float64.

    ``inputs`` as :func:`gen.model.inputs.check_inputs` takes them. ``observe(name, value)`` receives every
    intermediate, the rows of all samples one behind the other; names as in :func:`sim.reference.forward`, and besides
    ``layerN.attention`` and ``layerN.ffn`` (what is added to the residual), ``layerN.up`` and ``pooler.up``
    (arguments of activations).

    Raises
    ------
    InputError
        If the inputs do not fit the model, or its numbers overflow on them.
    """
    samples = check_inputs(checkpoint, inputs)
    behind = "the input"

    def checked(name: str, value: Float) -> None:
        nonlocal behind
        if not np.isfinite(value).all():
            raise FloatingPointError
        observe(name, value)
        behind = name

    try:
        with np.errstate(over="raise", invalid="raise"):
            return _forward(checkpoint, samples, checked)
    except FloatingPointError:
        raise InputError(
            f"{checkpoint.name}: the float model's numbers overflow behind {behind}; scale its weights down"
        ) from None


def _forward(checkpoint: Checkpoint, samples: list[npt.NDArray], observe: Observer) -> Float | list[Float]:
    """:func:`forward` of checked samples."""

    def normed(x: Float, norm: Affine, name: str) -> Float:
        x = layernorm(x, norm, checkpoint.eps)
        observe(name, x)
        return x

    def added(h: Float, delta: Float, name: str, total: str) -> Float:
        observe(name, delta)
        observe(total, h + delta)
        return h + delta

    def attend(x: Float, weights: AttentionWeights, prefix: str) -> Float:
        return attention(x, weights, checkpoint.heads, lengths, prefix, observe)

    h, lengths = embed(checkpoint, samples)
    if isinstance(checkpoint.embedding, BareAttention):
        observe("input", h)
        return _result(checkpoint, attend(h, checkpoint.embedding.attention, ""), lengths, observe)
    observe("embedding", h)
    norm = getattr(checkpoint.embedding, "norm", None)
    if norm is not None:
        h = normed(h, norm, "embedding.norm")
    for index, layer in enumerate(checkpoint.layers):
        p = f"layer{index}."
        if checkpoint.norm == "pre":
            x = normed(h, layer.norm1, f"{p}norm1")
            h = added(h, attend(x, layer.attention, p), f"{p}attention", f"{p}residual1")
            x = normed(h, layer.norm2, f"{p}norm2")
            h = added(h, feed_forward(x, layer, checkpoint.activation, p, observe), f"{p}ffn", f"{p}residual2")
        else:
            s = added(h, attend(h, layer.attention, p), f"{p}attention", f"{p}residual1")
            h = normed(s, layer.norm1, f"{p}norm1")
            s = added(h, feed_forward(h, layer, checkpoint.activation, p, observe), f"{p}ffn", f"{p}residual2")
            h = normed(s, layer.norm2, f"{p}norm2")
    return _result(checkpoint, h, lengths, observe)


def _result(checkpoint: Checkpoint, h: Float, lengths: list[int], observe: Observer) -> Float | list[Float]:
    """Final norm, pooler and classifier."""
    starts = np.cumsum([0, *lengths])
    x = h if checkpoint.classifier is None else h[starts[:-1]]
    if checkpoint.final_norm is not None:
        x = layernorm(x, checkpoint.final_norm, checkpoint.eps)
        observe("final_norm", x)
    if checkpoint.classifier is None:
        observe("output", x)
        return [x[start:stop] for start, stop in zip(starts[:-1], starts[1:], strict=True)]
    if checkpoint.pooler is not None:
        up = dense(x, checkpoint.pooler)
        x = np.tanh(up)
        observe("pooler.up", up)
        observe("pooler", x)
    x = dense(x, checkpoint.classifier)
    observe("output", x)
    return x


def trace(checkpoint: Checkpoint, inputs: npt.NDArray | Sequence[npt.NDArray] | Sequence[Tokens]) -> dict[str, Float]:
    """Every named intermediate of :func:`forward`, and its result under ``"output"``."""
    found: dict[str, Float] = {}
    forward(checkpoint, inputs, found.__setitem__)
    return found
