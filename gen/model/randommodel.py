# SPDX-License-Identifier: Apache-2.0
"""Random encoders of any size, calibrated on random inputs, for the configuration sweep and the benchmarks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gen.model.blocks import (
    Act,
    Attention,
    Block,
    Checkpoint,
    Classifier,
    Dense,
    FeedForward,
    FirstRow,
    Norm,
    PatchEmbedding,
    Pooler,
    post_norm,
    pre_norm,
)
from gen.model.inputs import Images, Rows, Source
from gen.model.quantize import quantise
from sim.qmodel import QuantModel

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

    def norm(self, hidden: int, *, stream: bool = False) -> Norm:
        gamma = self.random.lognormal(0, 0.3, hidden)
        return Norm(gamma=gamma, beta=0.2 * self.random.standard_normal(hidden), stream=stream)

    def attention(self, hidden: int, inner: int) -> Attention:
        q, k = self.dense(inner, hidden, 1.2), self.dense(inner, hidden, 1.2)
        return Attention(q=q, k=k, v=self.dense(inner, hidden), o=self.dense(hidden, inner))

    def layer(self, hidden: int, inner: int, ffn: int, activation: Act, *, pre: bool) -> tuple[Block, ...]:
        attention, norm1, norm2 = self.attention(hidden, inner), self.norm(hidden), self.norm(hidden)
        ffn_block = FeedForward(up=self.dense(ffn, hidden), activation=activation, down=self.dense(hidden, ffn))
        if pre:
            return pre_norm(norm1, attention, norm2, ffn_block)
        return post_norm(attention, norm1, ffn_block, norm2)

    def patches(self, hidden: int, pixels: int, tokens: int) -> PatchEmbedding:
        return PatchEmbedding(
            dense=self.dense(hidden, pixels),
            cls=self.random.standard_normal(hidden),
            position=0.3 * self.random.standard_normal((tokens, hidden)),
            scale=np.array([1 / 64]),
            offset=np.array([-2.0]),
        )

    def head(self, hidden: int, classes: int | None, *, pre: bool, pooler: bool) -> tuple[Block, ...]:
        """Classifier, pooler and final norm: drawn in the order norm, pooler, classifier."""
        final = (self.norm(hidden, stream=not classes),) if pre else ()
        if not classes:
            return final
        pooled = (Pooler(dense=self.dense(hidden, hidden)),) if pooler else ()
        return FirstRow(), *final, *pooled, Classifier(dense=self.dense(classes, hidden))


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
    draw, pre = _Draw(seed), norm == "pre"
    head_dim = hidden // heads if head_dim is None else head_dim
    inner = heads * head_dim
    stem: tuple[Block, ...] = ()
    source: Source = Rows(features=hidden)
    head: tuple[Block, ...]
    if layers == 0:
        source, head = Rows(kind="operands", features=hidden), (draw.attention(hidden, inner),)
        body: tuple[tuple[Block, ...], ...] = ()
        classes = None
    else:
        if pixels is not None:
            source = Images(image=(1, 1, pixels * (tokens - 1)), patch=(1, pixels))
            stem = (draw.patches(hidden, pixels, tokens),)
        elif not pre:
            stem = (draw.norm(hidden, stream=True),)
        body = tuple(draw.layer(hidden, inner, ffn, activation, pre=pre) for _ in range(layers))
        head = draw.head(hidden, classes, pre=pre, pooler=pooler)
    return Checkpoint(
        name=f"random-{seed}",
        input=source,
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        ffn=ffn,
        max_tokens=tokens,
        eps=1e-12 if pre else 1e-5,
        stem=stem,
        layers=body,
        head=head,
        labels=tuple(str(index) for index in range(classes or 0)),
    )


def random_samples(checkpoint: Checkpoint, count: int, seed: int) -> npt.NDArray:
    """``count`` float-side inputs of full length: uint8 images, or rows from a standard normal distribution."""
    return checkpoint.input.random(np.random.default_rng([seed, 1]), count, checkpoint.max_tokens)


def random_model(*, exp: str = "base2", gelu: str = "table", seed: int = 0, **shape: Any) -> QuantModel:
    """:func:`random_checkpoint` of ``shape`` and ``seed``, quantised for the kernels ``exp`` and ``gelu``."""
    checkpoint = random_checkpoint(seed=seed, **shape)
    count = int(np.clip(CALIBRATION_ROWS // checkpoint.max_tokens, *CALIBRATION_SAMPLES))
    return quantise(checkpoint, random_samples(checkpoint, count, seed), exp=exp, gelu=gelu)


def random_rows(model: QuantModel, tokens: int, seed: int = 0) -> npt.NDArray:
    """One random input of ``model`` in its integer form, as :meth:`sim.blocks.Input.random` draws it."""
    return model.input.random(np.random.default_rng([seed, 2]), tokens, model.scales["input"])
