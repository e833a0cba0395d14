# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.wrappers.wishbone.WishboneCore`, with the master of cocotbext-wishbone."""

import logging
import os
import random
from itertools import product

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.wishbone.driver import WBOp, WishboneMaster

from hw.host.registers import QUEUE_WORDS, REGISTERS, STREAM_REGISTERS, register
from sim.tb import CLOCK_NS, parameters
from sim.tb.fuzzed import run_cases
from sim.tb.wrapped import Work, field, get, illegal_accesses_do_nothing, put, registers_are_as_declared

ALL = (*REGISTERS, *STREAM_REGISTERS)
_CLASSIC = {
    "cyc": "cyc_i", "stb": "stb_i", "we": "we_i", "adr": "adr_i", "sel": "sel_i", "datwr": "dat_i", "datrd": "dat_o",
    "ack": "ack_o", "err": "err_o",
}  # fmt: skip
_PIPELINED = {**_CLASSIC, "stall": "stall_o"}


async def start(dut) -> None:
    """Clock, every other input 0, reset; checks from then on that every answer is one to an access."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)  # the master logs every transfer
    for name in os.environ["RTLFORMER_INPUTS"].split():
        getattr(dut, name).value = int(name == "rst_i")
    Clock(dut.clk_i, CLOCK_NS, "ns", impl="gpi").start()
    await ClockCycles(dut.clk_i, 4)
    assert not int(dut.wb_ack_o.value) and not int(dut.wb_err_o.value)
    dut.rst_i.value = 0
    cocotb.start_soon(_answers(dut))


async def _answers(dut) -> None:
    edge, open_ = RisingEdge(dut.clk_i), 0
    while True:
        await edge
        cycle, strobe, stall, ack, err = (
            int(port.value) for port in (dut.wb_cyc_i, dut.wb_stb_i, dut.wb_stall_o, dut.wb_ack_o, dut.wb_err_o)
        )
        assert not (ack and err)
        assert not (ack or err) or open_ == 1, "an answer to nothing"
        open_ = 0 if not cycle else open_ - (ack or err) + (strobe and not stall)
        assert open_ <= 1, "stall must hold further accesses back"


class Host:
    """Wishbone master; waits up to ``idle`` cycles before an access."""

    def __init__(self, dut, *, pipelined: bool, idle: int = 0):
        signals = _PIPELINED if pipelined else _CLASSIC
        self._master = WishboneMaster(dut, "wb", dut.clk_i, timeout=100, signals_dict=signals)
        self._idle = idle

    async def _access(self, operation: WBOp) -> tuple[int, bool]:
        operation.idle = random.randint(0, self._idle)
        answer = (await self._master.send_cycle([operation]))[0]
        assert answer.ack in (1, 2)
        return int(answer.datrd), answer.ack == 2

    async def read(self, offset: int) -> tuple[int, bool]:
        return await self._access(WBOp(adr=offset))

    async def write(self, offset: int, value: int, select: int = 0xF) -> bool:
        return (await self._access(WBOp(adr=offset, dat=value, sel=select)))[1]

    async def push(self, word: int) -> bool:
        """Whether the queue refused it."""
        await put(self, "PUSH_LO", word & 0xFFFFFFFF)
        return await self.write(register("PUSH_HI").offset, word >> 32)

    async def pull(self) -> int:
        low = await get(self, "PULL_LO")
        return low | await get(self, "PULL_HI") << 32


@cocotb.test()
async def registers(dut):
    for pipelined in (False, True):
        await start(dut)
        await registers_are_as_declared(Host(dut, pipelined=pipelined, idle=3), ALL)


@cocotb.test()
async def illegal_accesses(dut):
    await start(dut)
    host = Host(dut, pipelined=True, idle=3)
    await illegal_accesses_do_nothing(host, ALL)
    for offset in (1, 2, 3):  # within a word
        assert await host.read(offset) == (0, True)
        assert await host.write(register("MODEL_HASH_HI").offset + offset, 1)
    assert await host.write(register("MODEL_HASH_HI").offset, 1, 0)  # nothing selected
    assert await get(host, "STREAM_STATUS") == QUEUE_WORDS << register("STREAM_STATUS")["input_room"].lsb
    assert not await host.write(register("PUSH_LO").offset, 0)
    assert await host.write(register("PULL_LO").offset, 0) and await host.write(register("PULL_HI").offset, 0)


@cocotb.test()
async def an_aborted_cycle_has_no_answer(dut):
    """The master ends the cycle early, at every moment, of a legal access or another; the next has its own answer."""
    await start(dut)
    for cycles, offset in product(range(1, 12), (register("VERSION").offset, 0x1FC)):
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 1
        dut.wb_adr_i.value = offset
        await ClockCycles(dut.clk_i, cycles)
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 0
        await ClockCycles(dut.clk_i, 1 + cycles % 3)
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 1
        dut.wb_adr_i.value = register("ID").offset
        while True:
            await ClockCycles(dut.clk_i, 1)
            assert not int(dut.wb_err_o.value)
            if int(dut.wb_ack_o.value):
                break
        assert int(dut.wb_dat_o.value) == register("ID").fields[0].reset
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 0
        await ClockCycles(dut.clk_i, 10)


@cocotb.test()
async def images(dut):
    """Inputs and results through the windows: more results than the queue holds, a slow host, refused words."""
    await start(dut)
    host, work = Host(dut, pipelined=False, idle=12), Work()
    count = len(work.packets)
    assert count * work.words > QUEUE_WORDS, "some results must wait in the core"
    await put(host, "SEQ_LEN", work.tokens)
    await put(host, "CONTROL", field("CONTROL", "clear") | field("CONTROL", "irq_enable"))
    await put(host, "PASSES", count)
    refused = 0
    for packet in work.packets:
        for word in packet:
            while await host.push(word):  # the core holds an input back until it has room
                refused += 1
                await ClockCycles(dut.clk_i, random.randint(0, 2000))
    assert refused, "the queue was never full"
    while await get(host, "FRAMES_DONE") < QUEUE_WORDS // work.words:
        assert int(dut.irq_o.value) == bool(await get(host, "STATUS") & field("STATUS", "done"))
        await ClockCycles(dut.clk_i, 1000)
    await ClockCycles(dut.clk_i, 40_000)
    assert await get(host, "FRAMES_DONE") == QUEUE_WORDS // work.words, "the queue is full, so the core must wait"
    assert not await get(host, "STATUS") & field("STATUS", "idle")
    results, interrupts = [], 0
    host = Host(dut, pipelined=True, idle=12)
    room = register("STREAM_STATUS")["output_words"]
    while len(results) < count:
        words = []
        while len(words) < work.words:
            status = await get(host, "STREAM_STATUS")
            if not status & room.mask:
                assert await host.read(register("PULL_HI").offset) == (0, True)
                await ClockCycles(dut.clk_i, 500)
                continue
            last = bool(status & field("STREAM_STATUS", "output_last"))
            assert last == (len(words) == work.words - 1), "the mark of a result's last word"
            words.append(await host.pull())
            if int(dut.irq_o.value):
                interrupts += 1
                await put(host, "STATUS", field("STATUS", "done"))
        results.append(words)
    await ClockCycles(dut.clk_i, 30)
    assert 1 < interrupts <= count and not int(dut.irq_o.value)
    assert await get(host, "STATUS") == field("STATUS", "idle")
    assert await get(host, "FRAMES_DONE") == count
    assert await get(host, "BUSY_MACS") == count * work.macs
    assert await get(host, "STREAM_STATUS") == QUEUE_WORDS << register("STREAM_STATUS")["input_room"].lsb
    work.save(results)


@cocotb.test()
async def reset_in_the_middle(dut):
    """CONTROL.reset in the middle of a pass empties both queues; the next input's result is right."""
    await start(dut)
    host, work = Host(dut, pipelined=True), Work()
    await put(host, "SEQ_LEN", work.tokens)
    await put(host, "PASSES", 2)
    for word in [*work.packets[1], *work.packets[1][:7]]:
        assert not await host.push(word)
    while not await get(host, "FRAMES_DONE"):
        await ClockCycles(dut.clk_i, 500)
    assert await get(host, "STREAM_STATUS") & field("STREAM_STATUS", "output_words")
    await put(host, "CONTROL", field("CONTROL", "reset"))
    await ClockCycles(dut.clk_i, 40)
    assert await get(host, "STATUS") == field("STATUS", "idle")
    assert await get(host, "STREAM_STATUS") == QUEUE_WORDS << register("STREAM_STATUS")["input_room"].lsb
    for word in work.packets[0]:
        assert not await host.push(word)
    await put(host, "CONTROL", field("CONTROL", "start"))
    while not await get(host, "STATUS") & field("STATUS", "idle"):
        await ClockCycles(dut.clk_i, 500)
    assert [await host.pull() for _ in range(work.words)] == [int(word) for word in work.saved()[0]]


class _Top(Host):
    """For the cases that tell the core wrong things."""

    def __init__(self, dut):
        super().__init__(dut, pipelined=True)
        self._dut, self._waiting = dut, []

    async def send(self, words: list[int]) -> None:
        self._waiting += words
        await self._drain()

    async def _drain(self) -> None:
        while self._waiting and not await self.push(self._waiting[0]):
            self._waiting.pop(0)

    async def receive(self, count: int) -> list[int]:
        words: list[int] = []
        while len(words) < count:
            await self._drain()
            status = await get(self, "STREAM_STATUS")
            if status & field("STREAM_STATUS", "output_words"):
                assert bool(status & field("STREAM_STATUS", "output_last")) == (len(words) == count - 1)
                words.append(await self.pull())
        return words

    async def forget(self) -> None:
        self._waiting.clear()

    async def wait(self, cycles: int) -> None:
        await self._drain()
        if cycles:
            await ClockCycles(self._dut.clk_i, cycles)


@cocotb.test(skip="cases" not in parameters())
async def wrong_things(dut):
    """Every case of tests/corefuzz.py, and after each a right result."""
    await start(dut)
    await run_cases(_Top(dut))
