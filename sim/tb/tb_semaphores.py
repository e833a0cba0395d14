# SPDX-License-Identifier: Apache-2.0
"""Testbench of :mod:`hw.program.semaphores`: the bank alone, and a bank with a gate for each engine."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from hw import structs
from hw.program.commands import StoreCommand
from hw.program.semaphores import SIGNAL_LATENCY, TAKE_LATENCY
from sim.tb import parameters, start, tick
from sim.tb.streams import StreamSink, StreamSource

MOST = 1024  # row blocks of the longest sequence on one row


@cocotb.test()
async def counts(dut):
    """Against a list of integers: at random, and from nothing to the most that a program can signal and back."""
    initial, signallers, takers = (parameters()[name] for name in ("initial", "signallers", "takers"))
    await start(dut, limit=50_000)
    bank, n = Bank(dut, initial), len(initial)
    count = bank.count
    for eagerness in (0.5, 0.9, 0.1, 0.5):
        for _ in range(500):
            up = [random.getrandbits(n) & random.getrandbits(n) for _ in range(signallers)]
            down = [0] * takers
            for bit in range(n):
                if count[bit] and random.random() < eagerness:
                    down[random.randrange(takers)] |= 1 << bit
                if count[bit] + signallers > MOST:
                    up = [word & ~(1 << bit) for word in up]
            await bank.step(up, down)
    every = (1 << n) - 1
    while min(count) < MOST:  # to the top
        room = sum(1 << bit for bit in range(n) if count[bit] < MOST)
        await bank.step([room] + [0] * (signallers - 1), [0] * takers)
    while max(count):
        await bank.step([0] * signallers, [every] + [0] * (takers - 1))
    for _ in range(TAKE_LATENCY + 1):
        await bank.step([0] * signallers, [0] * takers)


class Bank:
    """Counts as they should be, and those that ``positive`` is to show: without the last signals and takes."""

    def __init__(self, dut, initial: list[int]):
        self.dut, self.count, self.shown = dut, list(initial), list(initial)
        self.ups = [[0] * len(initial) for _ in range(SIGNAL_LATENCY - 1)]
        self.downs = [[0] * len(initial) for _ in range(TAKE_LATENCY - 1)]

    async def step(self, up: list[int], down: list[int]):
        """One cycle of signals and takes."""
        n = len(self.count)
        self.dut.signal.value = sum(word << (n * number) for number, word in enumerate(up))
        self.dut.take.value = sum(word << (n * number) for number, word in enumerate(down))
        self.ups.append([sum(word >> bit & 1 for word in up) for bit in range(n)])
        self.downs.append([sum(word >> bit & 1 for word in down) for bit in range(n)])
        await tick(self.dut)
        positive, shown = int(self.dut.positive.value), self.shown
        assert positive == sum(1 << bit for bit in range(n) if shown[bit]), f"{positive:b}, should show {shown}"
        self.count[:] = [c + u - d for c, u, d in zip(self.count, self.ups[-1], self.downs[-1], strict=True)]
        self.shown = [c + u - d for c, u, d in zip(shown, self.ups.pop(0), self.downs.pop(0), strict=True)]


class Engine:
    """Commands of one engine, on their way through its gate."""

    def __init__(self, dut, number: int, commands: list[dict], *, stall: float):
        self.words = [structs.pack(StoreCommand, command) for command in commands]
        self.waits = [command["wait"] for command in commands]
        self.source = StreamSource(dut, f"i{number}", stall=stall)
        self.sink = StreamSink(dut, f"o{number}", stall=stall)
        self.number, self.passed = number, 0
        self.source.send(self.words)


@cocotb.test()
async def commands_wait_for_their_semaphores(dut):
    """A command passes only when all it waits for are positive, and then takes one of each; none is lost or overtaken.

    Signals are as many as the takes, so every command passes in the end.
    """
    initial, signallers, engines = (parameters()[name] for name in ("initial", "signallers", "engines"))
    await start(dut, limit=100_000)
    n = len(initial)
    owned = [0] * engines  # each semaphore has one engine that waits for it
    for bit in range(n):
        owned[random.randrange(engines)] |= 1 << bit
    fleet = []
    for number, mine in enumerate(owned):
        waits = [mine & random.getrandbits(n) & random.choice([-1, random.getrandbits(n)]) for _ in range(150)]
        fleet.append(Engine(dut, number, [_command(wait) for wait in waits], stall=random.choice([0, 0.3, 0.7])))
    count = list(initial)
    owed = [sum(wait >> bit & 1 for engine in fleet for wait in engine.waits) - initial[bit] for bit in range(n)]
    edge, allow, up = RisingEdge(dut.clk), 0, [0] * signallers
    while any(engine.passed < len(engine.words) for engine in fleet):
        await edge
        passed = int(dut.passed.value)
        taken = 0
        for engine in fleet:
            if passed >> engine.number & 1:
                wait = engine.waits[engine.passed]
                short = [bit for bit in range(n) if wait >> bit & 1 and not count[bit]]
                assert not short, f"engine {engine.number} passed without semaphores {short}"
                assert allow >> engine.number & 1
                taken |= wait
                engine.passed += 1
        for bit in range(n):
            count[bit] += sum(word >> bit & 1 for word in up) - (taken >> bit & 1)
        # What engines may still signal; and the further condition, which stays once it holds.
        up = [0] * signallers
        for bit in range(n):
            for number in random.sample(range(signallers), signallers):
                if owed[bit] > 0 and random.random() < 0.1:
                    up[number] |= 1 << bit
                    owed[bit] -= 1
        dut.signal.value = sum(word << (n * number) for number, word in enumerate(up))
        allow = (allow & ~passed) | (random.getrandbits(engines) & random.getrandbits(engines))
        dut.allow.value = allow
    for engine in fleet:
        assert await engine.sink.receive(len(engine.words)) == engine.words
        await engine.sink.expect_nothing()


@cocotb.test()
async def passes_at_its_pace(dut):
    """With nothing to wait for: the first comes out two cycles after it went in, the others as far apart as stated."""
    await start(dut, limit=10_000)
    dut.allow.value = (1 << parameters()["engines"]) - 1
    dut.o0__ready.value = 1
    words = [structs.pack(StoreCommand, _command(0)) for _ in range(20)]
    dut.i0__valid.value, dut.i0__payload.value = 1, words[0]
    arrived, taken, cycle = [], 0, 0
    while len(arrived) < len(words):
        await tick(dut)
        if int(dut.o0__valid.value):
            assert int(dut.o0__payload.value) == words[len(arrived)]
            arrived.append(cycle)
        if taken < len(words) and int(dut.i0__ready.value):
            taken += 1
            dut.i0__valid.value = taken < len(words)
            dut.i0__payload.value = words[min(taken, len(words) - 1)]
        cycle += 1
    assert arrived == [2 + (TAKE_LATENCY + 1) * number for number in range(len(words))]


def _command(wait: int) -> dict:
    fields = {name: random.getrandbits(field.width) for name, field in StoreCommand.as_shape()}
    return fields | {"wait": wait}
