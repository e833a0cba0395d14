# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.link.hostlink.HostLink`: a host at its line, registers and a core that stalls behind it."""

import random
import zlib
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge, Timer

from hw.host.bus import READ_LATENCY
from hw.link.protocol import Command, Status
from sim.tb import CLOCK_NS, parameters, start, tick
from sim.tb.streams import StreamSink, StreamSource

SESSION = 0xBEEF


def bit_ps() -> int:
    """Length of a bit on the line, ps."""
    return round(CLOCK_NS * 1000 * parameters()["clock_hz"] / parameters()["baud"])


def frame(sequence: int, command: int, payload: bytes = b"", *, session: int = SESSION) -> bytes:
    """As hw/link/protocol.py tells it in words, packed by hand."""
    body = bytes([1, session & 0xFF, session >> 8, sequence & 0xFF, command, 0, len(payload) & 0xFF, len(payload) >> 8])
    body += payload
    body += zlib.crc32(body).to_bytes(4, "little")
    return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


class Host:
    """At the other end of the line, a little slower or faster than the board."""

    def __init__(self, dut):
        self._dut, self._bytes = dut, deque()
        self.sequence = 0
        cocotb.start_soon(self._receive())

    async def send(self, line: bytes) -> None:
        period = round(bit_ps() * random.uniform(0.99, 1.01))
        for byte in line:
            for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
                self._dut.rx.value = level
                await Timer(period, "ps")

    async def _receive(self) -> None:
        edge, per_bit = RisingEdge(self._dut.clk), bit_ps() / CLOCK_NS / 1000
        while True:
            while int(self._dut.tx.value):
                await edge
            bits = 0
            for number in range(10):
                await Timer(round(CLOCK_NS * 1000 * per_bit / (2 if number == 0 else 1)), "ps")
                bits |= int(self._dut.tx.value) << number
            assert not bits & 1 and bits >> 9, "start and stop bit"
            self._bytes.append(bits >> 1 & 0xFF)

    async def answer(self, *, bits: int = 40_000) -> tuple[int, int, int, bytes] | None:
        """Sequence, command, status and payload of the next answer."""
        body, escaped = bytearray(), 0
        for _ in range(bits):
            while self._bytes:
                byte = self._bytes.popleft()
                if byte == 0x7E and body:
                    assert zlib.crc32(body[:-4]).to_bytes(4, "little") == body[-4:]
                    assert body[0] == 1 and len(body) == 12 + int.from_bytes(body[6:8], "little")
                    return body[3], body[4], body[5], bytes(body[8:-4])
                if byte == 0x7D:
                    escaped = 0x20
                elif byte != 0x7E:
                    body.append(byte ^ escaped)
                    escaped = 0
            await Timer(bit_ps(), "ps")
        return None

    async def expect(self) -> tuple[int, int, int, bytes]:
        """The next answer, which must come."""
        answer = await self.answer()
        assert answer is not None, "no answer"
        return answer

    async def ask(self, command: Command, payload: bytes = b"") -> tuple[Status, bytes]:
        self.sequence = (self.sequence + 1) & 0xFF
        await self.send(frame(self.sequence, command.value, payload))
        sequence, code, status, data = await self.expect()
        assert (sequence, code) == (self.sequence, command.value)
        return Status(status), data

    async def hello(self) -> bytes:
        await self.send(frame(0, Command.HELLO.value))
        self.sequence = 0
        sequence, code, status, data = await self.expect()
        assert (sequence, code, status) == (0, Command.HELLO.value, 0)
        return data


async def registers(dut, values: dict[int, int], writes: list) -> None:
    """A slave with exactly the latency of the bus: its data are right in that one cycle only."""
    edge = RisingEdge(dut.clk)
    pipe = deque([0] * (READ_LATENCY - 1))
    while True:
        await edge
        address = int(dut.bus__addr.value)
        if int(dut.bus__write.value):
            values[address] = int(dut.bus__w_data.value)
            writes.append((address, values[address]))
        pipe.append(values.get(address, 0))
        dut.bus__r_data.value = pipe.popleft()


async def begin(dut, *, stall: float) -> tuple:
    dut.rx.value = 1
    await start(dut, limit=4_000_000)
    dut.rx.value = 1
    values = {n: random.getrandbits(32) for n in range(256)}
    writes: list[tuple[int, int]] = []
    cocotb.start_soon(registers(dut, values, writes))
    host, source, sink = Host(dut), StreamSource(dut, "i", stall=stall), StreamSink(dut, "o", stall=stall)
    await tick(dut, 10)
    return host, source, sink, values, writes


@cocotb.test()
async def does_what_it_is_asked(dut):
    """Random requests of every kind in random order; the core gives and takes at random."""
    host, source, sink, values, writes = await begin(dut, stall=0.9)
    numbers = [parameters()["clock_hz"], parameters()["baud"]]
    hello = await host.hello()
    assert hello == b"\x00\x04\x80\x00\x80\x00\x00\x00" + b"".join(n.to_bytes(4, "little") for n in numbers)
    waiting: deque[int] = deque()  # what the core gave and nobody pulled
    for _ in range(60):
        command = random.choice(list(Command)[1:])
        match command:
            case Command.READ:
                first, count = random.randrange(256), random.randrange(12)
                status, data = await host.ask(command, bytes([first, count]))
                wanted = [values[(first + n) % 256] for n in range(count)]
                assert (status, data) == (Status.OK, b"".join(value.to_bytes(4, "little") for value in wanted))
            case Command.WRITE:
                pairs = [(random.randrange(256), random.getrandbits(32)) for _ in range(random.randrange(5))]
                payload = b"".join(bytes([r, *random.randbytes(3)]) + v.to_bytes(4, "little") for r, v in pairs)
                writes.clear()
                assert await host.ask(command, payload) == (Status.OK, b"")
                assert writes == pairs
            case Command.PUSH:
                words = [random.getrandbits(64) for _ in range(random.randrange(10))]
                status, data = await host.ask(command, b"".join(word.to_bytes(8, "little") for word in words))
                assert status == Status.OK and 128 - len(words) <= int.from_bytes(data, "little") <= 128
                assert await sink.receive(len(words)) == words
            case Command.PULL:
                fresh, count = [random.getrandbits(64) for _ in range(random.randrange(10))], random.randrange(12)
                source.send(fresh)
                waiting.extend(fresh)
                await source.drained()
                await tick(dut, 20)
                status, data = await host.ask(command, count.to_bytes(2, "little"))
                wanted = [waiting.popleft() for _ in range(min(count, len(waiting)))]
                assert (status, data) == (Status.OK, b"".join(word.to_bytes(8, "little") for word in wanted))
            case Command.ECHO:
                data = bytes(random.choice((0x7D, 0x7E, random.getrandbits(8))) for _ in range(random.randrange(20)))
                assert await host.ask(command, data) == (Status.OK, data)
    await sink.expect_nothing()


@cocotb.test()
async def no_line_noise_wedges_it(dut):
    """Random levels for random times, then a request is answered; nothing is written to a register meanwhile."""
    host, _, _, _, writes = await begin(dut, stall=0.5)
    await host.hello()
    for _ in range(15):
        for _ in range(random.randrange(60)):
            dut.rx.value = random.getrandbits(1)
            await Timer(random.choice([CLOCK_NS * 700, random.randrange(1, 6 * bit_ps())]), "ps")
        dut.rx.value = 1
        await Timer(11 * bit_ps(), "ps")
        assert await host.ask(Command.ECHO, b"there") == (Status.OK, b"there")
    assert writes == []


@cocotb.test()
async def a_flush_empties_both_buffers(dut):
    host, source, sink, *_ = await begin(dut, stall=0.0)
    await host.hello()
    source.send(range(20))
    await source.drained()
    dut.flush.value = 1
    await tick(dut, 8)
    dut.flush.value = 0
    await tick(dut, 50)
    assert await host.ask(Command.PULL, b"\x80\x00") == (Status.OK, b"")
    source.send([77])
    assert (await host.ask(Command.PUSH, bytes(range(8))))[0] == Status.OK
    assert await sink.receive(1) == [int.from_bytes(bytes(range(8)), "little")]
    assert await host.ask(Command.PULL, b"\x80\x00") == (Status.OK, (77).to_bytes(8, "little"))
