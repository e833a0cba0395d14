# SPDX-License-Identifier: Apache-2.0
"""Activation constants: lookup tables, and those of I-BERT's polynomial GELU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen.model.blocks import Act, Dense
from gen.model.calibration import Range
from gen.model.fixedpoint import multiplier, smoothing
from gen.model.floatmodel import ACTIVATIONS
from sim.qmodel import Activation, IBertGelu, Relu, Table

Float = npt.NDArray[np.floating]

GELU_LOW = -3.0  # below it GELU is within 0.005 of zero
GELU_DIP = 0.17  # depth of GELU's minimum
BANK_MARGIN = 1.25  # headroom of a channel that takes the finer table
IBERT_RANGE = 0.35  # smallest range for which i-GELU's constants fit their fields
TANH_RANGE = 4.0  # beyond it tanh is within 0.001 of 1
TANH_LEAST = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantised:
    """An activation and how its two sides are to be read: real = scale * (integer - zero), per channel."""

    activation: Activation
    in_scale: Float  # [channels]
    in_zero: Float
    out_scale: Float
    out_zero: Float


def quantise_activation(kind: Act, kernel: str, up: Range, down: Dense, name: str) -> Quantised:
    """Activation between ``up`` and ``down`` of an FFN; ``kind`` as in the checkpoint, ``kernel``: table or ibert."""
    if kind == "relu":
        return _relu(up, down)
    return _gelu_table(ACTIVATIONS[kind], up) if kernel == "table" else _gelu_ibert(up, name)


def _tabulate(function: Callable[[Float], Float], low: float, high: float, dip: float) -> tuple[Float, tuple]:
    """uint8 table of ``function`` on [low, high], and (input scale, zero, output scale, zero)."""
    in_scale = (high - low) / 255
    in_zero = round(-low / in_scale)
    values = function((np.arange(256) - in_zero) * in_scale)
    out_scale = (values[-1] + dip) / 255
    out_zero = round(dip / out_scale)
    return np.clip(np.rint(values / out_scale) + out_zero, 0, 255), (in_scale, in_zero, out_scale, out_zero)


def _gelu_table(function: Callable[[Float], Float], up: Range) -> Quantised:
    """Two tables, on [-3, hi] and [-3, hi/2]; a channel takes the second if 1.25 times its largest value fits."""
    high = max(up.far, 0.5)
    tables, sides = zip(*(_tabulate(function, GELU_LOW, top, GELU_DIP) for top in (high, high / 2)), strict=True)
    bank = (BANK_MARGIN * up.high <= high / 2).astype(np.uint8)
    in_scale, in_zero, out_scale, out_zero = np.array(sides)[bank].T
    activation = Table(table=np.array(tables).astype(np.uint8), bank=bank)
    return Quantised(activation=activation, in_scale=in_scale, in_zero=in_zero, out_scale=out_scale, out_zero=out_zero)


def tanh_table(up: Range) -> Quantised:
    """Table of tanh (BERT's pooler) for ``up``'s channels."""
    width = len(up.peak)
    high = float(np.clip(up.peak.max(), TANH_LEAST, TANH_RANGE))
    table, side = _tabulate(np.tanh, -high, high, math.tanh(high))
    in_scale, in_zero, out_scale, out_zero = (np.full(width, value) for value in side)
    activation = Table(table=np.array([table, table]).astype(np.uint8), bank=np.zeros(width, dtype=np.uint8))
    return Quantised(activation=activation, in_scale=in_scale, in_zero=in_zero, out_scale=out_scale, out_zero=out_zero)


def _relu(up: Range, down: Dense) -> Quantised:
    """Clamping to uint8 is the activation; it commutes with positive scales, so channels are smoothed."""
    high = np.maximum(up.high, 1e-6)
    scale = smoothing(high, np.abs(down.weight).max(0))
    scale = scale * (high / scale).max() / 255
    zero = np.zeros_like(scale)
    return Quantised(activation=Relu(), in_scale=scale, in_zero=zero, out_scale=scale, out_zero=zero)


def _gelu_ibert(up: Range, name: str) -> Quantised:
    """I-BERT's polynomial on int8, see :func:`sim.golden.gelu_ibert`; one scale for the layer."""
    high = max(up.upper, min(-up.lower, -GELU_LOW), IBERT_RANGE)
    scale = high / 127
    root = scale / 1.4142
    b, c = -math.floor(-1.769 / root), -math.floor(1 / (-0.2888 * root**2))
    out = high / 127
    mult, shift = multiplier(scale / (2 * c) / out, name)  # far from zero y = 2 c x
    zero, one = np.zeros(len(up.peak)), np.ones(len(up.peak))
    activation = IBertGelu(b=b, c=c, mult=int(mult), shift=int(shift))
    return Quantised(activation=activation, in_scale=scale * one, in_zero=zero, out_scale=out * one, out_zero=zero)
