# SPDX-License-Identifier: Apache-2.0
"""Testbench of :mod:`hw.link.uart`: both directions, wired together only by this file's idea of a serial line."""

import random

import cocotb
from cocotb.triggers import RisingEdge, Timer

from sim.tb import CLOCK_NS, parameters, start, tick
from sim.tb.streams import StreamSource


def bit_ps(error: float = 0.0) -> int:
    """Picoseconds of a bit on a line that is slower by ``error``."""
    p = parameters()
    return round(CLOCK_NS * 1000 * p["clock_hz"] / p["baud"] * (1 + error))


async def send(dut, byte: int, *, error: float = 0.0, stop: int = 1) -> None:
    for level in [0, *(byte >> i & 1 for i in range(8)), stop]:
        dut.rx.value = level
        await Timer(bit_ps(error), "ps")


async def listen(dut, found: list) -> None:
    """Bytes, and None for each error, as the receiver tells them."""
    edge = RisingEdge(dut.clk)
    while True:
        await edge
        assert not (int(dut.valid.value) and int(dut.error.value))
        if int(dut.valid.value):
            found.append(int(dut.data.value))
        if int(dut.error.value):
            found.append(None)


async def begin(dut) -> list:
    dut.rx.value = 1
    await start(dut, limit=2_000_000)
    dut.rx.value = 1
    found: list = []
    cocotb.start_soon(listen(dut, found))
    await tick(dut, 20)
    return found


def bits(count: float) -> int:
    """Clock cycles of ``count`` bits."""
    return int(count * bit_ps() / CLOCK_NS / 1000) + 10


@cocotb.test()
async def receives_at_every_baud_error(dut):
    """Back to back and with pauses, at the right rate and two percent off it."""
    found = await begin(dut)
    for error in (0.0, 0.02, -0.02):
        data = [0x00, 0xFF, 0x55, 0xAA, 0x80, 0x01, *random.randbytes(40)]
        for byte in data:
            await send(dut, byte, error=error)
            if random.random() < 0.3:
                await Timer(random.randrange(3 * bit_ps()), "ps")
        await tick(dut, bits(3))
        assert found == data, f"error {error}"
        found.clear()


@cocotb.test()
async def glitches_start_nothing(dut):
    """Pulses shorter than a third of a bit, on an idle line; then a byte comes through."""
    found = await begin(dut)
    for _ in range(30):
        dut.rx.value = 0
        await Timer(random.randrange(1, bit_ps() // 3), "ps")
        dut.rx.value = 1
        await Timer(bit_ps() + random.randrange(bit_ps()), "ps")
    assert found == []
    await send(dut, 0xC3)
    await tick(dut, bits(2))
    assert found == [0xC3]


@cocotb.test()
async def glitches_inside_bits_are_outvoted(dut):
    """Pulses shorter than a clock cycle, one in every bit, its middle included."""
    found = await begin(dut)
    data = list(random.randbytes(30))
    for byte in data:
        for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
            before = random.randrange(bit_ps() // 8, bit_ps() - bit_ps() // 8 - 1000 * CLOCK_NS)
            dut.rx.value = level
            await Timer(before, "ps")
            dut.rx.value = 1 - level
            await Timer(900 * CLOCK_NS, "ps")
            dut.rx.value = level
            await Timer(bit_ps() - before - 900 * CLOCK_NS, "ps")
    await tick(dut, bits(2))
    assert found == data


@cocotb.test()
async def a_low_stop_bit_is_an_error(dut):
    """Told once, however long the line stays low; then bytes come through again."""
    found = await begin(dut)
    for extra in (0, 3, 40):
        await send(dut, random.getrandbits(8), stop=0)
        await Timer(extra * bit_ps() + 1, "ps")
        dut.rx.value = 1
        await Timer(2 * bit_ps(), "ps")
        await send(dut, 0x42)
        await tick(dut, bits(2))
        assert found == [None, 0x42]
        found.clear()


@cocotb.test()
async def transmits(dut):
    """Read at the middle of each bit; over a whole run the rate is right to 0.1 % and two cycles a byte."""
    await begin(dut)
    source = StreamSource(dut, "i", stall=0.0)
    data = list(random.randbytes(50))
    source.send(data)
    edge, found, first, cycle = RisingEdge(dut.clk), [], None, 0

    async def until_low():
        nonlocal cycle
        while int(dut.tx.value):
            await edge
            cycle += 1

    per_bit = bit_ps() / CLOCK_NS / 1000
    while len(found) < len(data):
        await until_low()
        first = cycle if first is None else first
        begun, byte = cycle, 0
        for number in range(10):
            while cycle < begun + (number + 0.5) * per_bit:
                await edge
                cycle += 1
            level = int(dut.tx.value)
            assert number or not level
            byte |= level << number
        found.append(byte >> 1 & 0xFF)
        assert byte >> 9 == 1, "the stop bit"
    assert found == data
    length = cycle - first
    fastest = (10 * len(data) - 0.5) * per_bit
    assert 0.999 * fastest - 4 <= length <= 1.001 * fastest + 3 * len(data)


@cocotb.test()
async def what_is_sent_is_received(dut):
    """The transmitter's line straight into the receiver."""
    found = await begin(dut)
    source = StreamSource(dut, "i", stall=0.02)
    data = list(random.randbytes(60))
    source.send(data)
    edge = RisingEdge(dut.clk)
    while len(found) < len(data):
        await edge
        dut.rx.value = int(dut.tx.value)
    assert found == data
