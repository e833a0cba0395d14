# SPDX-License-Identifier: Apache-2.0
"""Testbench of :mod:`hw.link.framing` and :mod:`hw.arith.crc`, against zlib and a byte-stuffing of its own."""

import random
import zlib

import cocotb
from cocotb.triggers import RisingEdge

from sim.tb import start, tick
from sim.tb.streams import StreamSink, StreamSource

FLAG, ESCAPE = 0x7E, 0x7D


def stuffed(body: bytes) -> bytes:
    """``body`` without flags: FLAG and ESCAPE bytes each become two."""
    return body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")


def with_crc(body: bytes) -> bytes:
    """``body`` and its CRC-32, as a frame ends."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def some_bytes(longest: int = 40) -> bytes:
    """Random, with many bytes that must be stuffed."""
    return bytes(random.choice([FLAG, ESCAPE, random.getrandbits(8)]) for _ in range(random.randint(1, longest)))


@cocotb.test()
async def frames_what_it_is_given(dut):
    await start(dut, limit=400_000)
    source, sink = StreamSource(dut, "framer_i", stall=0.1), StreamSink(dut, "framer_o", stall=0.3)
    for _ in range(80):
        body = some_bytes()
        source.send(byte | (number == len(body) - 1) << 8 for number, byte in enumerate(body))
        expected = bytes([FLAG]) + stuffed(with_crc(body)) + bytes([FLAG])
        assert bytes(await sink.receive(len(expected))) == expected
    await sink.expect_nothing()


async def watch(dut, frames: list) -> None:
    """Appends (bytes, good) of every frame that the deframer ends."""
    edge, body = RisingEdge(dut.clk), bytearray()
    while True:
        await edge
        if int(dut.ends.value):
            frames.append((bytes(body), bool(int(dut.good.value))))
        if int(dut.begins.value):
            body.clear()
        if int(dut.o_valid.value):
            body.append(int(dut.o_data.value))


async def feed(dut, line, *, errors: frozenset = frozenset()) -> None:
    """Bytes at the highest rate that is allowed, or slower; the numbers in ``errors`` come as line errors instead."""
    for number, byte in enumerate(line):
        bad = number in errors
        dut.valid.value, dut.error.value, dut.data.value = int(not bad), int(bad), byte
        await tick(dut)
        dut.valid.value = dut.error.value = 0
        dut.data.value = random.getrandbits(8)
        await tick(dut, random.choice([3, 3, 3, 4, 7, 30]))


@cocotb.test()
async def takes_frames_apart(dut):
    """With one flag between them or several, good and with a wrong bit."""
    await start(dut, limit=400_000)
    frames: list = []
    cocotb.start_soon(watch(dut, frames))
    line, expected = b"", []
    for _ in range(80):
        body = bytearray(with_crc(some_bytes()))
        good = random.random() < 0.7
        if not good:
            body[random.randrange(len(body))] ^= 1 << random.randrange(8)
        line += bytes([FLAG]) * random.choice([1, 1, 2, 3]) + stuffed(bytes(body))
        expected.append((bytes(body), good))
    await feed(dut, line + bytes([FLAG]))
    await tick(dut, 10)
    assert frames == expected


@cocotb.test()
async def no_bytes_confuse_it(dut):
    """Random bytes with many flags, escapes and line errors: a good frame after them is found, none is invented."""
    await start(dut, limit=2_000_000)
    frames: list = []
    cocotb.start_soon(watch(dut, frames))
    for _ in range(60):
        junk = some_bytes(60)
        errors = frozenset(n for n in range(len(junk)) if random.random() < 0.05)
        await feed(dut, junk, errors=errors)
        body = with_crc(some_bytes())
        await feed(dut, bytes([FLAG]) + stuffed(body) + bytes([FLAG]))
        await tick(dut, 10)
        assert frames[-1] == (body, True)
        assert [good for _, good in frames].count(True) == 1
        frames.clear()
        await feed(dut, some_bytes(3))
        frames.clear()


@cocotb.test()
async def spoilt_frames_do_not_end(dut):
    """A line error inside, an escape before the flag, no byte at all: no frame."""
    await start(dut, limit=100_000)
    frames: list = []
    cocotb.start_soon(watch(dut, frames))
    body = bytes([FLAG]) + stuffed(with_crc(b"spoilt")) + bytes([FLAG])
    await feed(dut, body, errors=frozenset({4}))
    await feed(dut, body[:-1] + bytes([ESCAPE, FLAG]))
    await feed(dut, bytes([FLAG]) * 5)
    await tick(dut, 10)
    assert frames == []
