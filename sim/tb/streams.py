# SPDX-License-Identifier: Apache-2.0
"""Drives, takes and checks valid/ready streams in cocotb testbenches.

A stream ``name`` is the ports ``name__valid``, ``name__ready`` and ``name__payload``, as Amaranth names them. A word is
transferred at a rising clock edge that sees valid and ready; once valid, a word stays, unchanged, until it is taken.
"""

import random
from collections import deque
from collections.abc import Iterable

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import Event, RisingEdge

from sim.tb import tick

__all__ = ["StreamSink", "StreamSource", "check_protocol", "pack", "unpack"]


class StreamSource:
    """Feeds an input stream of the device with what it is told to send.

    Parameters
    ----------
    dut : handle
    name : str
    stall : float
        Probability, each cycle, of not offering a word that could be offered: idle gaps of geometric length.
    """

    def __init__(self, dut, name: str, *, stall: float = 0.3):
        self._valid, self._ready, self._payload = _ports(dut, name)
        self._edge, self._stall, self._random = RisingEdge(dut.clk), _probability(stall), _fork()
        self._words: deque[int] = deque()
        self._empty = Event()
        self._empty.set()
        self._valid.value = 0
        cocotb.start_soon(self._run())

    def send(self, words: Iterable[int]) -> None:
        """Adds words to what waits to be sent; returns at once."""
        self._words.extend(int(word) for word in words)
        if self._words:
            self._empty.clear()

    async def drained(self) -> None:
        """Waits until every word has been taken."""
        await self._empty.wait()

    async def _run(self) -> None:
        offered = False
        while True:
            await self._edge
            if offered and _high(self._ready):
                offered = False
                self._words.popleft()
                if not self._words:
                    self._empty.set()
                self._valid.value = 0
            if not offered and self._words and self._random.random() >= self._stall:
                offered = True
                self._payload.value = self._words[0]
                self._valid.value = 1
            elif not offered:  # nothing may depend on the payload of an idle cycle
                self._payload.value = self._random.getrandbits(len(self._payload))


class StreamSink:
    """Takes an output stream of the device, and checks its protocol.

    Parameters
    ----------
    dut : handle
    name : str
    stall : float
        Probability, each cycle, of not being ready.
    """

    def __init__(self, dut, name: str, *, stall: float = 0.3):
        self._dut = dut
        self._valid, self._ready, self._payload = _ports(dut, name)
        self._edge, self._stall, self._random = RisingEdge(dut.clk), _probability(stall), _fork()
        self._words: deque[int] = deque()
        self._arrived = Event()
        cocotb.start_soon(self._run())
        cocotb.start_soon(check_protocol(dut, name))

    async def receive(self, count: int) -> list[int]:
        """The next ``count`` words, in order of arrival."""
        while len(self._words) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._words.popleft() for _ in range(count)]

    async def expect_nothing(self, cycles: int = 50) -> None:
        """Fails if words arrived that nobody received, now or within ``cycles``."""
        await tick(self._dut, cycles)
        assert not self._words, f"{len(self._words)} words more than expected, the first is {self._words[0]:#x}"

    async def _run(self) -> None:
        ready = False
        while True:
            ready_next = self._random.random() >= self._stall
            if ready_next != ready and self._ready is not None:
                self._ready.value = ready_next
            ready = ready_next or self._ready is None
            await self._edge
            if ready and _high(self._valid):
                self._words.append(int(self._payload.value))
                self._arrived.set()


async def check_protocol(dut, name: str) -> None:
    """Fails if a word that was offered on stream ``name`` is withdrawn or changed before it is taken; runs forever."""
    valid, ready, payload = _ports(dut, name)
    edge = RisingEdge(dut.clk)
    waiting = None
    while True:
        await edge
        word = int(payload.value) if _high(valid) else None
        assert waiting is None or word == waiting, (
            f"stream {name}: offered {waiting:#x}, which was not taken, and then "
            f"{'withdrew it' if word is None else f'changed it to {word:#x}'}"
        )
        waiting = None if _high(ready) else word


def pack(lanes: npt.ArrayLike, bits: int) -> list[int]:
    """Words [n] of integers [n, lanes], ``bits`` each in two's complement, lane 0 in the lowest bits."""
    values = np.asarray(lanes, dtype=np.int64)
    if values.ndim != 2 or not 1 <= bits <= 64:
        raise ValueError(f"pack takes [n, lanes] of 1 to 64 bits, not shape {values.shape} of {bits} bits")
    low, high = -(1 << (bits - 1)), (1 << bits) - 1
    if values.size and not (low <= values.min() and values.max() <= high):
        raise ValueError(f"{values.min()}..{values.max()} does not fit in {bits} bits")
    split = (values[:, :, None] >> np.arange(bits)) & 1
    rows = np.packbits(split.reshape(len(values), values.shape[1] * bits).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack(words: Iterable[int], bits: int, lanes: int, *, signed: bool = True) -> npt.NDArray[np.int64]:
    """Integers [n, lanes] of words [n]: the inverse of :func:`pack`."""
    words = list(words)
    if not 1 <= bits <= (64 if signed else 63):
        raise ValueError(f"unpack takes 1 to 64 bits signed or 63 unsigned, not {bits}")
    size = (lanes * bits + 7) // 8
    data = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), dtype=np.uint8)
    split = np.unpackbits(data.reshape(len(words), size), axis=1, count=lanes * bits, bitorder="little")
    weights = np.left_shift(np.int64(1), np.arange(bits))
    if signed:
        weights[-1:] *= -1  # in place: of 64 bits the weight is its own negative
    return split.reshape(len(words), lanes, bits).astype(np.int64) @ weights


def _ports(dut, name: str):
    """Handles of valid, ready and payload; None for one that is constant and so has no port."""
    return tuple(getattr(dut, f"{name}__{part}", None) for part in ("valid", "ready", "payload"))


def _high(handle) -> bool:
    return handle is None or bool(handle.value)


def _probability(stall: float) -> float:
    if not 0 <= stall < 1:
        raise ValueError(f"stall must lie in 0..1, 1 excluded, not {stall}")
    return stall


def _fork() -> random.Random:
    return random.Random(random.getrandbits(64))
