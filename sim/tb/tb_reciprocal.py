# SPDX-License-Identifier: Apache-2.0
"""Testbenches of the components of :mod:`hw.arith.reciprocal`."""

import cocotb
import numpy as np

from sim.golden import bit_length, reciprocal, row_scale
from sim.tb import parameters, rng, start, tick


@cocotb.test()
async def normalise_shifts_the_leading_one_to_the_top(dut):
    """``value = x << (group * count)``, one of its top ``group`` bits set, for one operand a cycle."""
    p = parameters()
    width, group, latency = p["width"], p["group"], p["latency"]
    await start(dut)
    random = rng()
    xs = [(1 << bit) | fill for bit in range(width) for fill in (0, (1 << bit) - 1)]
    xs += [int(random.integers(1, 1 << int(random.integers(1, width + 1)))) for _ in range(500)]
    for cycle in range(len(xs) + latency):
        if cycle < len(xs):
            dut.x.value = xs[cycle]
        await tick(dut)
        if cycle >= latency:
            x, value, count = xs[cycle - latency], int(dut.value.value), int(dut.count.value)
            assert (value, count) == (x << (group * count), (width - x.bit_length()) // group), hex(x)
            assert value >> (width - group), hex(x)


@cocotb.test()
async def reciprocal_of_every_operand(dut):
    """All 2^15 of them, one a cycle."""
    latency = parameters()["latency"]
    await start(dut)
    xs = np.arange(1 << 15, 1 << 16)
    expected = reciprocal(xs)
    for cycle in range(len(xs) + latency):
        if cycle < len(xs):
            dut.x.value = int(xs[cycle])
        await tick(dut)
        if cycle >= latency:
            assert int(dut.r.value) == expected[cycle - latency], xs[cycle - latency]


@cocotb.test()
async def row_scale_equals_golden(dut):
    """Rows in bursts and gaps; ``valid`` marks exactly the results of rows."""
    p = parameters()
    bits, latency = p["total_bits"], p["latency"]
    await start(dut)
    random = rng()
    rows = []  # one entry a cycle: None, or the operands
    corners = [(1 << bit) - low for bit in range(bits + 1) for low in (0, 1) if 1 <= (1 << bit) - low < 1 << bits]
    for total in corners + [int(random.integers(1, 1 << int(random.integers(1, bits + 1)))) for _ in range(1000)]:
        rows += [None] * int(random.integers(0, 4) * (random.random() < 0.3))
        length = int(bit_length(total))
        mult = int(random.choice([0, 1, 65535, random.integers(0, 1 << 16)], p=[0.05, 0.05, 0.1, 0.8]))
        rows.append((total, mult, int(random.integers(1, 64 - length + 1))))
    for cycle in range(len(rows) + latency):
        row = rows[cycle] if cycle < len(rows) else None
        dut.valid_i.value = row is not None
        operands = row or [int(random.integers(0, 1 << n)) for n in (bits, 16, 6)]
        dut.total.value, dut.out_mult.value, dut.out_shift.value = operands
        await tick(dut)
        expected = rows[cycle - latency] if cycle >= latency else None
        assert bool(dut.valid_o.value) == (expected is not None), cycle
        if expected is not None:
            mult, shift = row_scale(*expected)
            assert (int(dut.mult.value), int(dut.shift.value)) == (mult, shift), expected
