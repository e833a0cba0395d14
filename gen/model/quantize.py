# SPDX-License-Identifier: Apache-2.0
"""Post-training static quantisation: a float checkpoint and calibration inputs to the integer model.

The recipe (measurements in docs/numerics.md): symmetric int8 weights per output channel; SmoothQuant (Xiao et al.,
2022, arXiv:2211.10438) folded into every LayerNorm that feeds the array; maximum calibration for those smoothed
tensors, the 99.99 percentile for q, k, v and the attention output, the 99.999 percentile for GELU's argument (99.99 for
I-BERT's); an int16 residual stream with one scale; GELU asymmetric with two table banks.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.model.activations import quantise_activation, tanh_table
from gen.model.blocks import (
    Attention,
    Block,
    Checkpoint,
    Classifier,
    Dense,
    FeedForward,
    Norm,
    PatchEmbedding,
    Pooler,
    Residual,
    reading,
)
from gen.model.calibration import calibrate, unseen
from gen.model.fixedpoint import least_peak, least_step, linear, multiplier, norm, smoothing
from gen.model.inputs import Samples
from sim import qmodel
from sim.blocks import OrderError, Part, beside, check_order
from sim.golden import saturate
from sim.qmodel import QuantModel

Float = npt.NDArray[np.floating]

HEADROOM = 1.15  # of an int16 scale over the calibrated maximum
LOGIT_HEADROOM = 4.0  # costs nothing: logits are int8 products, and nothing reads them but the host
INT16_MAX = 32767
INT8_MAX = 127
TINY = 1e-9  # a smaller range counts as zero
SCORE_UNITS = {"base2": 16 * math.log2(math.e), "ibert": 256.0}
"""Steps of the exponential's argument to one natural unit, see :data:`sim.golden.EXP_INDEX_BITS`."""
KERNELS = {"exp": ("base2", "ibert"), "gelu": ("table", "ibert")}


def quantise(checkpoint: Checkpoint, calibration: Samples, *, exp: str = "base2", gelu: str = "table") -> QuantModel:
    """Quantise ``checkpoint`` with the ranges seen on ``calibration``: see :meth:`gen.model.blocks.Checkpoint.samples`.

    ``exp`` and ``gelu`` name the kernels of the core that is to run the model.

    Raises
    ------
    InputError
        If the calibration inputs do not fit the model, its blocks do not follow from each other, a kernel is unknown
        or cannot express the model, or a constant does not fit its field.
    """
    for option, value in (("exp", exp), ("gelu", gelu)):
        if value not in KERNELS[option]:
            raise InputError(f'{option}: unknown kernel "{value}"; choose one of {", ".join(KERNELS[option])}')
    try:
        check_order(checkpoint.named(), checkpoint.input.form)
    except OrderError as error:
        raise InputError(f"{checkpoint.name}: {error}; correct the order of its blocks") from None
    if gelu != "table" and any(isinstance(block, Pooler) for _, block in checkpoint.named()):
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
    with np.errstate(over="ignore"):
        rows, lengths = checkpoint.input.rows(checkpoint.samples(inputs, name))
        return np.split(model.input.rounded(rows / model.scales["input"]), np.cumsum(lengths)[:-1])


def alive(ranges: npt.ArrayLike) -> Float:
    """``ranges`` with those of zero, of which calibration says nothing, as the least of the others, or as 1."""
    ranges = np.asarray(ranges, dtype=np.float64)
    live = ranges[ranges > TINY]
    return np.where(ranges > TINY, ranges, live.min() if live.size else 1.0)


class _Quantiser:
    """One run: the checkpoint, its calibrated ranges, and the scales that follow from them.

    Blocks are quantised in order. ``operand`` and ``zero`` are the scale and the zero point of each channel of the
    operand that the last of them made, ``stream`` is the step of the residual stream.
    """

    def __init__(self, checkpoint: Checkpoint, calibration: Samples, exp: str, gelu: str):
        self.checkpoint = checkpoint
        self.ranges = calibrate(checkpoint, calibration)
        for name, block in checkpoint.named():
            if isinstance(block, Norm):
                seen = self.ranges[name]
                least = least_peak(block, unseen(seen.rows))
                self.ranges[name] = replace(
                    seen, peak=np.maximum(seen.peak, least), largest=max(seen.largest, float(least.max()))
                )
        self.exp, self.gelu = exp, gelu
        residual = self.residual_step()
        self.scales = {"residual": residual, "input": self.input_step(residual), "output": residual}
        self.stream = self.scales["input"]
        self.operand = np.full(checkpoint.input.form.features, self.scales["input"])
        self.zero: Float | int = 0

    def wide(self, *names: str, headroom: float = HEADROOM) -> float:
        """Step of an int16 tensor that holds all the named ones."""
        return headroom * float(alive(max(self.ranges[name].largest for name in names))) / INT16_MAX

    def normed_step(self, step: float) -> float:
        """``step`` of an int16 tensor that a LayerNorm reads, made coarser where eps asks for it."""
        return max(step, least_step(self.checkpoint.eps, self.checkpoint.hidden))

    def enters_as_it_is(self) -> bool:
        """Whether the input is the residual stream without a norm that makes another of it."""
        stem = self.checkpoint.stem
        return self.checkpoint.input.form.part == Part.STREAM and not any(isinstance(block, Norm) for block in stem)

    def own_scale(self, name: str) -> bool:
        """Whether a norm's rows have a scale of their own, for nothing is added to them: those of one in the head."""
        return name in self.checkpoint.head_names

    def residual_step(self) -> float:
        """One step for every tensor that is, or is added to, the residual stream."""
        names, bound = ["embedding"] if self.enters_as_it_is() else [], 0.0
        for name, block in self.checkpoint.named():
            stream = isinstance(block, Residual) or (isinstance(block, Norm) and block.stream)
            if Part.UPDATE in block.makes or (stream and not self.own_scale(name)):
                names.append(name)
            if isinstance(block, PatchEmbedding):  # position + patch, where the patch alone must fit too
                bound = self.ranges[name].largest + float(np.abs(_position(block)).max())
        return self.normed_step(max(self.wide(*names), HEADROOM * bound / INT16_MAX))

    def input_step(self, residual: float) -> float:
        """Step of the input."""
        source = self.checkpoint.input
        if source.form.part == Part.PATCHES:
            return 1.0
        if source.form.part == Part.OPERAND:
            return float(alive(self.ranges["input"].largest)) / INT8_MAX
        if self.enters_as_it_is():
            return residual
        largest = source.largest()
        return self.normed_step(self.wide("embedding") if largest is None else float(alive(largest)) / INT16_MAX)

    def model(self) -> QuantModel:
        """The whole model."""
        checkpoint = self.checkpoint
        return QuantModel(
            name=checkpoint.name,
            input=checkpoint.input.form,
            hidden=checkpoint.hidden,
            heads=checkpoint.heads,
            head_dim=checkpoint.head_dim,
            ffn=checkpoint.ffn,
            max_tokens=checkpoint.max_tokens,
            exp=cast(Literal["base2", "ibert"], self.exp),
            gelu=cast(Literal["table", "ibert"], self.gelu),
            labels=checkpoint.labels,
            source=checkpoint.source,
            **checkpoint.mapped(self.quantised),
            scales=self.scales,
        )

    def quantised(self, name: str, block: Block) -> qmodel.Block:
        """The block in integers."""
        match block:
            case PatchEmbedding():
                return self.patches(block)
            case Norm():
                return self.norm(name, block)
            case Attention():
                return self.attention(name, block)
            case FeedForward():
                return self.feed_forward(name, block)
            case Pooler():
                return self.pooler(name, block)
            case Classifier():
                return self.classifier(name, block)
        return block

    def patches(self, block: PatchEmbedding) -> qmodel.PatchEmbedding:
        """Patch projection on raw pixels; preprocessing's offset, biases and class token are in the position table."""
        self.stream = residual = self.scales["residual"]
        weight, _ = _pixel_weights(block)
        projection = linear(weight, np.zeros(len(weight)), residual, "patch embedding")
        position = saturate(np.rint(_position(block) / residual).astype(np.int64), 16).astype(np.int16)
        return qmodel.PatchEmbedding(linear=projection, position=position)

    def norm(self, name: str, block: Norm) -> qmodel.Norm:
        """A LayerNorm, its 8-bit form smoothed against the matrices that read it."""
        source, narrow, wide = self.stream, None, None
        if readers := self.checkpoint.readers(name):
            peak = np.maximum(self.ranges[name].peak, TINY)
            weights = [np.abs(matrix.weight).max(0) for reader in readers for matrix in reading(reader)]
            smooth = smoothing(peak, np.max(weights, axis=0).astype(np.float64))
            narrow = self.operand = smooth * (peak / smooth).max() / INT8_MAX
            self.scales[name] = float((peak / smooth).max() / INT8_MAX)
            self.zero = 0
        if block.stream:
            wide = self.stream = self.scales["residual"]
            if self.own_scale(name):
                wide = self.stream = self.scales["output"] = self.wide(name)
        return norm(block, self.checkpoint.eps, source, name, narrow=narrow, wide=wide)

    def attention(self, name: str, block: Attention) -> qmodel.Attention:
        """Attention; q, k, v and o have one scale per head."""
        checkpoint = self.checkpoint
        head = {tensor: alive(self.ranges[beside(name, tensor)].tail) / INT8_MAX for tensor in "qkvo"}
        channel = {tensor: np.repeat(scale, checkpoint.head_dim) for tensor, scale in head.items()}

        def projection(tensor: str, dense: Dense) -> qmodel.Linear:
            return linear(dense.weight * self.operand, dense.bias, channel[tensor], beside(name, tensor))

        unit = SCORE_UNITS[self.exp] / math.sqrt(checkpoint.head_dim)
        # Where a single step of a score is beyond the exponential's range, softmax is one-hot, and the largest will do.
        score_mult, score_shift = multiplier(head["q"] * head["k"] * unit, beside(name, "scores"), saturate=True)
        out_mult, out_shift = multiplier(head["v"] / head["o"], beside(name, "o"))
        return qmodel.Attention(
            q=projection("q", block.q),
            k=projection("k", block.k),
            v=projection("v", block.v),
            o=linear(block.o.weight * channel["o"], block.o.bias, self.scales["residual"], name),
            score_mult=score_mult,
            score_shift=score_shift,
            out_mult=out_mult,
            out_shift=out_shift,
        )

    def feed_forward(self, name: str, block: FeedForward) -> qmodel.FeedForward:
        """FFN; its hidden rows have the scales that suit the activation."""
        up = beside(name, "up")
        act = quantise_activation(block.activation, self.gelu, self.ranges[up], block.down, up)
        self.scales[beside(name, "hidden")] = float(act.out_scale.max())
        down = block.down.weight * act.out_scale
        return qmodel.FeedForward(
            up=linear(block.up.weight * self.operand, block.up.bias, act.in_scale, up, out_zero=act.in_zero),
            activation=act.activation,
            down=linear(down, block.down.bias, self.scales["residual"], name, in_zero=act.out_zero),
        )

    def pooler(self, name: str, block: Pooler) -> qmodel.Pooler:
        """Pooler; its row is an operand with a zero point."""
        act = tanh_table(self.ranges[f"{name}.up"])
        dense = block.dense
        pooled = linear(dense.weight * self.operand, dense.bias, act.in_scale, name, out_zero=act.in_zero)
        self.operand, self.zero = act.out_scale, act.out_zero
        return qmodel.Pooler(linear=pooled, activation=act.activation)

    def classifier(self, name: str, block: Classifier) -> qmodel.Classifier:
        """Classifier; its logits have a scale of their own."""
        scale = self.scales["logits"] = self.scales["output"] = self.wide("output", headroom=LOGIT_HEADROOM)
        dense = block.dense
        return qmodel.Classifier(linear=linear(dense.weight * self.operand, dense.bias, scale, name, in_zero=self.zero))


def _pixel_weights(block: PatchEmbedding) -> tuple[Float, Float]:
    """Projection of raw pixels: weights with the preprocessing's scale, and the constant its offset contributes."""
    weight = block.dense.weight.astype(np.float64)
    return weight * block.of_pixels(block.scale), weight @ block.of_pixels(block.offset)


def _position(block: PatchEmbedding) -> Float:
    """What each row of the residual stream starts from: all but the pixels' own contribution."""
    _, offset = _pixel_weights(block)
    position = block.position.astype(np.float64).copy()
    position[0] += block.cls
    position[1:] += block.dense.bias + offset
    return position
