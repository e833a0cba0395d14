# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.arith.isqrt.ISqrt`."""

import cocotb
import numpy as np

from sim import golden
from sim.tb import parameters, rng, start, tick


@cocotb.test()
async def equals_golden(dut):
    """On powers of two and squares and their neighbours, and on random operands of the parameter's range."""
    low, high, latency = (parameters()[name] for name in ("low", "high", "latency"))
    random = rng()
    powers = [(1 << k) + d for k in range(33) for d in (-1, 0, 1)]
    squares = [
        r * r + d for r in [0, 1, 2, 255, 256, 32767, 32768, 65535, *random.integers(0, 65536, 300)] for d in (-1, 0)
    ]
    near = np.array([v for v in powers + squares if low <= v < high])
    operands = np.concatenate([[low, high - 1], near, random.integers(low, high, 2000)])
    await start(dut)
    roots = []
    for v in [*operands.tolist(), *[low] * (latency + 1)]:
        dut.v.value = v
        await tick(dut)
        roots.append(int(dut.root.value))
    roots = np.array(roots[latency:])[: len(operands)]
    assert (roots == golden.isqrt(operands)).all()
