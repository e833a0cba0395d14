# SPDX-License-Identifier: Apache-2.0
"""Whether a quantised model is one: every tensor's type, shape and range, and what one part asks of another."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from gen.model.fixedpoint import EPS_MAX, NORM_SHIFT_MAX
from gen.schema import Misfit, describe
from sim.blocks import OrderError, Part, check_order
from sim.golden import MULT_BITS, SHIFT_MAX
from sim.qmodel import (
    Activation,
    Attention,
    Block,
    Classifier,
    FeedForward,
    IBertGelu,
    Linear,
    Norm,
    NormForm,
    PatchEmbedding,
    Pooler,
    QuantModel,
    Relu,
    Table,
)

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
    if not re.fullmatch("([0-9a-f]{64})?", model.source):
        raise Misfit(f"source must be a SHA-256 in hexadecimal, or empty, not {describe(model.source)}")
    _number("input.features", model.input.features, 1, SIZE_MAX)
    if model.input.part != Part.PATCHES and model.input.features != model.hidden:
        raise Misfit(f"input.features must be {model.hidden}, as hidden is, not {model.input.features}")
    try:
        check_order(model.named(), model.input)
    except OrderError as error:
        raise Misfit(str(error)) from None
    for name, block in model.named():
        _block(name, block, model)
    if len(model.labels) not in (0, model.classes):
        raise Misfit(f"labels must be {model.classes} for the classifier's outputs, not {len(model.labels)}")


def _block(name: str, block: Block, model: QuantModel) -> None:
    match block:
        case PatchEmbedding():
            _linear(f"{name}.linear", block.linear, model.hidden, model.input.features)
            _tensor(f"{name}.position", block.position, np.int16, (model.max_tokens, model.hidden))
        case Norm():
            _norm(name, block, model)
        case Attention():
            _attention(name, block, model)
        case FeedForward():
            _linear(f"{name}.up", block.up, model.ffn, model.hidden)
            _activation(f"{name}.activation", block.activation, model.ffn)
            _linear(f"{name}.down", block.down, model.hidden, model.ffn)
        case Pooler():
            _linear(f"{name}.linear", block.linear, model.hidden, model.hidden)
            _activation(f"{name}.activation", block.activation, model.hidden)
        case Classifier():
            _linear(f"{name}.linear", block.linear, None, model.hidden)


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


def _norm(where: str, norm: Norm, model: QuantModel) -> None:
    """The forms that are there are those that are needed."""
    _number(f"{where}.eps", norm.eps, 1, EPS_MAX)
    for name, form, needed in (("narrow", norm.narrow, bool(model.readers(where))), ("wide", norm.wide, norm.stream)):
        if form is None and needed:
            raise Misfit(f"{where} lacks its {name} form")
        if form is not None and not needed:
            raise Misfit(f"{where} has a {name} form, which nothing reads")
        if form is not None:
            _norm_form(f"{where}.{name}", form, model.hidden)
    if norm.narrow is None and norm.wide is None:
        raise Misfit(f"{where} makes nothing that is read")


def _norm_form(where: str, form: NormForm, hidden: int) -> None:
    _tensor(f"{where}.gamma", form.gamma, np.int16, (hidden,))
    _tensor(f"{where}.beta", form.beta, np.int32, (hidden,), -BETA_MAX, BETA_MAX)
    _number(f"{where}.shift", form.shift, 1, NORM_SHIFT_MAX)


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


def _activation(where: str, activation: Activation, outputs: int) -> None:
    match activation:
        case Table():
            _tensor(f"{where}.table", activation.table, np.uint8, (2, 256))
            _tensor(f"{where}.bank", activation.bank, np.uint8, (outputs,), 0, 1)
        case IBertGelu():
            _number(f"{where}.b", activation.b, 0, (1 << 12) - 1)
            _number(f"{where}.c", activation.c, 0, (1 << 20) - 1)
            _number(f"{where}.mult", activation.mult, 0, (1 << MULT_BITS) - 1)
            _number(f"{where}.shift", activation.shift, 1, SHIFT_MAX)
        case Relu():
            pass
