# SPDX-License-Identifier: SHL-2.1
"""On-chip memory with a registered output, in banks that map to block RAM without a multiplexer before the register."""

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TensorMemory", "READ_LATENCY", "WRITE_LATENCY"]

READ_LATENCY = 2
"""Cycles from a read address to its data."""

WRITE_LATENCY = 1
"""Cycles by which a write reaches the memory later than a read address given in the same cycle."""

_BANK_SIZES = (16384, 8192, 4096, 2048, 1024, 512)  # depths of an ECP5 block RAM


def _bank_depths(depth: int) -> list[int]:
    """Split ``depth`` words into block-RAM sized banks, large first, wasting less than the smallest bank."""
    banks = []
    for size in _BANK_SIZES:
        while depth >= size:
            banks.append(size)
            depth -= size
    return banks + [_BANK_SIZES[-1]] * (depth > 0)


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
    init : list of int
        First words' contents; the rest are zero.
    """

    def __init__(self, *, depth: int, lanes: int, granularity: int, init: list[int] | None = None):
        init = list(init or [])
        if depth < 1:
            raise ValueError(f"Memory depth must be positive, not {depth}")
        if len(init) > depth:
            raise ValueError(f"Initial contents must fit in {depth} words, not {len(init)}")
        self.depth, self.lanes, self.granularity, self.init = depth, lanes, granularity, init
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
        width = self.lanes * self.granularity
        banks, start = _bank_depths(self.depth), 0
        outputs = []
        w_en, w_addr = Signal.like(self.w_en), Signal.like(self.w_addr, reset_less=True)
        w_data = Signal.like(self.w_data, reset_less=True)
        m.d.sync += [w_en.eq(self.w_en), w_addr.eq(self.w_addr), w_data.eq(self.w_data)]
        r_bank, w_bank = Signal(range(len(banks) + 1)), Signal(range(len(banks) + 1))
        for number, size in enumerate(banks):
            last = number == len(banks) - 1
            with m.If(self.r_addr >= start):
                m.d.comb += r_bank.eq(number)
            with m.If(w_addr >= start):
                m.d.comb += w_bank.eq(number)
            rows = min(size, self.depth - start) if last else size
            contents = self.init[start : start + rows]
            # no_rw_check: what a read finds in the cycle of a write to its word is left open, which saves a bypass.
            mem = memory.Memory(
                shape=unsigned(width), depth=max(rows, 2), init=contents, attrs={"ram_style": "block", "no_rw_check": 1}
            )
            m.submodules[f"bank{number}"] = mem
            read = mem.read_port()
            write = mem.write_port(granularity=self.granularity)
            m.d.comb += [
                read.addr.eq(self.r_addr - start),
                write.addr.eq(w_addr - start),
                write.data.eq(w_data),
                write.en.eq(w_en & (w_bank == number).replicate(self.lanes)),
            ]
            registered = Signal(width, name=f"bank{number}_data", reset_less=True)
            m.d.sync += registered.eq(read.data)
            outputs.append(registered)
            start += size
        if len(outputs) == 1:
            m.d.comb += self.r_data.eq(outputs[0])
        else:
            select = [Signal.like(r_bank, name=f"select{i}", reset_less=True) for i in range(READ_LATENCY)]
            m.d.sync += [select[0].eq(r_bank), select[1].eq(select[0])]
            m.d.comb += self.r_data.eq(Array(outputs)[select[1]])
        return m
