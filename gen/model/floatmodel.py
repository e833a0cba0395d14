# SPDX-License-Identifier: Apache-2.0
"""Float forward pass of a :class:`gen.model.blocks.Checkpoint`: the reference, and what calibration observes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from gen.errors import InputError
from gen.model.blocks import (
    Attention,
    Checkpoint,
    Classifier,
    Dense,
    FeedForward,
    FirstRow,
    Norm,
    PatchEmbedding,
    Pooler,
    Residual,
)
from gen.model.inputs import Samples
from sim.blocks import Part, beside

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


def layernorm(x: Float, norm: Norm, eps: float) -> Float:
    """LayerNorm with the biased variance."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * norm.gamma + norm.beta


def softmax(x: Float) -> Float:
    """Softmax along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def patch_embedding(x: Float, block: PatchEmbedding) -> Float:
    """Rows of pixels [rows, features] of whole images to residual rows."""
    tokens, hidden = block.position.shape
    images = x.reshape(-1, tokens, x.shape[1])
    pixels = images[:, 1:] * block.of_pixels(block.scale) + block.of_pixels(block.offset)
    cls = np.broadcast_to(block.cls, (len(images), 1, hidden))
    return (np.concatenate([cls, dense(pixels, block.dense)], axis=1) + block.position).reshape(-1, hidden)


def attention(x: Float, block: Attention, heads: int, lengths: list[int], name: str, observe: Observer) -> Float:
    """Multi-head attention with its output projection; ``x`` holds the rows of all sequences, ``name`` is the block's.

    Observes q, k, v, o [rows, heads * head_dim], and for each sequence length scores and probabilities
    [sequences, heads, tokens, tokens].
    """
    q, k, v = (dense(x, w) for w in (block.q, block.k, block.v))
    o = np.empty_like(q)
    head_dim = q.shape[1] // heads
    starts = np.cumsum([0, *lengths[:-1]])
    for tensor, value in zip("qkv", (q, k, v), strict=True):
        observe(beside(name, tensor), value)
    for length in sorted(set(lengths)):
        rows = starts[np.array(lengths) == length][:, None] + np.arange(length)
        split = [t[rows].reshape(*rows.shape, heads, head_dim).transpose(0, 2, 1, 3) for t in (q, k, v)]
        scores = split[0] @ split[1].transpose(0, 1, 3, 2) / math.sqrt(head_dim)
        probabilities = softmax(scores)
        o[rows] = (probabilities @ split[2]).transpose(0, 2, 1, 3).reshape(*rows.shape, -1)
        observe(beside(name, "scores"), scores)
        observe(beside(name, "probabilities"), probabilities)
    observe(beside(name, "o"), o)
    return dense(o, block.o)


def feed_forward(x: Float, block: FeedForward, name: str, observe: Observer) -> Float:
    """Two-layer FFN; observes up (before the activation) and hidden (behind it)."""
    up = dense(x, block.up)
    hidden = ACTIVATIONS[block.activation](up)
    observe(beside(name, "up"), up)
    observe(beside(name, "hidden"), hidden)
    return dense(hidden, block.down)


def forward(
    checkpoint: Checkpoint, inputs: Samples, observe: Observer = lambda name, value: None
) -> Float | list[Float]:
    """Logits [N, classes], or where there is no classifier the last hidden rows of each sample, in float64.

    ``inputs`` as :meth:`gen.model.blocks.Checkpoint.samples` takes them. ``observe(name, value)`` receives every
    intermediate, the rows of all samples one behind the other; names as in :func:`sim.reference.forward`, and besides
    ``layerN.attention`` and ``layerN.ffn`` (what is added to the residual), ``layerN.up`` and ``pooler.up``
    (arguments of activations). Residual rows that enter are the ``embedding``.

    Raises
    ------
    InputError
        If the inputs do not fit the model, or its numbers overflow on them.
    """
    samples = checkpoint.samples(inputs)
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


def _forward(checkpoint: Checkpoint, samples: Sequence, observe: Observer) -> Float | list[Float]:
    """:func:`forward` of checked samples."""
    rows, lengths = checkpoint.input.rows(samples)
    observe("embedding" if checkpoint.input.form.part == Part.STREAM else "input", rows)
    x = h = update = logits = rows  # see sim.reference.forward
    for name, block in checkpoint.named():
        match block:
            case PatchEmbedding():
                h = patch_embedding(x, block)
                observe(name, h)
            case Norm():
                x = layernorm(h, block, checkpoint.eps)
                h = x if block.stream else h
                observe(name, x)
            case Attention():
                update = attention(x, block, checkpoint.heads, lengths, name, observe)
                observe(name, update)
            case FeedForward():
                update = feed_forward(x, block, name, observe)
                observe(name, update)
            case Residual():
                h = h + update
                observe(name, h)
            case FirstRow():
                first = np.cumsum([0, *lengths[:-1]])
                x, h, lengths = x[first], h[first], [1] * len(lengths)
            case Pooler():
                up = dense(x, block.dense)
                x = np.tanh(up)
                observe(f"{name}.up", up)
                observe(name, x)
            case Classifier():
                logits = dense(x, block.dense)
    if checkpoint.result == Part.LOGITS:
        observe("output", logits)
        return logits
    result = update if checkpoint.result == Part.UPDATE else h
    observe("output", result)
    return np.split(result, np.cumsum(lengths)[:-1])


def trace(checkpoint: Checkpoint, inputs: Samples) -> dict[str, Float]:
    """Every named intermediate of :func:`forward`, and its result under ``"output"``."""
    found: dict[str, Float] = {}
    forward(checkpoint, inputs, found.__setitem__)
    return found
