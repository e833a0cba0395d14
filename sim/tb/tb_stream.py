# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.stream.StreamBuffer`."""

import cocotb

from sim.tb import parameters, rng, start, tick
from sim.tb.streams import StreamSink, StreamSource


@cocotb.test()
async def keeps_every_word_in_order(dut):
    """Under every mix of stalls."""
    await start(dut, limit=20_000)
    words = _words(1000)
    source = StreamSource(dut, "i", stall=parameters()["source_stall"])
    sink = StreamSink(dut, "o", stall=parameters()["sink_stall"])
    source.send(words)
    assert await sink.receive(len(words)) == words
    await sink.expect_nothing()


@cocotb.test()
async def passes_a_word_a_cycle(dut):
    """Without stalls, N words take N cycles and the latency."""
    await start(dut)
    dut.o__ready.value = 1
    dut.i__valid.value = 1
    words = _words(100)
    for cycle, word in enumerate(words):
        dut.i__payload.value = word
        await tick(dut)
        assert dut.i__ready.value == 1
        assert dut.o__valid.value == (cycle > 0)
        assert cycle == 0 or int(dut.o__payload.value) == words[cycle - 1]


@cocotb.test()
async def holds_two_words(dut):
    """While the output waits, exactly two words are accepted."""
    await start(dut)
    dut.i__valid.value = 1
    accepted = 0
    for _ in range(10):
        await tick(dut)
        accepted += int(dut.i__ready.value)
    assert accepted == 2


def _words(count: int) -> list[int]:
    random, limit = rng(), 1 << parameters()["width"]
    return [int.from_bytes(random.bytes(16), "little") % limit for _ in range(count)]
