# SPDX-License-Identifier: Apache-2.0
"""Golden LayerNorm, i-GELU and requantisation, against real and exact integer arithmetic."""

import math

import numpy as np
import pytest

from sim import golden


def exact_requantise(acc: int, mult: int, shift: int, low: int, high: int) -> int:
    """In Python's unbounded integers: ``floor(acc * mult / 2^shift + 1/2)``, clamped."""
    return min(max((2 * acc * mult + (1 << shift)) // (1 << (shift + 1)), low), high)


@pytest.mark.parametrize(("bits", "signed"), [(8, True), (8, False), (16, True)])
def test_requantise_is_exact_at_every_corner(bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    accs = [0, 1, -1, 2**31 - 1, -(2**31), low, high, low - 1, high + 1, *(1 << k for k in range(31))]
    reached = set()
    for acc in accs:
        for mult in (0, 1, 2, 32767, 32768, 65535):
            for shift in (1, 2, 15, 16, 17, 31, 47, 62, 63):
                value = int(golden.requantise(acc, mult, shift, bits, signed=signed))
                assert value == exact_requantise(acc, mult, shift, low, high), (acc, mult, shift)
                reached.add(value)
    assert {low, high} <= reached


def test_requantise_rounds_half_up():
    acc = np.arange(-9, 10)
    assert (golden.requantise(acc, 1, 1) == np.floor(acc / 2 + 0.5)).all()
    assert golden.requantise([-3, -1, 1, 3], 1, 1).tolist() == [-1, 0, 1, 2]
    assert golden.requantise([1, -1, 2**31 - 1, -(2**31)], 65535, 63).tolist() == [0, 0, 0, 0]


def rows_of(channels: int, sigma: float, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    mean = draw.normal(0, 2 * sigma, (200, 1))
    return golden.saturate(np.rint(draw.normal(mean, sigma, (200, channels))).astype(np.int64), 16)


@pytest.mark.parametrize("channels", [64, 384, 1024])
@pytest.mark.parametrize("sigma", [3, 30, 300, 3000])
def test_normalise_is_within_its_last_place(channels, sigma):
    h = rows_of(channels, sigma)
    exact = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True)
    error = golden.normalise(h, eps=1) / 1024 - exact
    assert np.abs(error).max() <= 0.0007  # half a unit of Q5.10 is 0.00049
    assert np.sqrt((error**2).mean()) <= 0.0003  # as of rounding alone: 2^-10 / sqrt(12)


def test_rounding_the_mean_would_cost_accuracy():
    """Why the formula keeps N h - S1 exact: with three steps of standard deviation, an integer mean is far off."""
    h = rows_of(384, 3)
    exact = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True)
    rounded = (h - np.rint(h.mean(axis=1, keepdims=True))) / h.std(axis=1, keepdims=True)
    assert np.abs(rounded - exact).max() > 0.1


def test_reciprocal_deviation_is_accurate_for_every_variance():
    draw = np.random.default_rng(2)
    for bits in range(1, 51):
        v = int(draw.integers(1 << bits - 1, 1 << bits))
        r, e = golden.norm_statistics(0, 0, 1, v)
        assert (1 << 15) <= r <= 65535 and -15 <= e <= 10
        assert abs(float(r) * 2.0 ** -(31 + int(e)) * math.sqrt(v) - 1) < 2**-14


@pytest.mark.parametrize("channels", [1, 2, 50, 1023, 1024])
def test_normalise_is_exact_integer_arithmetic_at_the_extremes(channels):
    """No intermediate overflows the int64 that golden computes in; nor the widths that the hardware gives them."""
    alternating = np.where(np.arange(channels) % 2, 32767, -32768)
    spike = np.where(np.arange(channels) == 0, 32767, -32768)
    rows = np.array([alternating, spike, np.full(channels, -32768), np.full(channels, 32767), np.zeros(channels, int)])
    for eps in (1, 2**32 - 1, 2**40 - 1):
        result = golden.normalise(rows, eps)
        for row, normalised in zip(rows.tolist(), result.tolist(), strict=True):
            s1, s2 = sum(row), sum(x * x for x in row)
            v = channels * s2 - s1 * s1 + eps
            assert 0 < v < 1 << 52 and abs(s1) <= 1 << 25 and s2 <= 1 << 40
            e = (v.bit_length() - 31) >> 1
            r = min((1 << 31) // math.isqrt(v >> 2 * e if e >= 0 else v << -2 * e), 65535)
            terms = [(channels * x - s1) * r for x in row]
            assert max(map(abs, terms)) < 1 << 42
            shifted = [(term + (1 << 20 + e)) >> 21 + e for term in terms]
            assert normalised == [min(max(t, -32768), 32767) for t in shifted]
        assert not result[2:].any()  # rows without variance


@pytest.mark.parametrize(("bits", "step"), [(8, 1 / 32), (16, 1 / 4096)])
def test_layernorm_is_the_real_one_rounded(bits, step):
    draw = np.random.default_rng(3)
    h = rows_of(384, 40)
    gamma, beta = draw.uniform(0.2, 1.5, 384), draw.normal(0, 0.3, 384)
    unit = 1 << 24  # of t * gamma + beta
    gamma_q, beta_q = np.rint(gamma * unit / 1024).astype(int), np.rint(beta * unit).astype(int)
    result = golden.layernorm(h, gamma_q, beta_q, int(math.log2(unit * step)), eps=1, bits=bits)
    exact = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True) * gamma + beta
    error = np.clip(exact, -step * 2 ** (bits - 1), step * (2 ** (bits - 1) - 1)) - result * step
    assert np.abs(error).max() <= step / 2 + 0.0012


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


@pytest.mark.parametrize("largest", [4, 6, 8])
def test_polynomial_gelu_is_within_a_step_of_gelu(largest):
    """Its int8 form, on every input: root mean square at most 0.4 of the output's step."""
    scale = largest / 127
    root = scale / 1.4142
    b, c = -math.floor(-1.769 / root), -math.floor(1 / (-0.2888 * root**2))
    x = np.arange(-128, 128)
    exact = gelu(x * scale)
    step = exact.max() / 127
    ratio = scale * 0.2888 * root**2 / 2 / step
    shift = math.floor(math.log2(65535 / ratio))
    error = golden.gelu_ibert(x, b, c, round(ratio * 2**shift), shift) - exact / step
    assert np.sqrt((error**2).mean()) <= 0.4
    assert np.abs(error).max() <= 1.0
    assert np.abs(error * step).max() <= 0.018 + step / 2  # the polynomial's own error, as published, and the rounding
