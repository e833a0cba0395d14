# SPDX-License-Identifier: Apache-2.0
"""Post-training static quantisation: a float checkpoint and calibration inputs to the integer model.

The recipe (measurements in docs/numerics.md): symmetric int8 weights per output channel; SmoothQuant (Xiao et al.,
2022, arXiv:2211.10438) folded into every LayerNorm that feeds the array; maximum calibration for those smoothed
tensors, the 99.99 percentile for q, k, v and the attention output, the 99.999 percentile for GELU's argument (99.99 for
I-BERT's); an int16 residual stream with one scale; GELU asymmetric with two table banks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.model.activations import quantise_activation, tanh_table
from gen.model.calibration import calibrate, unseen
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
from gen.model.fixedpoint import least_peak, least_step, linear, multiplier, norm, smoothing
from gen.model.floatmodel import embed
from gen.model.inputs import Tokens, check_inputs, patch_rows
from sim.golden import saturate
from sim.qmodel import (
    Attention,
    FeedForward,
    Layer,
    Linear,
    Norm,
    OperandInput,
    PatchInput,
    Pooler,
    QuantModel,
    ResidualInput,
)

Float = npt.NDArray[np.floating]
Samples = npt.NDArray | Sequence[npt.NDArray] | Sequence[Tokens]

HEADROOM = 1.15  # of an int16 scale over the calibrated maximum
LOGIT_HEADROOM = 4.0  # costs nothing: logits are int8 products, and nothing reads them but the host
INT16_MAX = 32767
INT8_MAX = 127
TINY = 1e-9  # a smaller range counts as zero
SCORE_UNITS = {"base2": 16 * math.log2(math.e), "ibert": 256.0}
"""Steps of the exponential's argument to one natural unit, see :data:`sim.golden.EXP_INDEX_BITS`."""
KERNELS = {"exp": ("base2", "ibert"), "gelu": ("table", "ibert")}


def quantise(checkpoint: Checkpoint, calibration: Samples, *, exp: str = "base2", gelu: str = "table") -> QuantModel:
    """Quantise ``checkpoint`` with the ranges seen on ``calibration``: see :func:`gen.model.inputs.check_inputs`.

    ``exp`` and ``gelu`` name the kernels of the core that is to run the model.

    Raises
    ------
    InputError
        If the calibration inputs do not fit the model, a kernel is unknown or cannot express the model, or a constant
        does not fit its field.
    """
    for option, value in (("exp", exp), ("gelu", gelu)):
        if value not in KERNELS[option]:
            raise InputError(f'{option}: unknown kernel "{value}"; choose one of {", ".join(KERNELS[option])}')
    if checkpoint.pooler is not None and gelu != "table":
        raise InputError(f'{checkpoint.name}: gelu = "{gelu}" cannot express the pooler\'s tanh; choose gelu = "table"')
    try:
        with np.errstate(over="raise", invalid="raise"):
            return _Quantiser(checkpoint, calibration, exp, gelu).model()
    except FloatingPointError:
        raise InputError(f"{checkpoint.name}: numbers overflow in its constants; scale its weights down") from None


def integer_inputs(
    checkpoint: Checkpoint, model: QuantModel, inputs: Samples, name: str = "input"
) -> list[npt.NDArray]:
    """Float-side inputs of ``checkpoint`` as the rows that ``model``, quantised from it, takes: one array a sample.

    Images become uint8 patch rows; token ids are gathered and summed, and like residual rows rounded to int16 in steps
    of ``model.scales["input"]``; operands of a bare attention block are rounded to int8. ``name`` stands for the inputs
    in messages.

    Raises
    ------
    InputError
        If the inputs do not fit the model.
    """
    samples = check_inputs(checkpoint, inputs, name)
    if isinstance(checkpoint.embedding, PatchEmbedding):
        return list(patch_rows(np.stack(samples), checkpoint.embedding.patch))
    bits, kind = (8, np.int8) if isinstance(model.input, OperandInput) else (16, np.int16)
    with np.errstate(over="ignore"):
        rows, lengths = embed(checkpoint, samples)
        rows = np.clip(np.rint(rows / model.scales["input"]), -(1 << bits - 1), (1 << bits - 1) - 1).astype(kind)
    return np.split(rows, np.cumsum(lengths)[:-1])


def alive(ranges: npt.ArrayLike) -> Float:
    """``ranges`` with those of zero, of which calibration says nothing, as the least of the others, or as 1."""
    ranges = np.asarray(ranges, dtype=np.float64)
    live = ranges[ranges > TINY]
    return np.where(ranges > TINY, ranges, live.min() if live.size else 1.0)


class _Quantiser:
    """One run: the checkpoint, its calibrated ranges and the scales that follow from them."""

    def __init__(self, checkpoint: Checkpoint, calibration: Samples, exp: str, gelu: str):
        self.checkpoint = checkpoint
        self.ranges = calibrate(checkpoint, calibration)
        for name, affine in _norms(checkpoint).items():
            seen = self.ranges[name]
            least = least_peak(affine, unseen(seen.rows))
            self.ranges[name] = replace(
                seen, peak=np.maximum(seen.peak, least), largest=max(seen.largest, float(least.max()))
            )
        self.exp = exp
        self.gelu = gelu
        self.scales: dict[str, float] = {"residual": self.residual_scale()}

    def wide(self, *names: str, headroom: float = HEADROOM) -> float:
        """Step of an int16 tensor that holds all the named ones."""
        return headroom * float(alive(max(self.ranges[name].largest for name in names))) / INT16_MAX

    def normed_step(self, step: float) -> float:
        """``step`` of an int16 tensor that a LayerNorm reads, made coarser where eps asks for it."""
        return max(step, least_step(self.checkpoint.eps, self.checkpoint.hidden))

    def residual_scale(self) -> float:
        """One step for every tensor that is, or is added to, the residual stream."""
        checkpoint = self.checkpoint
        if isinstance(checkpoint.embedding, BareAttention):
            return self.wide("output")
        kinds = {"residual1", "residual2", "attention", "ffn"}
        if checkpoint.norm == "post":
            kinds |= {"norm", "norm1", "norm2"}
        elif not isinstance(checkpoint.embedding, PatchEmbedding):
            kinds.add("embedding")
        scale = self.wide(*(name for name in self.ranges if name.rpartition(".")[2] in kinds))
        if isinstance(checkpoint.embedding, PatchEmbedding):
            # position + patch, where the patch alone must fit too
            bound = self.ranges["embedding"].largest + np.abs(_position(checkpoint.embedding)).max()
            scale = max(scale, HEADROOM * float(bound) / INT16_MAX)
        return self.normed_step(scale)

    def model(self) -> QuantModel:
        """The whole model."""
        checkpoint = self.checkpoint
        shared = {
            "name": checkpoint.name,
            "norm": checkpoint.norm,
            "exp": self.exp,
            "gelu": self.gelu,
            "hidden": checkpoint.hidden,
            "heads": checkpoint.heads,
            "head_dim": checkpoint.head_dim,
            "ffn": checkpoint.ffn,
            "max_tokens": checkpoint.max_tokens,
            "labels": checkpoint.labels,
            "source": checkpoint.source,
            "scales": self.scales,
        }
        if isinstance(checkpoint.embedding, BareAttention):
            scale = float(alive(self.ranges["input"].largest)) / INT8_MAX
            self.scales |= {"input": scale, "output": self.scales["residual"]}
            operand = np.full(checkpoint.hidden, scale)
            block = OperandInput(attention=self.attention(checkpoint.embedding.attention, operand, ""))
            return QuantModel(input=block, layers=(), **shared)
        source, operand = self.input()
        layers = []
        for index, layer in enumerate(checkpoint.layers):
            quantised, operand = self.layer(layer, index, operand)
            layers.append(quantised)
        return QuantModel(input=source, layers=tuple(layers), **self.head(operand), **shared)

    def input(self) -> tuple[PatchInput | ResidualInput, Float | None]:
        """What turns the input into the residual stream; post-norm: also the scales of the first layer's operand."""
        embedding = self.checkpoint.embedding
        if isinstance(embedding, PatchEmbedding):
            self.scales["input"] = 1.0
            return self.patches(embedding), None
        if self.checkpoint.norm == "pre":
            self.scales["input"] = self.scales["residual"]
            return ResidualInput(), None
        if isinstance(embedding, TokenEmbedding):  # a bound over all tokens, not only those seen
            tables = (embedding.word, embedding.position, embedding.token_type)
            step = float(alive(sum(np.abs(table).max() for table in tables))) / INT16_MAX
        else:
            step = self.wide("embedding")
        self.scales["input"] = self.normed_step(step)
        affine = getattr(embedding, "norm", None)
        if affine is None:
            raise InputError(f"{self.checkpoint.name}: a post-norm model needs an embedding LayerNorm; add one")
        quantised, operand = self.norm("embedding.norm", affine, self.consumers(0), self.scales["input"], residual=True)
        return ResidualInput(norm=quantised), operand

    def patches(self, embedding: PatchEmbedding) -> PatchInput:
        """Patch projection on raw pixels; preprocessing's offset, biases and class token are in the position table."""
        residual = self.scales["residual"]
        weight, _ = _pixel_weights(embedding)
        projection = linear(weight, np.zeros(len(weight)), residual, "patch embedding")
        position = saturate(np.rint(_position(embedding) / residual).astype(np.int64), 16).astype(np.int16)
        return PatchInput(linear=projection, position=position)

    def consumers(self, index: int) -> list[Dense]:
        """The matrices that read the operand entering layer ``index``; behind the last layer, the head's."""
        checkpoint = self.checkpoint
        if index < len(checkpoint.layers):
            block = checkpoint.layers[index].attention
            return [block.q, block.k, block.v]
        head = checkpoint.pooler or checkpoint.classifier
        return [head] if head is not None else []

    def norm(
        self, name: str, affine: Affine, consumers: list[Dense], in_scale: float, *, residual: bool
    ) -> tuple[Norm, Float]:
        """A LayerNorm smoothed against its ``consumers``, and the scale of each channel of its 8-bit form.

        ``residual``: it makes the 16-bit form too, in the residual scale.
        """
        peak = np.maximum(self.ranges[name].peak, TINY)
        weights = [np.abs(consumer.weight).max(0) for consumer in consumers] or [np.ones_like(peak)]
        smooth = smoothing(peak, np.max(weights, axis=0).astype(np.float64))
        scale = smooth * (peak / smooth).max() / INT8_MAX
        self.scales[name] = float((peak / smooth).max() / INT8_MAX)
        wide = self.scales["residual"] if residual else None
        return norm(affine, self.checkpoint.eps, in_scale, name, scale8=scale, scale16=wide), scale

    def layer(self, layer: EncoderLayer, index: int, operand: Float | None) -> tuple[Layer, Float | None]:
        """One layer; post-norm: takes the scales of its operand and returns those of the next layer's."""
        prefix, residual = f"layer{index}.", self.scales["residual"]
        post = self.checkpoint.norm == "post"

        def normed(name: str, affine: Affine, consumers: list[Dense]) -> tuple[Norm, Float]:
            return self.norm(prefix + name, affine, consumers, residual, residual=post)

        first = normed("norm1", layer.norm1, [layer.up] if post else self.consumers(index))
        second = normed("norm2", layer.norm2, self.consumers(index + 1) if post else [layer.up])
        if post and operand is not None:
            sources, following = (operand, first[1]), second[1]
        else:
            sources, following = (first[1], second[1]), None
        block = self.attention(layer.attention, sources[0], prefix)
        ffn = self.feed_forward(layer, sources[1], prefix)
        return Layer(attention=block, norm1=first[0], norm2=second[0], ffn=ffn), following

    def attention(self, block: AttentionWeights, operand: Float, prefix: str) -> Attention:
        """Attention on an operand whose channels have the scales ``operand``; q, k, v and o have one scale a head."""
        checkpoint = self.checkpoint
        head = {name: alive(self.ranges[prefix + name].tail) / INT8_MAX for name in "qkvo"}
        channel = {name: np.repeat(scale, checkpoint.head_dim) for name, scale in head.items()}

        def projection(name: str, weights: Dense) -> Linear:
            return linear(weights.weight * operand, weights.bias, channel[name], prefix + name)

        unit = SCORE_UNITS[self.exp] / math.sqrt(checkpoint.head_dim)
        # Where a single step of a score is beyond the exponential's range, softmax is one-hot, and the largest will do.
        score_mult, score_shift = multiplier(head["q"] * head["k"] * unit, f"{prefix}scores", saturate=True)
        out_mult, out_shift = multiplier(head["v"] / head["o"], f"{prefix}o")
        return Attention(
            q=projection("q", block.q),
            k=projection("k", block.k),
            v=projection("v", block.v),
            o=linear(block.o.weight * channel["o"], block.o.bias, self.scales["residual"], f"{prefix}attention"),
            score_mult=score_mult,
            score_shift=score_shift,
            out_mult=out_mult,
            out_shift=out_shift,
        )

    def feed_forward(self, layer: EncoderLayer, operand: Float, prefix: str) -> FeedForward:
        """FFN on an operand whose channels have the scales ``operand``."""
        name = f"{prefix}up"
        act = quantise_activation(self.checkpoint.activation, self.gelu, self.ranges[name], layer.down, name)
        up = linear(layer.up.weight * operand, layer.up.bias, act.in_scale, name, out_zero=act.in_zero)
        down = linear(
            layer.down.weight * act.out_scale,
            layer.down.bias,
            self.scales["residual"],
            f"{prefix}ffn",
            in_zero=act.out_zero,
        )
        self.scales[f"{prefix}hidden"] = float(act.out_scale.max())
        return FeedForward(up=up, activation=act.activation, down=down)

    def head(self, operand: Float | None) -> dict:
        """Final norm, pooler and classifier, as far as there are any."""
        checkpoint, parts = self.checkpoint, {}
        self.scales["output"] = self.scales["residual"]
        if checkpoint.final_norm is not None and checkpoint.classifier is None:
            scale = self.scales["output"] = self.wide("final_norm")
            residual = self.scales["residual"]
            parts["final_norm"] = norm(checkpoint.final_norm, checkpoint.eps, residual, "final_norm", scale16=scale)
        elif checkpoint.final_norm is not None:
            consumers = self.consumers(len(checkpoint.layers))
            residual = self.scales["residual"]
            parts["final_norm"], operand = self.norm(
                "final_norm", checkpoint.final_norm, consumers, residual, residual=False
            )
        if checkpoint.classifier is None:
            return parts
        zero: Float | int = 0
        if operand is None:
            raise InputError(f"{checkpoint.name}: a pre-norm model with a classifier needs a final LayerNorm; add one")
        if checkpoint.pooler is not None:
            act = tanh_table(self.ranges["pooler.up"])
            pooler, bias = checkpoint.pooler.weight * operand, checkpoint.pooler.bias
            pooled = linear(pooler, bias, act.in_scale, "pooler", out_zero=act.in_zero)
            parts["pooler"] = Pooler(linear=pooled, activation=act.activation)
            operand, zero = act.out_scale, act.out_zero
        scale = self.scales["logits"] = self.scales["output"] = self.wide("output", headroom=LOGIT_HEADROOM)
        weight, bias = checkpoint.classifier.weight * operand, checkpoint.classifier.bias
        parts["classifier"] = linear(weight, bias, scale, "classifier", in_zero=zero)
        return parts


def _norms(checkpoint: Checkpoint) -> dict[str, Affine]:
    """Every LayerNorm by the name of its result."""
    found = {"embedding.norm": getattr(checkpoint.embedding, "norm", None), "final_norm": checkpoint.final_norm}
    for index, layer in enumerate(checkpoint.layers):
        found |= {f"layer{index}.norm1": layer.norm1, f"layer{index}.norm2": layer.norm2}
    return {name: affine for name, affine in found.items() if affine is not None}


def _pixel_weights(embedding: PatchEmbedding) -> tuple[Float, Float]:
    """Projection of raw pixels: weights with the preprocessing's scale, and the constant its offset contributes."""
    pixels = embedding.patch[0] * embedding.patch[1]
    weight = embedding.dense.weight.astype(np.float64)
    return weight * np.repeat(embedding.scale, pixels), weight @ np.repeat(embedding.offset, pixels)


def _position(embedding: PatchEmbedding) -> Float:
    """What each row of the residual stream starts from: all but the pixels' own contribution."""
    _, offset = _pixel_weights(embedding)
    position = embedding.position.astype(np.float64).copy()
    position[0] += embedding.cls
    position[1:] += embedding.dense.bias + offset
    return position
