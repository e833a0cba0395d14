# SPDX-License-Identifier: Apache-2.0
"""hw/memorysystem.py: whose turn it is at a shared port, and where beats and loads land."""

import pytest
from amaranth.sim import Simulator

from hw.config import CoreConfig
from hw.memories import CORE_MEMORIES, Target
from hw.memory import SHARED_READ_LATENCY
from hw.memorysystem import MemorySystem

CONFIG = CoreConfig(rows=2, cols=2, depth=4, w_words=4, act_words=8, kv_words=4, res_words=8, chan_words=4,
                    norm_words=4, head_words=4, prog_words=8, max_tokens=8)  # fmt: skip


@pytest.fixture
def system():
    return MemorySystem(CONFIG, {Target.RES: [0x11, 0x22, 0x33], Target.PROG: [7, 8]})


def run(system, bench):
    simulator = Simulator(system)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(1e-3)


def test_the_first_reader_that_asks_gets_the_port(system):
    ports = [system.drain_read_res, system.norm_read_res, system.store_read_res]

    async def bench(ctx):
        for asks in range(8):
            for number, port in enumerate(ports):
                ctx.set(port.next, asks >> number & 1)
            await ctx.tick()
            for number, port in enumerate(ports):
                ctx.set(port.valid, asks >> number & 1)
                ctx.set(port.next, 0)
                ctx.set(port.addr, number)
            first = next((number for number in range(3) if asks >> number & 1), None)
            granted = [number for number, port in enumerate(ports) if asks >> number & 1 and ctx.get(port.ready)]
            assert granted == ([] if first is None else [first])
            await ctx.tick()
            for port in ports:
                ctx.set(port.valid, 0)
            await ctx.tick().repeat(SHARED_READ_LATENCY - 1)
            if first is not None:
                assert [ctx.get(port.data) for port in ports] == [(0x11, 0x22, 0x33)[first]] * 3

    run(system, bench)


def test_beats_land_in_their_part_of_a_word_and_loads_wait_for_engines(system):
    drain, norm, load, read = system.drain_write_act, system.norm_write_act, system.load, system.array_read_act

    async def bench(ctx):
        async def word(address):
            ctx.set(read.addr, address)
            await ctx.tick().repeat(4)  # a write's latency, and a read's
            return ctx.get(read.data)

        ctx.set(load.target, Target.ACT)
        ctx.set(load.valid, 1)
        for address in range(8):
            ctx.set(load.addr, address)
            ctx.set(load.data, 0x8877665544332211)
            assert ctx.get(load.ready)
            await ctx.tick()
        ctx.set(load.data, 0)
        for port, data, address in ((drain, 0xAAAA, 13), (norm, 0xBBBB, 14)):  # beats 1 and 2 of word 3
            ctx.set(port.en, 1)
            ctx.set(port.addr, address)
            ctx.set(port.data, data)
        ctx.set(load.addr, 3)
        assert (ctx.get(drain.ready), ctx.get(norm.ready), ctx.get(load.ready)) == (1, 0, 0)
        await ctx.tick()
        ctx.set(drain.en, 0)
        assert (ctx.get(norm.ready), ctx.get(load.ready)) == (1, 0)
        ctx.set(load.target, Target.W)  # another memory has no other writer
        assert ctx.get(load.ready)
        ctx.set(load.valid, 0)
        await ctx.tick()
        ctx.set(norm.en, 0)
        assert await word(3) == 0x8877BBBBAAAA2211
        assert await word(2) == 0x8877665544332211

    run(system, bench)


def test_every_memory_has_its_instance_and_its_contents(system):
    async def bench(ctx):
        for address, expected in ((0, 7), (1, 8), (2, 0)):
            ctx.set(system.sequencer_read_prog.addr, address)
            await ctx.tick().repeat(2)
            assert ctx.get(system.sequencer_read_prog.data) == expected

    run(system, bench)
    names = {name for name in system.signature.members if name != "load"}
    assert {name.rsplit("_", 1)[1].upper() for name in names} == {memory.name for memory in CORE_MEMORIES}
