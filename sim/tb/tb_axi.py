# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.wrappers.axi.AxiCore`, with the masters of cocotbext-axi."""

import logging
import os
import random
from itertools import groupby

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from hw.host.registers import REGISTERS, register
from sim.tb import CLOCK_NS, parameters
from sim.tb.fuzzed import run_cases
from sim.tb.wrapped import (
    Work,
    field,
    get,
    illegal_accesses_do_nothing,
    pauses,
    put,
    registers_are_as_declared,
    steady,
)

_PAYLOADS = {"s_axil_b": ("resp",), "s_axil_r": ("data", "resp"), "m_axis_t": ("data", "last", "keep")}


async def start(dut) -> None:
    """Clock, every other input 0, reset; checks the outputs' handshakes from then on."""
    for name in os.environ["RTLFORMER_INPUTS"].split():
        getattr(dut, name).value = 0
    Clock(dut.aclk, CLOCK_NS, "ns", impl="gpi").start()
    await ClockCycles(dut.aclk, 4)
    for name in ("s_axil_bvalid", "s_axil_rvalid", "m_axis_tvalid", "s_axis_tready"):
        assert not int(getattr(dut, name).value), f"{name} in reset"
    dut.aresetn.value = 1


def check_outputs(dut) -> None:
    """Every channel that the wrapper drives keeps valid and payload until it is ready."""
    for channel, payload in _PAYLOADS.items():
        ports = (getattr(dut, channel + name) for name in ("valid", "ready", *payload))
        cocotb.start_soon(steady(dut.aclk, *ports))


class Host:
    """AXI4-Lite master; pauses with probability ``stall`` on every channel, on those of answers with ``late``."""

    def __init__(self, dut, stall: float = 0.0, late: float | None = None):
        self._master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, dut.aresetn, False)
        writes, reads = self._master.write_if, self._master.read_if
        for channel in (writes.aw_channel, writes.w_channel, reads.ar_channel):
            channel.set_pause_generator(pauses(stall))
        for channel in (writes.b_channel, reads.r_channel):
            channel.set_pause_generator(pauses(stall if late is None else late))

    async def read(self, offset: int) -> tuple[int, bool]:
        answer = await self._master.read(offset, 4)
        return int.from_bytes(answer.data, "little"), refused(answer.resp)

    async def write(self, offset: int, value: int, select: int = 0xF) -> bool:
        first, count = (select & -select).bit_length() - 1, select.bit_count()
        data = value.to_bytes(4, "little")[first : first + count]
        return refused((await self._master.write(offset + first, data)).resp)


def refused(response) -> bool:
    """Whether an access was answered with SLVERR; no other error is allowed."""
    assert response in (AxiResp.OKAY, AxiResp.SLVERR)
    return response == AxiResp.SLVERR


def quiet() -> None:
    """The masters log every transfer."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)


@cocotb.test()
async def registers(dut):
    quiet()
    await start(dut)
    check_outputs(dut)
    await registers_are_as_declared(Host(dut, 0.3), REGISTERS)


@cocotb.test()
async def illegal_accesses(dut):
    quiet()
    await start(dut)
    check_outputs(dut)
    await illegal_accesses_do_nothing(Host(dut, 0.3), REGISTERS)


@cocotb.test()
async def raw_accesses(dut):
    """What the master never does: addresses within a word, no strobe at all, data before its address."""
    await start(dut)
    edge = RisingEdge(dut.aclk)

    async def give(channel: str, **payload):
        for name, value in payload.items():
            getattr(dut, f"s_axil_{channel}{name}").value = value
        getattr(dut, f"s_axil_{channel}valid").value = 1
        while True:
            await edge
            if int(getattr(dut, f"s_axil_{channel}ready").value):
                break
        getattr(dut, f"s_axil_{channel}valid").value = 0

    async def take(channel: str, *names: str):
        getattr(dut, f"s_axil_{channel}ready").value = 1
        while True:
            await edge
            if int(getattr(dut, f"s_axil_{channel}valid").value):
                break
        answer = [int(getattr(dut, f"s_axil_{channel}{name}").value) for name in names]
        getattr(dut, f"s_axil_{channel}ready").value = 0
        return answer

    base, kept = register("MODEL_HASH_LO").offset, None
    for offset in (0, 1, 2, 3):
        await give("ar", addr=base + offset, prot=random.getrandbits(3))
        data, response = await take("r", "data", "resp")
        kept = data if offset == 0 else kept
        assert (data, response) == ((kept, AxiResp.OKAY) if offset == 0 else (0, AxiResp.SLVERR))
    for offset, strobes in ((1, 0xF), (2, 0xF), (0, 0), (0, 0b1010), (0, 0xF)):
        halves = [give("w", data=0x600D, strb=strobes), give("aw", addr=base + offset, prot=random.getrandbits(3))]
        if random.getrandbits(1):
            halves.reverse()
        for half in halves:
            await half
            await ClockCycles(dut.aclk, random.randrange(5))
        (response,) = await take("b", "resp")
        legal = (offset, strobes) == (0, 0xF)
        assert response == (AxiResp.OKAY if legal else AxiResp.SLVERR)
        await give("ar", addr=base, prot=0)
        assert await take("r", "data", "resp") == [0x600D if legal else kept, AxiResp.OKAY]
    # A read and a write offered at once are both answered, again and again.
    for value in range(20):
        both = [cocotb.start_soon(give("aw", addr=base)), cocotb.start_soon(give("w", data=value, strb=0xF))]
        both += [cocotb.start_soon(give("ar", addr=register("ID").offset)), cocotb.start_soon(take("b", "resp"))]
        answer = await take("r", "data", "resp")
        assert answer == [register("ID").fields[0].reset, AxiResp.OKAY]
        for task in both:
            await task
    await give("aw", addr=base)
    await give("w", data=kept, strb=0xF)
    await take("b", "resp")


@cocotb.test()
async def many_at_once(dut):
    """Reads and writes that do not wait for one another's answers: each has its own, in order."""
    quiet()
    await start(dut)
    check_outputs(dut)
    host, constants = Host(dut, 0.3, late=0.95), [reg for reg in REGISTERS if reg.index < register("CONTROL").index]
    before = [await get(host, name) for name in ("MODEL_HASH_LO", "MODEL_HASH_HI")]
    written, writes, reads = {}, [], []
    for _ in range(60):
        name, value = random.choice(["MODEL_HASH_LO", "MODEL_HASH_HI", "ID"]), random.getrandbits(32)
        writes.append((name, cocotb.start_soon(host.write(register(name).offset, value))))
        written[name] = value
        reg = random.choice(constants)
        reads.append((reg.name, cocotb.start_soon(host.read(reg.offset))))
    for name, task in writes:
        assert await task == (name == "ID")
    for name, task in reads:
        assert await task == (parameters()["reset_values"][name], False), name
    for name, value in zip(("MODEL_HASH_LO", "MODEL_HASH_HI"), before, strict=True):
        assert await get(host, name) == written[name]
        await put(host, name, value)


@cocotb.test()
async def reads_pass_writes(dut):
    """However many writes wait, a read is next but one, and the other way round."""
    quiet()
    await start(dut)
    host, ends = Host(dut), []

    async def access(kind: str) -> None:
        await (host.read(0) if kind == "read" else host.write(0, 0))
        ends.append(kind)

    for kind in ("write", "read"):
        for _ in range(10):
            cocotb.start_soon(access(kind))
    while len(ends) < 20:
        await RisingEdge(dut.aclk)
    assert max(len(list(run)) for _, run in groupby(ends)) <= 2


@cocotb.test()
async def images(dut):
    """Inputs through the streams under random back-pressure, results to ``results``; interrupts and counters."""
    quiet()
    await start(dut)
    check_outputs(dut)
    host, work = Host(dut, 0.3), Work()
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, dut.aresetn, False)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, dut.aresetn, False)
    source.set_pause_generator(pauses(0.4))
    sink.set_pause_generator(pauses(0.6))
    count, interrupts = len(work.packets), 0
    await put(host, "SEQ_LEN", work.tokens)
    await put(host, "CONTROL", field("CONTROL", "clear") | field("CONTROL", "irq_enable"))
    await put(host, "PASSES", count)
    for packet in work.packets:
        await source.send(AxiStreamFrame(np.array(packet, dtype="<u8").tobytes()))
    results = []
    while interrupts < count:
        await RisingEdge(dut.irq)
        interrupts += 1
        assert await get(host, "STATUS") & field("STATUS", "done")
        await put(host, "STATUS", field("STATUS", "done"))
        frame = await sink.recv()
        words = np.frombuffer(bytes(frame.tdata), dtype="<u8")
        assert len(words) == work.words, "tlast marks the end of a result"
        results.append([int(word) for word in words])
    await ClockCycles(dut.aclk, 30)
    assert sink.empty() and not int(dut.irq.value)
    assert await get(host, "STATUS") == field("STATUS", "idle")
    assert await get(host, "FRAMES_DONE") == count
    assert await get(host, "BUSY_MACS") == count * work.macs
    active, cycles = await get(host, "ACTIVE_CYCLES"), await get(host, "CYCLES_LO")
    assert count * work.macs < active < cycles
    assert await get(host, "CYCLES_HI") == 0
    work.save(results)


@cocotb.test()
async def reset_in_the_middle(dut):
    """After CONTROL.reset in the middle of a pass and of a packet, the next input's result is right."""
    quiet()
    await start(dut)
    host, work = Host(dut), Work()
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, dut.aresetn, False)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, dut.aresetn, False)
    first = work.saved()[0]
    await put(host, "SEQ_LEN", work.tokens)
    await put(host, "PASSES", 2)
    await source.send(np.array(work.packets[1], dtype="<u8").tobytes())
    await source.send(np.array(work.packets[1][:7], dtype="<u8").tobytes())
    await ClockCycles(dut.aclk, 5000)
    assert source.idle() and await get(host, "STATUS") & field("STATUS", "busy")
    await put(host, "CONTROL", field("CONTROL", "reset"))
    await ClockCycles(dut.aclk, 40)
    assert await get(host, "STATUS") == field("STATUS", "idle")
    assert await get(host, "SEQ_LEN") == work.tokens
    await put(host, "CONTROL", field("CONTROL", "start"))
    await source.send(np.array(work.packets[0], dtype="<u8").tobytes())
    words = np.frombuffer(bytes((await sink.recv()).tdata), dtype="<u8")
    assert (words == first).all()
    await ClockCycles(dut.aclk, 100)
    assert sink.empty() and await get(host, "STATUS") & field("STATUS", "idle")


class _Top(Host):
    """For the cases that tell the core wrong things."""

    def __init__(self, dut):
        super().__init__(dut, 0.1)
        self._dut = dut
        self._source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, dut.aresetn, False)
        self._sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, dut.aresetn, False)
        self._source.set_pause_generator(pauses(0.2))
        self._sink.set_pause_generator(pauses(0.3))

    async def send(self, words: list[int]) -> None:
        if words:
            await self._source.send(AxiStreamFrame(np.array(words, dtype="<u8").tobytes()))

    async def receive(self, count: int) -> list[int]:
        words = np.frombuffer(bytes((await self._sink.recv()).tdata), dtype="<u8")
        assert len(words) == count, "tlast marks the end of a result"
        return [int(word) for word in words]

    async def forget(self) -> None:
        for end in (self._source, self._sink):
            end.clear()
            end.assert_reset()

    async def wait(self, cycles: int) -> None:
        if cycles:
            await ClockCycles(self._dut.aclk, cycles)


@cocotb.test(skip="cases" not in parameters())
async def wrong_things(dut):
    """Every case of tests/corefuzz.py, and after each a right result."""
    quiet()
    await start(dut)
    await run_cases(_Top(dut))
