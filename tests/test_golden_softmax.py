# SPDX-License-Identifier: Apache-2.0
"""The integer softmax against real numbers: the accuracy of what golden specifies."""

import numpy as np
import pytest

from sim.golden import (
    EXP_INDEX_BITS,
    exp_base2,
    exponential,
    requantise,
    row_scale,
    score_index,
    softmax_mass,
)

UNIT = {"base2": 16 * np.log2(np.e), "ibert": 256}
"""Index units in a natural logarithm."""

SCORE_SCALE = 2.0**-10
"""A logit for each unit of an accumulator."""


def constants(kernel: str) -> tuple[int, int]:
    """Multiplier and shift that turn accumulators into indices, the multiplier with its top bit set."""
    factor = SCORE_SCALE * UNIT[kernel]
    shift = 15 - int(np.floor(np.log2(factor)))
    return round(factor * 2**shift), shift


def exponentials(logits: np.ndarray, kernel: str) -> np.ndarray:
    scores = np.rint(logits / SCORE_SCALE).astype(np.int64)
    return exponential(score_index(scores, scores.max(axis=-1, keepdims=True), *constants(kernel), kernel), kernel)


@pytest.mark.parametrize("keys", [16, 64, 256, 512])
@pytest.mark.parametrize("kernel", UNIT)
def test_probability_mass_is_one(kernel, keys):
    """Within 1% is the bar; the reciprocal's 15 bits and more allow 0.01%."""
    logits = np.random.default_rng(keys).normal(scale=2, size=(1000, keys))
    mass = softmax_mass(exponentials(logits, kernel))
    assert np.abs(mass - 1).max() < 1e-4


@pytest.mark.parametrize(("kernel", "worst", "mean"), [("base2", 0.0215, 0.0023), ("ibert", 0.0055, 0.0023)])
def test_exponential_against_the_real_one(kernel, worst, mean):
    """Over the distances from the maximum that leave any weight at all."""
    logits = -np.arange(0, 12, SCORE_SCALE)
    error = np.abs(exponentials(logits, kernel) / 255 - np.exp(logits))
    assert error.max() < worst
    assert error.mean() < mean


def test_base2_exponential_is_the_rounded_real_one():
    index = np.arange(1 << EXP_INDEX_BITS["base2"])
    real = 255 * 2.0 ** (-index / 16)
    assert np.abs(exp_base2(index) - real).max() < 0.51  # half, and a little for the mantissa's own rounding


@pytest.mark.parametrize("kernel", UNIT)
def test_exponential_falls_from_255_to_0(kernel):
    e = exponential(np.arange(1 << EXP_INDEX_BITS[kernel]), kernel)
    assert e[0] == 255
    assert e[-1] == 0
    assert np.diff(e).max() == 0


def test_deferred_division_is_accurate_for_every_sum():
    total = np.arange(1, 1024 * 255 + 1)
    for out_mult in (1 << 15, (1 << 16) - 1):
        mult, shift = row_scale(total, out_mult, 15)
        assert mult.max() < 1 << 16
        error = np.abs(mult * 2.0**-shift * total / (out_mult * 2.0**-15) - 1)
        assert error.max() < 2.0**-13


@pytest.mark.parametrize("kernel", UNIT)
def test_a_constant_value_passes_through_attention(kernel):
    """If every value is v, so is their average, for any probabilities: through the requantiser as P.V goes."""
    e = exponentials(np.random.default_rng(0).normal(scale=3, size=(200, 100)), kernel)
    v = np.arange(-128, 128)
    mult, shift = row_scale(e.sum(axis=-1), 1 << 15, 15)
    assert (requantise(e.sum(axis=-1)[:, None] * v, mult[:, None], shift[:, None]) == v).all()
