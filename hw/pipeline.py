# SPDX-License-Identifier: SHL-2.1
"""Registers in a row."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["delay"]


def delay(m: Module, value: Value, cycles: int, *, name: str, reset: bool = False) -> Value:
    """``value`` as it was ``cycles`` cycles ago: that many registers, which ``reset`` clears."""
    for cycle in range(cycles):
        delayed = Signal.like(value, name=f"{name}_{cycle + 1}", init=0, reset_less=not reset)
        m.d.sync += delayed.eq(value)
        value = delayed
    return value
