# SPDX-License-Identifier: Apache-2.0
"""A checkpoint in the common float form: the blocks of :mod:`sim.blocks` with their float weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from gen.model.inputs import Samples, Source, checked_samples
from sim import blocks
from sim.blocks import FirstRow, Residual

__all__ = [
    "Act",
    "Attention",
    "Block",
    "Checkpoint",
    "Classifier",
    "Dense",
    "FeedForward",
    "FirstRow",
    "Norm",
    "PatchEmbedding",
    "Pooler",
    "Residual",
    "post_norm",
    "pre_norm",
    "reading",
]

Float = npt.NDArray[np.floating]
Act = Literal["gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """``x @ weight.T + bias``."""

    weight: Float  # [out, in]
    bias: Float  # [out]


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchEmbedding(blocks.PatchEmbedding):
    """The class token, then ``dense(scale * pixel + offset)`` of each patch, plus position.

    A patch's pixels run channel, row, column.
    """

    dense: Dense  # [hidden, channels * patch height * patch width]
    cls: Float  # [hidden]
    position: Float  # [1 + patches, hidden]
    scale: Float  # [channels]
    offset: Float  # [channels]

    def of_pixels(self, values: Float) -> Float:
        """``values`` of the channels, repeated for each pixel of a patch."""
        return np.repeat(values, self.dense.weight.shape[1] // len(values))


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm(blocks.Norm):
    """``gamma * (x - mean) / sqrt(variance + eps) + beta``."""

    gamma: Float  # [hidden]
    beta: Float  # [hidden]


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention(blocks.Attention):
    """``o(softmax(q(x) k(x)^T / sqrt(head_dim)) v(x))``, head by head."""

    q: Dense  # [heads * head_dim, hidden]
    k: Dense
    v: Dense
    o: Dense  # [hidden, heads * head_dim]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedForward(blocks.FeedForward):
    """``down(activation(up(x)))``."""

    up: Dense  # [ffn, hidden]
    activation: Act
    down: Dense  # [hidden, ffn]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooler(blocks.Pooler):
    """``tanh(dense(x))``."""

    dense: Dense  # [hidden, hidden]


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier(blocks.Classifier):
    """``dense(x)``."""

    dense: Dense  # [classes, hidden]


Block = PatchEmbedding | Norm | Attention | FeedForward | Residual | FirstRow | Pooler | Classifier


def pre_norm(norm1: Norm, attention: Attention, norm2: Norm, ffn: FeedForward) -> tuple[Block, ...]:
    """A layer whose norms stand before attention and FFN."""
    return norm1, attention, Residual(), norm2, ffn, Residual()


def post_norm(attention: Attention, norm1: Norm, ffn: FeedForward, norm2: Norm) -> tuple[Block, ...]:
    """A layer whose norms stand behind attention and FFN, and make the residual stream."""
    return attention, Residual(), replace(norm1, stream=True), ffn, Residual(), replace(norm2, stream=True)


def reading(block: Block) -> tuple[Dense, ...]:
    """The matrices of a block that read its operand."""
    match block:
        case Attention():
            return block.q, block.k, block.v
        case FeedForward():
            return (block.up,)
        case Pooler() | Classifier():
            return (block.dense,)
    return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint(blocks.Transformer[Block]):
    """A model in the common float form."""

    input: Source
    stem: tuple[Block, ...] = ()
    layers: tuple[tuple[Block, ...], ...] = ()
    head: tuple[Block, ...] = ()
    eps: float
    """Of every norm."""
    unused: tuple[str, ...] = ()
    """Tensors of the file that the model does not need (pre-training heads, a pooler without a classifier)."""
    notes: tuple[str, ...] = ()
    """What was assumed or left out, a sentence each."""

    def samples(self, inputs: Samples, name: str = "input") -> Sequence:
        """``inputs`` as a list of single, checked samples of what the model takes; ``name`` stands for them.

        See :func:`gen.model.inputs.checked_samples`.
        """
        return checked_samples(self.input, inputs, name, model=self.name, max_tokens=self.max_tokens)
