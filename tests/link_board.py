# SPDX-License-Identifier: Apache-2.0
"""For tests of the host link: a small board without a core, and a line on which things go wrong."""

import random
import re
from collections import Counter

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.host.registers import register
from hw.link.hostlink import HostLink
from hw.stream import StreamBuffer
from sim.board import LINE_ERROR, SimulatedBoard
from sim.board.line import DirectLine

RATES = {"clock_hz": 24_000_000, "baud": 3_000_000}
VALVE = 255
"""Register of the loopback: while bit 0 is set, no word passes."""


class Loopback(wiring.Component):
    """The host link with 256 plain registers, whose output stream is its input stream; CONTROL.reset flushes."""

    def __init__(self):
        super().__init__({"rx": In(1), "tx": Out(1), "leds": Out(3)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = HostLink(**RATES, input_words=128, result_words=128)
        m.submodules.buffer = buffer = StreamBuffer(64)
        m.submodules.registers = registers = memory.Memory(shape=32, depth=256, init=[3 * n for n in range(256)])
        read, write, valve = registers.read_port(), registers.write_port(), Signal()
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.leds[0].eq(link.connected),
            self.leds[1].eq(link.active),
            self.leds[2].eq(link.spoilt),
            read.addr.eq(link.bus.addr),
            write.addr.eq(link.bus.addr),
            write.data.eq(link.bus.w_data),
            write.en.eq(link.bus.write),
            buffer.i.payload.eq(link.o.payload),
            buffer.i.valid.eq(link.o.valid & ~valve),
            link.o.ready.eq(buffer.i.ready & ~valve),
        ]
        wiring.connect(m, buffer.o, link.i)
        m.d.sync += link.bus.r_data.eq(read.data)
        control = register("CONTROL")
        m.d.sync += link.flush.eq(
            link.bus.write & (link.bus.addr == control.index) & link.bus.w_data[control["reset"].lsb]
        )
        with m.If(link.bus.write & (link.bus.addr == VALVE)):
            m.d.sync += valve.eq(link.bus.w_data[0])
        return m


def with_memories_of(verilog: str, other: str) -> str:
    """A board with the initial memory contents of another one that differs in these alone: as if bits had flipped."""
    word = re.compile(r"\s*\\?\S+\s*\[\d+\] = ")
    pairs = zip(verilog.splitlines(), other.splitlines(), strict=True)
    return "\n".join(new if word.match(new) else old for old, new in pairs)


class Killed(BaseException):
    """The host process ends here and now."""


class FaultyLine(DirectLine):
    """A line to a simulated board on which a share of all frames and answers suffers a fault; the seed decides.

    Attributes
    ----------
    frames : int
        Written so far.
    faults : Counter
        By kind.
    """

    REQUEST = ("flip", "drop", "duplicate", "garbage", "stop", "line error", "lose")
    ANSWER = ("flip", "drop", "duplicate", "garbage", "lose", "late")

    def __init__(
        self, board: SimulatedBoard, *, seed: int, rate: float = 0.15, resets: float = 0.0, kills: float = 0.0
    ):
        super().__init__(board)
        self._random = random.Random(seed)
        self._rate, self._resets, self._kills = rate, resets, kills
        self.frames = 0
        self.faults: Counter[str] = Counter()
        self._held = b""  # late
        self._answer_fault = -1  # reads until then: bytes, as they come one by one

    def write(self, data: bytes) -> None:
        self.frames += 1
        draw = self._random
        line = list(data)
        self._answer_fault = draw.randrange(40) if draw.random() < self._rate else -1
        if draw.random() < self._kills:
            self.faults["kill"] += 1
            self.board.send(line[: draw.randrange(len(line) + 1)])
            raise Killed
        if draw.random() < self._rate:
            kind = draw.choice(self.REQUEST)
            self.faults[f"request: {kind}"] += 1
            line = self._spoil(kind, line)
        self.board.send(line)
        if draw.random() < self._resets:
            self.faults["board reset"] += 1
            self.board.run(draw.randrange(1, 20 * len(data) * self.board.clock_hz // self.board.baud))
            self.board.reset()

    def read(self, seconds: float) -> bytes:
        held, self._held = self._held, b""
        if held:
            return held
        data = super().read(seconds)
        draw = self._random
        self._answer_fault -= bool(data)
        if not data or self._answer_fault != 0:
            return data
        kind = draw.choice(self.ANSWER)
        self.faults[f"answer: {kind}"] += 1
        if kind == "late":  # a slow reader: all that comes in this wait comes in the next
            self.board.run(max(1, round(seconds * self.board.clock_hz)))
            self._held = data + self.board.receive()
            return b""
        return bytes(byte & 0xFF for byte in self._spoil(kind, list(data)))

    def discard(self) -> None:
        super().discard()
        self._held = b""

    def _spoil(self, kind: str, line: list[int]) -> list[int]:
        draw = self._random
        at = draw.randrange(len(line))
        match kind:
            case "flip":
                line[at] ^= 1 << draw.randrange(8)
            case "drop":
                del line[at]
            case "duplicate":
                line.insert(at, line[at])
            case "garbage":
                line[:0] = draw.choices([*range(256), *[0x7E] * 40, *[0x7D] * 40], k=draw.randint(1, 40))
            case "stop":
                del line[at:]
            case "line error":
                line[at] |= LINE_ERROR
            case "lose":
                line = []
        return line
