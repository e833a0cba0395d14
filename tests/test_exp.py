# SPDX-License-Identifier: Apache-2.0
"""Exponential lanes equal golden, for both kernels."""

import gc

import numpy as np
import pytest

from hw.softmax import exp
from hw.softmax.exp import EXP_KERNELS, ExpLane, ScoreIndex
from sim import golden
from sim.runner import run_cocotb

BENCH = "sim.tb.tb_exp"


@pytest.mark.parametrize("kernel", EXP_KERNELS)
def test_exponential(kernel):
    design = EXP_KERNELS[kernel]()
    run_cocotb(design, BENCH, testcase="exponential_of_every_index", kernel=kernel, latency=design.LATENCY)


@pytest.mark.parametrize("bits", golden.EXP_INDEX_BITS.values())
def test_score_index(bits):
    run_cocotb(ScoreIndex(bits=bits), BENCH, testcase="index_of_scores", bits=bits, latency=ScoreIndex.LATENCY)


@pytest.mark.parametrize("kernel", EXP_KERNELS)
def test_lane(kernel):
    design = ExpLane(kernel=kernel)
    run_cocotb(design, BENCH, testcase="exponential_of_scores", kernel=kernel, latency=ExpLane.latency(kernel=kernel))


def test_hardware_constants_are_those_of_golden():
    assert {name: kernel.INDEX_BITS for name, kernel in EXP_KERNELS.items()} == golden.EXP_INDEX_BITS
    assert (np.array(exp._EXP2_MANTISSAS) == golden.EXP2_TABLE >> 7).all()
    ibert = (
        golden.IBERT_EXP_LN2,
        golden.IBERT_EXP_B,
        golden.IBERT_EXP_C,
        golden.IBERT_EXP_MULT,
        golden.IBERT_EXP_SHIFT,
    )
    assert (exp._LN2, exp._B, exp._C, exp._MULT, exp._SHIFT) == ibert


def test_division_by_a_multiply_and_a_shift_is_exact():
    index = np.arange(1 << golden.EXP_INDEX_BITS["ibert"])
    assert ((1473 * index) >> 18 == index // golden.IBERT_EXP_LN2).all()


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
def test_refuses():
    with pytest.raises(ValueError, match="ExpLane kernel must be one of base2, ibert, not 'base10'"):
        ExpLane(kernel="base10")
    with pytest.raises(ValueError, match=r"ScoreIndex bits must lie in 1\.\.16, not 17"):
        ScoreIndex(bits=17)
    gc.collect()
