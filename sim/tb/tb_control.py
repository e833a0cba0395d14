# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.host.control.ControlBlock`: a register bus on one side, on the other a core played here."""

import random

import cocotb

from hw.core import BUSY_BITS, ERRORS
from hw.host.bus import ADDRESS_BITS, READ_LATENCY
from hw.host.control import SETTLE_CYCLES
from hw.host.registers import REGISTERS, Access, register
from sim.tb import parameters, start, tick
from sim.tb.controlled import CONTROL, STATUS, Bus, begin, until_idle


@cocotb.test()
async def every_register_starts_as_declared(dut):
    """And one word a cycle is read; words that are no registers are 0."""
    await start(dut)
    await tick(dut, 2)
    expected = parameters()["reset_values"]
    read = []
    for index in range((1 << ADDRESS_BITS) + READ_LATENCY):
        dut.bus__addr.value = index % (1 << ADDRESS_BITS)
        await tick(dut)
        read.append(int(dut.bus__r_data.value))
    read = read[READ_LATENCY:]
    for reg in REGISTERS:
        if reg.name != "CYCLES_LO":  # it runs
            assert read[reg.index] == expected[reg.name], f"{reg.name} is {read[reg.index]:#x}"
    assert not any(read[len(REGISTERS) :])


@cocotb.test()
async def writes_do_what_the_access_says(dut):
    """All ones and random words to every register: read-only bits stay, the others change, no neighbour does."""
    bus, core = await begin(dut)
    core.held = True
    quiet = [reg for reg in REGISTERS if reg.name not in ("CONTROL", "PASSES", "STATUS", "CYCLES_LO")]
    before = {reg.name: await bus.get(reg.name) for reg in quiet}
    for reg in quiet:
        for value in (0xFFFFFFFF, random.getrandbits(32), 0xFFFF0003):
            await bus.write(reg.index, value)
            for field in reg.fields:
                accepted = reg.name != "SEQ_LEN" or 1 <= value & 0xFFFF <= parameters()["max_tokens"]
                if field.access == Access.RW and accepted:
                    before[reg.name] = before[reg.name] & ~field.mask | value & field.mask
            assert {other.name: await bus.get(other.name) for other in quiet} == before, reg.name
    for index in (len(REGISTERS), (1 << ADDRESS_BITS) - 1):
        await bus.write(index, 0xFFFFFFFF)
        assert await bus.read(index) == 0
    assert {other.name: await bus.get(other.name) for other in quiet} == before
    assert not core.begun


@cocotb.test()
async def every_request_is_one_pass(dut):
    """Requests at any moment, of any number, with lengths that change between: none is lost, none runs twice."""
    bus, core = await begin(dut)
    requested, lengths = 0, []
    for _ in range(25):
        if random.random() < 0.4:
            await until_idle(bus)
            assert not core.in_flight and len(core.begun) == requested
            length = random.randint(1, parameters()["max_tokens"])
            await bus.put("SEQ_LEN", length)
        else:
            length = await bus.get("SEQ_LEN")
        count = random.choice([0, 1, 1, 2, 5])
        if count == 1 and random.random() < 0.5:
            await bus.put("CONTROL", CONTROL["start"].mask)
        else:
            await bus.put("PASSES", count)
        assert not await bus.get("STATUS") & STATUS["idle"].mask
        requested += count
        lengths += [length] * count
        await tick(dut, random.choice([0, 1, 30, 200]))
    await until_idle(bus)
    assert core.begun == lengths
    assert await bus.get("PASSES") == 0
    assert await bus.get("FRAMES_DONE") == core.left == requested
    for engine, name in enumerate(BUSY_BITS):
        assert await bus.get(f"BUSY_{name.upper()}") == core.busy[engine], name


@cocotb.test()
async def idle_is_never_early(dut):
    """Looked at in every cycle, however a pass was requested: up again no sooner than its result has left."""
    bus, core = await begin(dut)
    for request, mask in (("CONTROL", CONTROL["start"].mask), ("PASSES", 1)) * 3:
        await until_idle(bus)
        requested = core.left + 1
        await bus.put(request, mask)
        dut.bus__addr.value = STATUS.index
        await tick(dut, READ_LATENCY + 1)
        while core.left < requested:
            assert not int(dut.bus__r_data.value) & STATUS["idle"].mask
            await tick(dut)


@cocotb.test()
async def a_length_waits_for_the_passes_in_flight(dut):
    """Written at once after a start, it reaches the core only when nothing is in flight, and the next start waits."""
    bus, core = await begin(dut)
    await bus.put("SEQ_LEN", 3)
    await bus.put("PASSES", 1)
    while not core.begun:
        await tick(dut)
    core.held = True
    await bus.put("SEQ_LEN", 5)
    await bus.put("PASSES", 2)
    await tick(dut, 300)
    assert core.begun == [3] and int(dut.seq_len.value) == 3
    assert await bus.get("SEQ_LEN") == 5 and await bus.get("PASSES") == 2
    core.held = False
    await until_idle(bus)
    assert core.begun == [3, 5, 5]


@cocotb.test()
async def what_cannot_be_done_is_refused(dut):
    """Lengths out of range and too many passes change nothing and set ``refused``, which writing 1 clears."""
    bus, core = await begin(dut)
    core.held = True
    length, most = await bus.get("SEQ_LEN"), parameters()["max_tokens"]
    assert length == most
    for value in (0, most + 1, 0x8001, 0xFFFF):
        await bus.put("SEQ_LEN", value)
        await tick(dut)
        assert await bus.get("SEQ_LEN") == length
        assert await bus.get("STATUS") & STATUS["refused"].mask
        await bus.put("STATUS", STATUS["refused"].mask)
        assert not await bus.get("STATUS") & STATUS["refused"].mask
    await bus.put("PASSES", 0xFFFF)
    await tick(dut, 4000)
    waiting = await bus.get("PASSES")
    assert waiting == 0xFFFF - len(core.begun) and len(core.begun) == 15, "as many begun as are counted, no more"
    for count, left in ((0xFFFF - waiting + 1, waiting), (0xFFFF - waiting, 0xFFFF), (1, 0xFFFF)):
        await bus.put("PASSES", count)
        await tick(dut, 2)
        assert await bus.get("PASSES") == left
        assert bool(await bus.get("STATUS") & STATUS["refused"].mask) == (left == waiting or count == 1)
        await bus.put("STATUS", STATUS["refused"].mask)
    await bus.put("CONTROL", CONTROL["reset"].mask)
    await until_idle(bus)
    assert await bus.get("PASSES") == 0


@cocotb.test()
async def the_interrupt_follows_done(dut):
    """High from a result on until done is cleared, if enabled; a result that comes meanwhile is not lost."""
    bus, core = await begin(dut)
    await bus.put("PASSES", 1)
    await until_idle(bus)
    status = await bus.get("STATUS")
    assert status & STATUS["done"].mask and not status & STATUS["irq"].mask and not int(dut.irq.value)
    await bus.put("CONTROL", CONTROL["irq_enable"].mask)
    await tick(dut, 2)
    assert int(dut.irq.value) and await bus.get("STATUS") & STATUS["irq"].mask
    await bus.put("STATUS", STATUS["done"].mask)
    await tick(dut)
    assert not int(dut.irq.value), "down at once: a handler that returns must not be called again"
    await bus.put("PASSES", 30)
    seen = 0
    while seen < 30:
        while not int(dut.irq.value):
            await tick(dut)
        await bus.put("STATUS", STATUS["done"].mask)
        await tick(dut, 3)
        seen = await bus.get("FRAMES_DONE") - 1
    await until_idle(bus)
    await bus.put("CONTROL", 0)
    await bus.put("PASSES", 1)
    await until_idle(bus)
    assert await bus.get("STATUS") & STATUS["done"].mask and not int(dut.irq.value)


@cocotb.test()
async def a_result_is_seen_however_often_done_is_cleared(dut):
    """Cleared in every cycle, ``done`` is up for one cycle a result."""
    bus, core = await begin(dut)
    await bus.put("PASSES", 20)
    dut.bus__addr.value, dut.bus__w_data.value = STATUS.index, STATUS["done"].mask
    seen = 0
    for cycle in range(4000):
        dut.bus__write.value = 1
        await tick(dut)
        seen += bool(int(dut.bus__r_data.value) & STATUS["done"].mask)
        if cycle < 3500 and random.random() < 0.01:  # no pass begins in a cycle that writes
            dut.bus__write.value = 0
            await tick(dut)
            seen += bool(int(dut.bus__r_data.value) & STATUS["done"].mask)
    assert core.left == len(core.begun) > 5
    assert seen >= core.left


@cocotb.test()
async def reset_leaves_the_host_s_settings(dut):
    """It ends passes and forgets requests; a start written with it is dropped, one written after it is kept."""
    bus, core = await begin(dut)
    for name, value in (("SEQ_LEN", 2), ("MODEL_HASH_LO", 0x1234), ("MODEL_HASH_HI", 0x5678), ("PASSES", 9)):
        await bus.put(name, value)
    core.held = True
    await tick(dut, 500)
    frames, begun = await bus.get("FRAMES_DONE"), len(core.begun)
    assert core.in_flight
    await bus.put("SEQ_LEN", 0)  # refused, which the reset forgets
    await bus.put("CONTROL", sum(CONTROL[name].mask for name in ("reset", "start", "irq_enable")))
    high = 0
    for _ in range(20):
        await tick(dut)
        high += int(dut.core_reset.value)
    assert high == SETTLE_CYCLES
    core.held = False
    await until_idle(bus)
    assert len(core.begun) == begun and not core.in_flight
    assert await bus.get("CONTROL") == CONTROL["irq_enable"].mask
    assert await bus.get("STATUS") == STATUS["idle"].mask
    expected = {"SEQ_LEN": 2, "MODEL_HASH_LO": 0x1234, "MODEL_HASH_HI": 0x5678, "PASSES": 0, "FRAMES_DONE": frames}
    assert {name: await bus.get(name) for name in expected} == expected
    await bus.put("CONTROL", CONTROL["reset"].mask)
    await bus.put("CONTROL", CONTROL["start"].mask)
    await until_idle(bus)
    assert len(core.begun) == begun + 1
    dut.rst.value = 1
    await tick(dut, 2)
    dut.rst.value = 0
    expected = {"SEQ_LEN": parameters()["max_tokens"], "MODEL_HASH_LO": 0x1234, "MODEL_HASH_HI": 0x5678, "CONTROL": 0}
    assert {name: await bus.get(name) for name in expected} == expected, "MODEL_HASH is about memories"


@cocotb.test()
async def no_result_of_before_a_reset_outlives_it(dut):
    """Those that leave while it is under way are neither counted nor ``done``; nothing is idle meanwhile."""
    await start(dut)
    bus = Bus(dut)
    await until_idle(bus)
    dut.frame.value = 1
    await bus.put("CONTROL", CONTROL["reset"].mask)
    dut.bus__addr.value = STATUS.index
    for cycle in range(SETTLE_CYCLES):
        await tick(dut)
        assert int(dut.core_reset.value)
        assert cycle < READ_LATENCY or not int(dut.bus__r_data.value) & STATUS["idle"].mask
    dut.frame.value = 0
    await until_idle(bus)
    assert await bus.get("STATUS") == STATUS["idle"].mask
    assert await bus.get("FRAMES_DONE") == 0


@cocotb.test()
async def what_the_core_refuses_stays_until_it_is_cleared(dut):
    """Each error in its own bit, cleared by writing 1 to it alone; one that comes in that moment is not lost."""
    bus, _ = await begin(dut)
    every = (1 << len(ERRORS)) - 1
    for bit, name in enumerate(ERRORS):
        assert register("ERRORS")[name].mask == 1 << bit
        dut.errors.value = 1 << bit
        await tick(dut)
        dut.errors.value = 0
        await tick(dut, 2)
        assert await bus.get("ERRORS") == (1 << bit + 1) - 1
        assert await bus.get("STATUS") & STATUS["error"].mask
    for bit in range(len(ERRORS)):
        await bus.put("ERRORS", 1 << bit)
        assert await bus.get("ERRORS") == every & ~((1 << bit + 1) - 1)
    assert not await bus.get("STATUS") & STATUS["error"].mask
    dut.errors.value = every
    await bus.put("ERRORS", every)
    await bus.put("ERRORS", every)
    dut.errors.value = 0
    await tick(dut, 2)
    assert await bus.get("ERRORS") == every
    await bus.put("CONTROL", CONTROL["reset"].mask)
    await until_idle(bus)
    assert await bus.get("ERRORS") == 0


@cocotb.test()
async def a_load_drops_the_model_hash(dut):
    """Both halves, even where a host writes one in that cycle; LOAD_CRC is the core's, and writing clears it there."""
    bus, _ = await begin(dut)
    dut.load_crc.value = 0x89ABCDEF
    for half in ("MODEL_HASH_LO", "MODEL_HASH_HI"):
        await bus.put(half, 0x12345678)
    await tick(dut, 2)
    assert await bus.get("LOAD_CRC") == 0x89ABCDEF
    assert await bus.get("MODEL_HASH_LO") == await bus.get("MODEL_HASH_HI") == 0x12345678
    dut.model_written.value = 1
    await tick(dut)
    dut.model_written.value = 0
    await bus.put("MODEL_HASH_LO", 0x5555)
    assert await bus.get("MODEL_HASH_LO") in (0, 0x5555)
    assert await bus.get("MODEL_HASH_HI") == 0
    dut.model_written.value = 1
    await bus.put("MODEL_HASH_HI", 0x5555)
    await bus.put("MODEL_HASH_LO", 0x5555)
    dut.model_written.value = 0
    await tick(dut, 2)
    assert await bus.get("MODEL_HASH_LO") == await bus.get("MODEL_HASH_HI") == 0
    cleared = 0
    await bus.put("LOAD_CRC", 7)
    for _ in range(5):
        cleared += int(dut.clear_crc.value)
        await tick(dut)
    assert cleared == 1
    assert await bus.get("ERRORS") == 0


@cocotb.test()
async def cycles_carry_into_the_high_half(dut):
    """Every reading whose two high halves agree is exact, however the low half wraps meanwhile; a clear forgets that
    it was about to."""
    bits = parameters()["counter_bits"]
    bus, _ = await begin(dut)
    for wait in range(17):
        await tick(dut, wait)
        await bus.put("CONTROL", CONTROL["clear"].mask)
        await tick(dut, 2)
        assert await bus.get("CYCLES_HI") == 0, wait
    words = []
    for cycle in range(200):
        dut.bus__addr.value = register("CYCLES_LO" if cycle % 2 else "CYCLES_HI").index
        await tick(dut)
        words.append(int(dut.bus__r_data.value))
    words = words[READ_LATENCY:]
    start_count, read = words[1] - 1, 0
    for at in range(0, len(words) - 2, 2):
        high, low, again = words[at : at + 3]
        if high == again:
            assert high << bits | low == start_count + at + 1
            read += 1
    assert read > 80 and (words[-2] | words[-1]) >> 2
