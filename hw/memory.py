# SPDX-License-Identifier: SHL-2.1
"""On-chip memory with a registered output, in banks that map to block RAM without a multiplexer before the register."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TensorMemory", "READ_LATENCY", "SHARED_READ_LATENCY", "WRITE_LATENCY"]

READ_LATENCY = 2
"""Cycles from a read address to its data."""

SHARED_READ_LATENCY = READ_LATENCY + 1
"""The same where engines share a port: whose address it is takes a cycle to decide."""

WRITE_LATENCY = 1
"""Cycles by which a write reaches the memory later than a read address given in the same cycle."""

_BANK_SIZES = (16384, 8192, 4096, 2048, 1024, 512)  # depths of an ECP5 block RAM
_BLOCK_BITS = 18432  # of a block RAM; forms deeper than 2048 words reach only 16384 of them


@dataclass(frozen=True, kw_only=True)
class Bank:
    """Words ``start .. start + words - 1`` of a memory, bits ``low .. low + bits - 1`` of each lane."""

    start: int
    words: int
    low: int
    bits: int
    style: str
    """Yosys's ram_style: "block", or "distributed" for LUT RAM."""


def bank_depths(depth: int) -> list[int]:
    """Split ``depth`` words into block-RAM sized banks, large first, wasting less than the smallest bank."""
    banks = []
    for size in _BANK_SIZES:
        while depth >= size:
            banks.append(size)
            depth -= size
    return banks + [_BANK_SIZES[-1]] * (depth > 0)


def banks(depth: int, lanes: int, granularity: int, *, dense: bool) -> list[Bank]:
    """The banks of a memory: side by side in address, and, where dense, the last bits of a lane in one of their own.

    Dense: no form deeper than 2048 words, which wastes a ninth of the block; of lanes of nine-bit bytes and one or two
    bits more, such as 64 = 7 * 9 + 1, those bits of all banks together; and a bank that would not fill half of its
    blocks in LUT RAM.
    """
    if not dense:
        found, start = [], 0
        for size in bank_depths(depth):
            found.append(Bank(start=start, words=min(size, depth - start), low=0, bits=granularity, style="block"))
            start += size
        return found
    sizes, left = [], depth
    for size in (2048, 1024, 512):
        while left >= size:
            sizes.append(size)
            left -= size
    blocks = sum(sizes)
    rest = granularity % 9 if granularity > 9 and blocks >= 4096 else 0  # a block RAM for the rest must be worth it
    rest = rest if rest < 3 else 0
    found, start = [], 0
    for size in sizes:
        found.append(Bank(start=start, words=size, low=rest, bits=granularity - rest, style="block"))
        start += size
    if left:
        fill = left * lanes * granularity / (-(-lanes * granularity // 36) * _BLOCK_BITS)
        style = "block" if fill >= 0.5 else "distributed"
        found.append(Bank(start=start, words=left, low=0, bits=granularity, style=style))
    if rest:
        found.append(Bank(start=0, words=blocks, low=0, bits=rest, style="block"))
    return found


class TensorMemory(wiring.Component):
    """``depth`` words of ``lanes * granularity`` bits: one read port, one write port with an enable for each lane.

    A read returns the word :data:`READ_LATENCY` cycles after its address, every cycle. A write is registered
    first: reads see it whose address comes more than :data:`WRITE_LATENCY` cycles later, and a read just that much
    later that meets its word is undefined. Every bank's output goes straight into a register; where there are several
    banks, they are selected after it.

    Parameters
    ----------
    depth : int
        Words.
    lanes, granularity : int
        Write-enable lanes and bits of each.
    used : int
        Bits of each lane that are stored, from bit 0; the others read as 0.
    dense : bool
        Fewest block RAMs, at the cost of LUTs and some speed; see :func:`banks`.
    init : list of int
        First words' contents; the rest are zero.
    """

    def __init__(
        self,
        *,
        depth: int,
        lanes: int,
        granularity: int,
        used: int | None = None,
        dense: bool = False,
        init: list[int] | None = None,
    ):
        init = list(init or [])
        if depth < 1:
            raise ValueError(f"Memory depth must be positive, not {depth}")
        if len(init) > depth:
            raise ValueError(f"Initial contents must fit in {depth} words, not {len(init)}")
        self.depth, self.lanes, self.granularity, self.init = depth, lanes, granularity, init
        self.used = granularity if used is None else used
        self.banks = banks(depth, lanes, self.used, dense=dense)
        address = range(max(depth, 2))
        width = lanes * granularity
        super().__init__(
            {
                "r_addr": In(address),
                "r_data": Out(unsigned(width)),
                "w_en": In(lanes),
                "w_addr": In(address),
                "w_data": In(unsigned(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        w_en, w_addr = Signal.like(self.w_en), Signal.like(self.w_addr, reset_less=True)
        w_data = Signal.like(self.w_data, reset_less=True)
        r_addr = Signal.like(self.r_addr, reset_less=True)
        m.d.sync += [w_en.eq(self.w_en), w_addr.eq(self.w_addr), w_data.eq(self.w_data), r_addr.eq(self.r_addr)]
        words: list[list[Value]] = []  # of each bank of whole words its lanes
        rest: list[Value] = []
        for number, bank in enumerate(self.banks):
            is_rest = number > 0 and bank.start == 0
            # no_rw_check: what a read finds in the cycle of a write to its word is left open, which saves a bypass.
            attributes: dict[str, Any] = {"ram_style": bank.style, "no_rw_check": 1}
            mem: memory.Memory = memory.Memory(
                shape=unsigned(self.lanes * bank.bits),
                depth=max(bank.words, 2),
                init=[self._stored(word, bank) for word in self.init[bank.start : bank.start + bank.words]],
                attrs=attributes,
            )
            m.submodules["rest" if is_rest else f"bank{number}"] = mem
            write = mem.write_port(granularity=bank.bits)
            here = (w_addr >= bank.start) & (w_addr < bank.start + bank.words)
            lanes = [
                w_data.word_select(n, self.granularity)[bank.low : bank.low + bank.bits] for n in range(self.lanes)
            ]
            m.d.comb += [
                write.addr.eq(w_addr - bank.start),
                write.data.eq(Cat(lanes)),
                write.en.eq(w_en & here.replicate(self.lanes)),
            ]
            if bank.style == "block":
                read = mem.read_port()
                m.d.comb += read.addr.eq(self.r_addr - bank.start)
            else:  # LUT RAM reads without a clock: here the address is registered
                read = mem.read_port(domain="comb")
                m.d.comb += read.addr.eq(r_addr - bank.start)
            out = Signal(self.lanes * bank.bits, name=f"{'rest' if is_rest else f'bank{number}'}_data", reset_less=True)
            m.d.sync += out.eq(read.data)
            parts = [out.word_select(n, bank.bits) for n in range(self.lanes)]
            if is_rest:
                rest = parts
            else:
                words.append(parts)
        unused = Const(0, self.granularity - self.used)
        choices = []
        for bank, parts in zip(self.banks, words, strict=False):
            whole = [Cat(rest[n][: bank.low], part) for n, part in enumerate(parts)] if bank.low else parts
            choices.append(Cat(Cat(lane, unused) for lane in whole))
        if len(choices) == 1:
            m.d.comb += self.r_data.eq(choices[0])
        else:
            r_bank = Signal(range(len(choices)))
            for number, bank in enumerate(self.banks[: len(choices)]):
                with m.If(self.r_addr >= bank.start):
                    m.d.comb += r_bank.eq(number)
            select = [Signal.like(r_bank, name=f"select{i}", reset_less=True) for i in range(READ_LATENCY)]
            m.d.sync += [select[0].eq(r_bank), select[1].eq(select[0])]
            m.d.comb += self.r_data.eq(Array(choices)[select[1]])
        return m

    def _stored(self, word: int, bank: Bank) -> int:
        """The bits of an initial word that ``bank`` holds."""
        mask = (1 << bank.bits) - 1
        return sum(
            ((word >> (lane * self.granularity + bank.low)) & mask) << lane * bank.bits for lane in range(self.lanes)
        )
