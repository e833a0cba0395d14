# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.memory.TensorMemory`."""

import cocotb

from sim.tb import parameters, rng, start, tick


@cocotb.test()
async def reads_what_was_written(dut):
    """A read and, mostly, a masked write in every cycle, against a list; first every word as it was initialised."""
    p = parameters()
    depth, lanes, granularity, init, latency = p["depth"], p["lanes"], p["granularity"], p["init"], p["latency"]
    await start(dut)
    random = rng()
    used = p.get("used", granularity)
    stored = sum(((1 << used) - 1) << (lane * granularity) for lane in range(lanes))  # the others read as 0
    words = init + [0] * (depth - len(init))
    expected = []  # one entry a cycle: the word, or None where a write makes it undefined
    landing = 0, 0, 0, 0  # the write of the cycle before: address, mask, its bits, data
    hot = [int(address) for address in random.integers(0, depth, 8)]  # so that reads meet writes
    cycles = depth + 3000
    for cycle in range(cycles):
        read = cycle if cycle < depth else int(random.choice(hot) if random.random() < 0.5 else random.integers(depth))
        write, mask = int(random.choice(hot) if random.random() < 0.5 else random.integers(depth)), 0
        data = int.from_bytes(random.bytes(-(-lanes * granularity // 8))) % (1 << lanes * granularity)
        if cycle >= depth and random.random() < 0.8:
            mask = int(random.integers(1 << lanes))
        dut.r_addr.value, dut.w_addr.value, dut.w_data.value, dut.w_en.value = read, write, data, mask
        address, lands, bits, value = landing
        expected.append(None if lands and read == address else words[read])
        words[address] = words[address] & ~bits | value & bits
        bits = sum(((1 << granularity) - 1) << (lane * granularity) for lane in range(lanes) if mask >> lane & 1)
        landing = write, mask, bits, data
        await tick(dut)
        if cycle >= latency and expected[cycle - latency] is not None:
            assert int(dut.r_data.value) == expected[cycle - latency] & stored, cycle
