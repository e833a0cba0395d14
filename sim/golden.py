# SPDX-License-Identifier: Apache-2.0
"""Integer operations of the accelerator: the specification that every hardware unit equals bit for bit.

All functions are vectorised over NumPy integer arrays and computed in int64. Rounding is "add half, then arithmetic
shift right" (half up) everywhere; results saturate and never wrap. The float counterpart of an operation stands beside
it where it is not simply the real-number formula.

Sources: I-BERT (Kim et al., 2021, arXiv:2101.01321) for the ``ibert`` kernels; FlashAttention (Dao et al., 2022,
arXiv:2205.14135) for the softmax division deferred past the product with V.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]

MULT_BITS = 16  # width of every requantisation multiplier
SHIFT_MAX = 63  # largest requantisation shift, six bits


def saturate(x: npt.ArrayLike, bits: int, *, signed: bool = True) -> IntArray:
    """Clamp ``x`` to ``bits`` bits, two's complement unless ``signed`` is false."""
    lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return np.clip(np.asarray(x, dtype=np.int64), lo, hi)


def shift_round(x: npt.ArrayLike, shift: npt.ArrayLike) -> IntArray:
    """``(x + 2^(shift-1)) >> shift``: division by a power of two, half up. ``shift`` >= 1."""
    x, shift = np.asarray(x, dtype=np.int64), np.asarray(shift, dtype=np.int64)
    return (x + (np.int64(1) << (shift - 1))) >> shift


def requantise(
    acc: npt.ArrayLike, mult: npt.ArrayLike, shift: npt.ArrayLike, bits: int = 8, *, signed: bool = True
) -> IntArray:
    """``sat((acc * mult + 2^(shift-1)) >> shift)``: int32 accumulator to ``bits`` bits.

    ``mult`` is an unsigned 16-bit multiplier and ``shift`` lies in 1..63; both broadcast (per channel or per row).
    """
    return saturate(
        shift_round(np.asarray(acc, dtype=np.int64) * np.asarray(mult, dtype=np.int64), shift), bits, signed=signed
    )


def matmul(a: npt.ArrayLike, w: npt.ArrayLike) -> IntArray:
    """Exact ``a @ w.T`` in int64: ``a`` [..., rows, K] (int8 or uint8), ``w`` [..., columns, K] int8.

    Computed through float64, exact while the result stays below 2^53 (bounded here by K * 255 * 128).
    """
    a64, w64 = np.asarray(a, dtype=np.float64), np.asarray(w, dtype=np.float64)
    return np.rint(a64 @ np.swapaxes(w64, -1, -2)).astype(np.int64)


# --- softmax -----------------------------------------------------------------------------------------------------

EXP_INDEX_BITS = {"base2": 8, "ibert": 12}
"""Width of the exponential's argument: base-2 logarithms in sixteenths, or natural logarithms in 1/256."""

EXP2_TABLE = np.array([round(255 * 256 * 2 ** (-k / 16)) for k in range(16)], dtype=np.int64)
"""L16[k] = round(255 * 256 * 2^(-k/16)): the mantissas of the base-2 exponential."""

IBERT_EXP_SCALE = 2.0**-8
IBERT_EXP_LN2 = 178  # -floor(-ln2 / S)
IBERT_EXP_B = math.floor(2.7073 / IBERT_EXP_SCALE)  # 693
IBERT_EXP_C = math.floor(2.7921 / IBERT_EXP_SCALE**2)  # 182983
IBERT_EXP_SHIFT = 25
IBERT_EXP_MULT = round(255 / IBERT_EXP_C * 2**IBERT_EXP_SHIFT)  # to unnormalised uint8


def score_index(
    acc: npt.ArrayLike, row_max: npt.ArrayLike, mult: npt.ArrayLike, shift: npt.ArrayLike, kernel: str
) -> IntArray:
    """Argument of the exponential: ``min(2^bits - 1, (d * mult + 2^(shift-1)) >> shift)``, ``d = row_max - acc >= 0``.

    ``mult * 2^-shift`` = s_q s_k / sqrt(d_head) in the kernel's unit: log2(e) * 16 for ``base2``, 256 for ``ibert``.
    """
    d = np.asarray(row_max, dtype=np.int64) - np.asarray(acc, dtype=np.int64)
    return np.minimum(shift_round(d * np.asarray(mult, dtype=np.int64), shift), (1 << EXP_INDEX_BITS[kernel]) - 1)


def exp_base2(index: npt.ArrayLike) -> IntArray:
    """``round(255 * 2^(-index/16))`` from a 16-entry mantissa table and a shift; index 255 gives 0."""
    index = np.asarray(index, dtype=np.int64)
    e = shift_round(EXP2_TABLE[index & 15], 8 + (index >> 4))
    return np.where(index == 255, 0, e)


def exp_ibert(index: npt.ArrayLike) -> IntArray:
    """I-BERT's i-exp of ``-index / 256``, scaled to 0..255.

    ``z = index // 178``, ``r = -(index mod 178)``, ``p = r * (r + 693) + 182983``,
    ``e = round(p * 2^-z * 255/182983)``.
    """
    index = np.asarray(index, dtype=np.int64)
    z = index // IBERT_EXP_LN2
    r = -(index % IBERT_EXP_LN2)
    p = r * (r + IBERT_EXP_B) + IBERT_EXP_C
    return shift_round(p * IBERT_EXP_MULT, IBERT_EXP_SHIFT + z)


def exponential(index: npt.ArrayLike, kernel: str) -> IntArray:
    """Unnormalised uint8 exponential by the named kernel."""
    return {"base2": exp_base2, "ibert": exp_ibert}[kernel](index)


def bit_length(x: npt.ArrayLike) -> IntArray:
    """Number of bits of each non-negative integer (0 for 0)."""
    return np.vectorize(lambda v: int(v).bit_length(), otypes=[np.int64])(x)


def reciprocal(x: npt.ArrayLike) -> IntArray:
    """``min(floor(2^31 / x), 65535)`` for x in [2^15, 2^16)."""
    return np.minimum((1 << 31) // np.asarray(x, dtype=np.int64), 65535)


def row_scale(total: npt.ArrayLike, out_mult: npt.ArrayLike, out_shift: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """Requantiser constants that divide a row of P.V by its sum of exponentials.

    ``n = bitlen(S)``, ``sn`` = S normalised to 16 bits, ``r = reciprocal(sn)``; returns
    ``mult = (r * out_mult + 2^15) >> 16`` and ``shift = out_shift + n - 1``. ``total`` >= 1.
    """
    total = np.asarray(total, dtype=np.int64)
    n = bit_length(total)
    sn = np.where(n > 16, total >> np.maximum(n - 16, 0), total << np.maximum(16 - n, 0))
    return shift_round(reciprocal(sn) * np.asarray(out_mult, dtype=np.int64), 16), np.asarray(
        out_shift, dtype=np.int64
    ) + n - 1


def softmax_mass(exps: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Sum of the probabilities that the deferred division realises for each row (1 is exact)."""
    total = np.asarray(exps, dtype=np.int64).sum(axis=-1)
    mult, shift = row_scale(total, 1 << 15, 15)  # unit output scale: mult * 2^-shift = 1 / total
    return total * mult / np.exp2(shift)


# --- normalisation -----------------------------------------------------------------------------------------------


def isqrt(x: npt.ArrayLike) -> IntArray:
    """Integer square root, ``floor(sqrt(x))``."""
    return np.vectorize(lambda v: math.isqrt(int(v)), otypes=[np.int64])(x)


def norm_statistics(s1: npt.ArrayLike, s2: npt.ArrayLike, count: int, eps: int) -> tuple[IntArray, IntArray]:
    """Reciprocal standard deviation of rows from their sums: returns ``(R, e)``.

    ``V = count * s2 - s1^2 + eps``, ``e = (bitlen(V) - 31) >> 1``, ``v = V >> 2e`` in [2^30, 2^32) (a left shift when
    e < 0), ``R = min(floor(2^31 / isqrt(v)), 65535)``; so ``1 / sqrt(V) = R * 2^-(31 + e)``. V is below 2^52.
    """
    s1, s2 = np.asarray(s1, dtype=np.int64), np.asarray(s2, dtype=np.int64)
    v = count * s2 - s1 * s1 + eps
    e = (bit_length(v) - 31) >> 1
    v = np.where(e >= 0, v >> np.maximum(2 * e, 0), v << np.maximum(-2 * e, 0))
    return reciprocal(isqrt(v)), e


def normalise(h: npt.ArrayLike, eps: int) -> IntArray:
    """``(h - mean) / sigma`` of int16 rows in Q5.10: ``sat16(((N h - S1) R + half) >> (21 + e))``."""
    h = np.asarray(h, dtype=np.int64)
    count = h.shape[-1]
    s1, s2 = h.sum(axis=-1), (h * h).sum(axis=-1)
    r, e = norm_statistics(s1, s2, count, eps)
    return saturate(shift_round((count * h - s1[..., None]) * r[..., None], 21 + e[..., None]), 16)


def layernorm(h: npt.ArrayLike, gamma: npt.ArrayLike, beta: npt.ArrayLike, shift: int, eps: int, bits: int) -> IntArray:
    """Integer LayerNorm of int16 rows: ``sat((t * gamma + beta + 2^(shift-1)) >> shift)``, t = :func:`normalise`.

    ``gamma`` int16 and ``beta`` int32 per channel, ``shift`` for the whole tensor, ``bits`` 8 (array operand) or 16
    (residual stream).
    """
    t = normalise(h, eps)
    return saturate(shift_round(t * np.asarray(gamma, dtype=np.int64) + np.asarray(beta, dtype=np.int64), shift), bits)


def residual_add(h: npt.ArrayLike, delta: npt.ArrayLike) -> IntArray:
    """``sat16(h + delta)`` of two int16 operands."""
    return saturate(np.asarray(h, dtype=np.int64) + np.asarray(delta, dtype=np.int64), 16)


# --- activation --------------------------------------------------------------------------------------------------


def activation_table(index: npt.ArrayLike, bank: npt.ArrayLike, table: npt.ArrayLike) -> IntArray:
    """``table[bank][index]``: uint8 index to uint8, ``table`` [2, 256], ``bank`` one bit a channel."""
    return np.asarray(table, dtype=np.int64)[np.asarray(bank, dtype=np.int64), np.asarray(index, dtype=np.int64)]


def gelu_ibert(x: npt.ArrayLike, b: int, c: int, mult: int, shift: int) -> IntArray:
    """I-BERT's i-GELU on int8, requantised to int8.

    With ``S' = S / 1.4142``: ``b = -floor(-1.769 / S')`` (u12), ``c = -floor(1 / (-0.2888 S'^2))`` (u20),
    ``y = x * (c + sgn(x) * (c - (min(|x|, b) - b)^2))`` at scale ``S * 0.2888 * S'^2 / 2``,
    ``out = requantise(y, mult, shift)``.
    """
    x = np.asarray(x, dtype=np.int64)
    square = (np.minimum(np.abs(x), b) - b) ** 2
    y = x * (c + np.where(x < 0, -1, 1) * (c - square))
    return requantise(y, mult, shift)
