# SPDX-License-Identifier: Apache-2.0
"""The quantised model: what the quantiser produces, the golden model evaluates and the compiler lays out.

All tensors have their true (unpadded) dimensions; padding to the tile is the compiler's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """``requantise(x @ weight.T + bias, mult, shift)`` per output channel. Zero points are folded into ``bias``."""

    weight: Int  # int8 [out, in]
    bias: Int  # int32 [out], |bias| < 2^30
    mult: Int  # uint16 [out]
    shift: Int  # uint8 [out], 1..63


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation:
    """Activation after a :class:`Linear`.

    ``table``: the linear is clamped to uint8 and looked up in ``table[bank[channel]]`` -> uint8 operand.
    ``relu``: the linear is clamped to uint8, which is the operand. ``ibert``: the linear is clamped to int8 and goes
    through :func:`sim.golden.gelu_ibert` -> int8 operand.
    """

    kind: Literal["table", "relu", "ibert"]
    table: Int | None = None  # uint8 [2, 256]
    bank: Int | None = None  # uint8 [out], 0 or 1
    b: int = 0
    c: int = 0
    mult: int = 0
    shift: int = 1

    @property
    def unsigned(self) -> bool:
        """Whether the operand it produces is uint8."""
        return self.kind != "ibert"


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """LayerNorm constants. The 8-bit form feeds the array, the 16-bit form (post-norm models) the residual stream."""

    eps: int  # added to V, 1 .. 2^40 - 1
    gamma8: Int | None = None  # int16 [hidden]
    beta8: Int | None = None  # int32 [hidden]
    shift8: int = 1
    gamma16: Int | None = None
    beta16: Int | None = None
    shift16: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Multi-head attention. q, k, v requantise to int8, o to int16 in the residual scale."""

    q: Linear  # [heads * head_dim, hidden]
    k: Linear
    v: Linear
    o: Linear  # [hidden, heads * head_dim]
    score_mult: Int  # uint16 [heads]
    score_shift: Int
    out_mult: Int
    out_shift: Int


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedForward:
    """Two-layer FFN; ``down`` requantises to int16 in the residual scale."""

    up: Linear
    activation: Activation
    down: Linear


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One encoder layer.

    pre-norm: ``h += O(attn(norm1.8(h)))``, ``h += FFN(norm2.8(h))``.
    post-norm: ``s = h + O(attn(x))``, ``x, h = norm1(s)`` (8 and 16 bit), ``s = h + FFN(x)``, ``x, h = norm2(s)``.
    """

    attention: Attention
    norm1: Norm
    norm2: Norm
    ffn: FeedForward


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchInput:
    """uint8 patches: ``h[row] = sat16(position[row] + requantise16(patch[row] @ weight.T + bias))``.

    Row 0 is the class token: its patch is all zero and its embedding is inside ``position[0]``; the projection's bias
    is inside ``position`` too (so ``linear.bias`` is 0 and a zero patch adds nothing).
    """

    linear: Linear  # [hidden, patch pixels]
    position: Int  # int16 [max_tokens, hidden]


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualInput:
    """int16 rows [tokens, hidden], gathered and summed outside, enter as the residual stream.

    ``norm`` (post-norm models): embedding LayerNorm, 8- and 16-bit forms.
    """

    norm: Norm | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class OperandInput:
    """int8 rows [tokens, hidden] are the array operand itself: the bare attention block (``layers`` is empty)."""

    attention: Attention


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooler:
    """Dense layer with a table activation (tanh) on the first token (BERT)."""

    linear: Linear
    activation: Activation


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantModel:
    """A whole encoder.

    The result is the classifier's int16 logits [classes] where there is one; otherwise the int16 residual rows
    [tokens, hidden] (pre-norm: after ``final_norm``'s 16-bit form where there is one; OperandInput: the attention's
    output rows). With a classifier, the final norm, pooler and classifier run on the first row alone.
    """

    name: str
    norm: Literal["pre", "post"]
    exp: Literal["base2", "ibert"]
    gelu: Literal["table", "ibert"]
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    max_tokens: int
    input: PatchInput | ResidualInput | OperandInput
    layers: tuple[Layer, ...]
    final_norm: Norm | None = None  # pre-norm; 8-bit form with a classifier, else 16-bit
    pooler: Pooler | None = None
    classifier: Linear | None = None  # -> int16 logits
    scales: dict[str, float] = field(default_factory=dict)
    """Real value of one step: "residual", "logits", "input", and per-layer entries for reports."""
    labels: tuple[str, ...] = ()
    source: str = ""
    """SHA-256 of the checkpoint's configuration and tensors; "" where there was no checkpoint."""
