# SPDX-License-Identifier: Apache-2.0
"""What the testbenches of the IP tops have in common: the registers, looked at through whatever bus there is."""

import random
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from cocotb.triggers import RisingEdge

from hw.host.registers import Access, Register, register
from sim.tb import parameters

__all__ = [
    "Host",
    "Work",
    "field",
    "get",
    "illegal_accesses_do_nothing",
    "pauses",
    "put",
    "registers_are_as_declared",
    "steady",
]

_WINDOWS = ("PULL_LO", "PULL_HI")


class Host(Protocol):
    """A bus master."""

    async def read(self, offset: int) -> tuple[int, bool]:
        """The word at a byte offset, and whether the access was refused."""

    async def write(self, offset: int, value: int, select: int = 0xF) -> bool:
        """Writes the selected bytes; whether that was refused."""


class Work:
    """Inputs and, for their results, where to: see tests/test_wrappers.py.

    ``tokens``; ``packets`` : words of each input packet; ``words`` : of a result; ``macs`` : cycles that feed the array
    for one of them.
    """

    def __init__(self):
        work = np.load(parameters()["work"])
        self.tokens, self.words, self.macs = (int(work[name]) for name in ("tokens", "words", "macs"))
        self.packets = [[int(word) for word in packet] for packet in work["packets"]]

    def save(self, results: list[list[int]]) -> None:
        """For the test to compare with golden."""
        np.save(parameters()["results"], np.array(results, dtype=np.uint64))

    def saved(self) -> np.ndarray:
        """What an earlier testbench has saved."""
        return np.load(parameters()["results"])


def field(name: str, part: str) -> int:
    """Mask of a field."""
    return register(name)[part].mask


def pauses(probability: float) -> Iterator[bool]:
    """Whether to pause, for every cycle to come."""
    while True:
        yield random.random() < probability


async def get(host: Host, name: str) -> int:
    """A register that can be read."""
    value, refused = await host.read(register(name).offset)
    assert not refused, name
    return value


async def put(host: Host, name: str, value: int) -> None:
    """Writes a register that can be written."""
    assert not await host.write(register(name).offset, value), name


async def registers_are_as_declared(host: Host, registers: Iterable[Register]) -> None:
    """After reset, every register reads as declared, and takes a write if the declaration has anything to write."""
    expected = parameters()["reset_values"]
    for reg in registers:
        value, refused = await host.read(reg.offset)
        assert refused == (reg.name in _WINDOWS), reg.name  # the queue is empty
        assert value == expected[reg.name] or reg.name == "CYCLES_LO", f"{reg.name} is {value:#x}"
    for reg in registers:
        if not reg.writable:
            assert await host.write(reg.offset, 0xFFFFFFFF), f"{reg.name} took a write"
        elif all(f.access == Access.RW and f.width == 32 for f in reg.fields):
            before = await get(host, reg.name)
            for value in (0xA5A5A5A5, before):
                await put(host, reg.name, value)
                assert await get(host, reg.name) == value
    for reg in registers:
        if reg.name not in ("CYCLES_LO", *_WINDOWS):
            assert await get(host, reg.name) == expected[reg.name]


async def illegal_accesses_do_nothing(host: Host, registers: Iterable[Register]) -> None:
    """Addresses that are no register's are refused; so are writes of less than a word, of which nothing is kept."""
    mapped = {reg.offset for reg in registers}
    strangers = [max(o for o in mapped if o < 0x200) + 4, 0x1FC, 0x3FC, 0x400, 0x404, 0x800, 0xC08, 0xFFC]
    strangers += random.sample([offset for offset in range(0, 4096, 4) if offset not in mapped], 20)
    for offset in strangers:
        if offset not in mapped:
            assert await host.read(offset) == (0, True), f"{offset:#x}"
            assert await host.write(offset, random.getrandbits(32)), f"{offset:#x}"
    before = await get(host, "MODEL_HASH_LO")
    for select in (0b0001, 0b0010, 0b0100, 0b1000, 0b0011, 0b1100, 0b0111, 0b1110):
        for name in ("MODEL_HASH_LO", "CONTROL", "PASSES"):
            assert await host.write(register(name).offset, 0xFFFFFFFF, select), f"{name} {select:04b}"
    assert await get(host, "MODEL_HASH_LO") == before
    assert await get(host, "PASSES") == await get(host, "CONTROL") == 0
    assert await get(host, "STATUS") == field("STATUS", "idle")


async def steady(clock, valid, ready, *payload) -> None:
    """Fails if what is offered is withdrawn or changed before it is taken; runs forever."""
    edge, waiting = RisingEdge(clock), None
    while True:
        await edge
        offered = [int(port.value) for port in payload] if int(valid.value) else None
        assert waiting is None or offered == waiting, f"{valid._name}: offered {waiting}, then {offered}"
        waiting = None if int(ready.value) else offered
