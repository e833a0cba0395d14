# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.host.hosted.HostedCore`."""

import cocotb
import numpy as np

from hw.host.registers import register
from sim.tb import parameters, rng, start, tick
from sim.tb.controlled import Bus, until_idle

STATUS, CONTROL = register("STATUS"), register("CONTROL")


async def _send(dut, words, random, stall=0.3):
    for word in words:
        while random.random() < stall:
            await tick(dut)
        dut.s_axis_tdata.value, dut.s_axis_tvalid.value = int(word), 1
        while True:
            await tick(dut)
            if int(dut.s_axis_tready.value):
                break
        dut.s_axis_tvalid.value = 0


async def _receive(dut, count, random, stall=0.3):
    words = []
    while len(words) < count:
        ready = random.random() >= stall
        dut.m_axis_tready.value = int(ready)
        await tick(dut)
        if ready and int(dut.m_axis_tvalid.value):
            words.append(int(dut.m_axis_tdata.value))
            assert int(dut.m_axis_tlast.value) == (len(words) == count)
    dut.m_axis_tready.value = 0
    return words


@cocotb.test()
async def a_reset_leaves_a_core_that_works(dut):
    """Inputs back to back; then CONTROL.reset at ever later moments of a pass, and each time the next one is right."""
    work, random, results = np.load(parameters()["work"]), rng(), []
    packets, count = work["packets"], int(work["words"])
    await start(dut, limit=2_000_000)
    bus = Bus(dut)
    await bus.put("SEQ_LEN", int(work["tokens"]))
    await bus.put("PASSES", len(packets))
    cocotb.start_soon(_send(dut, packets.reshape(-1), random))
    for _ in packets:
        results.append(await _receive(dut, count, random))
    await until_idle(bus)
    assert await bus.get("FRAMES_DONE") == len(packets)
    single = await bus.get("ACTIVE_CYCLES") // len(packets)
    for part in range(1, 8):
        await bus.put("PASSES", 2)
        sender = cocotb.start_soon(_send(dut, [*packets[0], *packets[1][:part]], random, 0.0))
        await tick(dut, single * part // 6)
        await bus.put("CONTROL", CONTROL["reset"].mask)
        sender.cancel()
        dut.s_axis_tvalid.value = 0
        await until_idle(bus)
        assert await bus.get("STATUS") == STATUS["idle"].mask and not int(dut.m_axis_tvalid.value)
        cocotb.start_soon(_send(dut, packets[part % 2], random))
        await bus.put("CONTROL", CONTROL["start"].mask)
        assert await _receive(dut, count, random) == results[part % 2]
        await until_idle(bus)
    np.save(parameters()["results"], np.array(results, dtype=np.uint64))
