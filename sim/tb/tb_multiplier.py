# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.arith.multiplier.Multiplier` and :class:`hw.arith.multiplier.WideMultiplier`."""

import cocotb

from sim.tb import parameters, rng, start, tick


@cocotb.test()
async def products_of_corners_and_random_operands(dut):
    """A new product every cycle, the latency later."""
    p = parameters()
    latency = p["latency"]
    await start(dut)
    random = rng()

    def operands(bits: int, signed: bool) -> list[int]:
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        powers = [1 << bit for bit in range(bits)] + [(1 << bit) - 1 for bit in range(bits)]
        corners = {low, low + 1, high - 1, high, 0, 1, *powers, *(-power for power in powers)}
        return [value for value in sorted(corners) if low <= value <= high] + [
            int(random.integers(low, high + 1)) for _ in range(60)
        ]

    pairs = [(a, b) for a in operands(*p["a"]) for b in operands(*p["b"])]
    random.shuffle(pairs)
    a_mask, b_mask = (1 << p["a"][0]) - 1, (1 << p["b"][0]) - 1
    for cycle in range(len(pairs) + latency):
        if cycle < len(pairs):
            dut.a.value, dut.b.value = pairs[cycle][0] & a_mask, pairs[cycle][1] & b_mask
        await tick(dut)
        if cycle >= latency:
            a, b = pairs[cycle - latency]
            assert int(dut.p.value) == (a * b) & ((1 << len(dut.p)) - 1), (a, b)
