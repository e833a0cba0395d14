# SPDX-License-Identifier: Apache-2.0
"""Real numbers to the accelerator's integer constants: multipliers, weights, biases, LayerNorm parameters."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.model.blocks import Norm
from hw.program.isa import EPS_BITS
from sim import qmodel
from sim.golden import MULT_BITS, SHIFT_MAX
from sim.qmodel import Linear, NormForm

Float = npt.NDArray[np.floating]
Int = npt.NDArray[np.integer]

WEIGHT_MAX = 127  # symmetric int8
BIAS_LIMIT = 1 << 26  # a bias larger than this in accumulator steps makes its channel's step coarser
RATIO_MAX = ((1 << MULT_BITS) - 1) / 2
NORM_BITS = 10  # fraction bits of a normalised value
NORM_SHIFT_MAX = 31
EPS_MAX = (1 << EPS_BITS) - 1


def multiplier(ratio: npt.ArrayLike, name: str, *, saturate: bool = False) -> tuple[Int, Int]:
    """``(mult, shift)`` with ``mult * 2^-shift`` nearest to each positive ``ratio``, mult in 2^15 .. 2^16 - 1.

    Ratios below 2^-48 take smaller multipliers, down to 0. ``saturate``: ratios of 2^15 or more take the largest.

    Raises
    ------
    InputError
        If a ratio is 2^15 or more and may not saturate; ``name`` says whose.
    """
    ratio = np.asarray(ratio, dtype=np.float64)
    if saturate:
        ratio = np.minimum(ratio, RATIO_MAX)
    fraction, exponent = np.frexp(ratio)
    mult, shift = np.rint(np.ldexp(fraction, MULT_BITS)).astype(np.int64), MULT_BITS - exponent.astype(np.int64)
    carry = mult >> MULT_BITS  # the fraction rounded up to 1
    mult, shift = mult >> carry, shift - carry
    if np.any(shift < 1):
        raise InputError(
            f"{name}: calibration saw values too small for the weights that make them (ratio {np.max(ratio):.3g})"
            "; calibrate on representative inputs"
        )
    excess = np.minimum(np.maximum(shift - SHIFT_MAX, 0), MULT_BITS)
    return (mult >> excess).astype(np.uint16), np.minimum(shift, SHIFT_MAX).astype(np.uint8)


def linear(
    weight: Float,
    bias: Float,
    out_scale: npt.ArrayLike,
    name: str,
    *,
    in_zero: npt.ArrayLike = 0,
    out_zero: npt.ArrayLike = 0,
) -> Linear:
    """Quantise ``weight @ (operand - in_zero) + bias`` to ``out_scale * (result - out_zero)``, per output channel.

    ``weight`` [out, in] already contains the scales of the operand's channels. Each row is quantised symmetrically to
    +-127; both zero points are folded into the integer bias, ``in_zero`` through the quantised weights and so exactly.
    """
    out_scale = np.broadcast_to(np.asarray(out_scale, dtype=np.float64), len(weight))
    bias = np.asarray(bias, dtype=np.float64) + np.asarray(out_zero) * out_scale
    step = np.maximum(np.abs(weight).max(1) / WEIGHT_MAX, np.abs(bias) / BIAS_LIMIT)  # of the accumulator
    step = np.maximum(step, out_scale * 2.0**-24)  # a row of zeros
    quantised = np.rint(weight / step[:, None])
    mult, shift = multiplier(step / out_scale, name)
    return Linear(
        weight=quantised.astype(np.int8),
        bias=np.rint(bias / step - (quantised * in_zero).sum(1)).astype(np.int32),
        mult=mult,
        shift=shift,
    )


def smoothing(activation: Float, weight: Float) -> Float:
    """SmoothQuant's channel scales: ``activation^0.7 / weight^0.3`` of the largest magnitudes, geometric mean 1."""
    activation = np.maximum(activation, max(activation.max(), 1e-9) * 1e-4)
    weight = np.maximum(weight, max(weight.max(), 1e-9) * 1e-4)
    log = 0.7 * np.log(activation) - 0.3 * np.log(weight)
    return np.exp(log - log.mean())


def least_step(eps: float, count: int) -> float:
    """Finest step of the input of a LayerNorm of ``count`` channels whose ``eps`` still fits its field.

    At most ``sqrt(eps) / 2^10`` for widths up to 1024: where it limits, one step of the input moves the normalised
    value by no more than its own last place, so that a finer one would bring nothing.
    """
    return count * math.sqrt(eps / EPS_MAX)


def least_peak(block: Norm, unseen: float) -> Float:
    """Least range of each channel of a LayerNorm's result, of whose rows calibration has not seen a share ``unseen``.

    What it knows without them: normalised values have deviation 1, so that most are below 3. Rows without variance
    tell nothing either: constants fit their fields for ranges from four steps of the normalised value on.
    """
    gamma = np.abs(block.gamma)
    return np.maximum(unseen * (np.abs(block.beta) + 3 * gamma), 4 * gamma / (1 << NORM_BITS))


def norm(
    block: Norm,
    eps: float,
    in_scale: float,
    name: str,
    *,
    narrow: Float | None = None,
    wide: float | None = None,
) -> qmodel.Norm:
    """Constants of a LayerNorm of int16 rows in steps of ``in_scale``, which is at least :func:`least_step`.

    ``narrow`` [hidden]: the step of each channel of the 8-bit form; ``wide``: the step of the 16-bit form.
    """
    return qmodel.Norm(
        stream=block.stream,
        eps=min(max(1, round(eps * (len(block.gamma) / in_scale) ** 2)), EPS_MAX),
        narrow=None if narrow is None else _norm_form(block, narrow, name),
        wide=None if wide is None else _norm_form(block, wide, name),
    )


def _norm_form(block: Norm, scale: npt.ArrayLike, name: str) -> NormForm:
    scale = np.asarray(scale, dtype=np.float64)
    gamma, beta = block.gamma / scale / (1 << NORM_BITS), block.beta / scale
    largest = max(np.abs(gamma).max() / 32767, np.abs(beta).max() / (1 << 30), 2.0**-NORM_SHIFT_MAX)
    shift = int(np.floor(-np.log2(largest)))
    if shift < 1:
        raise InputError(
            f"{name}: weight or bias of the LayerNorm is too large for the calibrated range; calibrate on"
            " representative inputs"
        )
    return NormForm(
        gamma=np.rint(gamma * 2.0**shift).astype(np.int16),
        beta=np.rint(beta * 2.0**shift).astype(np.int32),
        shift=shift,
    )
