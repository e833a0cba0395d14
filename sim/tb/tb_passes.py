# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.io.passes.PassGuard`."""

import random

import cocotb

from hw.io.passes import PassGuard
from sim.tb import parameters, start, tick


class Core:
    """A core that dispatches a pass for a while and ends it some time later; checks the lengths all along."""

    def __init__(self, dut):
        given = parameters()
        self.dut, self.limit, self.sizes = dut, min(given["tokens"], given["max_tokens"]), given["sizes"]
        dut.tokens.value = given["tokens"]
        self.begun, self.refused, self.in_flight, self.dispatching = 0, 0, [], 0
        self.length = 0

    async def cycle(self, *, run: int, seq_len: int) -> None:
        """One cycle with these inputs."""
        dut = self.dut
        dut.run.value, dut.seq_len.value = run, seq_len
        ended = bool(self.in_flight) and self.in_flight[0] <= 0
        self.in_flight = [left - 1 for left in self.in_flight][ended:]
        dut.ended.value, dut.at_work.value = int(ended), int(bool(self.in_flight))
        dut.dispatching.value = int(self.dispatching > 0)
        await tick(dut)
        lengths = int(dut.lengths.value)
        found = [lengths >> 12 * n & 0xFFF for n in range(4)]
        if self.in_flight or ended or self.dispatching:
            assert found[0] == self.length, "the length of a pass in flight has changed"
        begin = int(dut.begun.value)
        self.refused += int(dut.refused.value)
        if begin:
            assert not self.dispatching, "a start that the sequencer does not see"
            assert 1 <= found[0] <= self.limit and found[0] == seq_len
            assert found[1:] == [-(-found[0] // size) for size in self.sizes]
            self.begun, self.length, self.dispatching = self.begun + 1, found[0], random.randint(3, 12)
            self.in_flight.append(self.dispatching + random.randint(0, 30))
            self.in_flight.sort()
        elif self.dispatching:
            self.dispatching -= 1

    async def rest(self, seq_len: int) -> None:
        """Until nothing is in flight."""
        while self.in_flight or self.dispatching:
            await self.cycle(run=0, seq_len=seq_len)
        for _ in range(4):
            await self.cycle(run=0, seq_len=seq_len)


async def begin(dut) -> Core:
    await start(dut, limit=100_000)
    core = Core(dut)
    await tick(dut, 3)
    return core


@cocotb.test()
async def one_request_one_answer(dut):
    """A pulse of ``run``, the length steady or new in that cycle, begins one pass or is refused once."""
    core = await begin(dut)
    for _ in range(300):
        seq_len = random.choice([0, 1, core.limit, core.limit + 1, random.randrange(1, core.limit + 1), 0xFFF])
        legal = 1 <= seq_len <= core.limit
        for _ in range(random.choice([0, 0, 1, 2, 5])):
            await core.cycle(run=0, seq_len=seq_len)
        before = core.begun, core.refused
        await core.cycle(run=1, seq_len=seq_len)
        for _ in range(4):
            await core.cycle(run=0, seq_len=seq_len)
        assert (core.begun - before[0], core.refused - before[1]) == ((1, 0) if legal else (0, 1)), seq_len
        await core.rest(seq_len)


@cocotb.test()
async def a_new_length_counts_after_its_latency(dut):
    """``run`` high from the cycle of the change on: the pass begins neither sooner nor later."""
    core = await begin(dut)
    for length in (1, core.limit, 2, core.limit - 1):
        before, cycles = core.begun, 0
        while core.begun == before:
            await core.cycle(run=1, seq_len=length)
            cycles += 1
        assert cycles == 1 + PassGuard.LENGTH_LATENCY
        await core.rest(length)


@cocotb.test()
async def passes_in_flight_keep_their_length(dut):
    """``run`` and ``seq_len`` at random; a request in flight with another length is refused until all has ended."""
    core = await begin(dut)
    seq_len = 1
    for _ in range(3000):
        if random.random() < 0.1:
            seq_len = random.choice([0, core.limit + 1, random.randrange(1, core.limit + 1)])
        await core.cycle(run=random.random() < 0.5, seq_len=seq_len)
    assert core.begun > 20 and core.refused > 20
    await core.rest(1)
    begun, refused = core.begun, core.refused
    while not core.in_flight:
        await core.cycle(run=1, seq_len=1)
    while core.dispatching:
        await core.cycle(run=0, seq_len=2)
    assert core.in_flight, "seed"
    await core.cycle(run=1, seq_len=2)
    await core.cycle(run=0, seq_len=2)
    assert (core.begun, core.refused) == (begun + 1, refused + 1)


@cocotb.test()
async def no_error_where_none_is(dut):
    """``run`` high from the first cycle on, through a reset, and for passes back to back of one length."""
    core = await begin(dut)
    dut.run.value, dut.seq_len.value, dut.rst.value = 1, core.limit, 1
    await tick(dut, 2)
    dut.rst.value = 0
    for _ in range(200):
        await core.cycle(run=1, seq_len=core.limit)
    assert core.begun > 10 and not core.refused
