# SPDX-License-Identifier: Apache-2.0
"""The quantised model: the blocks of :mod:`sim.blocks` with their integer constants.

The quantiser produces it, the golden model evaluates it, the compiler lays it out. All tensors have their true
(unpadded) dimensions; padding to the tile is the compiler's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from sim import blocks
from sim.blocks import FirstRow, Input, Residual

__all__ = [
    "Activation",
    "Attention",
    "Block",
    "Classifier",
    "FeedForward",
    "FirstRow",
    "IBertGelu",
    "Input",
    "Linear",
    "Norm",
    "NormForm",
    "PatchEmbedding",
    "Pooler",
    "QuantModel",
    "Relu",
    "Residual",
    "Table",
    "activations",
    "linears",
]

Int = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """``requantise(x @ weight.T + bias, mult, shift)`` per output channel. Zero points are folded into ``bias``."""

    weight: Int  # int8 [out, in]
    bias: Int  # int32 [out], |bias| < 2^30
    mult: Int  # uint16 [out]
    shift: Int  # uint8 [out], 1..63


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A linear is clamped to uint8 and looked up in ``table[bank[channel]]`` -> uint8 operand."""

    kind: ClassVar[str] = "table"
    unsigned: ClassVar[bool] = True

    table: Int  # uint8 [2, 256]
    bank: Int  # uint8 [out], 0 or 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu:
    """A linear is clamped to uint8, which is the operand."""

    kind: ClassVar[str] = "relu"
    unsigned: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, eq=False)
class IBertGelu:
    """A linear is clamped to int8 and goes through :func:`sim.golden.gelu_ibert` -> int8 operand."""

    kind: ClassVar[str] = "ibert"
    unsigned: ClassVar[bool] = False

    b: int
    c: int
    mult: int
    shift: int


Activation = Table | Relu | IBertGelu
"""What follows a :class:`Linear`; ``kind`` is the core's kernel, ``unsigned`` whether the operand is uint8."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NormForm:
    """One of a norm's two results: ``(t * gamma + beta) >> shift`` of the normalised value ``t``."""

    gamma: Int  # int16 [hidden]
    beta: Int  # int32 [hidden]
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm(blocks.Norm):
    """LayerNorm constants."""

    eps: int  # added to V, 1 .. 2^40 - 1
    narrow: NormForm | None = None
    """To the int8 operand; there where a block reads it."""
    wide: NormForm | None = None
    """To the int16 residual stream; there where the norm makes it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchEmbedding(blocks.PatchEmbedding):
    """``h[row] = sat16(position[row] + requantise16(patch[row] @ weight.T + bias))``.

    The class token's embedding is inside ``position[0]``, the projection's bias inside all of ``position`` (so
    ``linear.bias`` is 0 and the class token's patch of zeros adds nothing).
    """

    linear: Linear  # [hidden, patch pixels]
    position: Int  # int16 [max_tokens, hidden]


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention(blocks.Attention):
    """q, k, v requantise to int8, o to int16 in the residual scale."""

    q: Linear  # [heads * head_dim, hidden]
    k: Linear
    v: Linear
    o: Linear  # [hidden, heads * head_dim]
    score_mult: Int  # uint16 [heads]
    score_shift: Int
    out_mult: Int
    out_shift: Int


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedForward(blocks.FeedForward):
    """``down`` requantises to int16 in the residual scale."""

    up: Linear
    activation: Activation
    down: Linear


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooler(blocks.Pooler):
    """The activation is a table, of tanh."""

    linear: Linear
    activation: Activation


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier(blocks.Classifier):
    """To int16 logits."""

    linear: Linear


Block = PatchEmbedding | Norm | Attention | FeedForward | Residual | FirstRow | Pooler | Classifier


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantModel(blocks.Transformer[Block]):
    """A whole model in integers.

    The result is the int16 logits [classes] where there is a classifier; otherwise the int16 residual rows
    [tokens, hidden], or the bare attention block's output rows.
    """

    input: Input
    stem: tuple[Block, ...] = ()
    layers: tuple[tuple[Block, ...], ...] = ()
    head: tuple[Block, ...] = ()
    exp: Literal["base2", "ibert"]
    gelu: Literal["table", "ibert"]
    scales: dict[str, float] = field(default_factory=dict)
    """Real value of one step: "residual", "input", "output", "logits", and entries by block for reports."""

    @property
    def classes(self) -> int:
        """Logits that come out; 0 where rows do."""
        return next((len(block.linear.bias) for block in self.head if isinstance(block, Classifier)), 0)


def linears(block: Block) -> tuple[Linear, ...]:
    """The matrices of a block."""
    match block:
        case Attention():
            return block.q, block.k, block.v, block.o
        case FeedForward():
            return block.up, block.down
        case PatchEmbedding() | Pooler() | Classifier():
            return (block.linear,)
    return ()


def activations(block: Block) -> tuple[Activation, ...]:
    """The activations of a block."""
    return (block.activation,) if isinstance(block, FeedForward | Pooler) else ()
