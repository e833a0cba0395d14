# SPDX-License-Identifier: Apache-2.0
"""Testbenches of the components of :mod:`hw.softmax.exp`."""

import cocotb
import numpy as np

from sim.golden import EXP_INDEX_BITS, exponential, score_index
from sim.tb import parameters, rng, start, tick


@cocotb.test()
async def exponential_of_every_index(dut):
    """All of them, one a cycle."""
    p = parameters()
    await start(dut)
    expected = exponential(np.arange(1 << EXP_INDEX_BITS[p["kernel"]]), p["kernel"])
    for cycle in range(len(expected) + p["latency"]):
        if cycle < len(expected):
            dut.index.value = cycle
        await tick(dut)
        if cycle >= p["latency"]:
            assert int(dut.e.value) == expected[cycle - p["latency"]], cycle - p["latency"]


def score_operands(random: np.random.Generator, count: int) -> np.ndarray:
    """[n, 3] of d, mult and shift: corners, operands of every magnitude, and products close to a rounding boundary."""
    d_corners = [0, 1, (1 << 17) - 1, 1 << 17, (1 << 24) - 1]
    corners = [(d, m, s) for d in d_corners for m in (0, 1, 32768, 65535) for s in (1, 2, 16, 31, 32, 33, 40, 63)]
    d = random.integers(0, 1 << random.integers(1, 25, count))
    mult = random.integers(0, 1 << random.integers(1, 17, count))
    any_shift = np.column_stack([d, mult, random.integers(1, 64, count)])
    # Shifts that leave an index inside the range or just beyond it.
    magnitude = np.ceil(np.log2(np.maximum(d * mult, 1))).astype(int)
    useful = np.column_stack([d, mult, np.clip(magnitude - random.integers(0, 14, count), 1, 63)])
    half = random.integers(1, 24, count)  # d * mult an odd multiple of a half
    exact = np.column_stack([(2 * random.integers(0, 4096, count) + 1) << np.minimum(half - 1, 11), 1 + 0 * d, half])
    return np.concatenate([corners, any_shift, useful, exact])


@cocotb.test()
async def index_of_scores(dut):
    """New constants with every score."""
    p = parameters()
    await start(dut)
    operands = score_operands(rng(), 1500)
    d, mult, shift = operands.T
    kernel = {bits: name for name, bits in EXP_INDEX_BITS.items()}[p["bits"]]
    await _compare(dut, operands, score_index(0, d, mult, shift, kernel), dut.index, p["latency"])


@cocotb.test()
async def exponential_of_scores(dut):
    """New constants with every score."""
    p = parameters()
    await start(dut)
    operands = score_operands(rng(), 1500)
    d, mult, shift = operands.T
    expected = exponential(score_index(0, d, mult, shift, p["kernel"]), p["kernel"])
    assert 50 < len(np.unique(expected))
    await _compare(dut, operands, expected, dut.e, p["latency"])


async def _compare(dut, operands, expected, result, latency: int) -> None:
    for cycle in range(len(operands) + latency):
        if cycle < len(operands):
            dut.d.value, dut.mult.value, dut.shift.value = (int(operand) for operand in operands[cycle])
        await tick(dut)
        if cycle >= latency:
            assert int(result.value) == expected[cycle - latency], operands[cycle - latency]
