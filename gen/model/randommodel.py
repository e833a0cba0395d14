# SPDX-License-Identifier: Apache-2.0
"""Random encoders of any size, calibrated on random inputs, for the configuration sweep and the benchmarks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gen.model.checkpoint import (
    Affine,
    AttentionWeights,
    BareAttention,
    Checkpoint,
    Dense,
    EncoderLayer,
    PatchEmbedding,
    RowEmbedding,
)
from gen.model.quantize import quantise
from sim.golden import saturate
from sim.qmodel import OperandInput, PatchInput, QuantModel

CALIBRATION_ROWS = 2048
CALIBRATION_SAMPLES = (8, 256)  # fewest and most


class _Draw:
    """Random parameters whose activations stay of order one, with some uneven channels as trained models have them."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)

    def dense(self, outputs: int, inputs: int, gain: float = 1.0) -> Dense:
        rows = gain * self.random.lognormal(0, 0.4, (outputs, 1)) / np.sqrt(inputs)
        weight = rows * self.random.standard_normal((outputs, inputs))
        return Dense(weight=weight, bias=0.2 * self.random.standard_normal(outputs))

    def affine(self, hidden: int) -> Affine:
        return Affine(gamma=self.random.lognormal(0, 0.3, hidden), beta=0.2 * self.random.standard_normal(hidden))

    def attention(self, hidden: int, inner: int) -> AttentionWeights:
        q, k = self.dense(inner, hidden, 1.2), self.dense(inner, hidden, 1.2)
        return AttentionWeights(q=q, k=k, v=self.dense(inner, hidden), o=self.dense(hidden, inner))

    def layer(self, hidden: int, inner: int, ffn: int) -> EncoderLayer:
        return EncoderLayer(
            attention=self.attention(hidden, inner),
            norm1=self.affine(hidden),
            norm2=self.affine(hidden),
            up=self.dense(ffn, hidden),
            down=self.dense(hidden, ffn),
        )


def random_checkpoint(
    *,
    norm: Literal["pre", "post"] = "pre",
    hidden: int = 32,
    heads: int = 2,
    head_dim: int | None = None,
    ffn: int = 64,
    layers: int = 1,
    tokens: int = 16,
    pixels: int | None = None,
    classes: int | None = None,
    pooler: bool = False,
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu",
    seed: int = 0,
) -> Checkpoint:
    """A random encoder, its parameters determined by the arguments.

    ``layers`` = 0 is the bare attention block on int8 operands. ``head_dim`` is hidden // heads unless given.
    ``pixels``: uint8 patches of that many pixels enter (pre-norm, at least 2 tokens: the class token and one patch);
    without it residual rows do, in post-norm models behind an embedding LayerNorm. ``classes``: a classifier on the
    first row, in pre-norm models behind a final LayerNorm, which they also have without one; ``pooler``: a tanh layer
    before it.
    """
    draw = _Draw(seed)
    head_dim = hidden // heads if head_dim is None else head_dim
    inner = heads * head_dim
    if layers == 0:
        embedding = BareAttention(attention=draw.attention(hidden, inner))
    elif pixels is not None:
        embedding = PatchEmbedding(
            dense=draw.dense(hidden, pixels),
            cls=draw.random.standard_normal(hidden),
            position=0.3 * draw.random.standard_normal((tokens, hidden)),
            image=(1, 1, pixels * (tokens - 1)),
            patch=(1, pixels),
            scale=np.array([1 / 64]),
            offset=np.array([-2.0]),
        )
    else:
        embedding = RowEmbedding(norm=draw.affine(hidden) if norm == "post" else None)
    has_head = classes is not None and layers > 0
    return Checkpoint(
        name=f"random-{seed}",
        norm=norm,
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        ffn=ffn,
        max_tokens=tokens,
        activation=activation,
        eps=1e-12 if norm == "pre" else 1e-5,
        embedding=embedding,
        layers=tuple(draw.layer(hidden, inner, ffn) for _ in range(layers)),
        final_norm=draw.affine(hidden) if norm == "pre" and layers else None,
        pooler=draw.dense(hidden, hidden) if pooler and has_head else None,
        classifier=draw.dense(classes, hidden) if classes and has_head else None,
        labels=tuple(str(index) for index in range(classes)) if classes and has_head else (),
    )


def random_samples(checkpoint: Checkpoint, count: int, seed: int) -> npt.NDArray:
    """``count`` float-side inputs of full length: uint8 images, or rows from a standard normal distribution."""
    random = np.random.default_rng([seed, 1])
    if isinstance(checkpoint.embedding, PatchEmbedding):
        return random.integers(0, 256, (count, *checkpoint.embedding.image), dtype=np.uint8)
    return random.standard_normal((count, checkpoint.max_tokens, checkpoint.hidden))


def random_model(*, exp: str = "base2", gelu: str = "table", seed: int = 0, **shape: Any) -> QuantModel:
    """:func:`random_checkpoint` of ``shape`` and ``seed``, quantised for the kernels ``exp`` and ``gelu``."""
    checkpoint = random_checkpoint(seed=seed, **shape)
    count = int(np.clip(CALIBRATION_ROWS // checkpoint.max_tokens, *CALIBRATION_SAMPLES))
    return quantise(checkpoint, random_samples(checkpoint, count, seed), exp=exp, gelu=gelu)


def random_rows(model: QuantModel, tokens: int, seed: int = 0) -> npt.NDArray:
    """One random input of ``model`` in its integer form: [tokens, width] uint8 patches (the class token's row zero),
    int16 residual rows or int8 operands."""
    random = np.random.default_rng([seed, 2])
    if isinstance(model.input, PatchInput):
        rows = random.integers(0, 256, (tokens, model.input.linear.weight.shape[1]), dtype=np.uint8)
        rows[0] = 0
        return rows
    bits, kind = (8, np.int8) if isinstance(model.input, OperandInput) else (16, np.int16)
    rows = random.standard_normal((tokens, model.hidden)) / model.scales["input"]
    return saturate(np.rint(rows).astype(np.int64), bits).astype(kind)
