# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.arith.requantise.Requantiser`."""

from itertools import product

import cocotb
import numpy as np

from sim import golden
from sim.tb import parameters, rng, start, tick
from sim.tb.streams import unpack


@cocotb.test()
async def equals_golden(dut):
    """At every width that the drain and the engines clamp to, on corner and random operands, one every cycle."""
    operands = _operands(parameters()["acc_bits"])
    await start(dut)
    words = []
    latency = parameters()["latency"]
    for values in [*operands.T.tolist(), *[operands[:, 0].tolist()] * (latency + 1)]:
        dut.acc.value, dut.bias.value, dut.mult.value, dut.shift.value = values
        await tick(dut)
        words.append(int(dut.value.value))
    value = unpack(words[latency:], 17, 1)[: operands.shape[1], 0]
    acc, bias, mult, shift = operands
    for bits, signed in ((16, True), (8, True), (8, False)):
        expected = golden.requantise(acc + bias, mult, shift, bits, signed=signed)
        wrong = np.flatnonzero(golden.saturate(value, bits, signed=signed) != expected)
        assert not len(wrong), f"{bits} bits: {len(wrong)} wrong, the first with {operands[:, wrong[0]]}"
        if bits == 16:  # the corners really are reached
            assert {-32768, -1, 0, 1, 32767} <= set(expected.tolist())


def _operands(acc_bits: int):
    top = 1 << (acc_bits - 1)
    shifts = (1, 2, 7, 8, 9, 16, 17, 24, 25, 31, 32, 33, 40, 47, 48, 49, 56, 57, 62, 63)
    corners = product((0, 1, -1, top - 1, -top), (0, -1, 2**30, -(2**30)), (0, 1, 32767, 32768, 65535), shifts)
    # Results at and beside one half, and at and beside the limits of each width.
    ties = [(0, value, 1 << 8, 9) for value in range(-9, 10)]
    limits = [(0, limit * 2 + odd, 1 << 15, 16) for limit in (-32768, -128, 0, 127, 255, 32767) for odd in range(-3, 4)]
    random, count = rng(), 3000
    acc = random.integers(-top, top, count) >> random.integers(0, acc_bits, count)
    bias = random.integers(-(1 << 30), 1 << 30, count) >> random.integers(0, 31, count)
    mult = random.integers(0, 1 << 16, count) >> random.integers(0, 8, count)
    size = np.abs((acc + bias) * mult).astype(float)
    near = np.clip(np.log2(size + 1).astype(int) - random.integers(0, 18, count), 1, 63)  # results of every size
    shift = np.where(random.random(count) < 0.2, random.integers(1, 64, count), near)
    return np.concatenate([np.array([*corners, *ties, *limits]).T, [acc, bias, mult, shift]], axis=1)
