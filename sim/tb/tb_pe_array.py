# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.array.pe_array.PEArray`."""

import cocotb
import numpy as np

from sim import golden
from sim.tb import parameters, rng, start, tick
from sim.tb.streams import pack, unpack


@cocotb.test()
async def equals_golden(dut):
    """Tiles of random length with gaps between and within them: every accumulator in every cycle."""
    rows, cols, depth = (parameters()[name] for name in ("rows", "cols", "depth"))
    random, cycles = rng(), 400
    a, b = random.integers(-128, 128, (cycles, depth, rows)), random.integers(-128, 128, (cycles, cols, depth))
    for corner in (-128, -1, 0, 127):  # whole words of corner bytes
        a[random.integers(0, cycles, 30)] = corner
        b[random.integers(0, cycles, 30)] = corner
    unsigned, valid = random.integers(0, 2, cycles), random.random(cycles) < 0.7
    first = random.random(cycles) < 0.2
    valid[0] = first[0] = True
    await _run(dut, a, b, unsigned, valid, first)


@cocotb.test()
async def largest_sums(dut):
    """4096 products of the largest magnitudes lose no bit."""
    rows, cols, depth = (parameters()[name] for name in ("rows", "cols", "depth"))
    words = 4096 // depth
    for a, b, unsigned in ((-1, -128, 1), (-1, 127, 1), (-128, -128, 0)):  # -1 stands for 255 where unsigned
        flags = np.ones(words, dtype=int)
        a, b = np.full((words, depth, rows), a), np.full((words, cols, depth), b)
        await _run(dut, a, b, flags * unsigned, flags, np.arange(words) == 0)


async def _run(dut, a, b, unsigned, valid, first):
    """Drives one word pair a cycle and compares ``latency`` cycles later."""
    latency, cycles = parameters()["latency"], len(a)
    await start(dut)
    words = zip(pack(a.reshape(cycles, -1), 8), pack(b.reshape(cycles, -1), 8), strict=True)
    control = zip(unsigned.tolist(), valid.tolist(), first.tolist(), strict=True)
    seen = []
    for (a_word, b_word), (is_unsigned, is_valid, is_first) in zip(words, control, strict=True):
        dut.a.value, dut.b.value, dut.a_unsigned.value = a_word, b_word, is_unsigned
        dut.valid.value, dut.first.value = int(is_valid), int(is_first)
        await tick(dut)
        seen.append(int(dut.acc.value))
    dut.valid.value = 0
    for _ in range(latency + 1):
        await tick(dut)
        seen.append(int(dut.acc.value))

    operands = np.where(unsigned[:, None, None], a & 0xFF, a).transpose(0, 2, 1)  # [cycle][row][k]
    products = golden.matmul(operands, b).transpose(0, 2, 1)  # [cycle][column][row]
    acc = np.zeros_like(products[0])
    expected = []
    for product, is_valid, is_first in zip(products, valid, first, strict=True):
        if is_valid:
            acc = product + (0 if is_first else acc)
        expected.append(acc)
    got = unpack(seen[latency:][:cycles], 28, acc.size).reshape(-1, *acc.shape)
    wrong = np.flatnonzero((got != np.array(expected)).any(axis=(1, 2)))
    assert not len(wrong), f"word {wrong[0]}: {got[wrong[0]].tolist()}, not {expected[wrong[0]].tolist()}"
