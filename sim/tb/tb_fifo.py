# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.link.fifo.WordFifo`."""

import random

import cocotb

from sim.tb import parameters, start, tick
from sim.tb.streams import StreamSink, StreamSource


@cocotb.test()
async def keeps_every_word_in_order(dut):
    await start(dut, limit=40_000)
    source = StreamSource(dut, "i", stall=parameters()["source_stall"])
    sink = StreamSink(dut, "o", stall=parameters()["sink_stall"])
    words = [random.getrandbits(64) for _ in range(600)]
    source.send(words)
    assert await sink.receive(len(words)) == words
    await sink.expect_nothing()
    assert int(dut.room.value) == parameters()["depth"]


@cocotb.test()
async def holds_its_depth_and_tells_the_room(dut):
    """While the output waits: as many words as it is deep, and ``room`` goes down to 0 with them."""
    await start(dut, limit=10_000)
    depth = parameters()["depth"]
    source = StreamSource(dut, "i", stall=0.5)
    source.send(range(depth))
    await source.drained()
    await tick(dut, 2)
    assert int(dut.room.value) == 0 and int(dut.i__ready.value) == 0
    await tick(dut, 20)
    assert int(dut.i__ready.value) == 0
    sink = StreamSink(dut, "o", stall=0.0)
    assert await sink.receive(depth) == list(range(depth))


@cocotb.test()
async def a_flush_forgets_everything(dut):
    """At every moment of filling and emptying."""
    await start(dut, limit=40_000)
    for delay in range(1, 25):
        dut.o__ready.value = delay & 1
        dut.i__valid.value = 1
        for number in range(delay):
            dut.i__payload.value = number
            await tick(dut)
        dut.i__valid.value, dut.flush.value = 0, 1
        await tick(dut, 2)
        dut.flush.value, dut.o__ready.value = 0, 0
        await tick(dut, 12)
        assert int(dut.o__valid.value) == 0 and int(dut.room.value) == parameters()["depth"]
        dut.i__valid.value, dut.i__payload.value = 1, 1000 + delay
        await tick(dut)
        dut.i__valid.value = 0
        await tick(dut, 12)
        assert int(dut.o__valid.value) == 1 and int(dut.o__payload.value) == 1000 + delay
        dut.flush.value = 1
        await tick(dut)
        dut.flush.value = 0
