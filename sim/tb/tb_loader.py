# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.io.loader.Loader`."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from hw.program.isa import PacketHeader, Semaphore, Target
from sim.tb import parameters, start, tick
from sim.tb.streams import StreamSource

FREE, FULL = 1 << Semaphore.INPUT_FREE, 1 << Semaphore.INPUT_FULL


@cocotb.test()
async def writes_packets(dut):
    """Every word to its place in order; a packet of input after INPUT_FREE and before INPUT_FULL; empty packets too."""
    await start(dut, limit=100_000)
    semaphores, source_stall, refuse, scarce = (
        parameters()[name] for name in ("semaphores", "source_stall", "refuse", "scarce")
    )
    words, expected = [], []
    for _ in range(120):
        is_input, count = random.getrandbits(1), random.choice([0, 1, 1, 2, 3, random.randint(0, 30)])
        address = random.choice([0, 0, (1 << 24) - 1 - count, random.randrange((1 << 24) - 64)])
        target = random.choice(list(Target))
        words.append(_header(target, is_input, address, count))
        data = [random.getrandbits(64) for _ in range(count)]
        words += data
        expected += ["take"] * is_input
        expected += [(target.value, address + number, word) for number, word in enumerate(data)]
        expected += ["full"] * is_input
    source = StreamSource(dut, "i", stall=source_stall)
    source.send(words)
    edge, seen, idle = RisingEdge(dut.clk), [], 0
    held, ready, positive = None, 0, 0
    while idle < 100:
        await edge
        idle = 0 if len(seen) < len(expected) else idle + 1
        take, signal = int(dut.take.value), int(dut.signal.value)
        if take:
            assert take == FREE and positive & FREE, "took what was not there"
            seen.append("take")
        write = tuple(int(port.value) for port in (dut.target, dut.addr, dut.data)) if int(dut.valid.value) else None
        assert held is None or write == held, "a write was changed before it was done"
        if write and ready:
            seen.append(write)
        held = None if ready else write
        assert not write or int(dut.busy.value)
        if signal:
            assert signal == FULL
            seen.append("full")
        for number, (got, due) in enumerate(zip(seen, expected, strict=False)):
            assert got == due, f"event {number} is {got}, not {due}"
        expected, seen = expected[len(seen) :], []
        others = random.getrandbits(semaphores) & ~FREE
        positive = others | (positive & ~take & FREE) | FREE * (random.random() >= scarce)
        ready = int(random.random() >= refuse)
        dut.positive.value, dut.ready.value = positive, ready
    assert not expected
    assert int(dut.busy.value) == 0
    await source.drained()


@cocotb.test()
async def a_word_a_cycle(dut):
    """Where neither side stalls: n words take n cycles, and a packet three more, for its header and its end."""
    await start(dut, limit=1000)
    dut.ready.value = 1
    source = StreamSource(dut, "i", stall=0.0)
    for packet in range(3):
        source.send([_header(Target.W, 0, 64 * packet, 20), *range(20)])
    times = []
    for cycle in range(100):
        await tick(dut)
        if int(dut.valid.value):
            times.append(cycle)
    assert [b - a for a, b in zip(times, times[1:], strict=False)] == ([1] * 19 + [4]) * 2 + [1] * 19


def _header(target: Target, is_input: int, address: int, count: int) -> int:
    header = {"target": target, "input": is_input, "address": address, "count": count}
    return PacketHeader.const(header | {"reserved": random.getrandbits(11)}).as_value().value
