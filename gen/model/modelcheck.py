# SPDX-License-Identifier: Apache-2.0
"""Whether a quantised model is one: every tensor's type, shape and range, and what one part asks of another."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from gen.model.fixedpoint import EPS_MAX, NORM_SHIFT_MAX
from gen.schema import Misfit, describe
from sim.golden import MULT_BITS, SHIFT_MAX
from sim.qmodel import Activation, Attention, FeedForward, Linear, Norm, OperandInput, PatchInput, QuantModel

__all__ = ["check_values"]

SIZE_MAX = 1 << 16
"""Largest dimension, far above what any core takes."""
SCALES = (1e-36, 1e36)
"""Real value of a step: what keeps every number of the model a float64, and an input divided by it."""
BIAS_MAX = (1 << 30) - 1
BETA_MAX = 1 << 30


def check_values(model: QuantModel) -> None:
    """Check a model whose fields have the types that :mod:`sim.qmodel` says.

    Which parts go together on a core is the compiler's to say.

    Raises
    ------
    Misfit
        The message names the field.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", model.name):  # it stands in reports, titles and comments
        raise Misfit(f"name must be of letters, digits, '_', '.' and '-', not {model.name!r}")
    for name in ("hidden", "heads", "head_dim", "ffn", "max_tokens"):
        _number(name, getattr(model, name), 1, SIZE_MAX)
    for name in ("residual", "input", "output"):
        if name not in model.scales:
            raise Misfit(f"scales lacks {name!r}")
    for name, scale in model.scales.items():
        _number(f"scales.{name}", scale, *SCALES)
    match model.input:
        case PatchInput(linear=linear, position=position):
            _linear("input.linear", linear, model.hidden)
            _tensor("input.position", position, np.int16, (model.max_tokens, model.hidden))
        case OperandInput(attention=attention):
            _attention("input.attention", attention, model)
        case _:
            _norm("input.norm", model.input.norm, model, narrow=True, wide=True)
    post = model.norm == "post"
    for index, layer in enumerate(model.layers):
        where = f"layers.{index}"
        _attention(f"{where}.attention", layer.attention, model)
        _norm(f"{where}.norm1", layer.norm1, model, narrow=True, wide=post)
        _norm(f"{where}.norm2", layer.norm2, model, narrow=True, wide=post)
        _feed_forward(f"{where}.ffn", layer.ffn, model)
    if not re.fullmatch("([0-9a-f]{64})?", model.source):
        raise Misfit(f"source must be a SHA-256 in hexadecimal, or empty, not {describe(model.source)}")
    head = model.classifier is not None
    _norm("final_norm", model.final_norm, model, narrow=head, wide=not head)
    if model.pooler is not None:
        _linear("pooler.linear", model.pooler.linear, model.hidden, model.hidden)
        _activation("pooler.activation", model.pooler.activation, model.hidden)
    if head:
        _linear("classifier", model.classifier, None, model.hidden)
    classes = len(model.classifier.weight) if head else 0
    if len(model.labels) not in (0, classes):
        raise Misfit(f"labels must be {classes} for the classifier's outputs, not {len(model.labels)}")


def _number(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise Misfit(f"{where} must lie in {low}..{high}, not {value}")


def _tensor(
    where: str, found: npt.NDArray, kind: type, shape: tuple[int | None, ...], low: int | None = None,
    high: int | None = None,
) -> None:  # fmt: skip
    """``None`` in ``shape``: at least 1; ``low``, ``high``: limits narrower than the type's."""
    if found.dtype != kind:
        raise Misfit(f"{where} must be {np.dtype(kind)}, not {found.dtype}")
    sizes = zip(found.shape, shape, strict=True) if found.ndim == len(shape) else [(0, None)]
    if not all(1 <= size <= SIZE_MAX and wanted in (None, size) for size, wanted in sizes):
        asked = ", ".join("1.." if size is None else str(size) for size in shape)
        raise Misfit(f"{where} must be of shape [{asked}], not {list(found.shape)}")
    if (low is not None and found.min() < low) or (high is not None and found.max() > high):
        low, high = (np.iinfo(kind).min if low is None else low), (np.iinfo(kind).max if high is None else high)
        raise Misfit(f"{where} must lie in {low}..{high}, not {found.min()}..{found.max()}")


def _linear(where: str, linear: Linear, outputs: int | None, inputs: int | None = None) -> None:
    _tensor(f"{where}.weight", linear.weight, np.int8, (outputs, inputs))
    outputs = len(linear.weight)
    _tensor(f"{where}.bias", linear.bias, np.int32, (outputs,), -BIAS_MAX, BIAS_MAX)
    _tensor(f"{where}.mult", linear.mult, np.uint16, (outputs,))
    _tensor(f"{where}.shift", linear.shift, np.uint8, (outputs,), 1, SHIFT_MAX)


def _norm(where: str, norm: Norm | None, model: QuantModel, *, narrow: bool, wide: bool) -> None:
    """``narrow``, ``wide``: whether the 8- and the 16-bit form are used, and so must be there."""
    if norm is None:
        return
    _number(f"{where}.eps", norm.eps, 1, EPS_MAX)
    for bits, used in ((8, narrow), (16, wide)):
        gamma, beta = getattr(norm, f"gamma{bits}"), getattr(norm, f"beta{bits}")
        _number(f"{where}.shift{bits}", getattr(norm, f"shift{bits}"), 1, NORM_SHIFT_MAX)
        if gamma is None and beta is None and not used:
            continue
        if gamma is None or beta is None:
            raise Misfit(f"{where} lacks {'gamma' if gamma is None else 'beta'}{bits}")
        _tensor(f"{where}.gamma{bits}", gamma, np.int16, (model.hidden,))
        _tensor(f"{where}.beta{bits}", beta, np.int32, (model.hidden,), -BETA_MAX, BETA_MAX)


def _attention(where: str, block: Attention, model: QuantModel) -> None:
    inner = model.heads * model.head_dim
    for name in "qkv":
        _linear(f"{where}.{name}", getattr(block, name), inner, model.hidden)
    _linear(f"{where}.o", block.o, model.hidden, inner)
    # The shift of a row of P.V is out_shift + bitlen(sum of exponentials) - 1.
    longest = SHIFT_MAX + 1 - (255 * model.max_tokens).bit_length()
    for name, high in (("score", SHIFT_MAX), ("out", longest)):
        _tensor(f"{where}.{name}_mult", getattr(block, f"{name}_mult"), np.uint16, (model.heads,))
        _tensor(f"{where}.{name}_shift", getattr(block, f"{name}_shift"), np.uint8, (model.heads,), 1, high)


def _feed_forward(where: str, ffn: FeedForward, model: QuantModel) -> None:
    _linear(f"{where}.up", ffn.up, model.ffn, model.hidden)
    _activation(f"{where}.activation", ffn.activation, model.ffn)
    _linear(f"{where}.down", ffn.down, model.hidden, model.ffn)


def _activation(where: str, activation: Activation, outputs: int) -> None:
    tables = [name for name in ("table", "bank") if getattr(activation, name) is not None]
    if tables != (["table", "bank"] if activation.kind == "table" else []):
        raise Misfit(
            f"{where} of kind {activation.kind} must {'' if activation.kind == 'table' else 'not '}have tables"
        )
    if activation.kind == "table":
        _tensor(f"{where}.table", activation.table, np.uint8, (2, 256))
        _tensor(f"{where}.bank", activation.bank, np.uint8, (outputs,), 0, 1)
    _number(f"{where}.b", activation.b, 0, (1 << 12) - 1)
    _number(f"{where}.c", activation.c, 0, (1 << 20) - 1)
    _number(f"{where}.mult", activation.mult, 0, (1 << MULT_BITS) - 1)
    _number(f"{where}.shift", activation.shift, 1, SHIFT_MAX)
