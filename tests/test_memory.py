# SPDX-License-Identifier: Apache-2.0
"""The tensor memory reads what was written, across its banks."""

import gc

import pytest

from hw.memory import READ_LATENCY, TensorMemory, banks
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("depth", "lanes", "granularity", "filled"),
    [(1, 1, 64, 1), (5, 3, 8, 2), (600, 4, 8, 600), (1700, 2, 24, 1100)],  # one bank, one, two and three
)
def test_tensor_memory(depth, lanes, granularity, filled):
    init = words(filled, lanes * granularity)
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


@pytest.mark.parametrize(
    ("depth", "lanes", "granularity", "styles"),
    [
        (100, 2, 8, ["distributed"]),
        (2700, 1, 32, ["block", "block", "distributed"]),
        (4200, 1, 64, ["block", "block", "distributed", "block"]),  # the last: bit 0 of the words of the first two
        (4100, 2, 19, ["block", "block", "distributed", "block"]),
    ],
)
def test_dense_memory(depth, lanes, granularity, styles):
    assert [bank.style for bank in banks(depth, lanes, granularity, dense=True)] == styles
    init = words(depth - 3, lanes * granularity)
    design = TensorMemory(depth=depth, lanes=lanes, granularity=granularity, dense=True, init=init)
    shape = {"depth": depth, "lanes": lanes, "granularity": granularity}
    run_cocotb(design, "sim.tb.tb_memory", **shape, init=init, latency=READ_LATENCY)


def test_dense_banks_hold_every_bit_once():
    for depth in (1, 511, 512, 2047, 2048, 4096, 5000, 12400):
        for lanes, granularity in ((1, 64), (1, 16), (2, 8), (1, 54), (4, 11)):
            held = [[0] * granularity for _ in range(depth)]
            for bank in banks(depth, lanes, granularity, dense=True):
                for word in held[bank.start : bank.start + bank.words]:
                    word[bank.low : bank.low + bank.bits] = [n + 1 for n in word[bank.low : bank.low + bank.bits]]
            assert held == [[1] * granularity] * depth, (depth, granularity)


@pytest.mark.parametrize("dense", [False, True])
def test_unused_bits_are_not_stored(dense):
    design = TensorMemory(depth=700, lanes=2, granularity=16, used=11, dense=dense, init=words(700, 32))
    shape = {"depth": 700, "lanes": 2, "granularity": 16, "used": 11}
    run_cocotb(design, "sim.tb.tb_memory", **shape, init=words(700, 32), latency=READ_LATENCY)


def words(count: int, bits: int) -> list[int]:
    """Contents of a memory."""
    return [(0x9E3779B97F4A7C15 * (i + 1)) % (1 << bits) for i in range(count)]


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
def test_tensor_memory_refuses():
    with pytest.raises(ValueError, match="Memory depth must be positive, not 0"):
        TensorMemory(depth=0, lanes=1, granularity=8)
    with pytest.raises(ValueError, match="Initial contents must fit in 2 words, not 3"):
        TensorMemory(depth=2, lanes=1, granularity=8, init=[1, 2, 3])
    gc.collect()
