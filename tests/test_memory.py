# SPDX-License-Identifier: Apache-2.0
"""The tensor memory reads what was written, across its banks."""

import gc

import pytest

from hw.memory import READ_LATENCY, TensorMemory
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("depth", "lanes", "granularity", "filled"),
    [(1, 1, 64, 1), (5, 3, 8, 2), (600, 4, 8, 600), (1700, 2, 24, 1100)],  # one bank, one, two and three
)
def test_tensor_memory(depth, lanes, granularity, filled):
    init = [(0x9E3779B97F4A7C15 * (i + 1)) % (1 << lanes * granularity) for i in range(filled)]
    design = TensorMemory(depth=depth, lanes=lanes, granularity=granularity, init=init)
    run_cocotb(
        design,
        "sim.tb.tb_memory",
        depth=depth,
        lanes=lanes,
        granularity=granularity,
        init=init,
        latency=READ_LATENCY,
    )


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
def test_tensor_memory_refuses():
    with pytest.raises(ValueError, match="Memory depth must be positive, not 0"):
        TensorMemory(depth=0, lanes=1, granularity=8)
    with pytest.raises(ValueError, match="Initial contents must fit in 2 words, not 3"):
        TensorMemory(depth=2, lanes=1, granularity=8, init=[1, 2, 3])
    gc.collect()
