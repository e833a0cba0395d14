# SPDX-License-Identifier: SHL-2.1
"""Registers in a row."""

from typing import Any, TypeVar

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.data import View

__all__ = ["delay", "stages"]

T = TypeVar("T", bound=Value | View)


def delay(m: Module, value: T, cycles: int, *, name: str, reset: bool = False) -> T:
    """``value`` as it was ``cycles`` cycles ago: that many registers, which ``reset`` clears."""
    return stages(m, value, cycles, name=name, reset=reset)[-1]


def stages(m: Module, value: T, cycles: int, *, name: str, reset: bool = False) -> list[T]:
    """``value`` and, at index n, ``value`` as it was n cycles ago, up to ``cycles``."""
    found: list[Any] = [value]
    for cycle in range(cycles):
        delayed = Signal(value.shape(), name=f"{name}_{cycle + 1}", reset_less=not reset)
        m.d.sync += delayed.eq(found[-1])
        found.append(delayed)
    return found
