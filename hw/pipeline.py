# SPDX-License-Identifier: SHL-2.1
"""Registers in a row."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.data import View

__all__ = ["delay", "stages"]


def delay(m: Module, value: Value | View, cycles: int, *, name: str, reset: bool = False) -> Value | View:
    """``value`` as it was ``cycles`` cycles ago: that many registers, which ``reset`` clears."""
    return stages(m, value, cycles, name=name, reset=reset)[-1]


def stages(m: Module, value: Value | View, cycles: int, *, name: str, reset: bool = False) -> list:
    """``value`` and, at index n, ``value`` as it was n cycles ago, up to ``cycles``."""
    found = [value]
    for cycle in range(cycles):
        delayed = Signal(value.shape(), name=f"{name}_{cycle + 1}", reset_less=not reset)
        m.d.sync += delayed.eq(found[-1])
        found.append(delayed)
    return found
