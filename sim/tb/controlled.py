# SPDX-License-Identifier: Apache-2.0
"""Both sides of a :class:`hw.host.control.ControlBlock`: a master of its register bus, and a core played in Python."""

import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

from hw.core import BUSY_BITS
from hw.host.bus import READ_LATENCY
from hw.host.control import SETTLE_CYCLES
from hw.host.registers import register
from sim.tb import start, tick

CONTROL, STATUS = register("CONTROL"), register("STATUS")


class Bus:
    """Master of a register bus ``bus`` of the device."""

    def __init__(self, dut):
        self._dut = dut

    async def read(self, index: int) -> int:
        """The word at ``index``."""
        self._dut.bus__addr.value = index
        await tick(self._dut)
        self._dut.bus__addr.value = random.getrandbits(8)  # nothing may depend on it any more
        await tick(self._dut, READ_LATENCY)
        return int(self._dut.bus__r_data.value)

    async def write(self, index: int, value: int) -> None:
        """Writes ``value``, and returns when it has taken effect."""
        self._dut.bus__addr.value, self._dut.bus__w_data.value = index, value
        self._dut.bus__write.value = 1
        await tick(self._dut)
        self._dut.bus__write.value = 0

    async def get(self, name: str) -> int:
        """A register by name."""
        return await self.read(register(name).index)

    async def put(self, name: str, value: int) -> None:
        """Writes a register by name."""
        await self.write(register(name).index, value)


class Core:
    """Plays the core: dispatches a pass for a while, lets its result leave some time after; checks run and seq_len.

    ``begun`` : length of every pass begun; ``left`` : results that left; ``busy`` : cycles of each engine. While
    ``held``, no result leaves.
    """

    def __init__(self, dut):
        self.dut, self.held = dut, False
        self.begun: list[int] = []
        self.in_flight: deque[int] = deque()  # cycles until each result may leave
        self.left = 0
        self.busy = [0] * len(BUSY_BITS)
        cocotb.start_soon(self._run())

    async def _run(self):
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        length = steady = dispatching = 0
        delayed = deque([0, 0])  # the core's busy output is late
        while True:
            await edge
            run, now, reset = (int(port.value) for port in (dut.run, dut.seq_len, dut.core_reset))
            steady = steady + 1 if now == length else 0
            assert not self.in_flight or now == length, "the length changed while a pass was in flight"
            length = now
            others = random.getrandbits(len(BUSY_BITS)) if self.in_flight else 0
            if reset:
                self.in_flight.clear()
                dispatching = 0
            elif run:
                assert dispatching == 0, "a start that the core does not see"
                assert steady >= 3, "the length has not settled"
                self.begun.append(now)
                dispatching = random.randint(1, 40)
                self.in_flight.append(dispatching + random.randint(0, 60))
            elif dispatching:
                dispatching -= 1
            leaves = bool(self.in_flight) and self.in_flight[0] <= 0 and not self.held
            self.in_flight = deque(left - 1 for left in self.in_flight)
            if leaves:
                self.in_flight.popleft()
                self.left += 1
            delayed.append(dispatching > 0)
            busy = 0 if reset else (others & ~1) | delayed.popleft()
            dut.frame.value, dut.busy.value = int(leaves), busy
            for engine in range(len(BUSY_BITS)):
                self.busy[engine] += busy >> engine & 1


async def until_idle(bus: Bus) -> None:
    """Waits for STATUS.idle."""
    while not await bus.get("STATUS") & STATUS["idle"].mask:
        pass


async def begin(dut) -> tuple[Bus, Core]:
    await start(dut, limit=200_000)
    bus, core = Bus(dut), Core(dut)
    await tick(dut, 2 * SETTLE_CYCLES)
    await bus.put("CONTROL", CONTROL["clear"].mask)
    await tick(dut, 2)
    return bus, core
