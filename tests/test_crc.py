# SPDX-License-Identifier: Apache-2.0
"""hw/arith/crc.py; the CRC of a byte a cycle is tested with the framing that it is for."""

import random
import zlib

import pytest
from amaranth.sim import Simulator

from hw.arith.crc import WideCrc32


def test_wide_crc_is_that_of_zlib():
    device, draw = WideCrc32(crc=0x89ABCDEF), random.Random(1)
    words = [0, (1 << 64) - 1, *(draw.getrandbits(64) for _ in range(200))]

    async def bench(ctx):
        crc = 0x89ABCDEF
        assert ctx.get(device.crc) == crc
        for number, word in enumerate(words):
            ctx.set(device.en, 1)
            ctx.set(device.data, word)
            await ctx.tick()
            crc = zlib.crc32(word.to_bytes(8, "little"), crc)
            if draw.random() < 0.3:
                ctx.set(device.en, 0)
                ctx.set(device.data, draw.getrandbits(64))
                await ctx.tick().repeat(draw.choice([1, 3]))
            if number % 50 == 49:
                ctx.set(device.en, 0)
                await ctx.tick().repeat(2)
                assert ctx.get(device.crc) == crc
        ctx.set(device.en, 0)
        ctx.set(device.clear, 1)
        await ctx.tick()
        ctx.set(device.clear, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(device.crc) == 0

    simulator = Simulator(device)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_crc_has_32_bits():
    with pytest.raises(ValueError, match="crc must have at most 32 bits, not 0x1"):
        WideCrc32(crc=1 << 32)
