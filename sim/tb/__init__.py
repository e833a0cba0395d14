# SPDX-License-Identifier: Apache-2.0
"""cocotb testbenches, one a component, each run by the test of the same name in tests/; here, what all of them use.

How to write one: see :mod:`sim.runner`.
"""

import json
import os
import random
from enum import Enum

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer

from hw.program.instructions import NO_HARDWARE

__all__ = ["CLOCK_NS", "built", "parameters", "rng", "start", "tick"]

CLOCK_NS = 10
"""Clock period of every testbench."""


def parameters() -> dict:
    """The keyword arguments that the pytest function gave to :func:`sim.runner.run_cocotb`."""
    return json.loads(os.environ["RTLFORMER_PARAMETERS"])


def rng() -> np.random.Generator:
    """A new generator of random numbers at each call, the same ones in each run with the same seed."""
    return np.random.default_rng(random.getrandbits(64))  # cocotb seeds `random` before each test


async def tick(dut, cycles: int = 1) -> None:
    """Waits for ``cycles`` rising clock edges.

    Values read on return are those just before the last edge; values written on return take effect after it.
    """
    await ClockCycles(dut.clk, cycles)


async def start(dut, *, limit: int = 1_000_000) -> None:
    """Starts the clock, sets every other input to 0, holds ``rst`` for two edges.

    Fails the test ``limit`` cycles from now if it has not ended.
    """
    for name in os.environ["RTLFORMER_INPUTS"].split():
        if name != "clk":
            getattr(dut, name).value = int(name == "rst")
    Clock(dut.clk, CLOCK_NS, "ns", impl="gpi").start()  # "gpi": driven from C++, seven times faster than from Python
    cocotb.start_soon(_fail_after(limit))
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0


async def _fail_after(cycles: int) -> None:
    await Timer(cycles * CLOCK_NS, "ns")
    raise AssertionError(f"the testbench has not ended after {cycles} cycles")


def built(kind: type[Enum]) -> list:
    """The members of an enumeration that have hardware."""
    return [member for member in kind if member.name not in NO_HARDWARE.get(kind, ())]
