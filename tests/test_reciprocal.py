# SPDX-License-Identifier: Apache-2.0
"""Reciprocal units equal golden."""

import gc

import pytest

from hw.arith.reciprocal import Normalise, Reciprocal, RowScale
from sim.runner import run_cocotb

BENCH = "sim.tb.tb_reciprocal"


@pytest.mark.parametrize(("width", "group"), [(2, 1), (18, 1), (33, 1), (52, 2)])
def test_normalise(width, group):
    design = Normalise(width=width, group=group)
    run_cocotb(
        design,
        BENCH,
        testcase="normalise_shifts_the_leading_one_to_the_top",
        width=width,
        group=group,
        latency=Normalise.latency(width=width, group=group),
    )


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
@pytest.mark.parametrize(("width", "group"), [(1, 1), (5, 2), (2, 2), (4, 0)])
def test_normalise_refuses(width, group):
    with pytest.raises(ValueError, match=rf"Normalise width must be a multiple of group \({group}\).* not {width}"):
        Normalise(width=width, group=group)
    gc.collect()


def test_reciprocal():
    run_cocotb(Reciprocal(), BENCH, testcase="reciprocal_of_every_operand", latency=Reciprocal.LATENCY)


@pytest.mark.parametrize("total_bits", [8, 13, 16, 18])
def test_row_scale(total_bits):
    latency = RowScale.latency(total_bits=total_bits)
    design = RowScale(total_bits=total_bits)
    run_cocotb(design, BENCH, testcase="row_scale_equals_golden", total_bits=total_bits, latency=latency)


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
def test_row_scale_refuses():
    with pytest.raises(ValueError, match=r"RowScale total_bits must lie in 1\.\.32, not 33"):
        RowScale(total_bits=33)
    gc.collect()
