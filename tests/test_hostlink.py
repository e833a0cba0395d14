# SPDX-License-Identifier: Apache-2.0
"""The gateware of the host link, from its pins to the core's side."""

import pytest

from hw.link.fifo import WordFifo
from hw.link.hostlink import HostLink
from sim.runner import run_cocotb

RATES = {"clock_hz": 24_000_000, "baud": 3_000_000}


@pytest.mark.slow
def test_hostlink():
    run_cocotb(HostLink(**RATES, input_words=128, result_words=128), "sim.tb.tb_hostlink", **RATES)


@pytest.mark.parametrize(("source_stall", "sink_stall"), [(0.0, 0.0), (0.0, 0.9), (0.9, 0.0), (0.5, 0.5)])
def test_fifo(source_stall, sink_stall):
    run_cocotb(WordFifo(depth=16), "sim.tb.tb_fifo", depth=16, source_stall=source_stall, sink_stall=sink_stall)


def test_dense_fifo():
    stalls = {"source_stall": 0.5, "sink_stall": 0.5}
    run_cocotb(WordFifo(depth=16, dense=True), "sim.tb.tb_fifo", depth=16, **stalls)


def test_refusals():
    with pytest.raises(ValueError, match="depth must be a power of two, at least 2, not 24"):
        WordFifo(depth=24)
    with pytest.raises(ValueError, match="input_words must be at least 128, not 64"):
        HostLink(**RATES, input_words=64)
